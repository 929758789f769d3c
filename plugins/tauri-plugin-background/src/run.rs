//! The life of a run, from launch to completion, as a state machine without effects.
//!
//! Owns the promises: every launch is completed exactly once; none later than [`WATCHDOG`] after time was called; the
//! next request is submitted before anything else; no handler is started twice, or after its run was completed.
//! Does not own threads, clocks or the system: the moment comes with each input, and effects are returned as data.
//!
//! ```text
//! launched --no handler--> waiting --handler attached--> running --finished--> completed
//!     |                       +--HANDLER_WAIT, or time called--> completed        |
//!     +--handler--> running --deadline, or time called--> expiring --finished, or WATCHDOG--> completed
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::config::Config;
use crate::models::{ActiveRun, LaunchReason, Outcome, RunEnd, RunRecord, TaskKind};
use crate::policy::next_delay;

/// How long a run may go on after time was called. iOS ends the app some 5 seconds after the expiration handler.
pub const WATCHDOG: Duration = Duration::from_secs(3);

/// How long a launch waits for the app to attach its handler. An app that needs longer to start has most of a refresh
/// grant behind it.
pub const HANDLER_WAIT: Duration = Duration::from_secs(10);

/// Names one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// A launch by the scheduler, under the number it gave.
    Scheduler(u64),
    /// A launch by the person, under a number of ours.
    Person(u64),
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A task was launched.
    Launched {
        /// The launch.
        token: Token,
        /// The task's identifier.
        id: String,
        /// Who asked.
        reason: LaunchReason,
    },
    /// The app attached its handler.
    HandlerAttached,
    /// The handler returned.
    Finished {
        /// The launch.
        token: Token,
        /// Its answer.
        outcome: Outcome,
    },
    /// The handler panicked, or could not be started.
    Panicked {
        /// The launch.
        token: Token,
    },
    /// The system called time.
    Expired {
        /// The launch.
        token: Token,
    },
    /// Time went by; see [`Machine::next_tick`].
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the system for the task's next run.
    SubmitNext {
        /// The task.
        id: String,
        /// Not before this time has passed.
        delay: Duration,
    },
    /// Start the handler.
    Start {
        /// The launch.
        token: Token,
        /// The run as it stands.
        run: ActiveRun,
        /// When it should be done.
        deadline: Instant,
    },
    /// Tell the handler to stop.
    Cancel {
        /// The launch.
        token: Token,
    },
    /// Tell the system that the run is over.
    Complete {
        /// The launch.
        token: Token,
        /// Whether the task did its work.
        success: bool,
    },
    /// Keep the row of a completed run.
    Record(RunRecord),
    /// A launch of an undeclared task, or under a token in use. Nothing of ours runs.
    Reject {
        /// The launch.
        token: Token,
    },
}

/// All runs under way.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    handler_attached: bool,
    runs: BTreeMap<Token, Run>,
    last_run: u64,
    failures: BTreeMap<String, u32>,
}

#[derive(Debug)]
struct Run {
    number: u64,
    id: String,
    kind: TaskKind,
    reason: LaunchReason,
    launched: Moment,
    deadline: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Expiring { since: Instant },
}

