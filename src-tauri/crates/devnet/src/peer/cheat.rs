//! A peer that cheats: its state is kept, it goes on living, and later the kept state closes a channel that has moved on.
//!
//! What goes on chain then is a commitment that the peer has revoked. The peer's own software does it; nothing is forged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use ldk_node::lightning::util::persist::KVStoreSync;

use super::build::Recipe;
use super::store::MemoryStore;
use super::{POLL, Peer};
use crate::Error;
use crate::esplora::Face;

/// Where ldk-node keeps whom it connects to by itself.
const KNOWN_PEERS: (&str, &str, &str) = ("", "", "peers");
/// The closing goes through two event queues and one broadcast; the machine may be busy compiling.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// A peer's whole state as it was at one moment.
pub struct OldState {
    recipe: Recipe,
    store: MemoryStore,
    face: Arc<Face>,
    peer: Peer,
}

impl Peer {
    /// Keeps its state as it is now. It is stopped for a moment, so that the copy is of one moment: whoever was connected
    /// must connect again.
    ///
    /// # Errors
    /// [`Error::Peer`] when it does not run.
    pub async fn keep_state(&self) -> Result<OldState, Error> {
        self.stop().await?;
        let store = self.inner.store.copy();
        self.start().await?;
        Ok(OldState {
            recipe: self.inner.recipe.clone(),
            store,
            face: Arc::clone(&self.inner.face),
            peer: self.clone(),
        })
    }
}

impl OldState {
    /// Starts a node with this state, which connects to nobody and listens nowhere, lets it close its channel with
    /// `counterparty` alone, and stops it. Gives the closing transaction, which is in the mempool then. The peer itself is
    /// stopped if it runs, and stays so: it must not learn what was done in its name.
    ///
    /// # Errors
    /// [`Error::Peer`] when there is no such channel in this state; [`Error::Timeout`].
    pub async fn force_close(&self, counterparty: PublicKey) -> Result<Txid, Error> {
        if self.peer.is_running() {
            self.peer.stop().await?;
        }
        let store = Arc::new(self.store.copy());
        let (primary, secondary, key) = KNOWN_PEERS;
        KVStoreSync::remove(&*store, primary, secondary, key, false)
            .map_err(|e| self.peer.failed(e.to_string()))?;
        let node = self
            .recipe
            .start(&store, None)
            .await
            .map_err(|failure| self.recipe.failed(&failure))?;
        let node = Arc::new(node);
        let closing = self.close(&node, counterparty).await;
        let stopping = Arc::clone(&node);
        let stopped = self
            .recipe
            .runtime()
            .spawn_blocking(move || {
                let _ = stopping.stop();
            })
            .await;
        stopped.map_err(|e| self.peer.failed(format!("stopping the cheat died: {e}")))?;
        closing
    }

    async fn close(&self, node: &Arc<ldk_node::Node>, counterparty: PublicKey) -> Result<Txid, Error> {
        let acting = Arc::clone(node);
        let funding = self
            .recipe
            .runtime()
            .spawn_blocking(move || {
                acting
                    .sync_wallets()
                    .map_err(|e| format!("following the chain failed: {e}"))?;
                let channels = acting.list_channels();
                let channel = channels
                    .iter()
                    .find(|channel| channel.counterparty_node_id == counterparty)
                    .ok_or_else(|| format!("no channel with {counterparty} in the old state"))?;
                acting
                    .force_close_channel(&channel.user_channel_id, counterparty, None)
                    .map_err(|e| format!("closing alone failed: {e}"))?;
                channel
                    .funding_txo
                    .ok_or_else(|| "its channel has no funding".to_owned())
            })
            .await
            .map_err(|e| self.peer.failed(format!("cheating died: {e}")))?
            .map_err(|reason| self.peer.failed(reason))?;
        let funding = OutPoint {
            txid: funding.txid,
            vout: funding.vout,
        };
        let begun = Instant::now();
        loop {
            if let Some(spend) = self.face.follower.fresh().await?.spend(&funding) {
                return Ok(spend.txid);
            }
            if begun.elapsed() > CLOSE_LIMIT {
                return Err(Error::Timeout {
                    what: format!("{}: the old commitment in the mempool", self.peer.name()),
                    waited: CLOSE_LIMIT,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
