//! The simulated system with a clock and a timer thread of its own, as a [`Scheduler`].

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::conditions::Conditions;
use super::system::{SimulatedSystem, SystemEvent};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::config::{SimulatedConfig, TaskConfig, TaskKind};
use crate::device::DeviceFacts;
use crate::error::SchedulerError;
use crate::lock::lock;
use crate::models::{Backend, LaunchReason, PendingRequest};
use crate::scheduler::{LaunchSink, Request, Scheduler};

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

    /// The state of the simulated phone.
    pub fn conditions(&self) -> Conditions {
        self.lock().system.conditions()
    }

    /// Changes the state of the simulated phone.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.with(|system, now| system.set_conditions(now, conditions));
        self.poll();
    }

    /// Does what is due by the clock. The timer thread calls this; with a virtual clock the test does.
    pub fn poll(&self) {
        self.with(SimulatedSystem::poll);
    }

    /// When there is something due next, if nothing else happens before.
    pub fn next_event(&self) -> Option<Instant> {
        self.lock().system.next_event()
    }

    /// Whether a request of this kind would be granted now. It takes a process to launch: start one if there is none.
    pub fn is_due(&self, kind: TaskKind) -> bool {
        !self.lock().system.due(self.clock.now(), kind).is_empty()
    }

    /// The system has time for tasks of a kind: launches what is due, for `lasts` or the configured time.
    pub fn grant(&self, kind: TaskKind, lasts: Option<Duration>) {
        self.with(|system, now| system.grant(now, kind, lasts));
    }

    /// The app's process ended. The next one registers its tasks anew, and finds the requests of the last one pending.
    pub fn process_ended(&self) {
        let _delivery = lock(&self.delivery);
        let sink = {
            let mut inner = self.lock();
            inner.system.process_ended();
            inner.sink.take()
        };
        // Outside the lock: dropping the last owner of a sink may run code of its own.
        drop(sink);
        self.set_alarm();
    }

    /// The person swiped the app away. See [`SimulatedSystem::force_quit`].
    pub fn force_quit(&self) {
        self.process_ended();
        self.lock().system.force_quit();
    }

    /// Whether the person swiped the app away and did not open it since.
    pub fn is_force_quit(&self) -> bool {
        self.lock().system.is_force_quit()
    }

    /// How many launches are open.
    pub fn open_launches(&self) -> usize {
        self.lock().system.open_launches()
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.lock().system.refused()
    }

    /// Lets something happen to the system, and tells the sink what follows, with `inner` unlocked: it calls back to submit
    /// and complete. Then sets the alarm anew.
    fn with(&self, happens: impl FnOnce(&mut SimulatedSystem, crate::clock::Moment) -> Vec<SystemEvent>) {
        let _in_order = lock(&self.delivery);
        let (events, sink) = {
            let mut inner = self.lock();
            let events = happens(&mut inner.system, self.clock.now());
            (events, inner.sink.clone())
        };
        for event in events {
            deliver(event, sink.as_deref());
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
        lock(&self.inner)
    }
}

fn deliver(event: SystemEvent, sink: Option<&dyn LaunchSink>) {
    match (event, sink) {
        (SystemEvent::Launch { token, id }, Some(sink)) => {
            sink.launched(token, &id, LaunchReason::Simulated);
        }
        (SystemEvent::Expire { token }, Some(sink)) => sink.expired(token),
        (SystemEvent::Unlocked, Some(sink)) => sink.unlocked(),
        (SystemEvent::Changed, Some(sink)) => sink.changed(),
        (SystemEvent::Kill { token }, _) => {
            tracing::error!(
                token,
                "not completed in time after expiry; iOS would have ended the app here"
            );
        }
        (_, None) => {}
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

    fn device(&self) -> DeviceFacts {
        self.conditions().facts()
    }

    fn start_continued(&self, id: &str, _title: &str, _subtitle: &str) -> Result<(), SchedulerError> {
        self.lock().system.start_continued(self.clock.now(), id)?;
        // The launch follows from the timer thread: never from inside this call.
        self.set_alarm();
        Ok(())
    }

    fn progress(&self, token: u64, done: u64, _total: u64) {
        self.lock().system.progress(self.clock.now(), token, done);
        self.set_alarm();
    }

    fn simulate_launch(&self, id: &str) -> Result<(), SchedulerError> {
        let mut result = Ok(());
        self.with(|system, now| match system.simulate_launch(now, id) {
            Ok(event) => vec![event],
            Err(error) => {
                result = Err(error);
                Vec::new()
            }
        });
        result
    }

    fn simulate_expiration(&self, id: &str) -> Result<(), SchedulerError> {
        let mut result = Ok(());
        self.with(|system, now| match system.simulate_expiration(now, id) {
            Ok(event) => vec![event],
            Err(error) => {
                result = Err(error);
                Vec::new()
            }
        });
        result
    }
}