impl Machine {
    /// No run is under way, no handler attached.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            handler_attached: false,
            runs: BTreeMap::new(),
            last_run: 0,
            failures: BTreeMap::new(),
        }
    }

    /// Whether the app attached its handler.
    pub fn handler_attached(&self) -> bool {
        self.handler_attached
    }

    /// The runs under way, oldest first.
    pub fn active(&self) -> Vec<ActiveRun> {
        let mut active: Vec<_> = self.runs.values().map(Run::describe).collect();
        active.sort_by_key(|run| run.run);
        active
    }

    /// The launch of a task that is under way, if there is one: the oldest.
    pub fn token_of(&self, id: &str) -> Option<Token> {
        self.runs
            .iter()
            .filter(|(_, run)| run.id == id)
            .min_by_key(|(_, run)| run.number)
            .map(|(token, _)| *token)
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
            Input::HandlerAttached => {
                self.handler_attached = true;
                for (token, run) in &mut self.runs {
                    if run.phase == Phase::Waiting {
                        effects.push(run.start(*token));
                    }
                }
            }
            Input::Finished { token, outcome } => {
                self.complete(now, token, outcome.result.into(), outcome.next_in, &mut effects);
            }
            Input::Panicked { token } => self.complete(now, token, RunEnd::Panicked, None, &mut effects),
            Input::Expired { token } => self.call_time(now, token, &mut effects),
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
        let Some(task) = self.config.task(&id) else {
            effects.push(Effect::Reject { token });
            return;
        };
        if self.runs.contains_key(&token) {
            effects.push(Effect::Reject { token });
            return;
        }
        // The next request comes first: whatever befalls this run, the chain of runs does not break.
        effects.push(Effect::SubmitNext {
            delay: next_delay(task, None, self.failures_of(&id)),
            id: id.clone(),
        });
        self.last_run += 1;
        let mut run = Run {
            number: self.last_run,
            id,
            kind: task.kind,
            reason,
            launched: now,
            deadline: now.instant + task.soft_budget(),
            phase: Phase::Waiting,
        };
        if self.handler_attached {
            effects.push(run.start(token));
        }
        self.runs.insert(token, run);
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.next_tick() <= now.instant)
            .map(|(token, run)| (*token, run.phase))
            .collect();
        for (token, phase) in due {
            match phase {
                Phase::Waiting => self.complete(now, token, RunEnd::NoHandler, None, effects),
                Phase::Running => self.call_time(now, token, effects),
                Phase::Expiring { .. } => self.complete(now, token, RunEnd::Overran, None, effects),
            }
        }
    }

    fn call_time(&mut self, now: Moment, token: Token, effects: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&token) else {
            return;
        };
        match run.phase {
            Phase::Waiting => self.complete(now, token, RunEnd::NoHandler, None, effects),
            Phase::Running => {
                run.phase = Phase::Expiring { since: now.instant };
                effects.push(Effect::Cancel { token });
            }
            // Called a second time: the first call counts.
            Phase::Expiring { .. } => {}
        }
    }

    /// The one way out. A run is taken out of the table here, so nothing can complete it again.
    fn complete(
        &mut self,
        now: Moment,
        token: Token,
        end: RunEnd,
        wish: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(run) = self.runs.remove(&token) else {
            return;
        };
        let failures = if end.is_success() {
            0
        } else {
            self.failures_of(&run.id).saturating_add(1)
        };
        self.failures.insert(run.id.clone(), failures);
        // A task in the table was found in the configuration, which never changes.
        let delay = self
            .config
            .task(&run.id)
            .map_or(Duration::ZERO, |task| next_delay(task, wish, failures));
        effects.push(Effect::SubmitNext {
            id: run.id.clone(),
            delay,
        });
        if end == RunEnd::Overran {
            tracing::warn!(
                id = run.id,
                run = run.number,
                "the handler did not stop when told to"
            );
        }
        effects.push(Effect::Complete {
            token,
            success: end.is_success(),
        });
        effects.push(Effect::Record(RunRecord {
            run: run.number,
            time_called: matches!(run.phase, Phase::Expiring { .. }),
            id: run.id,
            kind: run.kind,
            reason: run.reason,
            launched_at_ms: run.launched.unix_ms,
            finished_at_ms: now.unix_ms,
            end,
            next_at_ms: (now + delay).unix_ms,
        }));
    }

    fn failures_of(&self, id: &str) -> u32 {
        self.failures.get(id).copied().unwrap_or(0)
    }
}

impl Run {
    fn start(&mut self, token: Token) -> Effect {
        self.phase = Phase::Running;
        Effect::Start {
            token,
            run: self.describe(),
            deadline: self.deadline,
        }
    }

    fn next_tick(&self) -> Instant {
        match self.phase {
            Phase::Waiting => self.deadline.min(self.launched.instant + HANDLER_WAIT),
            Phase::Running => self.deadline,
            Phase::Expiring { since } => since + WATCHDOG,
        }
    }

    fn describe(&self) -> ActiveRun {
        ActiveRun {
            run: self.number,
            id: self.id.clone(),
            kind: self.kind,
            reason: self.reason,
            launched_at_ms: self.launched.unix_ms,
            deadline_at_ms: self.launched.unix_ms_of(self.deadline),
            started: self.phase != Phase::Waiting,
            time_called: matches!(self.phase, Phase::Expiring { .. }),
        }
    }
}
