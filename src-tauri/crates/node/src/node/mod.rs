//! The running node: everything open, and what a person can ask of it.
//!
//! `sync` brings it to the chain's tip; `run` connects and settles it; `money` receives and pays; `channels` opens and closes;
//! `safety` says what is at risk; `watch` is the node that only watches; `work` is how a wake drives both. `tasks` is what runs
//! all the time, `stop` the way out. Who may start or stop it is decided in `lifecycle`.

mod channels;
mod map;
mod money;
#[cfg(feature = "oracle")]
pub mod oracle;
mod run;
mod safety;
mod stop;
mod sync;
mod tasks;
mod watch;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::Network;
use lightning::chain::channelmonitor::{Balance, BalanceSource};
use lightning::sign::SpendableOutputDescriptor;
use lightning::util::sweep::OutputSpendStatus;
use pilotlight_store::{Capsules, OpenError, Store};
use tokio::sync::broadcast;

use crate::backoff::Backoffs;
use crate::capsules;
use crate::chain::networks;
use crate::chain::{Broadcaster, Failover, Fees, Source, Watch};
pub use crate::chain::{Checkpoint, Depth};
use crate::config::{Config, PeerAddress};
use crate::doors::Doors;
use crate::error::{Error, ErrorCode, Result};
use crate::gossip::Gossip;
use crate::lightning::{Breaches, EventHandler, Keys, Lightning, Parts, Payments, Peers};
use crate::lock::lock;
use crate::models::{Balances, NodeEvent};
use crate::onchain::OnchainWallet;
use crate::rows::{self, Kind};
use crate::seed::Seed;
pub(crate) use sync::OnDrop;
use tasks::Tasks;
pub(crate) use watch::{Vouched, WatchNode};

const TIP: &str = "tip";
const FEES: &str = "fees";

/// A wallet's node, open and running.
pub struct Node {
    network: Network,
    lsp: Option<PeerAddress>,
    store: Arc<Store>,
    capsules: Capsules,
    chain: Arc<dyn Source>,
    watch: Arc<Watch>,
    backoffs: Arc<Backoffs>,
    fees: Arc<Fees>,
    broadcaster: Arc<Broadcaster>,
    wallet: Arc<OnchainWallet>,
    gossip: Arc<Gossip>,
    lightning: Arc<Lightning>,
    peers: Peers,
    payments: Arc<Payments>,
    breaches: Breaches,
    handler: Arc<EventHandler>,
    events: broadcast::Sender<NodeEvent>,
    id: String,
    /// Whether LDK was brought to the tip since this process opened the node.
    lightning_synced: AtomicBool,
    /// The same of the on-chain wallet.
    onchain_synced: AtomicBool,
    syncing: AtomicBool,
    /// How many syncs of LDK ended well.
    syncs: AtomicU64,
    /// The last sync, on disk or not yet.
    checkpoint: Mutex<Option<Checkpoint>>,
    /// One sync at a time.
    sync_turn: tokio::sync::Mutex<()>,
    /// One sender at a time, so that whoever waits for its turn knows what was sent before.
    send_turn: tokio::sync::Mutex<()>,
    doors: Arc<Doors>,
    /// Told when the process was asleep: what is connected and what is known is old then.
    awake: tokio::sync::Notify,
    tasks: Mutex<Option<Tasks>>,
}

impl Node {
    /// Opens the store and everything in it. Nothing runs and nothing is connected until [`Self::start`]; a node that is
    /// dropped before that closes its store and leaves no trace.
    ///
    /// Reads from disk and blocks while it does.
    ///
    /// # Errors
    /// [`ErrorCode::InUse`], [`ErrorCode::StorageCorrupt`], [`ErrorCode::StorageFailed`], [`ErrorCode::Misconfigured`].
    pub(crate) fn open(
        config: &Config,
        seed: &Seed,
        backoffs: Arc<Backoffs>,
        events: broadcast::Sender<NodeEvent>,
    ) -> Result<Arc<Self>> {
        let known = Arc::clone(&backoffs);
        Self::open_over(config, seed, backoffs, events, |store| {
            source(config, store, known)
        })
    }

