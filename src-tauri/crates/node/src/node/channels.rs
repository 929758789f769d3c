//! Opening, watching and closing channels.

use std::time::Duration;

use lightning::ln::channel_state::ChannelDetails;
use lightning::util::errors::APIError;
use tokio::time::Instant;

use super::Node;
use crate::config::PeerAddress;
use crate::error::{Error, ErrorCode, Result};
use crate::models::Channel;

/// Longest wait for a peer to agree to a new channel and sign its funding.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for a channel to be at rest and its peer there, so that it can be closed together.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How often it is tried meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Smallest channel that makes sense, in sat: below this the reserve and the fees eat it.
const SMALLEST_SAT: u64 = 20_000;

impl Node {
    /// The channels there are.
    pub fn channels(&self) -> Vec<Channel> {
        self.lightning
            .channels
            .list_channels()
            .iter()
            .map(channel)
            .collect()
    }

    /// Whether a payment is under way, or money on its way back from a closed channel.
    pub fn money_moves(&self) -> bool {
        let channels = self.lightning.channels.list_channels();
        let htlcs = channels
            .iter()
            .any(|c| !(c.pending_inbound_htlcs.is_empty() && c.pending_outbound_htlcs.is_empty()));
        htlcs || self.balances().closing_sat > 0
    }

    /// Connects to a peer and remembers where it is.
    ///
    /// # Errors
    /// [`ErrorCode::NotSynced`], because a peer must not be shown a channel state that the chain may have overtaken;
    /// [`ErrorCode::PeerUnreachable`]; [`ErrorCode::StorageFailed`].
    pub async fn connect(&self, peer: &PeerAddress) -> Result<()> {
        let connecting = async {
            self.must_be_synced()?;
            self.peers.connect(peer).await?;
            self.peers.remember(peer)
        };
        self.doors.within(connecting).await
    }

    /// Opens a channel, and returns its id (hex) once its funding was sent.
    ///
    /// # Errors
    /// [`ErrorCode::NotSynced`], [`ErrorCode::PeerUnreachable`], [`ErrorCode::InsufficientFunds`],
    /// [`ErrorCode::ChannelFailed`].
    pub async fn open_channel(&self, peer: &PeerAddress, amount_sat: u64) -> Result<String> {
        self.doors.within(self.fund_channel(peer, amount_sat)).await
    }

    async fn fund_channel(&self, peer: &PeerAddress, amount_sat: u64) -> Result<String> {
        self.must_be_synced()?;
        if amount_sat < SMALLEST_SAT {
            let detail = format!("a channel needs at least {SMALLEST_SAT} sat");
            return Err(Error::new(ErrorCode::InvalidInput, detail));
        }
        let needed = amount_sat.saturating_add(self.handler.reserve_sat(1));
        let have = self.wallet.balance().confirmed_sat;
        if have < needed {
            let detail = format!("{needed} sat needed with reserve, {have} sat confirmed");
            return Err(Error::new(ErrorCode::InsufficientFunds, detail));
        }
        self.connect(peer).await?;
        let (user_channel_id, funded) = self.handler.opening();
        self.lightning
            .channels
            .create_channel(peer.node_id, amount_sat, 0, user_channel_id, None, None)
            .map_err(|e| api(&e))?;
        match tokio::time::timeout(OPEN_LIMIT, funded).await {
            Ok(Ok(channel_id)) => {
                let channel_id = channel_id?;
                self.send_broadcasts().await;
                Ok(channel_id.to_string())
            }
            Ok(Err(_)) => Err(Error::new(ErrorCode::Cancelled, "the node stopped")),
            Err(_) => Err(Error::new(
                ErrorCode::ChannelFailed,
                "the peer did not answer in time",
            )),
        }
    }

    /// Closes a channel: together with the peer, or (`force`) alone, which takes longer and costs more.
    ///
    /// # Errors
    /// [`ErrorCode::ChannelNotFound`] or [`ErrorCode::ChannelFailed`].
    pub async fn close_channel(&self, channel_id: &str, force: bool) -> Result<()> {
        let channels = self.lightning.channels.list_channels();
        let channel = channels
            .iter()
            .find(|channel| channel.channel_id.to_string() == channel_id)
            .ok_or_else(|| Error::new(ErrorCode::ChannelNotFound, "no channel has this id"))?;
        let (id, peer) = (&channel.channel_id, &channel.counterparty.node_id);
        if force {
            let words = "closed by its owner".to_owned();
            let closed = self
                .lightning
                .channels
                .force_close_broadcasting_latest_txn(id, peer, words);
            return closed.map_err(|e| api(&e));
        }
        let closing = async {
            let asked_at = Instant::now();
            // LDK refuses while an update is on its way to the disk or to the peer, as it is for a moment after every
            // payment, and while the peer is away.
            while let Err(error) = self.lightning.channels.close_channel(id, peer) {
                if asked_at.elapsed() >= CLOSE_LIMIT {
                    return Err(api(&error));
                }
                tracing::debug!(?error, "not closed yet");
                if let Ok(Some(address)) = self.peers.address(peer) {
                    // It stays connected if it is; if it cannot be, the refusal says so.
                    let _ = self.peers.connect(&address).await;
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        self.doors.within(closing).await
    }
}

fn channel(details: &ChannelDetails) -> Channel {
    Channel {
        channel_id: details.channel_id.to_string(),
        peer: details.counterparty.node_id.to_string(),
        capacity_sat: details.channel_value_satoshis,
        outbound_msat: details.outbound_capacity_msat,
        inbound_msat: details.inbound_capacity_msat,
        ready: details.is_channel_ready,
        usable: details.is_usable,
        funding_txid: details.funding_txo.map(|outpoint| outpoint.txid.to_string()),
        confirmations: details.confirmations,
        confirmations_required: details.confirmations_required,
    }
}

fn api(error: &APIError) -> Error {
    let code = match error {
        APIError::APIMisuseError { .. } => ErrorCode::InvalidInput,
        _ => ErrorCode::ChannelFailed,
    };
    Error::new(code, format!("{error:?}"))
}
