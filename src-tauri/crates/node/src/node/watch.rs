//! The node of level L1: monitors only. It looks at the chain, punishes and claims, writes that down, and is gone.
//!
//! It is for when the whole node cannot run: the channel manager cannot be read, the state was restored and may be old, or
//! there is too little time. It has no channel manager and no peers, so it can do nothing that a live channel does: it never
//! answers, never updates, never hands the monitors' news to anybody (they stay in the monitors for the manager to come). What
//! it must not publish either, and when, is in `docs/decisions/0018-watching-without-a-manager.md`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::BlockHash;
use lightning::events::bump_transaction::BumpTransactionEvent;
use lightning::events::{Event, ReplayEvent};
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE, KVStoreSync,
};
use pilotlight_store::{Capsules, Standing, Store};
use tokio::sync::broadcast;

use super::sync::{checkpoint, send_waiting};
use super::{FEES, Kind, Node, TIP, open_error, source};
use crate::backoff::Backoffs;
use crate::capsules;
use crate::chain::networks;
use crate::chain::{Broadcaster, Checkpoint, Depth, Fees, Follower, Round, Source, Terms, Watch};
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::lightning::{Breaches, Keys, Parts, Watching};
use crate::lock::lock;
use crate::models::{BreachStatus, NodeEvent};
use crate::onchain::OnchainWallet;
use crate::rows;
use crate::seed::Seed;
use crate::wake::safe_until::{
    Risk, SafeUntil, SafeUntilReason, Standing as ChannelStanding, Tip, risk_of_balance, safe_until,
};
use crate::wake::safety::Safety;

/// Whether the monitors on disk are known to be the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// The whole node opened on this state the last time, and it was closed in order or kept by the store since.
    Newest,
    /// Nobody says so: the channel manager, which would find a monitor that is behind, cannot be read, or the state was
    /// restored.
    MayBeOld,
}

/// The monitors, the sweeper and the on-chain wallet, open.
pub struct WatchNode {
    store: Arc<Store>,
    capsules: Capsules,
    chain: Arc<dyn Source>,
    watch: Arc<Watch>,
    fees: Arc<Fees>,
    broadcaster: Arc<Broadcaster>,
    wallet: Arc<OnchainWallet>,
    watching: Watching,
    breaches: Breaches,
    vouched: Vouched,
    /// The chain as the monitors have it. Never written as the wallet's checkpoint: the manager was not told.
    checkpoint: Mutex<Option<Checkpoint>>,
    /// Whether this node has looked.
    looked: AtomicBool,
}

impl Node {
    /// Opens what watches the chain, and nothing else. `vouched` is what the caller knows; if the store says that the state
    /// was restored and may be old, or has no channel manager, it is [`Vouched::MayBeOld`] all the same.
    ///
    /// Reads from disk and blocks while it does.
    ///
    /// # Errors
    /// [`ErrorCode::InUse`], [`ErrorCode::StorageCorrupt`] if a monitor, the sweeper or the on-chain wallet is damaged,
    /// [`ErrorCode::StorageFailed`], [`ErrorCode::Misconfigured`].
    pub(crate) fn watch_only(
        config: &Config,
        seed: &Seed,
        backoffs: Arc<Backoffs>,
        events: broadcast::Sender<NodeEvent>,
        vouched: Vouched,
    ) -> Result<WatchNode> {
        config.validate()?;
        networks::claim(config)?;
        let keys = seed.keys(config.network)?;
        let capsules = capsules::capsules(config, &keys);
        let store = Arc::new(Store::open(config.store_dir()).map_err(|e| open_error(&e))?);
        let vouched = if is_whole(&store)? {
            vouched
        } else {
            Vouched::MayBeOld
        };
        let broadcaster = Arc::new(match vouched {
            Vouched::Newest => Broadcaster::default(),
            Vouched::MayBeOld => Broadcaster::without_commitments(),
        });
        let fees = Arc::new(Fees::default());
        if let Some(known) = rows::read(&store, Kind::Chain, FEES)? {
            fees.update(known);
        }
        let wallet = Arc::new(OnchainWallet::open(
            Arc::clone(&store),
            keys.onchain,
            config.network,
        )?);
        let watch = Arc::new(Watch::default());
        let watching = Watching::open(&Parts {
            store: Arc::clone(&store),
            keys: Arc::new(Keys::new(&keys.lightning, Arc::clone(&wallet))),
            watch: Arc::clone(&watch),
            broadcaster: Arc::clone(&broadcaster),
            fees: Arc::clone(&fees),
            wallet: Arc::clone(&wallet),
            network: config.network,
        })?;
        tracing::info!(
            ?vouched,
            monitors = watching.chain_monitor.list_monitors().len(),
            "watching only"
        );
        Ok(WatchNode {
            chain: source(config, &store, backoffs)?,
            breaches: Breaches::new(Arc::clone(&store), events),
            checkpoint: Mutex::new(behind(&watching, rows::read(&store, Kind::Chain, TIP)?)),
            looked: AtomicBool::new(false),
            capsules,
            store,
            watch,
            fees,
            broadcaster,
            wallet,
            watching,
            vouched,
        })
    }
}

