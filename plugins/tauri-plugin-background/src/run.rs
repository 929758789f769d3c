//! The life of a run, from launch to completion, as a state machine without effects.
//!
//! Owns the promises: every launch is completed exactly once; none later than [`WATCHDOG`] after time was called; the
//! next request is submitted before anything else; runs of one task never overlap; no handler is started twice, after its
//! run was completed, or on a device that was not unlocked since it started.
//! Does not own threads, clocks or the system: the moment comes with each input, and effects are returned as data.
//!
//! ```text
//! launched --> waiting --device unlocked, handler ready--> running --finished------------------> completed
//!     |           |                                          +--deadline, or time called--> expiring |
//!     |           +--HANDLER_WAIT, or time called--> completed     +--finished, or WATCHDOG----> completed
//!     +--a run of the task is under way--> joined --that run's end, or time called--> completed
//! ```

mod entry;
mod signal;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use entry::{Ending, Phase, Run};
pub use signal::{Effect, Input, Token};

use crate::clock::Moment;
use crate::config::{Config, TaskConfig};
use crate::device::DeviceFacts;
use crate::models::{ActiveRun, LaunchReason, RunEnd, RunRecord, bounded};
use crate::policy::{failures_after, next_delay};

/// How long a run may go on after time was called. iOS ends the app some 5 seconds after the expiration handler.
pub const WATCHDOG: Duration = Duration::from_secs(3);

/// How long a launch waits for the device to be unlocked and the app to attach its handler. An app that needs longer to
/// start has most of a refresh grant behind it.
pub const HANDLER_WAIT: Duration = Duration::from_secs(10);

/// All runs under way.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// The tasks that have a handler.
    ready: BTreeSet<String>,
    /// Whether the device is known to have been unlocked since it started. It stays so while this process lives.
    unlocked: bool,
    runs: BTreeMap<Token, Run>,
    /// Handlers whose runs were completed without them, and that have not returned yet.
    lingering: BTreeMap<Token, String>,
    last_run: u64,
    failures: BTreeMap<String, Failures>,
}

/// Failures in a row, in this process and before it.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    in_a_row: u32,
    /// A run in this process succeeded, so what came before it does not count any more.
    forgiven: bool,
}

impl Machine {
    /// No run is under way, no handler attached, nothing known of the device.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ready: BTreeSet::new(),
            unlocked: false,
            runs: BTreeMap::new(),
            lingering: BTreeMap::new(),
            last_run: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Whether a task has its handler.
    pub fn is_ready(&self, id: &str) -> bool {
        self.ready.contains(id)
    }

    /// The runs under way, oldest first.
    pub fn active(&self) -> Vec<ActiveRun> {
        let mut active: Vec<_> = self.runs.values().map(Run::describe).collect();
        active.sort_by_key(|run| run.run);
        active
    }

    /// The launches of a task that are under way, oldest first.
    pub fn tokens_of(&self, id: &str) -> Vec<Token> {
        let mut runs: Vec<_> = self.runs.iter().filter(|(_, run)| run.id == id).collect();
        runs.sort_by_key(|(_, run)| run.number);
        runs.into_iter().map(|(token, _)| *token).collect()
    }

    /// Whether a run of a task, or what is left of one that overran, is under way.
    pub fn is_busy(&self, id: &str) -> bool {
        self.runs.values().any(|run| run.id == id) || self.lingers(id)
    }

    /// The failures in a row of a task.
    pub fn failures_of(&self, id: &str) -> u32 {
        self.failures.get(id).map_or(0, |failures| failures.in_a_row)
    }

    /// When [`Input::Tick`] is due. The promises hold if it comes no later.
    pub fn next_tick(&self) -> Option<Instant> {
        self.runs.values().map(Run::next_tick).min()
    }

