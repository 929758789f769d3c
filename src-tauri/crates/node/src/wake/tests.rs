//! Whole wakes under a virtual clock: thousands of them, with any cost, failure, call and cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::budget::{WIND_DOWN, allowance};
use super::history::History;
use super::instruments::{Instruments, Usage};
use super::journal::JournalFile;
use super::plan::{Chores, Step, is_money};
use super::policy::Stakes;
use super::safe_until::{Risk, SafeUntil, SafeUntilReason, Tip, safe_until};
use super::safety::{Safety, warn_at};
use super::work::{Channels, Did, Look, Work};
use super::*;
use crate::backoff::{Asker, Backoffs, Endpoint};
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::node::Checkpoint;

/// When the simulated time begins, Unix time in ms.
const BEGIN: u64 = 1_800_000_000_000;
const HOUR: u64 = 60 * 60 * 1000;

/// Cases of each property: some seconds' worth; `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What a stage does when it runs: how long it takes, and how it ends.
#[derive(Debug, Clone, Copy)]
struct Part {
    ms: u64,
    fails: Option<ErrorCode>,
}

/// A wallet that does what its script says, and remembers what is on its disk.
struct Scripted {
    parts: BTreeMap<StageName, Part>,
    chores: Chores,
    /// The best block of its chain source.
    tip: Checkpoint,
    /// What it saw of the chain, and what of that is on disk.
    seen: Mutex<Option<Checkpoint>>,
    disk: Arc<Mutex<Option<Checkpoint>>>,
    persist_ms: u64,
    requests: AtomicU64,
    resident: Arc<AtomicU64>,
    grows: u64,
}

impl Scripted {
    async fn run(&self, stage: StageName) -> Result<Did> {
        let part = self
            .parts
            .get(&stage)
            .copied()
            .unwrap_or(Part { ms: 1, fails: None });
        self.requests.fetch_add(part.ms / 100 + 1, Ordering::Relaxed);
        self.resident.fetch_add(self.grows, Ordering::Relaxed);
        sleep(Duration::from_millis(part.ms)).await;
        match part.fails {
            Some(code) => Err(Error::new(code, "scripted")),
            None => Ok(Did::All),
        }
    }
}

impl Work for Scripted {
    fn level(&self) -> Level {
        Level::Full
    }
    fn checkpoint(&self) -> Option<Checkpoint> {
        *lock(&self.seen)
    }
    fn channels(&self) -> Channels {
        Channels::new()
    }
    fn stakes(&self) -> Stakes {
        Stakes {
            channels: 1,
            ..Stakes::default()
        }
    }
    fn chores(&self) -> Chores {
        self.chores
    }
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
    fn take_reports(&self) -> Vec<String> {
        vec!["a peer\u{1b} lied".into()]
    }
    async fn chain(&self, look: &Look<'_>) -> Result<Did> {
        let Look { known, counter, .. } = *look;
        if known == Some(self.tip.hash) {
            let disk = *lock(&self.disk);
            assert_eq!(
                disk.map(|tip| tip.hash),
                known,
                "the journal says what is not on disk"
            );
            self.requests.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            *lock(&self.seen) = Some(self.tip);
            return Ok(Did::Held);
        }
        counter.set(1, 2);
        let did = self.run(StageName::Chain).await?;
        *lock(&self.seen) = Some(self.tip);
        Ok(did)
    }
    async fn peers(&self, _asker: Asker) -> Result<Did> {
        self.run(StageName::Peers).await
    }
    async fn events(&self) -> Result<Did> {
        self.run(StageName::Events).await
    }
    async fn sweep(&self) -> Result<Did> {
        self.run(StageName::Sweep).await
    }
    async fn onchain(&self, _step: &Step) -> Result<Did> {
        self.run(StageName::Onchain).await
    }
    async fn gossip(&self, _kind: GrantKind, _step: &Step, _asker: Asker) -> Result<(Did, u32)> {
        self.run(StageName::Gossip).await.map(|did| (did, 7))
    }
    async fn compact(&self) -> Result<Did> {
        self.run(StageName::Compact).await
    }
    async fn persist(&self) -> Result<()> {
        let seen = *lock(&self.seen);
        sleep(Duration::from_millis(self.persist_ms)).await;
        *lock(&self.disk) = seen;
        Ok(())
    }
}

