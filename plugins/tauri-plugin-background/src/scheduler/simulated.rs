//! A simulated `BGTaskScheduler`: the same rules, on a desktop with the real clock or in tests with a virtual one.
//!
//! [`SimulatedSystem`] is the pure part: what iOS would do, given the moment. [`SimulatedScheduler`] gives it a clock, a
//! timer thread and the [`Scheduler`] trait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{LaunchSink, Request, Scheduler};
use crate::alarm::Alarm;
use crate::clock::{Clock, Moment};
use crate::config::{MAX_PROCESSING_TASKS, MAX_REFRESH_TASKS, SimulatedConfig, TaskConfig, TaskKind};
use crate::error::SchedulerError;
use crate::models::{Backend, LaunchReason, PendingRequest};

/// iOS ends an app that does not complete a task soon after its expiration handler was called.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// The state of the simulated phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// A network can be used.
    pub network: bool,
    /// The phone is on the charger.
    pub power: bool,
    /// Background App Refresh is on. Off, nothing can be submitted and nothing is granted.
    pub background_refresh: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            network: true,
            power: true,
            background_refresh: true,
        }
    }
}

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
}

/// What iOS would do. Pure: the moment is passed in.
#[derive(Debug)]
pub struct SimulatedSystem {
    config: SimulatedConfig,
    conditions: Conditions,
    tasks: BTreeMap<String, TaskKind>,
    pending: BTreeMap<String, Pending>,
    running: BTreeMap<u64, Running>,
    last_token: u64,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    earliest: Moment,
}

#[derive(Debug)]
struct Running {
    id: String,
    expires: Instant,
    phase: Phase,
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
            tasks: BTreeMap::new(),
            pending: BTreeMap::new(),
            running: BTreeMap::new(),
            last_token: 0,
        }
    }

    /// As `BGTaskScheduler.register`: once per identifier.
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
        if !self.conditions.background_refresh {
            return Err(SchedulerError::Unavailable);
        }
        if self.tasks.get(&request.id) != Some(&request.kind) {
            return Err(SchedulerError::NotPermitted(request.id.clone()));
        }
        let limit = match request.kind {
            TaskKind::Refresh => MAX_REFRESH_TASKS,
            TaskKind::Processing => MAX_PROCESSING_TASKS,
        };
        let others = self
            .pending
            .values()
            .filter(|pending| pending.request.kind == request.kind && pending.request.id != request.id)
            .count();
        if others >= limit {
            return Err(SchedulerError::TooManyPending);
        }
        let earliest = now + request.delay;
        self.pending.insert(
            request.id.clone(),
            Pending {
                request: request.clone(),
                earliest,
            },
        );
        Ok(())
    }

    /// Takes a request back.
    pub fn cancel(&mut self, id: &str) {
        self.pending.remove(id);
    }

    /// As `setTaskCompleted`. Says whether the launch was open.
    pub fn complete(&mut self, token: u64) -> bool {
        self.running.remove(&token).is_some()
    }

    /// Changes the state of the phone.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
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
        let mut events = Vec::new();
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
            let due: Vec<_> = self
                .pending
                .iter()
                .filter(|(_, pending)| {
                    pending.earliest.instant <= now.instant && self.may_run(&pending.request)
                })
                .map(|(id, _)| id.clone())
                .collect();
            for id in due {
                events.push(self.launch(now, &id));
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
            .filter(|pending| self.config.automatic && self.may_run(&pending.request))
            .map(|pending| pending.earliest.instant);
        runs.chain(requests).min()
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
        Ok(self.launch(now, id))
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
        run.expires = now.instant;
        run.phase = Phase::TimeCalled;
        Ok(SystemEvent::Expire { token: *token })
    }

    fn launch(&mut self, now: Moment, id: &str) -> SystemEvent {
        self.pending.remove(id);
        self.last_token += 1;
        let secs = match self.tasks.get(id) {
            Some(TaskKind::Processing) => self.config.processing_budget_secs,
            Some(TaskKind::Refresh) | None => self.config.refresh_budget_secs,
        };
        let expires = now.instant + Duration::from_secs(u64::from(secs));
        self.running.insert(
            self.last_token,
            Running {
                id: id.to_owned(),
                expires,
                phase: Phase::Granted,
            },
        );
        SystemEvent::Launch {
            token: self.last_token,
            id: id.to_owned(),
        }
    }

    fn may_run(&self, request: &Request) -> bool {
        self.conditions.background_refresh
            && (self.conditions.network || !request.requires_network)
            && (self.conditions.power || !request.requires_power)
            && !self.is_running(&request.id)
    }

    fn is_running(&self, id: &str) -> bool {
        self.running.values().any(|run| run.id == id)
    }
}

