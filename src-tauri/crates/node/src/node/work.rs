//! The node as a wake drives it: each stage is a few calls to what the other files own.

use std::sync::Arc;
use std::time::Instant;

use super::{Checkpoint, Depth, Node, WatchNode};
use crate::backoff::{Asker, Endpoint, Failure};
use crate::chain::Terms;
use crate::config::PeerAddress;
use crate::error::{Error, ErrorCode, Result};
use crate::gossip::Fetched;
use crate::wake::GrantKind;
use crate::wake::Level;
use crate::wake::plan::{Chores, Step};
use crate::wake::policy::Stakes;
use crate::wake::work::{Channels, Did, Look, Work};

impl Work for Node {
    fn level(&self) -> Level {
        Level::Full
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        Node::checkpoint(self)
    }

    fn channels(&self) -> Channels {
        let channels = Node::channels(self).into_iter();
        channels
            .map(|c| (c.channel_id, (c.usable, c.outbound_msat, c.inbound_msat)))
            .collect()
    }

    fn stakes(&self) -> Stakes {
        Stakes {
            channels: self.lightning.channels.list_channels().len(),
            moving: self.money_moves(),
            left: None,
        }
    }

    fn chores(&self) -> Chores {
        Chores {
            peers: !self.wanted_peers().is_empty(),
            compact: self.store.compaction_due().unwrap_or(false),
            apply: self.gossip.waiting(),
        }
    }

    fn requests(&self) -> u64 {
        self.chain_requests() + self.peers.attempts() + self.gossip.requests()
    }

    fn take_reports(&self) -> Vec<String> {
        self.chain.take_reports()
    }

    async fn chain(&self, look: &Look<'_>) -> Result<Did> {
        if let Some(known) = look.known {
            match self.still_at(known).await {
                Ok(true) => return Ok(Did::Held),
                Ok(false) => {}
                // No server can say; a round may do without them.
                Err(error) if Failure::of(&error).is_some() && self.chain.has_more() => {}
                Err(error) => return Err(error),
            }
        }
        let progress = |done, total| look.counter.set(done, total);
        let seen = self.sync_lightning_within(Depth::Quick, look.terms, progress);
        seen.await.map(|_| Did::All)
    }

    async fn peers(&self, asker: Asker) -> Result<Did> {
        loop {
            let wanted = self.wanted_peers();
            if wanted.is_empty() {
                return Ok(Did::Nothing);
            }
            let attempts = wanted.iter().map(|peer| self.bring_up(peer, asker));
            let outcomes = futures::future::join_all(attempts).await;
            self.reestablished().await;
            let missing: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
            if let Some(first) = missing.first() {
                let words = format!("{} of {} peers: {}", missing.len(), wanted.len(), first.detail());
                return Err(Error::new(first.code(), words));
            }
            if self.peers_connected() {
                return Ok(Did::All);
            }
            // LDK hangs up on everybody when it finds that the process was held up for a second.
        }
    }

    async fn events(&self) -> Result<Did> {
        self.settled().await;
        self.reconcile_payments().map(|()| Did::All)
    }

    async fn sweep(&self) -> Result<Did> {
        Node::sweep(self).await;
        Ok(Did::All)
    }

    async fn onchain(&self, step: &Step) -> Result<Did> {
        let depth = if step.wide { Depth::Deep } else { Depth::Quick };
        let terms = Terms {
            until: Some(tokio::time::Instant::now() + step.cap),
            generous: step.wide,
        };
        self.sync_onchain(depth, terms).await.map(|()| Did::All)
    }

    async fn gossip(&self, kind: GrantKind, step: &Step, asker: Asker) -> Result<(Did, u32)> {
        let fetched = self.fetch_gossip(step, asker).await;
        if kind == GrantKind::Processing {
            // News that an earlier wake fetched are worth applying also if there are no newer ones to be had.
            let applied = self.apply_news().await?;
            fetched?;
            return Ok(applied.map_or((Did::Nothing, 0), |applied| (Did::All, applied.channels)));
        }
        Ok(match fetched? {
            Fetched::Spooled(news) => (Did::All, news.channels),
            Fetched::NoServer | Fetched::Fresh | Fetched::Postponed => (Did::Nothing, 0),
        })
    }

    async fn compact(&self) -> Result<Did> {
        let store = Arc::clone(&self.store);
        // It reads and writes all there is, and cannot be stopped half-way: a thread of its own.
        let compacted = tokio::task::spawn_blocking(move || store.compact_if_due())
            .await
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("compacting: {e}")))?
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("compacting: {e}")))?;
        Ok(compacted.map_or(Did::Nothing, |_| Did::All))
    }

    async fn persist(&self) -> Result<()> {
        Node::persist(self).await
    }
}

/// The monitors alone: they look, punish and claim. No peer is met and nothing else is touched.
impl Work for WatchNode {
    fn level(&self) -> Level {
        Level::Watch
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        WatchNode::checkpoint(self)
    }

    fn channels(&self) -> Channels {
        Channels::new()
    }

    fn stakes(&self) -> Stakes {
        Stakes {
            channels: self.monitors(),
            // It is not known, and what the monitors find is looked after every time.
            moving: true,
            left: None,
        }
    }

    fn chores(&self) -> Chores {
        Chores::default()
    }

    fn requests(&self) -> u64 {
        self.chain_requests()
    }

    fn take_reports(&self) -> Vec<String> {
        WatchNode::take_reports(self)
    }

    async fn chain(&self, look: &Look<'_>) -> Result<Did> {
        self.sync(look.terms).await.map(|_| Did::All)
    }

    async fn peers(&self, _asker: Asker) -> Result<Did> {
        Ok(Did::Nothing)
    }

    async fn events(&self) -> Result<Did> {
        Ok(Did::Nothing)
    }

    async fn sweep(&self) -> Result<Did> {
        self.claim().await;
        Ok(Did::All)
    }

    async fn onchain(&self, _step: &Step) -> Result<Did> {
        Ok(Did::Nothing)
    }

    async fn gossip(&self, _kind: GrantKind, _step: &Step, _asker: Asker) -> Result<(Did, u32)> {
        Ok((Did::Nothing, 0))
    }

    async fn compact(&self) -> Result<Did> {
        Ok(Did::Nothing)
    }

    async fn persist(&self) -> Result<()> {
        // Its own way out writes everything, and no checkpoint is made of what it saw.
        Ok(())
    }
}

impl Node {
    /// Fetches the news of the network, unless their server is to be left alone.
    async fn fetch_gossip(&self, step: &Step, asker: Asker) -> Result<Fetched> {
        let Some(server) = self.gossip.server() else {
            return Ok(Fetched::NoServer);
        };
        let endpoint = Endpoint::Gossip(server.v2.clone());
        self.backoffs.may_ask(&endpoint, asker)?;
        let fetched = self.fetch_news(step.wide, Instant::now() + step.cap).await;
        match &fetched {
            Ok(Fetched::Spooled(_)) => self.backoffs.succeeded(&endpoint),
            Ok(_) => {}
            Err(error) => self.backoffs.failed(&endpoint, error),
        }
        fetched
    }

    /// Connects to a peer, unless it is to be left alone.
    async fn bring_up(&self, peer: &PeerAddress, asker: Asker) -> Result<()> {
        let endpoint = Endpoint::Peer(peer.node_id);
        if !self.peers.connected(&peer.node_id) {
            self.backoffs.may_ask(&endpoint, asker)?;
        }
        let connected = self.peers.connect(peer).await;
        self.backoffs.learn(&endpoint, &connected);
        connected
    }
}