/// The machine: time from the paused clock, memory from the script.
struct Virtual {
    begin_ms: u64,
    started: Instant,
    resident: Arc<AtomicU64>,
}

impl Instruments for Virtual {
    fn now_ms(&self) -> u64 {
        self.begin_ms + crate::clock::millis(self.started.elapsed())
    }
    fn usage(&self) -> Usage {
        Usage::default()
    }
    fn resident(&self) -> Option<u64> {
        Some(self.resident.load(Ordering::Relaxed))
    }
}

/// One simulated wake.
#[derive(Debug, Clone)]
struct Case {
    kind: GrantKind,
    reason: WakeReason,
    grant_ms: u64,
    called_ms: Option<u64>,
    parts: BTreeMap<StageName, Part>,
    chores: Chores,
    persist_ms: u64,
    put_away_ms: u64,
    grows: u64,
    height: u32,
}

/// What outlives the wakes of one test: the folder, and the wallet's disk.
struct World {
    dir: tempfile::TempDir,
    disk: Arc<Mutex<Option<Checkpoint>>>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        // Memory, where there is such a place: these tests write thousands of small files and sync each.
        let place = Some(PathBuf::from("/dev/shm")).filter(|place| place.is_dir());
        let place = place.unwrap_or_else(std::env::temp_dir);
        Self {
            dir: tempfile::tempdir_in(place).unwrap(),
            disk: Arc::default(),
            now_ms: BEGIN,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn keep(&self) -> Keep {
        Keep {
            history: History::new(self.path()),
            journal: JournalFile::new(self.path()),
            backoffs: Arc::new(Backoffs::new(self.path())),
            sources: vec![Endpoint::Chain("scripted".to_owned())],
        }
    }

    /// Runs one wake; `None` if it was cut off after so many ms.
    fn wake(&mut self, case: &Case, safety: &Safety, cut_ms: Option<u64>) -> (Option<WakeRecord>, Scripted) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let resident = Arc::new(AtomicU64::new(20_000_000));
        let tip = Checkpoint {
            height: case.height,
            hash: BlockHash::from_byte_array([u8::try_from(case.height % 251).unwrap(); 32]),
            at_ms: self.now_ms,
        };
        let wallet = Scripted {
            parts: case.parts.clone(),
            chores: case.chores,
            tip,
            seen: Mutex::new(*lock(&self.disk)),
            disk: Arc::clone(&self.disk),
            persist_ms: case.persist_ms,
            requests: AtomicU64::new(0),
            resident: Arc::clone(&resident),
            grows: case.grows,
        };
        let keep = self.keep();
        let record = runtime.block_on(async {
            let started = Instant::now();
            let instruments = Virtual {
                begin_ms: self.now_ms,
                started,
                resident,
            };
            let cancel = CancellationToken::new();
            if let Some(called) = case.called_ms {
                let cancel = cancel.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(called)).await;
                    cancel.cancel();
                });
            }
            let grant = Grant {
                kind: case.kind,
                reason: case.reason,
                deadline: (started + Duration::from_millis(case.grant_ms)).into_std(),
                cancel,
                progress: None,
                conditions: Conditions::default(),
            };
            let whole = async {
                let mut wake = Wake::begin(&grant, keep, instruments, safety);
                let opened = wake
                    .open(async |_| wallet.run(StageName::Open).await.map(|_| (&wallet, false)))
                    .await;
                if let Some(wallet) = opened {
                    wake.work(wallet).await;
                }
                let put_away = async {
                    sleep(Duration::from_millis(case.put_away_ms)).await;
                    wallet.persist().await
                };
                wake.finish(*safety, put_away).await
            };
            let cut = Duration::from_millis(cut_ms.unwrap_or(u64::MAX / 4));
            let record = tokio::time::timeout(cut, whole).await.ok();
            self.now_ms += crate::clock::millis(started.elapsed());
            record
        });
        (record, wallet)
    }
}

fn part() -> impl Strategy<Value = Part> {
    let ms = prop_oneof![6 => 1_u64..1_500, 2 => 1_500_u64..12_000, 1 => 12_000_u64..400_000];
    let code = proptest::sample::select(vec![
        ErrorCode::NetworkUnavailable,
        ErrorCode::SyncTimeout,
        ErrorCode::RateLimited,
        ErrorCode::ChainSyncFailed,
        ErrorCode::PeerUnreachable,
        ErrorCode::StorageFailed,
    ]);
    let fails = prop_oneof![5 => Just(None), 1 => code.prop_map(Some)];
    (ms, fails).prop_map(|(ms, fails)| Part { ms, fails })
}