    /// The same over a chain source of the caller's.
    fn open_over(
        config: &Config,
        seed: &Seed,
        backoffs: Arc<Backoffs>,
        events: broadcast::Sender<NodeEvent>,
        chain: impl FnOnce(&Arc<Store>) -> Result<Arc<dyn Source>>,
    ) -> Result<Arc<Self>> {
        config.validate()?;
        networks::claim(config)?;
        let keys = seed.keys(config.network)?;
        let capsules = capsules::capsules(config, &keys);
        let store = Arc::new(Store::open(config.store_dir()).map_err(|e| open_error(&e))?);
        // Whoever counts these two kinds of lines knows how many nodes there are.
        tracing::debug!(target: "pilotlight_node::life", nodes = 1_i64, "open");
        capsules::must_be_live(&store)?;
        let chain = chain(&store)?;
        let watch = Arc::new(Watch::default());
        let fees = Arc::new(Fees::default());
        if let Some(known) = rows::read(&store, Kind::Chain, FEES)? {
            fees.update(known);
        }
        let broadcaster = Arc::new(Broadcaster::default());
        let wallet = Arc::new(OnchainWallet::open(
            Arc::clone(&store),
            keys.onchain,
            config.network,
        )?);
        let keys = Arc::new(Keys::new(&keys.lightning, Arc::clone(&wallet)));
        let gossip = Arc::new(Gossip::new(config, events.clone()));
        let parts = Parts {
            store: Arc::clone(&store),
            keys: Arc::clone(&keys),
            watch: Arc::clone(&watch),
            broadcaster: Arc::clone(&broadcaster),
            fees: Arc::clone(&fees),
            wallet: Arc::clone(&wallet),
            network: config.network,
        };
        let lightning = Arc::new(Lightning::open(&parts, &gossip)?);
        let payments = Arc::new(Payments::new(Arc::clone(&store), events.clone()));
        let handler = Arc::new(EventHandler::new(
            Arc::clone(&lightning),
            keys,
            Arc::clone(&wallet),
            Arc::clone(&fees),
            Arc::clone(&payments),
            Arc::clone(&store),
            config.lsp.as_ref().map(|lsp| lsp.node_id),
            events.clone(),
        ));
        let breaches = Breaches::new(Arc::clone(&store), events.clone());
        let checkpoint = rows::read(&store, Kind::Chain, TIP)?;
        let doors = Arc::new(Doors::default());
        Ok(Arc::new(Self {
            network: config.network,
            lsp: config.lsp.clone(),
            peers: Peers::new(
                Arc::clone(&store),
                Arc::clone(&lightning.peers),
                Arc::clone(&doors),
            ),
            id: lightning.channels.get_our_node_id().to_string(),
            store,
            capsules,
            chain,
            watch,
            backoffs,
            fees,
            broadcaster,
            wallet,
            gossip,
            lightning,
            payments,
            breaches,
            handler,
            events,
            lightning_synced: AtomicBool::new(false),
            onchain_synced: AtomicBool::new(false),
            syncing: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            checkpoint: Mutex::new(checkpoint),
            sync_turn: tokio::sync::Mutex::default(),
            send_turn: tokio::sync::Mutex::default(),
            doors,
            awake: tokio::sync::Notify::new(),
            tasks: Mutex::new(None),
        }))
    }

    /// Starts to process LDK's events and to send transactions. Must be called within a tokio runtime, once.
    pub(crate) fn start(self: &Arc<Self>) {
        *lock(&self.tasks) = Some(Tasks::start(self));
    }

    /// Fires when the node is being stopped.
    pub(crate) fn stopped(&self) -> tokio_util::sync::CancellationToken {
        self.doors.token()
    }

    /// Our node id, hex.
    pub fn node_id(&self) -> &str {
        &self.id
    }