    /// Takes what happened, at the moment it happened, and says what is to be done.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Launched { token, id, reason } => self.launched(now, token, id, reason, &mut effects),
            Input::Device { token, facts } => self.answered(token, facts, &mut effects),
            Input::Unlocked => {
                self.unlocked = true;
                self.start_waiting(&mut effects);
            }
            Input::Ready { ids } => {
                self.ready.extend(ids);
                self.start_waiting(&mut effects);
            }
            Input::Finished {
                token,
                outcome,
                memory,
            } => {
                let ending = Ending {
                    end: outcome.result.into(),
                    cause: outcome.cause.map(bounded),
                    wish: outcome.next_in,
                    memory,
                };
                self.returned(now, token, &ending, &mut effects);
            }
            Input::Panicked { token, cause, memory } => {
                let ending = Ending {
                    memory,
                    ..Ending::new(RunEnd::Panicked, cause)
                };
                self.returned(now, token, &ending, &mut effects);
            }
            Input::Expired { token } => self.call_time(now, token, &mut effects),
            Input::FailedBefore { failures } => self.adopt(failures),
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn launched(
        &mut self,
        now: Moment,
        token: Token,
        id: String,
        reason: LaunchReason,
        effects: &mut Vec<Effect>,
    ) {
        let host = self
            .runs
            .iter()
            .find(|(_, run)| run.id == id && !matches!(run.phase, Phase::Joined { .. }))
            .map(|(token, run)| (*token, run.number));
        let joins = matches!(token, Token::Scheduler(_));
        let in_use = self.runs.contains_key(&token) || self.lingering.contains_key(&token);
        let task = self.config.task(&id).cloned();
        let Some(task) = task.filter(|_| !in_use && (host.is_none() || joins)) else {
            effects.push(Effect::Reject { token });
            return;
        };
        // The next request comes first: whatever befalls this run, the chain of runs does not break.
        let next_at_ms = submit_next(now, &task, None, self.failures_of(&id), effects);
        self.last_run += 1;
        let run = Run {
            number: self.last_run,
            id,
            kind: task.kind,
            reason,
            launched: now,
            deadline: now.instant + task.soft_budget(),
            device: None,
            next_at_ms,
            phase: match host {
                Some((host, number)) => Phase::Joined { host, number },
                None => Phase::Waiting,
            },
        };
        self.runs.insert(token, run);
        effects.push(Effect::AskDevice { token });
    }

    fn answered(&mut self, token: Token, facts: DeviceFacts, effects: &mut Vec<Effect>) {
        // Only ever to `true`: an answer that was under way while the device was unlocked is stale.
        self.unlocked |= facts.unlocked_once == Some(true);
        if let Some(run) = self.runs.get_mut(&token)
            && run.device.is_none()
        {
            run.device = Some(facts);
            effects.push(Effect::Opened(run.row()));
        }
        self.start_waiting(effects);
    }