fn case() -> impl Strategy<Value = Case> {
    use StageName::{Chain, Compact, Events, Gossip, Onchain, Open, Peers, Sweep};
    const STAGES: [StageName; 8] = [Open, Chain, Peers, Events, Sweep, Onchain, Gossip, Compact];
    let parts = proptest::collection::vec(part(), STAGES.len());
    let parts = parts.prop_map(|parts| STAGES.into_iter().zip(parts).collect());
    let kind = any::<bool>().prop_map(|processing| {
        if processing {
            GrantKind::Processing
        } else {
            GrantKind::Refresh
        }
    });
    let chores = any::<[bool; 3]>().prop_map(|[peers, apply, compact]| Chores {
        peers,
        apply,
        compact,
    });
    let grant_ms = prop_oneof![3 => 0_u64..40_000, 1 => 40_000_u64..300_000];
    let called = proptest::option::weighted(0.3, 0_u64..40_000);
    let reason = prop_oneof![Just(WakeReason::System), Just(WakeReason::Person)];
    (
        (kind, reason, grant_ms, called),
        (
            parts,
            chores,
            0_u64..300,
            0_u64..1_500,
            0_u64..30_000_000,
            1_u32..5,
        ),
    )
        .prop_map(
            |(
                (kind, reason, grant_ms, called_ms),
                (parts, chores, persist_ms, put_away_ms, grows, height),
            )| Case {
                kind,
                reason,
                grant_ms,
                called_ms,
                parts,
                chores,
                persist_ms,
                put_away_ms,
                grows,
                height,
            },
        )
}

