//! One wake, stage by stage, in order of worth: what does not fit is left for the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::budget::Budget;
use super::policy::{self, Stakes};
use super::record::{StageEnd, StageName, StageRecord, WakeOutcome, WakeRecord};
use super::safety::Safety;
use super::{Grant, WakeProgress, history::History};
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::meter::Meter;
use crate::node::{Checkpoint, Node, WatchNode};

/// Stages of a whole wake: all that [`StageName`] has.
const STAGES: u32 = StageName::Report as u32 + 1;

/// A wake under way.
pub struct Wake {
    budget: Budget,
    history: History,
    meter: Meter,
    progress: Option<watch::Sender<WakeProgress>>,
    record: WakeRecord,
    before: Option<Checkpoint>,
    channels_before: Channels,
}

/// What of our channels can be seen to move: usable or not, and the money on our side.
type Channels = BTreeMap<String, (bool, u64, u64)>;

impl Wake {
    /// Begins: from here on the wake is on record, whatever happens to the process.
    pub fn begin(grant: &Grant, history: History) -> Self {
        let budget = Budget::new(grant);
        let grant_ms = clock::millis(
            grant
                .deadline
                .saturating_duration_since(std::time::Instant::now()),
        );
        let record = WakeRecord::begin(
            history.next_id(),
            grant.kind,
            grant.reason,
            grant_ms,
            clock::now_ms(),
        );
        let wake = Self {
            budget,
            history,
            meter: Meter::start(),
            progress: grant.progress.clone(),
            record,
            before: None,
            channels_before: Channels::new(),
        };
        wake.write();
        wake
    }

    /// The record as it is now.
    pub fn record(&self) -> &WakeRecord {
        &self.record
    }

    /// The `open` stage: `open` gives the node, and whether it was up already.
    pub async fn open(&mut self, open: impl Future<Output = Result<(Arc<Node>, bool)>>) -> Option<Arc<Node>> {
        let opened = self.stage(StageName::Open, open).await;
        let (node, joined) = opened?;
        self.record.joined = joined;
        self.before = node.checkpoint();
        self.record.last_sync = self.before.map(|checkpoint| checkpoint.at_ms);
        self.channels_before = channels(&node);
        Some(node)
    }

    /// Whether the wallet is there and cannot be opened as a whole: then it can still be watched.
    pub fn is_unreadable(&self) -> bool {
        let open = self.record.stage(StageName::Open);
        let error = open.and_then(|stage| stage.error.as_ref());
        error.is_some_and(|error| error.code == ErrorCode::StorageCorrupt)
    }

    /// The stages of a wake in which only the monitors are up.
    pub async fn watch(&mut self, node: &WatchNode) {
        self.before = node.checkpoint();
        self.record.last_sync = self.before.map(|checkpoint| checkpoint.at_ms);
        let Some(seen) = self.stage(StageName::Chain, node.sync()).await else {
            return;
        };
        self.record.tip_height = Some(seen.height);
        self.record.last_sync = Some(seen.at_ms);
        self.record.blocks_synced = self
            .before
            .map_or(0, |before| seen.height.saturating_sub(before.height));
        let claiming = async {
            node.claim().await;
            Ok(())
        };
        self.stage(StageName::Sweep, claiming).await;
    }

    /// The stages that need a node.
    pub async fn work(&mut self, node: &Node) {
        let chain = self.stage(StageName::Chain, node.sync()).await;
        if let Some(checkpoint) = node.checkpoint() {
            self.record.tip_height = Some(checkpoint.height);
        }
        if chain.is_none() {
            // Without the chain nothing else is safe to do: no peer must see, and no sweep may use, an old state.
            return;
        }
        if let Some(now) = node.checkpoint() {
            self.record.last_sync = Some(now.at_ms);
            self.record.blocks_synced = self
                .before
                .map_or(0, |before| now.height.saturating_sub(before.height));
        }
        if node.wanted_peers().is_empty() {
            self.note(
                StageName::Peers,
                self.budget.elapsed(),
                StageEnd::NothingToDo,
                None,
            );
        } else {
            let peers = async {
                loop {
                    let missing = node.connect_peers().await;
                    node.reestablished().await;
                    if missing > 0 {
                        let words = format!("{missing} peers not connected");
                        return Err(Error::new(ErrorCode::PeerUnreachable, words));
                    }
                    if node.peers_connected() {
                        return Ok(());
                    }
                    // LDK hangs up on everybody when it finds that the process was held up for a second.
                }
            };
            self.stage(StageName::Peers, peers).await;
        }
        let events = async {
            node.settled().await;
            node.reconcile_payments()
        };
        self.stage(StageName::Events, events).await;
        let sweep = async {
            node.sweep().await;
            Ok(())
        };
        self.stage(StageName::Sweep, sweep).await;
        self.record.channels_updated = moved(&self.channels_before, &channels(node));
    }

