//! A peer's channels: opening, looking, closing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bitcoin::Txid;
use bitcoin::secp256k1::PublicKey;
use ldk_node::UserChannelId;

use super::{Channel, POLL, Peer};
use crate::Error;

/// Negotiating a channel takes a few round trips on loopback; both ends may be busy compiling.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

impl Peer {
    /// Opens a channel and waits until its funding transaction is in the mempool (mine 6 blocks to make it usable).
    ///
    /// # Errors
    /// [`Error::Peer`] when the other end cannot be reached or refuses, or money is short; [`Error::Timeout`].
    pub async fn open_channel(
        &self,
        node_id: PublicKey,
        address: SocketAddr,
        sats: u64,
        push_msat: u64,
        announce: bool,
    ) -> Result<Channel, Error> {
        let to = address.into();
        let push = (push_msat > 0).then_some(push_msat);
        let id = self
            .blocking("opening a channel", move |node| {
                if announce {
                    node.open_announced_channel(node_id, to, sats, push, None)
                } else {
                    node.open_channel(node_id, to, sats, push, None)
                }
            })
            .await?;
        let begun = Instant::now();
        loop {
            let channels = self.inner.node.list_channels();
            if let Some(channel) = channels.into_iter().find(|channel| channel.user_channel_id == id) {
                if let Some(funding) = channel.funding_txo
                    && self.is_known(&funding.txid).await?
                {
                    // Its wallet learns of its own funding transaction from the chain only; without this it would
                    // spend the same coins again for the next channel.
                    self.sync().await?;
                    return Ok(channel.into());
                }
            } else if let Some(why) = self.inner.heard(|heard| heard.closed.get(&id.0).cloned()) {
                // The event comes a moment after the channel has left the list.
                return Err(self.failed(format!("the channel was not opened: {why}")));
            }
            if begun.elapsed() > OPEN_LIMIT {
                let what = format!("{}: the funding transaction of a channel", self.name());
                return Err(Error::Timeout {
                    what,
                    waited: OPEN_LIMIT,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// All its channels.
    pub fn channels(&self) -> Vec<Channel> {
        self.inner
            .node
            .list_channels()
            .into_iter()
            .map(Channel::from)
            .collect()
    }

    /// Waits until it has a usable channel with `counterparty`.
    ///
    /// # Errors
    /// [`Error::Timeout`]
    pub async fn wait_usable(&self, counterparty: PublicKey, timeout: Duration) -> Result<Channel, Error> {
        self.wait(
            &format!("{}: a usable channel with {counterparty}", self.name()),
            timeout,
            || {
                self.channels()
                    .into_iter()
                    .find(|c| c.counterparty == counterparty && c.is_usable)
            },
        )
        .await
    }

    /// Closes a channel by agreement. `user_channel_id` as in [`Channel`].
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Input`] for an id that is none.
    pub async fn close_channel(&self, user_channel_id: &str, counterparty: PublicKey) -> Result<(), Error> {
        let id = channel_id(user_channel_id)?;
        self.blocking("closing a channel", move |node| {
            node.close_channel(&id, counterparty)
        })
        .await
    }

    /// Closes a channel on its own, by broadcasting its latest commitment.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Input`] for an id that is none.
    pub async fn force_close_channel(
        &self,
        user_channel_id: &str,
        counterparty: PublicKey,
    ) -> Result<(), Error> {
        let id = channel_id(user_channel_id)?;
        self.blocking("force-closing a channel", move |node| {
            node.force_close_channel(&id, counterparty, None)
        })
        .await
    }

    /// Whether a transaction is in the mempool or the chain.
    async fn is_known(&self, txid: &Txid) -> Result<bool, Error> {
        Ok(self.inner.face.follower.fresh().await?.tx(txid).is_some())
    }
}

fn channel_id(text: &str) -> Result<UserChannelId, Error> {
    text.parse()
        .map(UserChannelId)
        .map_err(|_| Error::Input(format!("not a user channel id: {text}")))
}
