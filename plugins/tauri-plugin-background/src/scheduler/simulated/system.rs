//! The rules of `BGTaskScheduler`: what iOS would do, given the moment. No clock, no thread, no chance.
//!
//! Owns what Apple documents. *When* iOS finds the time for an app is not documented: by default a request is granted as
//! soon as the rules allow it, and a caller with a model of its own (see [`super::life`]) calls [`SimulatedSystem::grant`].
//!
//! Sources, where no other is named: the reference of `BGTaskScheduler`, `BGProcessingTask` and
//! `BGContinuedProcessingTask` at developer.apple.com, and their headers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::conditions::Conditions;
use crate::clock::Moment;
use crate::config::{MAX_PROCESSING_TASKS, MAX_REFRESH_TASKS, SimulatedConfig, TaskConfig, TaskKind};
use crate::device::BackgroundRefresh;
use crate::error::SchedulerError;
use crate::models::PendingRequest;
use crate::scheduler::Request;

/// iOS ends an app that does not complete a task soon after its expiration handler was called. Apple names no number; some
/// 5 seconds is what apps report.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// A continued task whose progress stands still is ended. Apple names no number; about 30 seconds without a network is
/// what a developer measured (developer.apple.com/forums/thread/808756). There is no other limit (thread/818623).
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What the simulated system does to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemEvent {
    /// Launches a task.
    Launch {
        /// Names the launch.
        token: u64,
        /// The task.
        id: String,
    },
    /// Calls time on a launch.
    Expire {
        /// The launch.
        token: u64,
    },
    /// Would end the app, because the launch was not completed in time.
    Kill {
        /// The launch.
        token: u64,
    },
    /// The phone was unlocked for the first time since it started.
    Unlocked,
    /// The state of the phone changed.
    Changed,
}

/// What iOS would do. Pure: the moment is passed in.
#[derive(Debug)]
pub struct SimulatedSystem {
    config: SimulatedConfig,
    conditions: Conditions,
    /// The person swiped the app away, and did not open it since.
    force_quit: bool,
    tasks: BTreeMap<String, TaskKind>,
    pending: BTreeMap<String, Pending>,
    running: BTreeMap<u64, Running>,
    /// Launches that were promised and not told yet.
    promised: Vec<(Instant, SystemEvent)>,
    last_token: u64,
    refused: u64,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    earliest: Moment,
}

#[derive(Debug)]
struct Running {
    id: String,
    kind: TaskKind,
    expires: Instant,
    phase: Phase,
    done: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Granted,
    TimeCalled,
    Condemned,
}

impl SimulatedSystem {
    /// A phone in the best of conditions, on which nothing was submitted.
    pub fn new(config: SimulatedConfig) -> Self {
        Self {
            config,
            conditions: Conditions::default(),
            force_quit: false,
            tasks: BTreeMap::new(),
            pending: BTreeMap::new(),
            running: BTreeMap::new(),
            promised: Vec::new(),
            last_token: 0,
            refused: 0,
        }
    }

    /// As `BGTaskScheduler.register`: once per identifier and process.
    ///
    /// # Errors
    /// `AlreadyRegistered`, for which iOS would end the app.
    pub fn register(&mut self, task: &TaskConfig) -> Result<(), SchedulerError> {
        if self.tasks.insert(task.id.clone(), task.kind).is_some() {
            return Err(SchedulerError::AlreadyRegistered(task.id.clone()));
        }
        Ok(())
    }

    /// As `BGTaskScheduler.submit`: replaces the pending request of the same identifier.
    ///
    /// # Errors
    /// `Unavailable`, `NotPermitted`, `TooManyPending`.
    pub fn submit(&mut self, now: Moment, request: &Request) -> Result<(), SchedulerError> {
        let taken = self.may_submit(request);
        if taken.is_err() {
            self.refused += 1;
        } else {
            let pending = Pending {
                request: request.clone(),
                earliest: now + request.delay,
            };
            self.pending.insert(request.id.clone(), pending);
        }
        taken
    }

    fn may_submit(&self, request: &Request) -> Result<(), SchedulerError> {
        // Error code 1: "the user has disabled background refresh in settings".
        if self.conditions.background_refresh != BackgroundRefresh::Available {
            return Err(SchedulerError::Unavailable);
        }
        // Error code 3; iOS throws past us for a task without a launch handler.
        if self.tasks.get(&request.id) != Some(&request.kind) {
            return Err(SchedulerError::NotPermitted(request.id.clone()));
        }
        let limit = match request.kind {
            TaskKind::Refresh => MAX_REFRESH_TASKS,
            TaskKind::Processing => MAX_PROCESSING_TASKS,
            // Only the person starts these.
            TaskKind::Continued => return Err(SchedulerError::NotPermitted(request.id.clone())),
        };
        let others = self
            .pending
            .values()
            .filter(|pending| pending.request.kind == request.kind && pending.request.id != request.id)
            .count();
        if others >= limit {
            return Err(SchedulerError::TooManyPending);
        }
        Ok(())
    }

