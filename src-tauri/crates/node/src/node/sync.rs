//! Bringing the node to the chain's tip, and the persist barrier that makes it true.
//!
//! What a chain source does with a round is in `chain`; this file makes the rounds, and sends what waits to be sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::BlockHash;

use super::{Checkpoint, FEES, Kind, Node, NodeEvent, Result, TIP, lock, rows};
use crate::backoff::Asker;
use crate::chain::fees::Estimates;
use crate::chain::{Broadcaster, Depth, Follower, Round, Sent, Source, Terms, Tip};
use crate::clock;
use crate::error::{Error, ErrorCode};

impl Node {
    /// Brings everything to the chain's tip, closely: LDK, every address of the on-chain wallet, fees; and sends what
    /// waits. For an open app. One at a time; a second caller waits for its turn.
    ///
    /// A server that asked to be left alone for a while is, also by a person.
    ///
    /// May be dropped at any await; nothing is lost and the next call starts where this one left off.
    ///
    /// # Errors
    /// Typed by cause; see [`crate::ErrorCode`].
    pub async fn sync(&self) -> Result<()> {
        self.backoffs.may_ask_any(&self.chain.servers(), Asker::Person)?;
        self.doors.within(self.sync_all()).await
    }

    async fn sync_all(&self) -> Result<()> {
        let _turn = self.sync_turn.lock().await;
        let _syncing = self.say_syncing();
        let round = self.round(Depth::Deep);
        self.handler.chain_is_known(false);
        let (fees, tip) = tokio::join!(self.chain.fees(), self.chain.sync(&round));
        let tip = tip?;
        self.take_fees(fees)?;
        self.lightning_synced(tip);
        self.onchain_synced.store(true, Ordering::SeqCst);
        self.answer(true).await;
        self.send_all().await;
        Ok(())
    }

    /// Brings LDK to the chain's tip, gets fees, and sends what waits; the on-chain wallet is left to
    /// [`Self::sync_onchain`]. For a wake: it is what keeps channels safe, and nothing else. `progress` is told (blocks
    /// done, blocks in all). One at a time, as [`Self::sync`]; one that is under way already is joined.
    ///
    /// May be dropped at any await, as [`Self::sync`].
    ///
    /// # Errors
    /// Typed by cause; see [`crate::ErrorCode`].
    pub async fn sync_lightning(
        &self,
        depth: Depth,
        progress: impl Fn(u32, u32) + Send + Sync,
    ) -> Result<Checkpoint> {
        self.sync_lightning_within(depth, Terms::default(), progress)
            .await
    }

    /// The same, on the terms of a wake.
    ///
    /// # Errors
    /// As [`Self::sync_lightning`].
    pub async fn sync_lightning_within(
        &self,
        depth: Depth,
        terms: Terms,
        progress: impl Fn(u32, u32) + Send + Sync,
    ) -> Result<Checkpoint> {
        let syncing = async {
            let Some(_turn) = self.turn_unless_done().await else {
                return self.checkpoint().ok_or_else(never_synced);
            };
            let _syncing = self.say_syncing();
            let round = self.round(depth).terms(terms).progress(Box::new(progress));
            self.handler.chain_is_known(false);
            let (fees, tip) = tokio::join!(self.chain.fees(), self.chain.sync_lightning(&round));
            let tip = tip?;
            self.take_fees(fees)?;
            let checkpoint = self.lightning_synced(tip);
            self.answer(false).await;
            self.send_all().await;
            Ok(checkpoint)
        };
        self.doors.within(syncing).await
    }

    /// Waits for its turn to sync. `None` if a sync was under way that has brought what was wanted: the open app's rounds
    /// and a wake do not ask the same things twice.
    async fn turn_unless_done(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let (under_way, before) = (self.syncing(), self.syncs.load(Ordering::SeqCst));
        let turn = self.sync_turn.lock().await;
        let done = under_way && self.syncs.load(Ordering::SeqCst) > before;
        (!done).then_some(turn)
    }

