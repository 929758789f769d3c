//! One wake, stage by stage, in order of worth: what does not fit is left for the next one.
//!
//! Owns the order of effects: a stage ends, the persist barrier, the journal, the next plan. Decides nothing: what runs is
//! `plan`'s, when to come again `policy`'s.

use std::ops::Deref;
use std::time::Duration;

use tokio::sync::watch;

use super::budget::Budget;
use super::conditions::Degraded;
use super::costs::{Costs, LEARNED_FROM};
use super::history::History;
use super::instruments::Instruments;
use super::journal::{Entry, Journal, JournalFile};
use super::plan::{Chores, LeftOut, Plan, Situation, Step, Why, plan};
use super::policy::{self, Stakes};
use super::record::{
    GrantKind, Level, StageEnd, StageName, StageRecord, WakeOutcome, WakeReason, WakeRecord,
};
use super::safety::Safety;
use super::work::{BlockCounter, Channels, Did, Look, Work};
use super::{Blocks, Grant, WakeProgress, reports};
use crate::backoff::{Asker, Backoffs, Endpoint};
use crate::chain::Terms;
use crate::clock::millis;
use crate::error::{Error, ErrorCode, Result};
use crate::node::Checkpoint;

/// What outlives a wake.
#[derive(Clone)]
pub struct Keep {
    /// The records of wakes.
    pub history: History,
    /// What wakes found.
    pub journal: JournalFile,
    /// How servers and peers stand.
    pub backoffs: std::sync::Arc<Backoffs>,
    /// The sources of the chain.
    pub sources: Vec<Endpoint>,
}

/// A wake under way.
pub struct Wake<I> {
    budget: Budget,
    keep: Keep,
    instruments: I,
    progress: Option<watch::Sender<WakeProgress>>,
    record: WakeRecord,
    costs: Costs,
    journal: Journal,
    /// What was known to be at stake when the wake began; of the wallet itself once it is up.
    stakes: Stakes,
    /// Stages that ended or were left out, as the planner needs them.
    ended: Vec<(StageName, StageEnd)>,
    level: Option<Level>,
    resident_at_start: Option<u64>,
    requests_at_start: u64,
    before: Option<Checkpoint>,
    tip: Option<Checkpoint>,
    channels_before: Channels,
}