    fn start_waiting(&mut self, effects: &mut Vec<Effect>) {
        let startable: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.phase == Phase::Waiting && self.why_not(run).is_none())
            .map(|(token, _)| *token)
            .collect();
        for token in startable {
            if let Some(run) = self.runs.get_mut(&token) {
                run.phase = Phase::Running;
                effects.push(Effect::Start {
                    token,
                    run: run.describe(),
                    deadline: run.deadline,
                });
            }
        }
    }

    /// What a waiting run waits for, as the end that it comes to if it waits in vain.
    fn why_not(&self, run: &Run) -> Option<Ending> {
        let secs = HANDLER_WAIT.as_secs();
        if run.device.is_none() {
            return Some(Ending::new(
                RunEnd::Locked,
                "the device did not say whether it is locked",
            ));
        }
        // A person who asks holds an unlocked device.
        if !self.unlocked && run.reason != LaunchReason::Person {
            return Some(Ending::new(
                RunEnd::Locked,
                "the device was not unlocked since it started",
            ));
        }
        if !self.is_ready(&run.id) {
            let cause = format!("the app attached no handler for this task within {secs} s");
            return Some(Ending::new(RunEnd::NoHandler, cause));
        }
        if self.lingers(&run.id) {
            let cause = "the handler of an earlier run, told to stop, has not returned";
            return Some(Ending::new(RunEnd::Busy, cause));
        }
        None
    }

    fn lingers(&self, id: &str) -> bool {
        self.lingering.values().any(|lingering| lingering == id)
    }

    fn returned(&mut self, now: Moment, token: Token, ending: &Ending, effects: &mut Vec<Effect>) {
        if self.lingering.remove(&token).is_some() {
            self.start_waiting(effects);
        } else {
            self.complete(now, token, ending, effects);
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.next_tick() <= now.instant)
            .map(|(token, run)| (*token, run.phase))
            .collect();
        for (token, phase) in due {
            if let Phase::Expiring { .. } = phase {
                let cause = format!("told to stop, and still running {} s later", WATCHDOG.as_secs());
                self.complete(now, token, &Ending::new(RunEnd::Overran, cause), effects);
            } else {
                self.call_time(now, token, effects);
            }
        }
    }

    fn call_time(&mut self, now: Moment, token: Token, effects: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&token) else {
            return;
        };
        match run.phase {
            Phase::Waiting => {
                // A run that waits waits for something; if not, nobody was told to start it, and so it is.
                let ending = self.runs.get(&token).and_then(|run| self.why_not(run));
                let ending = ending.unwrap_or_else(|| Ending::new(RunEnd::NoHandler, "it was never started"));
                self.complete(now, token, &ending, effects);
            }
            Phase::Running => {
                run.phase = Phase::Expiring { since: now.instant };
                effects.push(Effect::Cancel { token });
            }
            // Called a second time: the first call counts.
            Phase::Expiring { .. } => {}
            // The run it joined goes on: the person's has nobody who would call time, the system's has its own call.
            Phase::Joined { .. } => {
                let ending = Ending::new(
                    RunEnd::Expired,
                    "time was called before the run it had joined ended",
                );
                self.complete(now, token, &ending, effects);
            }
        }
    }

    /// The one way out. Runs are taken out of the table here, so nothing can complete them again.
    fn complete(&mut self, now: Moment, token: Token, ending: &Ending, effects: &mut Vec<Effect>) {
        let Some(run) = self.runs.remove(&token) else {
            return;
        };
        let end = ending.end;
        let joined = matches!(run.phase, Phase::Joined { .. });
        // A launch that had joined did nothing of its own, so nothing of its own failed.
        if !joined {
            let failures = self.failures.entry(run.id.clone()).or_default();
            failures.in_a_row = failures_after(end, failures.in_a_row);
            failures.forgiven |= end.is_success();
        }
        // A locked device is asked again after the minimum interval, however many runs failed before.
        let failures = if end == RunEnd::Locked {
            0
        } else {
            self.failures_of(&run.id)
        };
        // Here too it comes before the completion, for whoever called time before the launch's own request was made. A task
        // in the table was found in the configuration, which never changes.
        let next_at_ms = self
            .config
            .task(&run.id)
            .and_then(|task| submit_next(now, task, ending.wish, failures, effects));
        if end == RunEnd::Overran {
            tracing::warn!(
                id = run.id,
                run = run.number,
                "the handler did not stop when told to"
            );
            self.lingering.insert(token, run.id.clone());
        }
        let followers: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, other)| matches!(other.phase, Phase::Joined { host, .. } if host == token))
            .map(|(token, _)| *token)
            .collect();
        let mut ended = vec![(token, run, ending.memory)];
        for token in followers {
            ended.extend(self.runs.remove(&token).map(|run| (token, run, None)));
        }
        let mut completions = Vec::new();
        let mut rows = Vec::new();
        for (token, run, memory) in ended {
            completions.push(Effect::Complete {
                token,
                success: end.is_success(),
            });
            let called = matches!(run.phase, Phase::Expiring { .. });
            rows.push(RunRecord {
                finished_at_ms: Some(now.unix_ms),
                end,
                cause: ending.cause.clone(),
                time_called: called || (joined && end == RunEnd::Expired),
                memory_at_end_bytes: memory,
                next_at_ms,
                ..run.row()
            });
        }
        let records = rows.iter().cloned().map(Effect::Record);
        // A row is written before the system hears of the end: it may suspend the app at once, and end it later. Not so
        // when time is up: then nothing comes before the completion.
        if end == RunEnd::Overran {
            effects.extend(completions);
            effects.extend(records);
        } else {
            effects.extend(records);
            effects.extend(completions);
        }
        effects.extend(rows.into_iter().map(Effect::Announce));
    }

    fn adopt(&mut self, earlier: BTreeMap<String, u32>) {
        for (id, count) in earlier {
            let failures = self.failures.entry(id).or_default();
            if !failures.forgiven {
                failures.in_a_row = failures.in_a_row.saturating_add(count);
            }
        }
    }
}

/// Has the next run asked for, and says for when. Continued tasks are never asked for: the person starts them.
fn submit_next(
    now: Moment,
    task: &TaskConfig,
    wish: Option<Duration>,
    failures: u32,
    effects: &mut Vec<Effect>,
) -> Option<u64> {
    if !task.is_scheduled() {
        return None;
    }
    let delay = next_delay(task, wish, failures);
    effects.push(Effect::SubmitNext {
        id: task.id.clone(),
        delay,
    });
    Some((now + delay).unix_ms)
}