/// Everything that must be true of a wake that ended, whatever happened in it.
fn check(case: &Case, record: &WakeRecord) {
    let ended = |name| record.stage(name).map(|stage| stage.end);
    // Barriers are never cut short; there are at most three, and the one of the way out.
    let barriers = 3 * case.persist_ms;
    let work_ends = case.grant_ms.saturating_sub(crate::clock::millis(WIND_DOWN));
    for stage in &record.stages {
        if stage.name == StageName::Report {
            continue;
        }
        let cap = crate::clock::millis(allowance(case.kind, stage.name).cap);
        assert!(stage.duration_ms <= cap, "{stage:?} is over its cap");
        if stage.end != StageEnd::Skipped {
            assert!(
                stage.started_ms + stage.duration_ms <= work_ends + barriers + 1,
                "{stage:?} ran past {work_ends}"
            );
        }
    }
    let stop = work_ends.min(case.called_ms.unwrap_or(u64::MAX));
    let way_out = case.put_away_ms + case.persist_ms;
    assert!(
        record.sync_duration <= stop + barriers + way_out + 2,
        "it ended {} ms after its start",
        record.sync_duration
    );

    let names: Vec<_> = record.stages.iter().map(|stage| stage.name).collect();
    let once: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "a stage twice: {names:?}");
    let chain_seen = ended(StageName::Chain).is_some_and(StageEnd::is_well);
    let after_chain = |name: &&StageName| **name > StageName::Chain && **name != StageName::Report;
    assert!(
        chain_seen || !names.iter().any(|name| after_chain(&name)),
        "blind, and yet {names:?}"
    );
    let skipped_money = record
        .stages
        .iter()
        .any(|stage| is_money(stage.name) && stage.end == StageEnd::Skipped);
    let ran_cheaper = record.stages.iter().any(|stage| {
        !is_money(stage.name)
            && stage.name != StageName::Report
            && matches!(stage.end, StageEnd::Done | StageEnd::Failed | StageEnd::TimedOut)
    });
    assert!(!(skipped_money && ran_cheaper), "money came last: {record:#?}");

    let all_well = record.stages.iter().all(|stage| stage.end.is_well());
    let expected = match (chain_seen, all_well) {
        (true, true) => WakeOutcome::Completed,
        (true, false) => WakeOutcome::Partial,
        (false, _) if record.stages.iter().any(|stage| stage.end == StageEnd::Cancelled) => {
            WakeOutcome::Expired
        }
        (false, _) => WakeOutcome::Failed,
    };
    let called = case
        .called_ms
        .is_some_and(|called| called <= record.sync_duration);
    assert!(
        record.outcome == expected || called && record.outcome == WakeOutcome::Expired,
        "{record:#?}"
    );
    assert_eq!(record.error.is_some(), !all_well);
    if work_ends == 0 && case.called_ms.is_none_or(|called| called > 0) {
        assert_eq!(ended(StageName::Open), Some(StageEnd::Skipped), "not an attempt");
        assert_eq!(record.error.as_ref().unwrap().code, ErrorCode::InsufficientTime);
        assert!(record.wants_processing);
    }
    let finished = record.finished_at_ms.unwrap();
    let wait = record.next_at_ms.unwrap() - finished;
    assert!((5 * 60 * 1000..=24 * HOUR).contains(&wait), "next in {wait} ms");
    if let Some(until) = record.safe_until_ms {
        let most = (until.saturating_sub(finished) / 4).max(5 * 60 * 1000);
        assert!(wait <= most, "next in {wait} ms, at most {most}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_wake_keeps_its_caps_its_order_and_its_end(case in case(), left in proptest::option::of(0_u64..300 * HOUR)) {
        let mut world = World::new();
        let safety = Safety {
            checked_at_ms: Some(BEGIN),
            safe_until: left.map(|left| SafeUntil { at_ms: BEGIN + left, height: 9, reason: SafeUntilReason::OldBalance }),
            breaches: 0,
        };
        let (record, wallet) = world.wake(&case, &safety, None);
        let record = record.unwrap();
        check(&case, &record);
        assert_eq!(world.keep().history.read(), std::slice::from_ref(&record), "what is on disk is what was said");
        let checkpoint = record.stage(StageName::Chain).is_some_and(|stage| stage.checkpoint);
        if checkpoint {
            assert_eq!(lock(&world.disk).unwrap().hash, wallet.tip.hash);
        }
    }

    /// Wakes follow one another, each cut off anywhere or not. The scripted wallet itself refuses a journal that says what
    /// is not on its disk.
    #[test]
    fn a_wake_that_is_cut_off_anywhere_leaves_a_journal_that_is_true(
        wakes in proptest::collection::vec((case(), proptest::option::of(0_u64..60_000), 1_u64..HOUR), 1..12),
    ) {
        let mut world = World::new();
        for (case, cut, pause) in wakes {
            world.keep().history.close_open_records();
            let (record, _) = world.wake(&case, &Safety::default(), cut);
            match record {
                Some(record) => check(&case, &record),
                None => assert_eq!(world.keep().history.read()[0].outcome, WakeOutcome::InProgress),
            }
            world.now_ms += pause;
        }
    }

    /// The phone wakes the app when it likes, but never before it was asked to; wakes fail as they like; each look arms one
    /// warning in place of the last. Whatever has to be claimed is seen, or warned of, before it is lost.
    #[test]
    fn with_any_schedule_of_wakes_a_warning_is_due_before_money_is_lost(
        wakes in proptest::collection::vec((case(), prop_oneof![3 => 0_u64..12 * HOUR, 1 => 0_u64..400 * HOUR]), 1..16),
        expiry in 50_u32..3_000,
        block_secs in 480_u64..1_200,
    ) {
        let block_ms = block_secs * 1000;
        let height_at = |ms: u64| u32::try_from((ms - BEGIN) / block_ms).unwrap();
        let ends_at = BEGIN + u64::from(expiry) * block_ms;
        let risks = [Risk::OldBalance, Risk::Incoming { expiry, on_chain: false }];
        let mut world = World::new();
        let look = |at_ms: u64| Safety {
            checked_at_ms: Some(at_ms),
            safe_until: safe_until(&risks, Tip { height: height_at(at_ms), at_ms }),
            breaches: 0,
        };
        // The person was there when the payment came.
        let mut safety = look(BEGIN);
        let mut armed = warn_at(&safety).unwrap();
        for (mut case, late) in wakes {
            case.height = height_at(world.now_ms);
            case.reason = WakeReason::System;
            let before = world.now_ms;
            let (record, _) = world.wake(&case, &safety, None);
            let record = record.unwrap();
            let seen = record.stage(StageName::Chain).is_some_and(|stage| stage.end.is_well());
            if seen && before < ends_at {
                safety = look(before);
                armed = warn_at(&safety).unwrap();
                prop_assert!(armed < ends_at, "armed ahead of the end");
            }
            let next = record.next_at_ms.unwrap();
            prop_assert!(next > world.now_ms);
            let until = safety.safe_until.unwrap().at_ms;
            prop_assert!(next <= world.now_ms + ((until.saturating_sub(world.now_ms)) / 4).max(24 * HOUR));
            let comes = next + late;
            if before < ends_at && comes >= ends_at {
                prop_assert!(armed < ends_at && armed < comes, "nobody came in time, and nobody was told");
            }
            world.now_ms = comes;
        }
    }
}