/// Where the monitors are: they may have looked without the manager before, and then they are ahead of the wallet's
/// checkpoint.
fn behind(watching: &Watching, known: Option<Checkpoint>) -> Option<Checkpoint> {
    let monitors = watching.chain_monitor.list_monitors().into_iter();
    let bests = monitors.filter_map(|id| {
        let monitor = watching.chain_monitor.get_monitor(id).ok()?;
        Some(monitor.current_best_block())
    });
    let lowest = bests.min_by_key(|best| best.height);
    lowest.map_or(known, |best| {
        Some(Checkpoint {
            height: best.height,
            hash: best.block_hash,
            at_ms: known.map_or(0, |known| known.at_ms),
        })
    })
}

/// Whether the store calls its state the newest, and has a channel manager at all.
fn is_whole(store: &Store) -> Result<bool> {
    let standing = store
        .standing()
        .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("store: {e}")))?;
    let manager = KVStoreSync::read(
        store,
        CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_KEY,
    );
    Ok(standing == Standing::Live && manager.is_ok())
}

impl WatchNode {
    /// Requests that the chain source has made since the monitors were opened.
    pub fn chain_requests(&self) -> u64 {
        self.chain.requests()
    }

    /// What the chain source has to tell of others, each once.
    pub fn take_reports(&self) -> Vec<String> {
        self.chain.take_reports()
    }

    /// Monitors there are.
    pub fn monitors(&self) -> usize {
        self.watching.chain_monitor.list_monitors().len()
    }

