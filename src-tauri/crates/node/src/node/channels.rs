//! Opening, watching and closing channels.

use std::time::Duration;

use lightning::ln::channel_state::ChannelDetails;
use lightning::util::errors::APIError;

use super::Node;
use crate::config::PeerAddress;
use crate::error::{Error, ErrorCode, Result};
use crate::models::Channel;

/// Longest wait for a peer to agree to a new channel and sign its funding.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

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
        self.must_be_synced()?;
        self.peers.connect(peer).await?;
        self.peers.remember(peer)
    }

    /// Opens a channel, and returns its id (hex) once its funding was sent.
    ///
    /// # Errors
    /// [`ErrorCode::NotSynced`], [`ErrorCode::PeerUnreachable`], [`ErrorCode::InsufficientFunds`],
    /// [`ErrorCode::ChannelFailed`].
    pub async fn open_channel(&self, peer: &PeerAddress, amount_sat: u64) -> Result<String> {
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
        let closed = if force {
            let words = "closed by its owner".to_owned();
            self.lightning
                .channels
                .force_close_broadcasting_latest_txn(id, peer, words)
        } else {
            self.lightning.channels.close_channel(id, peer)
        };
        closed.map_err(|e| api(&e))
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