impl<I: Instruments> Wake<I> {
    /// Begins: from here on the wake is on record, whatever happens to the process. `safety` is what earlier wakes found.
    pub fn begin(grant: &Grant, keep: Keep, instruments: I, safety: &Safety) -> Self {
        let budget = Budget::new(grant);
        let now = instruments.now_ms();
        let granted = tokio::time::Instant::from_std(grant.deadline)
            .saturating_duration_since(tokio::time::Instant::now());
        let record = WakeRecord {
            conditions: grant.conditions,
            ..WakeRecord::begin(
                keep.history.next_id(),
                grant.kind,
                grant.reason,
                millis(granted),
                now,
            )
        };
        let left = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(now));
        let wake = Self {
            costs: Costs::learn(&keep.history.last(LEARNED_FROM)),
            journal: keep.journal.read(),
            stakes: Stakes {
                left: safety.safe_until.map(|moment| left(moment.at_ms)),
                ..Stakes::default()
            },
            resident_at_start: instruments.resident(),
            budget,
            keep,
            instruments,
            progress: grant.progress.clone(),
            record,
            ended: Vec::new(),
            level: None,
            requests_at_start: 0,
            before: None,
            tip: None,
            channels_before: Channels::new(),
        };
        wake.write();
        wake
    }

    /// The record as it is now.
    pub fn record(&self) -> &WakeRecord {
        &self.record
    }

    /// The `open` stage: `open` brings so much of the wallet up, and says whether it was up already. More than was asked
    /// for is fine.
    pub async fn open<P, F>(&mut self, open: impl FnOnce(Level) -> F) -> Option<P>
    where
        P: Deref,
        P::Target: Work + Sized,
        F: Future<Output = Result<(P, bool)>>,
    {
        let plan = self.plan(None);
        let Some(step) = self.next(&plan) else {
            self.end(&plan);
            return None;
        };
        let opening = open(plan.level);
        let work = async { opening.await.map(|opened| (Did::All, opened)) };
        let (wallet, joined) = self.stage(&step, work).await?;
        self.record.joined = joined;
        self.opened(&*wallet);
        Some(wallet)
    }

    /// How much of the wallet should be brought up.
    pub fn level(&self) -> Level {
        self.plan(None).level
    }

    /// Whether the wallet is there and cannot be opened as a whole: then it can still be watched.
    pub fn is_unreadable(&self) -> bool {
        let open = self.record.stage(StageName::Open);
        let error = open.and_then(|stage| stage.error.as_ref());
        error.is_some_and(|error| error.code == ErrorCode::StorageCorrupt)
    }

    /// Whether the last wake that tried to open the whole wallet could.
    pub fn opened_before(&self) -> bool {
        let records = self.keep.history.last(LEARNED_FROM).into_iter();
        let mut opened = records.filter_map(|record| {
            let whole = record.level == Level::Full && record.id < self.record.id;
            record
                .stage(StageName::Open)
                .filter(|_| whole)
                .map(|stage| stage.end)
        });
        opened.find(|end| matches!(end, StageEnd::Done | StageEnd::Failed)) == Some(StageEnd::Done)
    }

    /// Goes on with less of the wallet than was wanted, after `open` failed.
    pub fn fall_back<W: Work>(&mut self, wallet: &W) {
        for (stage, end) in &mut self.ended {
            if *stage == StageName::Open {
                *end = StageEnd::Done;
            }
        }
        self.opened(wallet);
    }

    fn opened<W: Work>(&mut self, wallet: &W) {
        self.record.level = wallet.level();
        self.level = Some(wallet.level());
        self.requests_at_start = wallet.requests();
        self.before = wallet.checkpoint();
        self.record.last_sync = self
            .before
            .map(|checkpoint| checkpoint.at_ms)
            .filter(|at| *at > 0);
        self.channels_before = wallet.channels();
    }

    /// The stages that need a wallet.
    pub async fn work<W: Work>(&mut self, wallet: &W) {
        loop {
            let plan = self.plan(Some((wallet.stakes(), wallet.chores())));
            let Some(step) = self.next(&plan) else {
                self.end(&plan);
                break;
            };
            self.foresee(&plan);
            self.step(&step, wallet).await;
        }
        self.record.channels_updated = moved(&self.channels_before, &wallet.channels());
        self.record.requests = wallet.requests().saturating_sub(self.requests_at_start);
        self.record.reports = reports::kept(&wallet.take_reports());
        let left = self.stakes.left;
        self.stakes = Stakes {
            left,
            ..wallet.stakes()
        };
    }

    /// Runs one stage, and makes what it found a checkpoint.
    async fn step<W: Work>(&mut self, step: &Step, wallet: &W) {
        let did = |did| (did, ());
        match step.stage {
            StageName::Chain => self.chain(step, wallet).await,
            StageName::Peers => {
                let asker = self.asker();
                self.stage(step, async { wallet.peers(asker).await.map(did) })
                    .await;
            }
            StageName::Events => {
                let settled = self.stage(step, async { wallet.events().await.map(did) }).await;
                if settled.is_some() {
                    self.barrier(step.stage, wallet).await;
                }
            }
            StageName::Sweep => {
                let swept = self.stage(step, async { wallet.sweep().await.map(did) }).await;
                if swept.is_some() {
                    self.barrier(step.stage, wallet).await;
                }
            }
            StageName::Onchain => {
                let scanned = self
                    .stage(step, async { wallet.onchain(step).await.map(did) })
                    .await;
                // What a scan finds is on disk when it returns.
                if scanned.is_some() {
                    self.checkpoint(step.stage);
                }
            }
            StageName::Gossip => {
                let (kind, asker) = (self.record.kind, self.asker());
                let news = self.stage(step, wallet.gossip(kind, step, asker)).await;
                self.record.graph_channels_updated = news.unwrap_or(0);
            }
            StageName::Compact => {
                self.stage(step, async { wallet.compact().await.map(did) }).await;
            }
            // Opened before, written after.
            StageName::Open | StageName::Report => {}
        }
    }

    async fn chain<W: Work>(&mut self, step: &Step, wallet: &W) {
        let known = self.journal.entry(StageName::Chain).map(|entry| entry.tip);
        let counter = BlockCounter::new(self.progress.clone());
        let time = self.budget.left().min(step.cap);
        let look = Look {
            known,
            terms: Terms {
                until: Some(tokio::time::Instant::now() + time),
                generous: step.wide && self.record.kind == GrantKind::Processing,
            },
            counter: &counter,
        };
        let seen = self
            .stage(step, async { wallet.chain(&look).await.map(|did| (did, did)) })
            .await;
        let Blocks { done, .. } = counter.get();
        let now = wallet.checkpoint();
        if let Some(now) = now {
            self.record.tip_height = Some(now.height);
        }
        let Some(did) = seen else {
            self.last_stage(|stage| stage.blocks = (done > 0).then_some(done));
            return;
        };
        self.tip = now;
        if let Some(now) = now {
            self.record.last_sync = Some(now.at_ms);
            self.record.blocks_synced = self
                .before
                .map_or(0, |before| now.height.saturating_sub(before.height));
        }
        let blocks = self.record.blocks_synced;
        self.last_stage(|stage| stage.blocks = Some(blocks));
        if did != Did::Held {
            self.barrier(step.stage, wallet).await;
        }
    }

    /// The persist barrier, and only after it the journal. Never cut short: it is what makes the checkpoint true.
    async fn barrier<W: Work>(&mut self, stage: StageName, wallet: &W) {
        match wallet.persist().await {
            Ok(()) => self.checkpoint(stage),
            // The report stage will meet the same disk, and say so.
            Err(error) => tracing::error!(?stage, detail = error.detail(), "no checkpoint"),
        }
    }

    /// Notes a stage whose result is on disk.
    fn checkpoint(&mut self, stage: StageName) {
        // What the monitors alone saw is not what the whole wallet knows.
        let Some(tip) = self.tip.filter(|_| self.level == Some(Level::Full)) else {
            return;
        };
        self.journal.note(Entry {
            stage,
            tip: tip.hash,
            height: tip.height,
            at_ms: self.instruments.now_ms(),
        });
        match self.keep.journal.write(&self.journal) {
            Ok(()) => self.last_stage(|stage| stage.checkpoint = true),
            Err(error) => tracing::error!(?stage, detail = error.detail(), "no checkpoint"),
        }
    }

    /// The `report` stage and the end: `put_away` writes everything down (and stops the node if nobody else needs it).
    /// `safety` is what is known now, by this wake or by an earlier one.
    pub async fn finish(mut self, safety: Safety, put_away: impl Future<Output = Result<()>>) -> WakeRecord {
        self.record.safe_until_ms = safety.safe_until.map(|moment| moment.at_ms);
        self.record.safe_until_reason = safety.safe_until.map(|moment| moment.reason);
        self.record.breaches = safety.breaches;
        let started = self.budget.elapsed();
        // Never cut short by us: what was learned must get to the disk. The system's own deadline is still seconds away.
        let written = put_away.await;
        let end = if written.is_ok() {
            StageEnd::Done
        } else {
            StageEnd::Failed
        };
        self.note(StageName::Report, started, end, written.err());

        let usage = self.instruments.usage();
        self.record.bytes_in = usage.bytes_in;
        self.record.bytes_out = usage.bytes_out;
        self.record.peak_memory = usage.peak_memory;
        self.record.cpu_ms = millis(usage.cpu);
        self.record.outcome = self.outcome();
        self.record.error = self
            .record
            .stages
            .iter()
            .filter(|stage| stage.end != StageEnd::Done)
            .find_map(|stage| stage.error.clone());
        let now = self.instruments.now_ms();
        let failures = self.failures_in_a_row();
        let left = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(now));
        self.stakes.left = self.record.safe_until_ms.map(left);
        let background = Asker::Background {
            left: self.stakes.left,
        };
        let held_back = self.held_back(background).map(|(wait, _)| wait);
        let wait = policy::next_wake(self.record.outcome, failures, self.stakes, held_back);
        self.record.next_at_ms = Some(now.saturating_add(millis(wait)));
        self.record.finished_at_ms = Some(now);
        self.record.sync_duration = millis(self.budget.elapsed());
        self.write();
        self.record
    }

    fn plan(&self, wallet: Option<(Stakes, Chores)>) -> Plan {
        let situation = Situation {
            kind: self.record.kind,
            left: self.budget.left(),
            level: self.level,
            ended: &self.ended,
            tip: self.tip.map(|tip| tip.hash),
            now_ms: self.instruments.now_ms(),
            grown: self.grown(),
            held_back: self.held_back(self.asker()).is_some(),
            chores: wallet.map(|(_, chores)| chores),
        };
        let stakes = wallet.map_or(self.stakes, |(stakes, _)| Stakes {
            left: self.stakes.left,
            ..stakes
        });
        plan(
            &situation,
            &self.costs,
            &stakes,
            &self.record.conditions,
            &self.journal,
        )
    }

    fn grown(&self) -> u64 {
        match (self.resident_at_start, self.instruments.resident()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => 0,
        }
    }

    /// For how long every source of the chain is to be left alone, and why.
    fn held_back(&self, asker: Asker) -> Option<(Duration, Error)> {
        let now = self.instruments.now_ms();
        let mut shortest: Option<(Duration, Error)> = None;
        for source in &self.keep.sources {
            let standing = self.keep.backoffs.standing(source)?;
            let wait = standing.held_back(asker, now)?;
            let why = self.keep.backoffs.may_ask_at(source, asker, now).err()?;
            if shortest.as_ref().is_none_or(|(least, _)| wait < *least) {
                shortest = Some((wait, why));
            }
        }
        shortest
    }

    /// For whom this wake asks.
    fn asker(&self) -> Asker {
        match self.record.reason {
            WakeReason::Person | WakeReason::Test => Asker::Person,
            WakeReason::System | WakeReason::Simulated => Asker::Background {
                left: self.stakes.left,
            },
        }
    }

    /// The step to take now. What is left out before it is noted.
    fn next(&mut self, plan: &Plan) -> Option<Step> {
        if self.budget.cancelled() {
            return None;
        }
        let step = *plan.steps.first()?;
        for left in plan.left_out.iter().filter(|left| left.stage < step.stage) {
            self.leave_out(*left);
        }
        Some(step)
    }

    /// No step is left: notes why not.
    fn end(&mut self, plan: &Plan) {
        self.record.wants_processing |= plan.wants_processing;
        self.narrowed(plan);
        if self.budget.cancelled() {
            // The first that did not run says it for all of them.
            let steps = plan.steps.iter().map(|step| step.stage);
            if let Some(stage) = steps.chain(plan.left_out.iter().map(|left| left.stage)).min()
                && !self.was_called()
            {
                self.note(stage, self.budget.elapsed(), StageEnd::Cancelled, Some(called()));
            }
            return;
        }
        for left in &plan.left_out {
            self.leave_out(*left);
        }
    }

    /// Says why this wake does less than others.
    fn narrowed(&mut self, plan: &Plan) {
        let left_out = |wanted| plan.left_out.iter().any(|left| left.why == wanted);
        let whys = [
            self.record.conditions.frugal(),
            left_out(Why::Offline).then_some(Degraded::Offline),
            left_out(Why::Memory).then_some(Degraded::Memory),
        ];
        for why in whys.into_iter().flatten() {
            if !self.record.degraded.contains(&why) {
                self.record.degraded.push(why);
            }
        }
    }

    fn was_called(&self) -> bool {
        self.ended.iter().any(|(_, end)| *end == StageEnd::Cancelled)
    }

    fn leave_out(&mut self, LeftOut { stage, why }: LeftOut) {
        let started = self.budget.elapsed();
        let skipped = |code, words: &str| (StageEnd::Skipped, Some(Error::new(code, words)));
        let (end, error) = match why {
            Why::Time => {
                let words = format!("{} ms left for work", self.budget.left().as_millis());
                skipped(ErrorCode::InsufficientTime, &words)
            }
            Why::Offline => skipped(ErrorCode::NetworkUnavailable, "the phone has no network"),
            Why::HeldBack => {
                let why = self.held_back(self.asker()).map(|(_, why)| why);
                (StageEnd::Skipped, why)
            }
            Why::Memory => skipped(
                ErrorCode::LowMemory,
                &format!("the wake grew by {} bytes", self.grown()),
            ),
            Why::Holds => (StageEnd::StillHolds, None),
            Why::Nothing => (StageEnd::NothingToDo, None),
            Why::NotThisTime => {
                self.ended.push((stage, StageEnd::NothingToDo));
                return;
            }
        };
        self.note(stage, started, end, error);
    }

    /// Says how many stages this wake has.
    fn foresee(&mut self, plan: &Plan) {
        self.narrowed(plan);
        if let Some(progress) = &self.progress {
            let reached = self.record.stages.len() + plan.steps.len() + 1;
            let total = u32::try_from(reached).unwrap_or(u32::MAX);
            progress.send_modify(|progress| progress.total = total);
        }
    }

    /// Runs a stage within its allowance. Its future may be dropped at any await.
    async fn stage<T>(&mut self, step: &Step, work: impl Future<Output = Result<(Did, T)>>) -> Option<T> {
        let started = self.budget.elapsed();
        let Some(time) = self.budget.for_step(step) else {
            // The time went by between the plan and here.
            if self.budget.cancelled() {
                self.note(step.stage, started, StageEnd::Cancelled, Some(called()));
            } else {
                self.leave_out(LeftOut {
                    stage: step.stage,
                    why: Why::Time,
                });
            }
            return None;
        };
        let (end, error, value) = tokio::select! {
            biased;
            () = self.budget.called() => (StageEnd::Cancelled, Some(called()), None),
            done = tokio::time::timeout(time, work) => match done {
                Ok(Ok((did, value))) => (end_of(did), None, Some(value)),
                Ok(Err(error)) => (StageEnd::Failed, Some(error), None),
                Err(_) => {
                    let words = format!("{:?} did not end within {} ms", step.stage, time.as_millis());
                    (StageEnd::TimedOut, Some(Error::new(ErrorCode::SyncTimeout, words)), None)
                }
            },
        };
        self.record.wants_processing |= end == StageEnd::TimedOut;
        self.note(step.stage, started, end, error);
        value
    }

    fn note(&mut self, name: StageName, started: Duration, end: StageEnd, error: Option<Error>) {
        let duration = self.budget.elapsed().saturating_sub(started);
        if let Some(error) = &error {
            tracing::warn!(stage = ?name, ?end, code = ?error.code(), detail = error.detail(), "stage");
        } else {
            tracing::debug!(stage = ?name, ?end, ms = millis(duration), "stage");
        }
        self.ended.push((name, end));
        self.record.stages.push(StageRecord {
            duration_ms: millis(duration),
            error: error.map(|error| error.report()),
            ..StageRecord::new(name, millis(started), end)
        });
        if let Some(progress) = &self.progress {
            let done = u32::try_from(self.record.stages.len()).unwrap_or(u32::MAX);
            progress.send_modify(|progress| {
                progress.done = done;
                progress.total = progress.total.max(done);
            });
        }
    }

    fn last_stage(&mut self, change: impl FnOnce(&mut StageRecord)) {
        if let Some(stage) = self.record.stages.last_mut() {
            change(stage);
        }
    }

    fn outcome(&self) -> WakeOutcome {
        let ended = |name| self.record.stage(name).map(|stage| stage.end);
        let saved = ended(StageName::Report) == Some(StageEnd::Done);
        match ended(StageName::Chain) {
            Some(end) if end.is_well() && saved => {
                if self.record.stages.iter().all(|stage| stage.end.is_well()) {
                    WakeOutcome::Completed
                } else {
                    WakeOutcome::Partial
                }
            }
            _ if self.budget.cancelled() && saved => WakeOutcome::Expired,
            _ => WakeOutcome::Failed,
        }
    }

    /// This wake's failure and those just before it. One that had no time to try is none.
    fn failures_in_a_row(&self) -> u32 {
        let bad = |record: &WakeRecord| {
            let tried = record.error.as_ref().map(|error| error.code) != Some(ErrorCode::InsufficientTime);
            tried
                && matches!(
                    record.outcome,
                    WakeOutcome::Failed | WakeOutcome::Expired | WakeOutcome::CutOff
                )
        };
        if !bad(&self.record) {
            return 0;
        }
        let earlier = self
            .keep
            .history
            .read()
            .into_iter()
            .filter(|record| record.id < self.record.id);
        let earlier = earlier.take_while(bad).count();
        u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn write(&self) {
        if let Err(error) = self.keep.history.write(&self.record) {
            // A wake that cannot be recorded is still worth doing.
            tracing::error!(detail = error.detail(), "wake record not written");
        }
    }
}

fn end_of(did: Did) -> StageEnd {
    match did {
        Did::All => StageEnd::Done,
        Did::Nothing => StageEnd::NothingToDo,
        Did::Held => StageEnd::StillHolds,
    }
}

fn called() -> Error {
    Error::new(ErrorCode::Cancelled, "the time was called")
}

/// How many channels are there that were not, are gone, or changed.
fn moved(before: &Channels, after: &Channels) -> u32 {
    let changed = after
        .iter()
        .filter(|(id, state)| before.get(*id) != Some(state))
        .count();
    let gone = before.keys().filter(|id| !after.contains_key(*id)).count();
    u32::try_from(changed + gone).unwrap_or(u32::MAX)
}