    /// The chain as last seen, by this node or by the monitors before.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        *lock(&self.checkpoint)
    }

    /// Brings the monitors and the sweeper to the chain's tip, and sends what they want sent: punishments and claims, at the
    /// rates of now.
    ///
    /// May be dropped at any await; nothing is lost.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn sync(&self, terms: Terms) -> Result<Checkpoint> {
        let round = self.round().terms(terms);
        let (fees, tip) = tokio::join!(self.chain.fees(), self.chain.sync_lightning(&round));
        let seen = checkpoint(tip?);
        *lock(&self.checkpoint) = Some(seen);
        self.looked.store(true, Ordering::SeqCst);
        match fees {
            Ok(Some(estimates)) => {
                self.fees.update(estimates);
                rows::write(&self.store, Kind::Chain, FEES, &self.fees.estimates())?;
            }
            Ok(None) => {}
            // The last known rates are good enough to go on with.
            Err(error) => tracing::warn!(detail = error.detail(), "no fee estimates"),
        }
        // What the sync found goes out before anything else is thought about.
        send_waiting(&*self.chain, &self.broadcaster).await;
        self.look_for_breaches(false);
        self.watching.chain_monitor.rebroadcast_pending_claims();
        send_waiting(&*self.chain, &self.broadcaster).await;
        Ok(seen)
    }

    /// Brings the on-chain wallet to the tip: its coins pay for claims, and what was claimed comes home to it.
    ///
    /// # Errors
    /// Typed by cause.
    async fn sync_onchain(&self) -> Result<()> {
        self.chain.sync_onchain(&self.round()).await?;
        self.look_for_breaches(true);
        Ok(())
    }

    /// Takes in what the monitors have to say of the chain, sweeps, and sends; then looks at what came home to the on-chain
    /// wallet, as far as the source answers.
    pub async fn claim(&self) {
        let monitors = &self.watching.chain_monitor;
        // LDK's fee bumper makes a future of 20 kB.
        Box::pin(monitors.process_pending_events_async(|event| self.handle(event))).await;
        let sweeper = &self.watching.sweeper;
        if sweeper
            .regenerate_and_broadcast_spend_if_necessary()
            .await
            .is_err()
        {
            tracing::warn!("a sweep could not be made now");
        }
        send_waiting(&*self.chain, &self.broadcaster).await;
        if let Err(error) = self.sync_onchain().await {
            tracing::warn!(
                detail = error.detail(),
                "the on-chain wallet was not brought to the tip"
            );
        }
    }

    /// How safe the wallet is. `before` is what was known: payments in open channels are seen by the manager alone, so a
    /// moment that is due to one stands.
    pub fn safety(&self, before: Safety) -> Safety {
        let looked = self.looked.load(Ordering::SeqCst);
        let Some(seen) = self.checkpoint().filter(|_| looked) else {
            return before;
        };
        let tip = Tip {
            height: seen.height,
            at_ms: seen.at_ms,
        };
        let breaches = self.breaches.all().unwrap_or_default();
        let securing = breaches
            .iter()
            .filter(|breach| breach.status == BreachStatus::Securing);
        Safety {
            checked_at_ms: Some(tip.at_ms),
            safe_until: merged(before.safe_until, &self.risks(before), tip),
            breaches: u32::try_from(securing.count()).unwrap_or(u32::MAX),
        }
    }

    /// Writes everything down and closes the store.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the last write failed; what was durable before stays so.
    pub async fn close(&self) -> Result<()> {
        let written = self.watching.persist().await;
        // Of a state that may be old, or whose manager cannot be read, no capsule is made: it would take the place of a good
        // one.
        if self.vouched == Vouched::Newest
            && let Err(error) = self.capsules.write(&self.store)
        {
            tracing::warn!(%error, "no state capsule was written");
        }
        let closed = self
            .store
            .close()
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("store: {e}")));
        written.and(closed)
    }

    /// A round for the monitors and the sweeper alone.
    fn round(&self) -> Round<'_> {
        let followers = vec![
            Arc::clone(&self.watching.chain_monitor) as Follower,
            Arc::clone(&self.watching.sweeper) as Follower,
        ];
        Round::new(followers, Arc::clone(&self.watch), Arc::clone(&self.wallet))
            .depth(Depth::Quick)
            .heads_from(|| self.heads())
    }

    /// What each follower holds to be the best block.
    fn heads(&self) -> Vec<(u32, BlockHash)> {
        let monitors = self.watching.chain_monitor.list_monitors().into_iter();
        let bests = monitors.filter_map(|id| {
            let monitor = self.watching.chain_monitor.get_monitor(id).ok()?;
            Some(monitor.current_best_block())
        });
        let bests = bests.chain([self.watching.sweeper.current_best_block()]);
        bests.map(|best| (best.height, best.block_hash)).collect()
    }

    async fn handle(&self, event: Event) -> std::result::Result<(), ReplayEvent> {
        match event {
            Event::SpendableOutputs { outputs, channel_id } => {
                let sweeper = &self.watching.sweeper;
                // Outputs that pay to the on-chain wallet directly need no sweep.
                let tracked = sweeper.track_spendable_outputs(outputs, channel_id, true, None);
                tracked.await.map_err(|()| ReplayEvent())
            }
            // It would not be sent, and coins would be kept for it.
            Event::BumpTransaction(BumpTransactionEvent::ChannelClose { .. })
                if self.vouched == Vouched::MayBeOld =>
            {
                Ok(())
            }
            Event::BumpTransaction(bump) => {
                self.watching.fee_bumper.handle_event(&bump).await;
                Ok(())
            }
            // Monitors have nothing else to say but of splices, which are not made.
            other => {
                tracing::warn!(?other, "an event that monitors do not make; ignored");
                Ok(())
            }
        }
    }

    fn look_for_breaches(&self, wallet_looked: bool) {
        let monitors = &self.watching.chain_monitor;
        if let Err(error) = self.breaches.look(monitors, &self.wallet, wallet_looked) {
            // LDK punishes all the same, and the next look tells of it.
            tracing::error!(detail = error.detail(), "a cheat could not be noted");
        }
    }

    fn risks(&self, before: Safety) -> Vec<Risk> {
        // Without the manager nobody says whether a channel is open or was closed and is not in a block yet.
        let closing = before
            .safe_until
            .is_some_and(|moment| moment.reason == SafeUntilReason::Closing);
        let standing = if closing {
            ChannelStanding::ClosedAlone
        } else {
            ChannelStanding::Open
        };
        let balances = self.watching.chain_monitor.get_claimable_balances(&[]);
        let risks = balances.iter();
        risks
            .filter_map(|balance| risk_of_balance(balance, standing))
            .collect()
    }
}