/// The simulated system with a clock and a timer thread of its own.
pub struct SimulatedScheduler {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// Held while events are made and delivered, so that no expiry overtakes its launch.
    delivery: Mutex<()>,
    alarm: Alarm,
    me: Weak<Self>,
}

struct Inner {
    system: SimulatedSystem,
    sink: Option<Arc<dyn LaunchSink>>,
}

impl SimulatedScheduler {
    /// Nothing is registered, no thread runs yet.
    pub fn new(config: SimulatedConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            alarm: Alarm::new("background-simulated", clock.clone()),
            clock,
            inner: Mutex::new(Inner {
                system: SimulatedSystem::new(config),
                sink: None,
            }),
            delivery: Mutex::new(()),
            me: me.clone(),
        })
    }

    /// Changes the state of the simulated phone.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().system.set_conditions(conditions);
        self.poll();
    }

    /// Does what is due by the clock. The timer thread calls this; with a virtual clock the test does.
    pub fn poll(&self) {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let events = self.lock().system.poll(self.clock.now());
        self.deliver(&delivery, events);
    }

    /// Tells the sink, with `inner` unlocked: it calls back to submit and complete. Then sets the alarm anew.
    fn deliver(&self, _in_order: &MutexGuard<'_, ()>, events: Vec<SystemEvent>) {
        let sink = self.lock().sink.clone();
        for event in events {
            match (event, &sink) {
                (SystemEvent::Launch { token, id }, Some(sink)) => {
                    sink.launched(token, &id, LaunchReason::Simulated);
                }
                (SystemEvent::Expire { token }, Some(sink)) => sink.expired(token),
                (SystemEvent::Kill { token }, _) => {
                    tracing::error!(
                        token,
                        "not completed in time after expiry; iOS would have ended the app here"
                    );
                }
                (_, None) => {}
            }
        }
        self.set_alarm();
    }

    fn set_alarm(&self) {
        let inner = self.lock();
        let me = self.me.clone();
        // Under the lock, so that an older moment cannot overwrite a newer one.
        self.alarm.set(inner.system.next_event(), move || {
            if let Some(me) = me.upgrade() {
                me.poll();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scheduler for SimulatedScheduler {
    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn register(&self, task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        let mut inner = self.lock();
        inner.system.register(task)?;
        inner.sink = Some(sink);
        Ok(())
    }

    fn submit(&self, request: &Request) -> Result<(), SchedulerError> {
        self.lock().system.submit(self.clock.now(), request)?;
        self.set_alarm();
        Ok(())
    }

    fn cancel(&self, id: &str) {
        self.lock().system.cancel(id);
        self.set_alarm();
    }

    fn complete(&self, token: u64, _success: bool) {
        if !self.lock().system.complete(token) {
            tracing::error!(
                token,
                "completed a launch that is not open; iOS may end the app for this"
            );
        }
        self.set_alarm();
    }

    fn pending(&self) -> Vec<PendingRequest> {
        self.lock().system.pending()
    }

    fn simulate_launch(&self, id: &str) -> Result<(), SchedulerError> {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let event = self.lock().system.simulate_launch(self.clock.now(), id)?;
        self.deliver(&delivery, vec![event]);
        Ok(())
    }

    fn simulate_expiration(&self, id: &str) -> Result<(), SchedulerError> {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let event = self.lock().system.simulate_expiration(self.clock.now(), id)?;
        self.deliver(&delivery, vec![event]);
        Ok(())
    }
}