    /// Looks at the tip alone: whether it is still this one, at which all on disk is, so that there is nothing more to ask.
    /// Never while money is on its way: that is looked after every time, with the fees of now.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn still_at(&self, known: BlockHash) -> Result<bool> {
        let looking = async {
            let _turn = self.sync_turn.lock().await;
            if self.money_moves() || !self.stands_at(&known) || self.chain.tip().await?.hash != known {
                return Ok(false);
            }
            if let Some(checkpoint) = &mut *lock(&self.checkpoint) {
                checkpoint.at_ms = clock::now_ms();
            }
            self.lightning_synced.store(true, Ordering::SeqCst);
            self.answer(false).await;
            self.send_all().await;
            Ok(true)
        };
        self.doors.within(looking).await
    }

    /// Whether everything that follows the chain is at this tip, as it was read from disk.
    fn stands_at(&self, tip: &BlockHash) -> bool {
        let monitors = self.lightning.chain_monitor.list_monitors();
        let mut bests = monitors.into_iter().map(|id| {
            let monitor = self.lightning.chain_monitor.get_monitor(id);
            monitor.map(|monitor| monitor.current_best_block().block_hash)
        });
        Node::checkpoint(self).is_some_and(|checkpoint| checkpoint.hash == *tip)
            && self.lightning.channels.current_best_block().block_hash == *tip
            && self.lightning.sweeper.current_best_block().block_hash == *tip
            && bests.all(|best| best.as_ref() == Ok(tip))
    }

    /// Brings the on-chain wallet to the chain's tip. One at a time, as [`Self::sync`].
    ///
    /// May be dropped at any await; what was asked and applied is kept.
    ///
    /// # Errors
    /// Typed by cause; see [`crate::ErrorCode`].
    pub async fn sync_onchain(&self, depth: Depth, terms: Terms) -> Result<()> {
        let syncing = async {
            let _turn = self.sync_turn.lock().await;
            let _syncing = self.say_syncing();
            let round = self.round(depth).terms(terms);
            self.chain.sync_onchain(&round).await?;
            self.onchain_synced.store(true, Ordering::SeqCst);
            self.look_for_breaches(true);
            Ok(())
        };
        self.doors.within(syncing).await
    }

    /// What follows from a look at the chain: cheats are noted, claims get the fees of now, and what the monitors say of it
    /// is acted upon. LDK gave its claims more fees as the blocks came, but by the rates of the last look, because chain and
    /// fees are asked for at once; and its own background work would do the rest seconds later, when a wake is over.
    async fn answer(&self, wallet_looked: bool) {
        self.handler.chain_is_known(true);
        self.look_for_breaches(wallet_looked);
        self.lightning.chain_monitor.rebroadcast_pending_claims();
        self.hear_monitors().await;
    }

    /// Acts upon what the monitors have to say.
    pub(super) async fn hear_monitors(&self) {
        let (monitors, handler) = (
            Arc::clone(&self.lightning.chain_monitor),
            Arc::clone(&self.handler),
        );
        // LDK never looks again at the events of a monitor whose handling was dropped half-way.
        let hearing = async move {
            // The future of LDK's fee bumper has 20 kB.
            Box::pin(monitors.process_pending_events_async(|event| handler.handle(event))).await;
        };
        self.doors.to_the_end(hearing).await;
    }

    /// Requests that the chain source has made since the node was opened.
    pub fn chain_requests(&self) -> u64 {
        self.chain.requests()
    }

    /// The persist barrier and, last, the row that says how far we are.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub async fn persist(&self) -> Result<()> {
        self.lightning.persist().await?;
        match self.checkpoint() {
            Some(checkpoint) if self.lightning_synced.load(Ordering::SeqCst) => {
                rows::write(&self.store, Kind::Chain, TIP, &checkpoint)
            }
            _ => Ok(()),
        }
    }

    /// A round for everything that follows the chain.
    pub(super) fn round(&self, depth: Depth) -> Round<'_> {
        // Monitors first: what they have to say is worth most.
        let followers = vec![
            Arc::clone(&self.lightning.chain_monitor) as Follower,
            Arc::clone(&self.lightning.channels) as Follower,
            Arc::clone(&self.lightning.sweeper) as Follower,
        ];
        Round::new(followers, Arc::clone(&self.watch), Arc::clone(&self.wallet))
            .depth(depth)
            .heads_from(|| self.heads())
            .whole(self.checkpoint(), Box::new(|tip| Box::pin(self.make_true(tip))))
    }

    /// What each follower holds to be the best block.
    fn heads(&self) -> Vec<(u32, bitcoin::BlockHash)> {
        let monitors = self.lightning.chain_monitor.list_monitors();
        let monitors = monitors.into_iter().filter_map(|id| {
            let monitor = self.lightning.chain_monitor.get_monitor(id).ok()?;
            Some(monitor.current_best_block())
        });
        let others = [
            self.lightning.channels.current_best_block(),
            self.lightning.sweeper.current_best_block(),
        ];
        monitors
            .chain(others)
            .map(|best| (best.height, best.block_hash))
            .collect()
    }

    /// The barrier of a round: everything on disk, then the row.
    async fn make_true(&self, tip: Tip) -> Result<()> {
        self.wallet.persist()?;
        self.lightning.persist().await?;
        let checkpoint = checkpoint(tip);
        rows::write(&self.store, Kind::Chain, TIP, &checkpoint)?;
        *lock(&self.checkpoint) = Some(checkpoint);
        Ok(())
    }

    pub(super) fn lightning_synced(&self, tip: Tip) -> Checkpoint {
        let checkpoint = checkpoint(tip);
        *lock(&self.checkpoint) = Some(checkpoint);
        self.lightning_synced.store(true, Ordering::SeqCst);
        self.syncs.fetch_add(1, Ordering::SeqCst);
        checkpoint
    }

    pub(super) fn take_fees(&self, fees: Result<Option<Estimates>>) -> Result<()> {
        if let Some(floor) = self.chain.floor() {
            self.fees.raise_to(floor);
        }
        match fees {
            Ok(Some(estimates)) => {
                self.fees.update(estimates);
                rows::write(&self.store, Kind::Chain, FEES, &self.fees.estimates())
            }
            Ok(None) => Ok(()),
            // The last known rates are good enough to go on with.
            Err(error) => {
                tracing::warn!(detail = error.detail(), "no fee estimates");
                Ok(())
            }
        }
    }

    /// Says that a sync is under way, until what it returns is dropped.
    fn say_syncing(&self) -> impl Drop + '_ {
        self.syncing.store(true, Ordering::SeqCst);
        self.tell(NodeEvent::OverviewChanged);
        OnDrop(|| {
            self.syncing.store(false, Ordering::SeqCst);
            self.tell(NodeEvent::OverviewChanged);
        })
    }

    /// Sends what LDK and the wallet want sent, also what was sent before and is in no block yet.
    async fn send_all(&self) {
        self.send_broadcasts().await;
        for transaction in self.wallet.unconfirmed() {
            send(&*self.chain, &transaction).await;
        }
    }

    /// Sends everything that waits; when it returns, all of it was sent or there is no network. May be dropped at any
    /// await: what was not sent still waits.
    pub(super) async fn send_broadcasts(&self) {
        let _turn = self.send_turn.lock().await;
        send_waiting(&*self.chain, &self.broadcaster).await;
    }
}