    /// How many launches are open.
    pub fn open_launches(&self) -> usize {
        self.running.len()
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes a request back.
    pub fn cancel(&mut self, id: &str) {
        self.pending.remove(id);
    }

    /// As `setTaskCompleted`. Says whether the launch was open.
    pub fn complete(&mut self, token: u64) -> bool {
        self.running.remove(&token).is_some()
    }

    /// The state of the phone.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// Changes the state of the phone.
    ///
    /// "The system terminates any background processing tasks running when the user starts using the device. Background
    /// refresh tasks are not affected." Opening the app ends what a force-quit did.
    pub fn set_conditions(&mut self, now: Moment, conditions: Conditions) -> Vec<SystemEvent> {
        let before = std::mem::replace(&mut self.conditions, conditions);
        if conditions.foreground {
            self.force_quit = false;
        }
        let mut events = Vec::new();
        if conditions.unlocked_once && !before.unlocked_once {
            events.push(SystemEvent::Unlocked);
        }
        if conditions != before {
            events.push(SystemEvent::Changed);
        }
        if conditions.in_use {
            for (token, run) in &mut self.running {
                if run.kind == TaskKind::Processing && run.phase == Phase::Granted {
                    run.call_time(now);
                    events.push(SystemEvent::Expire { token: *token });
                }
            }
        }
        events
    }

    /// The app's process ended, whoever ended it. Its launches and registrations end with it; its requests are the system's
    /// and stay.
    pub fn process_ended(&mut self) {
        self.running.clear();
        self.promised.clear();
        self.tasks.clear();
    }

    /// The person swipes the app away: the process ends, and nothing is launched until they open the app (Apple's engineer
    /// in forums thread/685525; WWDC 2020, session 10063, "app switcher").
    ///
    /// The requests stay: with iOS 18 developers saw processing tasks run after a force-quit, and Apple calls that
    /// intended (thread/793189). The worse case is simulated: none runs.
    pub fn force_quit(&mut self) {
        self.process_ended();
        self.conditions.foreground = false;
        self.force_quit = true;
    }

    /// Whether the person swiped the app away and did not open it since.
    pub fn is_force_quit(&self) -> bool {
        self.force_quit
    }

    /// What is pending.
    pub fn pending(&self) -> Vec<PendingRequest> {
        let row = |(id, pending): (&String, &Pending)| PendingRequest {
            id: id.clone(),
            earliest_at_ms: pending.earliest.unix_ms,
        };
        self.pending.iter().map(row).collect()
    }

    /// What happens until and at `now`.
    pub fn poll(&mut self, now: Moment) -> Vec<SystemEvent> {
        let mut events: Vec<_> = self.promised.drain(..).map(|(_, event)| event).collect();
        for (token, run) in &mut self.running {
            if run.phase == Phase::Granted && run.expires <= now.instant {
                run.phase = Phase::TimeCalled;
                events.push(SystemEvent::Expire { token: *token });
            }
            if run.phase == Phase::TimeCalled && run.expires + KILL_AFTER <= now.instant {
                run.phase = Phase::Condemned;
                events.push(SystemEvent::Kill { token: *token });
            }
        }
        if self.config.automatic {
            for kind in [TaskKind::Processing, TaskKind::Refresh] {
                events.extend(self.grant(now, kind, None));
            }
        }
        events
    }

    /// When [`SimulatedSystem::poll`] has something to say next, if nothing else happens before.
    pub fn next_event(&self) -> Option<Instant> {
        let runs = self.running.values().filter_map(|run| match run.phase {
            Phase::Granted => Some(run.expires),
            Phase::TimeCalled => Some(run.expires + KILL_AFTER),
            Phase::Condemned => None,
        });
        let requests = self
            .pending
            .values()
            .filter(|pending| {
                self.config.automatic
                    && self.tasks.contains_key(&pending.request.id)
                    && self.may_run(&pending.request)
            })
            .map(|pending| pending.earliest.instant);
        let promised = self.promised.iter().map(|(at, _)| *at);
        runs.chain(requests).chain(promised).min()
    }

    /// The requests of a kind that would be granted now, in a process that registered them.
    pub fn due(&self, now: Moment, kind: TaskKind) -> Vec<String> {
        self.pending
            .iter()
            .filter(|(_, pending)| {
                pending.request.kind == kind
                    && pending.earliest.instant <= now.instant
                    && self.may_run(&pending.request)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The system has time for tasks of a kind: launches every one that is due and allowed, for `lasts` or the configured
    /// time.
    pub fn grant(&mut self, now: Moment, kind: TaskKind, lasts: Option<Duration>) -> Vec<SystemEvent> {
        let mut due = self.due(now, kind);
        due.retain(|id| self.tasks.contains_key(id));
        due.iter().map(|id| self.launch(now, id, lasts)).collect()
    }

    /// Starts a continued task, as `BGContinuedProcessingTaskRequest` with the strategy `fail`. Its launch comes with the
    /// next poll.
    ///
    /// # Errors
    /// `NotPermitted` for a task that is not registered as one, `AlreadyRunning`, `Unavailable` from the background: only a
    /// person's action in the foreground may start one.
    pub fn start_continued(&mut self, now: Moment, id: &str) -> Result<(), SchedulerError> {
        if self.tasks.get(id) != Some(&TaskKind::Continued) {
            return Err(SchedulerError::NotPermitted(id.to_owned()));
        }
        if self.is_running(id) {
            return Err(SchedulerError::AlreadyRunning(id.to_owned()));
        }
        if !self.conditions.foreground {
            return Err(SchedulerError::Unavailable);
        }
        let launch = self.launch(now, id, Some(STALLED_AFTER));
        self.promised.push((now.instant, launch));
        Ok(())
    }

    /// As `BGContinuedProcessingTask.progress`: a task that moves is left alone.
    pub fn progress(&mut self, now: Moment, token: u64, done: u64) {
        if let Some(run) = self.running.get_mut(&token)
            && run.kind == TaskKind::Continued
            && run.phase == Phase::Granted
            && run.done != done
        {
            run.done = done;
            run.expires = now.instant + STALLED_AFTER;
        }
    }

    /// Launches a registered task now, whatever the conditions.
    ///
    /// # Errors
    /// `NotPermitted` for a task that is not registered, `AlreadyRunning`.
    pub fn simulate_launch(&mut self, now: Moment, id: &str) -> Result<SystemEvent, SchedulerError> {
        if !self.tasks.contains_key(id) {
            return Err(SchedulerError::NotPermitted(id.to_owned()));
        }
        if self.is_running(id) {
            return Err(SchedulerError::AlreadyRunning(id.to_owned()));
        }
        Ok(self.launch(now, id, None))
    }

    /// Calls time on a task now.
    ///
    /// # Errors
    /// `NotRunning`, also when time was called already.
    pub fn simulate_expiration(&mut self, now: Moment, id: &str) -> Result<SystemEvent, SchedulerError> {
        let run = self
            .running
            .iter_mut()
            .find(|(_, run)| run.id == id && run.phase == Phase::Granted);
        let (token, run) = run.ok_or_else(|| SchedulerError::NotRunning(id.to_owned()))?;
        run.call_time(now);
        Ok(SystemEvent::Expire { token: *token })
    }

    fn launch(&mut self, now: Moment, id: &str, lasts: Option<Duration>) -> SystemEvent {
        self.pending.remove(id);
        self.last_token += 1;
        // Whoever launches has looked the task up.
        let kind = self.tasks.get(id).copied().unwrap_or(TaskKind::Refresh);
        let configured = match kind {
            TaskKind::Refresh => self.config.refresh_budget_secs,
            TaskKind::Processing | TaskKind::Continued => self.config.processing_budget_secs,
        };
        let lasts = lasts.unwrap_or_else(|| Duration::from_secs(u64::from(configured)));
        let run = Running {
            id: id.to_owned(),
            kind,
            expires: now.instant + lasts,
            phase: Phase::Granted,
            done: 0,
        };
        self.running.insert(self.last_token, run);
        SystemEvent::Launch {
            token: self.last_token,
            id: id.to_owned(),
        }
    }

    fn may_run(&self, request: &Request) -> bool {
        let phone = &self.conditions;
        let kind = match request.kind {
            // Background App Refresh is "disabled automatically in low-power mode"
            // (`UIApplication.backgroundRefreshStatus`). A refresh request knows no conditions.
            TaskKind::Refresh => !phone.low_power,
            // "Processing tasks run only when the device is idle." Both conditions only where the request names them.
            TaskKind::Processing => {
                !phone.in_use
                    && (phone.online() || !request.requires_network)
                    && (phone.power || !request.requires_power)
            }
            TaskKind::Continued => false,
        };
        kind && phone.background_refresh == BackgroundRefresh::Available
            && !self.force_quit
            && !self.is_running(&request.id)
    }

    fn is_running(&self, id: &str) -> bool {
        self.running.values().any(|run| run.id == id)
    }
}

impl Running {
    fn call_time(&mut self, now: Moment) {
        self.expires = now.instant;
        self.phase = Phase::TimeCalled;
    }
}