/// What the monitors alone find at risk; and, while a channel is in no block, what was known of payments in it: of those, the
/// monitors do not see all.
fn merged(before: Option<SafeUntil>, risks: &[Risk], tip: Tip) -> Option<SafeUntil> {
    use SafeUntilReason::{IncomingPayment, OutgoingPayment};
    let off_chain = risks
        .iter()
        .any(|risk| matches!(risk, Risk::OldBalance | Risk::Closing));
    let payment =
        before.filter(|moment| off_chain && matches!(moment.reason, IncomingPayment | OutgoingPayment));
    let moments = safe_until(risks, tip).into_iter().chain(payment);
    moments.min_by_key(|moment| moment.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_under_way_is_not_forgotten_by_monitors_that_do_not_see_it() {
        let tip = Tip {
            height: 1_000,
            at_ms: 5,
        };
        let moment = |height, reason| SafeUntil {
            at_ms: 7,
            height,
            reason,
        };
        let table = [
            (None, 2_872, SafeUntilReason::OldBalance),
            (
                Some(moment(1_100, SafeUntilReason::IncomingPayment)),
                1_100,
                SafeUntilReason::IncomingPayment,
            ),
            // Overdue, and nobody has settled it since.
            (
                Some(moment(900, SafeUntilReason::OutgoingPayment)),
                900,
                SafeUntilReason::OutgoingPayment,
            ),
            (
                Some(moment(3_000, SafeUntilReason::IncomingPayment)),
                2_872,
                SafeUntilReason::OldBalance,
            ),
            // The monitors see this for themselves, and they say that it is over.
            (
                Some(moment(1_018, SafeUntilReason::Breach)),
                2_872,
                SafeUntilReason::OldBalance,
            ),
        ];
        for (before, height, reason) in table {
            let now = merged(before, &[Risk::OldBalance], tip).unwrap();
            assert_eq!((now.height, now.reason), (height, reason), "{before:?}");
        }
        assert_eq!(merged(None, &[], tip), None);
        // The channel is in a block: what hangs in it is seen by the monitors.
        let payment = Some(moment(900, SafeUntilReason::OutgoingPayment));
        assert_eq!(merged(payment, &[], tip), None);
        assert_eq!(
            merged(payment, &[Risk::Breach], tip).unwrap().reason,
            SafeUntilReason::Breach
        );
    }
}