/// A wake that was cut off after its chain stage makes the next one cheaper at the same tip.
#[test]
fn what_was_done_before_the_cut_is_not_done_again() {
    let parts = |ms| {
        let slow = Part { ms, fails: None };
        BTreeMap::from([(StageName::Chain, slow), (StageName::Peers, slow)])
    };
    let case = Case {
        kind: GrantKind::Refresh,
        reason: WakeReason::System,
        grant_ms: 30_000,
        called_ms: None,
        parts: parts(3_000),
        chores: Chores {
            peers: true,
            ..Chores::default()
        },
        persist_ms: 50,
        put_away_ms: 10,
        grows: 0,
        height: 3,
    };
    let mut world = World::new();
    let (cut, wallet) = world.wake(&case, &Safety::default(), Some(4_000));
    assert!(cut.is_none());
    let first = wallet.requests.load(Ordering::Relaxed);
    let (record, wallet) = world.wake(&case, &Safety::default(), None);
    let record = record.unwrap();
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.stage(StageName::Chain).unwrap().end, StageEnd::StillHolds);
    assert_eq!(record.reports, ["a peer lied"]);
    assert!(record.requests < first + wallet.requests.load(Ordering::Relaxed));
    // One block later it is looked at again.
    let later = Case { height: 4, ..case };
    let (record, _) = world.wake(&later, &Safety::default(), None);
    assert_eq!(
        record.unwrap().stage(StageName::Chain).unwrap().end,
        StageEnd::Done
    );
}

/// A wake over its memory budget lets go of what is not money's.
#[test]
fn a_wake_that_grows_too_much_leaves_the_graph() {
    let case = Case {
        kind: GrantKind::Refresh,
        reason: WakeReason::System,
        grant_ms: 30_000,
        called_ms: None,
        parts: BTreeMap::new(),
        chores: Chores {
            peers: true,
            ..Chores::default()
        },
        persist_ms: 1,
        put_away_ms: 1,
        grows: 15_000_000,
        height: 3,
    };
    let (record, _) = World::new().wake(&case, &Safety::default(), None);
    let record = record.unwrap();
    let gossip = record.stage(StageName::Gossip).unwrap();
    assert_eq!(gossip.end, StageEnd::Skipped);
    assert_eq!(gossip.error.as_ref().unwrap().code, ErrorCode::LowMemory);
    assert_eq!(record.degraded, [Degraded::Memory]);
    assert_eq!(
        (record.outcome, record.graph_channels_updated),
        (WakeOutcome::Partial, 0)
    );
    let small = Case { grows: 0, ..case };
    let (record, _) = World::new().wake(&small, &Safety::default(), None);
    let record = record.unwrap();
    assert_eq!(
        (record.outcome, record.graph_channels_updated),
        (WakeOutcome::Completed, 7)
    );
}

/// Continued tasks are shown how far the wake came; blocks move it too.
#[test]
fn progress_moves_with_stages_and_with_blocks() {
    let at = |done, total, blocks: (u32, u32)| {
        let blocks = Blocks {
            done: blocks.0,
            total: blocks.1,
        };
        WakeProgress { done, total, blocks }.parts()
    };
    assert_eq!(at(0, 0, (0, 0)), (0, 1_000));
    assert_eq!(at(1, 9, (0, 0)), (1_000, 9_000));
    assert_eq!(at(1, 9, (72, 144)), (1_500, 9_000));
    assert_eq!(at(1, 9, (144, 144)), (2_000, 9_000));
    assert_eq!(
        at(3, 9, (72, 144)),
        (3_000, 9_000),
        "only while the chain is looked at"
    );
    assert_eq!(at(1, 9, (u32::MAX, 1)), (2_000, 9_000));
}