    /// The `report` stage and the end: `put_away` writes everything down (and stops the node if nobody else needs it).
    /// `safety` is what is known now, by this wake or by an earlier one.
    pub async fn finish(
        mut self,
        node: Option<Arc<Node>>,
        safety: Safety,
        put_away: impl Future<Output = Result<()>>,
    ) -> WakeRecord {
        let mut stakes = node.as_ref().map(|node| stakes(node)).unwrap_or_default();
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

        let usage = self.meter.usage();
        self.record.bytes_in = usage.bytes_in;
        self.record.bytes_out = usage.bytes_out;
        self.record.peak_memory = usage.peak_memory;
        self.record.cpu_ms = clock::millis(usage.cpu);
        self.record.outcome = self.outcome();
        self.record.error = self
            .record
            .stages
            .iter()
            .filter(|stage| stage.end != StageEnd::Done)
            .find_map(|stage| stage.error.clone());
        let now = clock::now_ms();
        let failures = self.failures_in_a_row();
        let left = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(now));
        stakes.left = self.record.safe_until_ms.map(left);
        let wait = policy::next_wake(self.record.outcome, failures, stakes);
        self.record.next_at_ms = Some(now.saturating_add(clock::millis(wait)));
        self.record.finished_at_ms = Some(now);
        self.record.sync_duration = clock::millis(self.budget.elapsed());
        self.write();
        self.record
    }

    /// Runs a stage within its allowance. Its future may be dropped at any await.
    async fn stage<T>(&mut self, name: StageName, work: impl Future<Output = Result<T>>) -> Option<T> {
        let started = self.budget.elapsed();
        let Some(time) = self.budget.for_stage(name) else {
            let (end, error) = if self.budget.cancelled() {
                (
                    StageEnd::Cancelled,
                    Error::new(ErrorCode::Cancelled, "the time was called"),
                )
            } else {
                let left = self.budget.left().as_millis();
                (
                    StageEnd::Skipped,
                    Error::new(ErrorCode::InsufficientTime, format!("{left} ms left for work")),
                )
            };
            self.note(name, started, end, Some(error));
            return None;
        };
        let (end, error, value) = tokio::select! {
            biased;
            () = self.budget.called() => {
                (StageEnd::Cancelled, Some(Error::new(ErrorCode::Cancelled, "the time was called")), None)
            }
            done = tokio::time::timeout(time, work) => match done {
                Ok(Ok(value)) => (StageEnd::Done, None, Some(value)),
                Ok(Err(error)) => (StageEnd::Failed, Some(error), None),
                Err(_) => {
                    let words = format!("{name:?} did not end within {} ms", time.as_millis());
                    (StageEnd::TimedOut, Some(Error::new(ErrorCode::SyncTimeout, words)), None)
                }
            },
        };
        self.note(name, started, end, error);
        value
    }

    fn note(&mut self, name: StageName, started: Duration, end: StageEnd, error: Option<Error>) {
        let duration = self.budget.elapsed().saturating_sub(started);
        if let Some(error) = &error {
            tracing::warn!(stage = ?name, ?end, code = ?error.code(), detail = error.detail(), "stage");
        } else {
            tracing::debug!(stage = ?name, ?end, ms = clock::millis(duration), "stage");
        }
        self.record.stages.push(StageRecord {
            name,
            started_ms: clock::millis(started),
            duration_ms: clock::millis(duration),
            end,
            error: error.map(|error| error.report()),
        });
        if let Some(progress) = &self.progress {
            progress.send_replace(WakeProgress {
                done: u32::try_from(self.record.stages.len()).unwrap_or(u32::MAX),
                total: STAGES,
            });
        }
    }

    fn outcome(&self) -> WakeOutcome {
        let ended = |name| self.record.stage(name).map(|stage| stage.end);
        let saved = ended(StageName::Report) == Some(StageEnd::Done);
        match ended(StageName::Chain) {
            Some(StageEnd::Done) if saved => {
                let all = self
                    .record
                    .stages
                    .iter()
                    .all(|stage| matches!(stage.end, StageEnd::Done | StageEnd::NothingToDo));
                if all {
                    WakeOutcome::Completed
                } else {
                    WakeOutcome::Partial
                }
            }
            _ if self.budget.cancelled() && saved => WakeOutcome::Expired,
            _ => WakeOutcome::Failed,
        }
    }

    /// This wake's failure and those just before it.
    fn failures_in_a_row(&self) -> u32 {
        let bad = |outcome| {
            matches!(
                outcome,
                WakeOutcome::Failed | WakeOutcome::Expired | WakeOutcome::CutOff
            )
        };
        if !bad(self.record.outcome) {
            return 0;
        }
        let earlier = self
            .history
            .read()
            .into_iter()
            .filter(|record| record.id < self.record.id);
        let earlier = earlier.take_while(|record| bad(record.outcome)).count();
        u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn write(&self) {
        if let Err(error) = self.history.write(&self.record) {
            // A wake that cannot be recorded is still worth doing.
            tracing::error!(detail = error.detail(), "wake record not written");
        }
    }
}

fn channels(node: &Node) -> Channels {
    let channels = node.channels().into_iter();
    channels
        .map(|c| (c.channel_id, (c.usable, c.outbound_msat, c.inbound_msat)))
        .collect()
}

fn stakes(node: &Node) -> Stakes {
    Stakes {
        channels: node.channels().len(),
        moving: node.money_moves(),
        left: None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_came_went_or_changed_have_moved() {
        let channels = |list: &[(&str, bool, u64)]| -> Channels {
            list.iter()
                .map(|(id, usable, out)| ((*id).to_owned(), (*usable, *out, 0)))
                .collect()
        };
        let before = channels(&[
            ("same", true, 1),
            ("up", false, 1),
            ("paid", true, 5),
            ("gone", true, 1),
        ]);
        let after = channels(&[
            ("same", true, 1),
            ("up", true, 1),
            ("paid", true, 4),
            ("new", false, 0),
        ]);
        assert_eq!(moved(&before, &after), 4);
        assert_eq!(moved(&after, &after), 0);
    }
}