/// The same for whoever has no other sender beside it.
pub(super) async fn send_waiting(chain: &dyn Source, broadcaster: &Broadcaster) {
    for package in broadcaster.packages() {
        if send_together(chain, &package).await {
            broadcaster.sent(&package);
        }
    }
}

/// Sends what LDK handed over at once; false if it is not known whether all of it arrived. As a package first: a parent that
/// pays too little by itself is taken only with its child. Then one by one: nodes take as a package only a child with all its
/// unconfirmed parents, and some of them may be the wallet's own.
async fn send_together(chain: &dyn Source, package: &[bitcoin::Transaction]) -> bool {
    if package.len() > 1 {
        match chain.send_package(package).await {
            Ok(Sent::Accepted) => {
                tracing::info!(transactions = package.len(), "package sent");
                return true;
            }
            Ok(Sent::Refused(why)) => tracing::info!(why, "package refused; one by one"),
            Err(error) => tracing::info!(detail = error.detail(), "package not sent; one by one"),
        }
    }
    let mut all = true;
    for transaction in package {
        all &= send(chain, transaction).await;
    }
    all
}

/// Sends one transaction; false if it is not known whether it arrived.
async fn send(chain: &dyn Source, transaction: &bitcoin::Transaction) -> bool {
    let txid = transaction.compute_txid();
    match chain.send(transaction).await {
        Ok(Sent::Accepted) => {
            tracing::info!(%txid, "transaction sent");
            true
        }
        Ok(Sent::Refused(why)) => {
            // Often another transaction has taken the same coins already, as LDK expects of claims.
            tracing::info!(%txid, why, "transaction refused");
            true
        }
        Err(error) => {
            tracing::warn!(%txid, detail = error.detail(), "transaction not sent");
            false
        }
    }
}

fn never_synced() -> Error {
    Error::new(ErrorCode::NotSynced, "a sync ended well, and left no checkpoint")
}

pub(super) fn checkpoint(tip: Tip) -> Checkpoint {
    Checkpoint {
        height: tip.height,
        hash: tip.hash,
        at_ms: clock::now_ms(),
    }
}

/// Runs its closure when dropped, so that a future that is dropped half-way leaves no flag standing.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
