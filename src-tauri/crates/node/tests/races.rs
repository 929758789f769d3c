//! Opening, closing, waking, expiring, paying and receiving, all at once and in seeded disorder: there is one node at a
//! time, every payment has one end, the same at both sides, and nobody waits for ever.
//!
//! `PILOTLIGHT_RACES` says how many interleavings; a failure names the seed and who still waited.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Stage, grant, until};
use futures::future::join_all;
use pilotlight_devnet::{PaymentState, Peer};
use pilotlight_node::{
    Error, ErrorCode, Grace, GrantKind, Lifecycle, Node, PaymentStatus, WakeOutcome, WalletState,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const FEW: u64 = 8;

/// Acts in one interleaving, and the time over which they begin.
const ACTS: usize = 14;
const SPREAD_MS: u64 = 900;

/// A deadlock is what lasts longer than anything may. The longest act is a wake, which ends by itself after 25 s.
const LIMIT: Duration = Duration::from_secs(60);

/// Longer than this nobody should wait for the node to stop. A machine that does other things besides may hold up one stop
/// of many, so they are counted: more than one in fifty is a fault.
const STOP_LIMIT: Duration = Duration::from_millis(1_500);
const SLOW_STOPS: u64 = 50;

/// How often the node was stopped, or a wake called off, and how often that took too long.
static STOPS: AtomicU64 = AtomicU64::new(0);
static SLOW: AtomicU64 = AtomicU64::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_and_goes_in_whatever_order_there_is_one_node_and_no_payment_is_lost() {
    let count = Arc::new(NodeCount::default());
    let counting = tracing_subscriber::registry().with(CountingLayer(Arc::clone(&count)));
    tracing::subscriber::set_global_default(counting).unwrap();
    let races = std::env::var("PILOTLIGHT_RACES").map_or(FEW, |races| races.parse().unwrap());
    let first: u64 = std::env::var("PILOTLIGHT_SEED").map_or(1, |seed| seed.parse().unwrap());

    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let mut books = Books::open(&stage, &lifecycle).await;
    for seed in first..first + races {
        stage.devnet.set_rtt(Duration::from_millis(seed % 3 * 15));
        if seed % 4 == 0 {
            stage.devnet.mine(1).await.unwrap();
        }
        race(&stage, &lifecycle, seed, &mut books).await;
        stage.devnet.set_rtt(Duration::ZERO);
        let settling = books.settle(&lifecycle, seed);
        let at_rest = tokio::time::timeout(LIMIT, settling).await.is_ok();
        assert!(
            at_rest,
            "seed {seed}: not at rest\n{}",
            books.dump(&lifecycle).await
        );
        assert_eq!(
            count.most.load(Ordering::SeqCst),
            1,
            "seed {seed}: two nodes at once"
        );
        assert_eq!(
            count.now.load(Ordering::SeqCst),
            0,
            "seed {seed}: a node was left behind"
        );
    }
    let (stops, slow) = (STOPS.load(Ordering::SeqCst), SLOW.load(Ordering::SeqCst));
    eprintln!(
        "{races} races, {} nodes, {slow} of {stops} stops were slow, {books}",
        count.opened.load(Ordering::SeqCst)
    );
    assert!(
        slow <= 1 + stops / SLOW_STOPS,
        "{slow} of {stops} stops were slow"
    );
    assert!(
        books.sent > 0 && books.received > 0,
        "no payment got through: {books}"
    );
}

/// One interleaving.
async fn race(stage: &Stage, lifecycle: &Arc<Lifecycle>, seed: u64, books: &mut Books) {
    let mut chance = Chance(seed);
    let waiting: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let acts = (0..ACTS).map(|index| {
        let act = chance.one_of(&Act::ALL);
        let begins = Duration::from_millis(chance.below(SPREAD_MS));
        let lasts = Duration::from_millis(chance.below(700));
        waiting
            .lock()
            .unwrap()
            .push(Some(format!("{index}: {act:?} at {begins:?} for {lasts:?}")));
        let (lifecycle, waiting) = (Arc::clone(lifecycle), Arc::clone(&waiting));
        let lsp = stage.devnet.lsp().unwrap();
        let amount_msat = 100_000 + seed * 1_000 + index as u64;
        tokio::spawn(async move {
            tokio::time::sleep(begins).await;
            let began = act.perform(&lifecycle, &lsp, lasts, amount_msat).await;
            waiting.lock().unwrap()[index] = None;
            began
        })
    });
    let acts: Vec<_> = acts.collect();
    let Ok(began) = tokio::time::timeout(LIMIT, join_all(acts)).await else {
        let waiting: Vec<String> = waiting.lock().unwrap().iter().flatten().cloned().collect();
        panic!(
            "seed {seed}: still waiting: {waiting:#?}\n{}",
            books.dump(lifecycle).await
        );
    };
    books.open.extend(began.into_iter().filter_map(Result::unwrap));
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Open,
    OpenAndClose,
    Close,
    CloseWithGrace,
    Wake,
    ExpireWake,
    DropWake,
    Look,
    Pay,
    Receive,
}

/// A payment that was begun.
#[derive(Debug, Clone)]
struct Begun {
    hash: String,
    amount_msat: u64,
    /// From us, or to us.
    ours: bool,
}

impl Act {
    /// Paying and receiving twice: they are what can be lost.
    const ALL: [Self; 13] = [
        Self::Open,
        Self::Open,
        Self::OpenAndClose,
        Self::Close,
        Self::CloseWithGrace,
        Self::Wake,
        Self::ExpireWake,
        Self::DropWake,
        Self::Look,
        Self::Pay,
        Self::Pay,
        Self::Receive,
        Self::Receive,
    ];

    async fn perform(
        self,
        lifecycle: &Arc<Lifecycle>,
        lsp: &Peer,
        lasts: Duration,
        amount_msat: u64,
    ) -> Option<Begun> {
        match self {
            Self::Open => drop(opened(lifecycle).await),
            Self::OpenAndClose => {
                drop(opened(lifecycle).await);
                tokio::time::sleep(lasts).await;
                gone(lifecycle.enter_background().await);
            }
            Self::Close => gone(lifecycle.enter_background().await),
            Self::CloseWithGrace => {
                let grace = Grace::until(Instant::now() + Duration::from_secs(2) + lasts);
                gone(lifecycle.enter_background_within(&grace).await);
            }
            Self::Wake | Self::ExpireWake | Self::DropWake => self.wake(lifecycle, lasts).await,
            Self::Look => {
                let asked = Instant::now();
                lifecycle.overview().await;
                assert!(
                    asked.elapsed() < Duration::from_secs(1),
                    "the screen waited {:?}",
                    asked.elapsed()
                );
            }
            Self::Pay => {
                let node = usable(lifecycle, lasts).await?;
                let invoice = lsp.invoice(Some(amount_msat), "").await.unwrap();
                match node.pay(&invoice, None).await {
                    Ok(payment) => {
                        return Some(Begun {
                            hash: payment.id,
                            amount_msat,
                            ours: true,
                        });
                    }
                    Err(error) => refused(error.code()),
                }
            }
            Self::Receive => {
                let node = usable(lifecycle, lasts).await?;
                match node.create_invoice(Some(amount_msat), "").await {
                    Ok(invoice) => {
                        // Refused if we are gone already.
                        lsp.pay(&invoice.bolt11, None).await.ok()?;
                        return Some(Begun {
                            hash: invoice.payment_hash,
                            amount_msat,
                            ours: false,
                        });
                    }
                    // The store of a node that was stopped meanwhile is closed.
                    Err(error) => assert_eq!(error.code(), ErrorCode::StorageFailed),
                }
            }
        }
        None
    }

    async fn wake(self, lifecycle: &Arc<Lifecycle>, lasts: Duration) {
        let grant = grant(GrantKind::Refresh, 30);
        let cancel = grant.cancel.clone();
        let waking = lifecycle.wake(grant);
        let record = match self {
            Self::DropWake => match tokio::time::timeout(lasts, waking).await {
                Ok(record) => record,
                Err(_) => return,
            },
            Self::ExpireWake => {
                let expire = async {
                    tokio::time::sleep(lasts).await;
                    cancel.cancel();
                    Instant::now()
                };
                let (record, called) = tokio::join!(waking, expire);
                stopped(called.elapsed() < STOP_LIMIT);
                record
            }
            _ => waking.await,
        };
        let slow = record
            .error
            .as_ref()
            .is_some_and(|error| error.detail.contains(SLOW_WORDS));
        stopped(!slow);
        let code = record.error.as_ref().map(|error| error.code);
        assert!(
            slow || !matches!(
                code,
                Some(
                    ErrorCode::InUse
                        | ErrorCode::StorageCorrupt
                        | ErrorCode::StorageFailed
                        | ErrorCode::Internal
                )
            ),
            "{record:#?}"
        );
        assert!(record.outcome != WakeOutcome::InProgress && record.outcome != WakeOutcome::CutOff);
    }
}

/// What a stop says that goes on behind the caller's back.
const SLOW_WORDS: &str = "did not stop in time";

/// The app was closed: the node was put away, if late.
fn gone(closed: Result<(), Error>) {
    match closed {
        Ok(()) => stopped(true),
        Err(error) if error.detail().contains(SLOW_WORDS) => stopped(false),
        Err(error) => panic!("{error:?}"),
    }
}

fn stopped(in_time: bool) {
    STOPS.fetch_add(1, Ordering::SeqCst);
    SLOW.fetch_add(u64::from(!in_time), Ordering::SeqCst);
}

async fn opened(lifecycle: &Arc<Lifecycle>) -> Option<Arc<Node>> {
    match lifecycle.enter_foreground().await {
        Ok(node) => Some(node),
        Err(error) => {
            // Closed again before it was up.
            assert_eq!(error.code(), ErrorCode::Cancelled, "{error:?}");
            None
        }
    }
}

/// The node, once its channel can be used; `None` if that does not come soon.
async fn usable(lifecycle: &Arc<Lifecycle>, patience: Duration) -> Option<Arc<Node>> {
    let asked = Instant::now();
    while asked.elapsed() < patience {
        if let Ok(node) = lifecycle.node().await
            && node.channels().iter().any(|channel| channel.usable)
        {
            return Some(node);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

/// What a payment may be refused for here: the node stops, or its channel just went.
fn refused(code: ErrorCode) {
    use ErrorCode::{Cancelled, InsufficientFunds, NotSynced, PaymentFailed, RouteNotFound, StorageFailed};
    assert!(
        matches!(
            code,
            Cancelled | InsufficientFunds | NotSynced | PaymentFailed | RouteNotFound | StorageFailed
        ),
        "{code:?}"
    );
}

/// What was begun, and what came of it.
struct Books {
    lsp: Peer,
    open: Vec<Begun>,
    outbound_msat: u64,
    sent: u64,
    received: u64,
    failed: u64,
}

impl Books {
    async fn open(stage: &Stage, lifecycle: &Arc<Lifecycle>) -> Self {
        let lsp = stage.devnet.lsp().unwrap();
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.usable(&node).await;
        // Something on the other side, so that it can come back.
        let invoice = lsp.invoice(Some(200_000_000), "").await.unwrap();
        let paid = node.pay(&invoice, None).await.unwrap();
        lsp.wait_payment(&paid.id, LIMIT).await.unwrap();
        let ours = async || node.payment(&paid.id).await.unwrap().unwrap().status;
        while ours().await != PaymentStatus::Succeeded {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let outbound_msat = outbound_msat(&node);
        lifecycle.enter_background().await.unwrap();
        Self {
            lsp,
            open: Vec::new(),
            outbound_msat,
            sent: 0,
            received: 0,
            failed: 0,
        }
    }

    /// Opens the app once more and waits for the end of everything that was begun; then closes it.
    async fn settle(&mut self, lifecycle: &Arc<Lifecycle>, seed: u64) {
        let node = lifecycle.enter_foreground().await.unwrap();
        while !node.channels().iter().any(|channel| channel.usable) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while let Some(begun) = self.open.last().cloned() {
            let payment = node.payment(&begun.hash).await.unwrap().unwrap();
            let theirs = self.lsp.payment(&begun.hash).map(|payment| payment.state);
            let arrived = match (begun.ours, payment.status, theirs) {
                (true, PaymentStatus::Succeeded, Some(PaymentState::Succeeded)) => {
                    self.outbound_msat -= begun.amount_msat;
                    self.sent += 1;
                    true
                }
                (false, PaymentStatus::Succeeded, Some(PaymentState::Succeeded)) => {
                    self.outbound_msat += begun.amount_msat;
                    self.received += 1;
                    true
                }
                // The payee never got it, or the payer got it back.
                (true, PaymentStatus::Failed, Some(PaymentState::Pending | PaymentState::Failed) | None)
                | (false, PaymentStatus::Pending, Some(PaymentState::Failed) | None) => {
                    self.failed += 1;
                    false
                }
                _ => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            if arrived {
                assert_eq!(
                    payment.amount_msat,
                    Some(begun.amount_msat),
                    "seed {seed}: {payment:?}"
                );
            }
            self.open.pop();
        }
        let expected = self.outbound_msat;
        until(&format!("seed {seed}: every msat to be where it belongs"), || {
            outbound_msat(&node) == expected
        })
        .await;
        assert_eq!(node.channels().len(), 1, "seed {seed}");
        drop(node);
        lifecycle.enter_background().await.unwrap();
        assert_eq!(lifecycle.overview().await.state, WalletState::Stopped);
    }

    /// What a person who looks for a deadlock wants to know.
    async fn dump(&self, lifecycle: &Arc<Lifecycle>) -> String {
        let mut text = format!("{:#?}\n", lifecycle.overview().await);
        for begun in &self.open {
            let theirs = self.lsp.payment(&begun.hash);
            let ours = match lifecycle.node().await {
                Ok(node) => node.payment(&begun.hash).await,
                Err(error) => Err(error),
            };
            let _ = writeln!(text, "{begun:?}\n  ours: {ours:?}\n  theirs: {theirs:?}");
        }
        if let Ok(node) = lifecycle.node().await {
            let _ = writeln!(text, "{:#?}", node.channels());
        }
        text
    }
}

impl std::fmt::Display for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} sent, {} received, {} failed",
            self.sent, self.received, self.failed
        )
    }
}

fn outbound_msat(node: &Node) -> u64 {
    node.channels().iter().map(|channel| channel.outbound_msat).sum()
}

/// Seeded chance (SplitMix64).
struct Chance(u64);

impl Chance {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// How many nodes have their store open, by what the node itself tells.
#[derive(Default)]
struct NodeCount {
    now: AtomicI64,
    most: AtomicI64,
    opened: AtomicU64,
}

struct CountingLayer(Arc<NodeCount>);

impl<S: tracing::Subscriber> Layer<S> for CountingLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "pilotlight_node::life" {
            event.record(&mut Life(&self.0));
        }
    }
}

struct Life<'a>(&'a NodeCount);

impl Visit for Life<'_> {
    fn record_i64(&mut self, field: &Field, change: i64) {
        if field.name() == "nodes" {
            let now = self.0.now.fetch_add(change, Ordering::SeqCst) + change;
            self.0.most.fetch_max(now, Ordering::SeqCst);
            if change > 0 {
                self.0.opened.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