    /// The chain as last seen, this process or an earlier one.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        *lock(&self.checkpoint)
    }

    /// Whether a sync is under way.
    pub fn syncing(&self) -> bool {
        self.syncing.load(Ordering::SeqCst)
    }

    /// What is known of the money.
    pub fn balances(&self) -> Balances {
        let onchain = self.wallet.balance();
        let channels = self.lightning.channels.list_channels();
        let usable = channels.iter().filter(|channel| channel.is_channel_ready);
        let (outbound_msat, inbound_msat) = usable.fold((0u64, 0u64), |(out, inb), channel| {
            (
                out + channel.next_outbound_htlc_limit_msat,
                inb + channel.inbound_capacity_msat,
            )
        });
        let open: Vec<_> = channels.iter().collect();
        let in_all = self.lightning.chain_monitor.get_claimable_balances(&[]);
        let in_closed = self.lightning.chain_monitor.get_claimable_balances(&open);
        let closing_sat = coming_back(&in_closed) + self.in_sweeps();
        // What the open channels would leave us, plus what the closed ones will.
        let claimable_sat = coming_back(&in_all) + self.in_sweeps();
        Balances {
            total_sat: onchain.confirmed_sat + onchain.pending_sat + claimable_sat,
            lightning_sat: outbound_msat / 1000,
            receivable_sat: inbound_msat / 1000,
            onchain_confirmed_sat: onchain.confirmed_sat,
            onchain_pending_sat: onchain.pending_sat,
            closing_sat,
            synced_at_ms: self.checkpoint().map(|checkpoint| checkpoint.at_ms),
        }
    }

    /// Outputs that wait to be swept and are not on their way to the on-chain wallet yet, in sat.
    fn in_sweeps(&self) -> u64 {
        let tracked = self.lightning.sweeper.tracked_spendable_outputs();
        let waiting = tracked.iter().filter(|output| match &output.status {
            OutputSpendStatus::PendingInitialBroadcast { .. } => true,
            OutputSpendStatus::PendingFirstConfirmation {
                latest_spending_tx: tx,
                ..
            }
            | OutputSpendStatus::PendingThresholdConfirmations {
                latest_spending_tx: tx,
                ..
            } => !self.wallet.knows(&tx.compute_txid()),
        });
        waiting.map(|output| value_sat(&output.descriptor)).sum()
    }

    /// # Errors
    /// [`ErrorCode::NotSynced`] until the chain was seen whole in this run of the process: until then a payment could be
    /// made from a channel that is closed already.
    fn must_be_synced(&self) -> Result<()> {
        if self.lightning_synced.load(Ordering::SeqCst) && self.onchain_synced.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorCode::NotSynced,
                "no successful sync in this process yet",
            ))
        }
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody may be listening, which is fine.
        let _ = self.events.send(event);
    }
}

/// The chain source that was chosen.
fn source(config: &Config, store: &Arc<Store>, backoffs: Arc<Backoffs>) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(Failover::new(config, store, backoffs)?))
}

/// Sums what is ours for certain or after a wait. The outputs of a cooperative close pay to the on-chain wallet directly
/// and are counted there. HTLCs that others may still claim are not counted.
fn coming_back(balances: &[Balance]) -> u64 {
    let counted = balances.iter().filter(|balance| {
        !matches!(
            balance,
            Balance::ClaimableAwaitingConfirmations {
                source: BalanceSource::CoopClose,
                ..
            }
        )
    });
    counted.map(Balance::claimable_amount_satoshis).sum()
}

fn value_sat(descriptor: &SpendableOutputDescriptor) -> u64 {
    let output = match descriptor {
        SpendableOutputDescriptor::StaticOutput { output, .. } => output,
        SpendableOutputDescriptor::DelayedPaymentOutput(delayed) => &delayed.output,
        SpendableOutputDescriptor::StaticPaymentOutput(payment) => &payment.output,
    };
    output.value.to_sat()
}

fn open_error(error: &OpenError) -> Error {
    let code = match error {
        OpenError::AlreadyOpen { .. } | OpenError::InUse { .. } => ErrorCode::InUse,
        OpenError::Damaged { .. } => ErrorCode::StorageCorrupt,
        _ => ErrorCode::StorageFailed,
    };
    Error::new(code, format!("store: {error}"))
}
