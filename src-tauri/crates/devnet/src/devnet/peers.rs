//! The devnet's peers: which there are, starting and funding them, joining them by channels, keeping them in step.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::Amount;

use super::{Devnet, PEER_NAMES};
use crate::Error;
use crate::mining::output;
use crate::peer::{self, Peer};

/// What each peer gets at its start, in this many coins: several channels can then be opened without a block between.
const PEER_FUNDS: Amount = Amount::from_sat(1_000_000_000);
const PEER_COINS: u64 = 4;
/// Channels between the LSP and the others: half on each side, so that payments go both ways at once.
const CHANNEL_SATS: u64 = 5_000_000;
const CHANNEL_PUSH_MSAT: u64 = CHANNEL_SATS * 1_000 / 2;
/// Blocks after which peers call a channel usable and announce it.
const CHANNEL_BLOCKS: u32 = 6;
/// How long the peers may take to follow the chain. They need milliseconds, but share the machine with compilers.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Between two tries to connect to a peer that was just disconnected.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How long gossip about a new channel may take over loopback.
const GOSSIP_LIMIT: Duration = Duration::from_secs(30);
/// Gossip that has not arrived after this will not arrive by itself.
const GOSSIP_PATIENCE: Duration = Duration::from_millis(400);
impl Devnet {
    /// Waits until all running peers know the best block. The methods that change the chain do so themselves.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Peer`] when one cannot follow.
    pub async fn settle(&self) -> Result<(), Error> {
        let peers: Vec<Peer> = self.peers().into_iter().filter(Peer::is_running).collect();
        futures::future::try_join_all(peers.iter().map(|peer| self.settle_one(peer)))
            .await
            .map(drop)
    }

    async fn settle_one(&self, peer: &Peer) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            // A stumble (the chain moved while it was being read) is made good by the next round.
            let synced = peer.sync().await;
            if !peer.is_running() {
                return Ok(());
            }
            let (_, tip) = self.tip().await?;
            if synced.is_ok() && peer.knows(tip) {
                return Ok(());
            }
            if begun.elapsed() > SETTLE_LIMIT {
                synced?;
                let what = format!("{} to follow the chain", peer.name());
                return Err(Error::Timeout {
                    what,
                    waited: SETTLE_LIMIT,
                });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// The peers that were started.
    pub fn peers(&self) -> Vec<Peer> {
        self.inner
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A peer that was started, by name.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`]
    pub fn peer(&self, name: &str) -> Result<Peer, Error> {
        self.peers()
            .into_iter()
            .find(|peer| peer.name() == name)
            .ok_or_else(|| Error::NoSuchPeer(name.to_owned()))
    }

    /// The LSP.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`] when the devnet was started without.
    pub fn lsp(&self) -> Result<Peer, Error> {
        self.peer("lsp")
    }

    /// Alice.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`] when the devnet was started without.
    pub fn alice(&self) -> Result<Peer, Error> {
        self.peer("alice")
    }

    /// Bob.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`] when the devnet was started without.
    pub fn bob(&self) -> Result<Peer, Error> {
        self.peer("bob")
    }

    /// A peer by name, started and funded now if it was not (this mines a block then).
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`] for a name that is not in [`PEER_NAMES`].
    pub async fn ensure_peer(&self, name: &str) -> Result<Peer, Error> {
        let _one_at_a_time = self.inner.starting.lock().await;
        if let Ok(peer) = self.peer(name) {
            return Ok(peer);
        }
        let peer = self.start_peer(name).await?;
        self.fund_peers(std::slice::from_ref(&peer)).await?;
        Ok(peer)
    }

    /// Opens announced channels between the LSP and every other running peer that has none with it, mines until they
    /// are usable, and waits until all peers have heard of all of them.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`] without an LSP; [`Error::Peer`], [`Error::Timeout`].
    pub async fn open_channels(&self) -> Result<(), Error> {
        let lsp = self.lsp()?;
        let others: Vec<Peer> = self
            .peers()
            .into_iter()
            .filter(|peer| peer.name() != "lsp")
            .collect();
        let mut opened = false;
        for peer in &others {
            if lsp
                .channels()
                .iter()
                .any(|channel| channel.counterparty == peer.node_id())
            {
                continue;
            }
            lsp.open_channel(
                peer.node_id(),
                peer.address(),
                CHANNEL_SATS,
                CHANNEL_PUSH_MSAT,
                true,
            )
            .await?;
            opened = true;
        }
        if opened {
            self.mine(CHANNEL_BLOCKS).await?;
        }
        for peer in &others {
            lsp.wait_usable(peer.node_id(), GOSSIP_LIMIT).await?;
            peer.wait_usable(lsp.node_id(), GOSSIP_LIMIT).await?;
        }
        // Both ends announce a channel in the same moment, and LDK drops the other end's fees when they come before it
        // has handled its own announcement. A new connection makes both tell everything once more.
        let begun = Instant::now();
        loop {
            let everybody = others.iter().chain([&lsp]);
            let heard = everybody.map(|peer| peer.wait_gossip(others.len(), GOSSIP_PATIENCE));
            let heard = futures::future::try_join_all(heard).await;
            if heard.is_ok() || begun.elapsed() > GOSSIP_LIMIT {
                return heard.map(drop);
            }
            for peer in &others {
                lsp.disconnect(peer.node_id()).await?;
                // The other end may not have noticed that yet, and refuses a second connection until it has.
                while let Err(error) = lsp.connect(peer.node_id(), peer.address()).await {
                    if begun.elapsed() > GOSSIP_LIMIT {
                        return Err(error);
                    }
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    pub(super) async fn start_peer(&self, name: &str) -> Result<Peer, Error> {
        if !PEER_NAMES.contains(&name) {
            return Err(Error::NoSuchPeer(name.to_owned()));
        }
        let inner = &self.inner;
        let dir = inner.dir.join("peers").join(name);
        let peer = peer::start(
            name,
            &dir,
            &inner.plain.url(),
            Arc::clone(&inner.face),
            inner.runtime.clone(),
        )
        .await?;
        inner
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(peer.clone());
        Ok(peer)
    }

    pub(super) async fn fund_peers(&self, peers: &[Peer]) -> Result<(), Error> {
        let mut outputs = Vec::new();
        for peer in peers {
            for _ in 0..PEER_COINS {
                outputs.push(output(&peer.new_address().await?, PEER_FUNDS / PEER_COINS));
            }
        }
        self.inner.miner.fund(self.follower(), &outputs).await?;
        self.mine(1).await.map(drop)
    }
}
