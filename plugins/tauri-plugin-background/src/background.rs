//! The running plugin: joins the state machine with the scheduler, the app's handler, the clock and threads.
//!
//! Owns the effects. Decides nothing about runs: that is [`crate::run`].

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::config::{Config, TaskConfig, TaskKind};
use crate::error::{Error, Result, SchedulerError};
use crate::models::{ActiveRun, Launch, LaunchReason, Outcome, RunEvent, RunRecord, Status, TaskStatus};
use crate::run::{Effect, Input, Machine, Token};
use crate::scheduler::{LaunchSink, Request, Scheduler};

/// Completed runs kept for [`Background::history`]: about a week of a phone's refresh grants.
const HISTORY_LIMIT: usize = 200;

type Handler = Arc<dyn Fn(Launch) -> Outcome + Send + Sync>;
type Listener = Arc<dyn Fn(&RunEvent) + Send + Sync>;

/// The background work of an app. One per process; from [`crate::BackgroundExt::background`].
pub struct Background {
    core: Arc<Core>,
}

impl Background {
    /// Registers the declared tasks with the scheduler, synchronously: on iOS this must happen before
    /// `UIApplicationMain`. Touches no file, Keychain or socket, and starts no thread.
    ///
    /// # Errors
    /// [`Error::Config`] for a declaration that iOS would refuse. A task that the system refuses is no error here: it
    /// shows in [`Background::status`].
    pub fn new(config: Config, scheduler: Arc<dyn Scheduler>, clock: Arc<dyn Clock>) -> Result<Self> {
        config.validate()?;
        let core = Arc::new_cyclic(|me| Core {
            alarm: Alarm::new("background-deadlines", clock.clone()),
            state: Mutex::new(State::new(Machine::new(config.clone()))),
            config,
            scheduler,
            clock,
            listeners: Mutex::default(),
            me: me.clone(),
        });
        for task in &core.config.tasks {
            let sink = Arc::new(Sink(Arc::downgrade(&core)));
            if let Err(error) = core.scheduler.register(task, sink) {
                tracing::warn!(id = task.id, %error, "task not registered");
                core.lock().registration_errors.insert(task.id.clone(), error);
            }
        }
        Ok(Self { core })
    }

    /// Gives the plugin the work to do. Launches that waited for it start now, each on a thread of its own; every task
    /// without a pending request is asked for, its minimum interval from now.
    ///
    /// # Errors
    /// [`Error::AlreadyAttached`] the second time.
    pub fn attach(&self, handler: impl Fn(Launch) -> Outcome + Send + Sync + 'static) -> Result<()> {
        {
            let mut state = self.core.lock();
            if state.handler.is_some() {
                return Err(Error::AlreadyAttached);
            }
            state.handler = Some(Arc::new(handler));
        }
        let pending = self.core.scheduler.pending();
        for task in &self.core.config.tasks {
            if !pending.iter().any(|request| request.id == task.id) {
                // A refusal is kept for the status; the app cannot do anything about it here.
                let _refusal = self.core.submit(task, task.min_interval());
            }
        }
        self.core.feed(Input::HandlerAttached);
        Ok(())
    }

    /// Asks the system for a run of a task, not before `delay` has passed, in place of the pending request.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], or why the system refuses.
    pub fn schedule(&self, id: &str, delay: Duration) -> Result<()> {
        let task = self.core.task(id)?;
        Ok(self.core.submit(task, delay)?)
    }

    /// Takes the pending request of a task back. A run that is under way goes on, and will ask for its next run.
    ///
    /// # Errors
    /// [`Error::UnknownTask`].
    pub fn cancel(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        self.core.scheduler.cancel(&task.id);
        Ok(())
    }

    /// The identifiers of the declared tasks of a kind.
    pub fn tasks_of(&self, kind: TaskKind) -> impl Iterator<Item = &str> {
        self.core
            .config
            .tasks
            .iter()
            .filter(move |task| task.kind == kind)
            .map(|task| task.id.as_str())
    }

    /// Where everything stands.
    pub fn status(&self) -> Status {
        let pending = self.core.scheduler.pending();
        let state = self.core.lock();
        let tasks = self.core.config.tasks.iter().map(|task| TaskStatus {
            id: task.id.clone(),
            kind: task.kind,
            min_interval_minutes: u32::try_from(task.min_interval().as_secs() / 60).unwrap_or(u32::MAX),
            soft_budget_secs: u32::try_from(task.soft_budget().as_secs()).unwrap_or(u32::MAX),
            requires_network: task.requires_network,
            requires_power: task.requires_power,
            registration_error: state.registration_errors.get(&task.id).map(ToString::to_string),
            submit_error: state.submit_errors.get(&task.id).map(ToString::to_string),
            earliest_at_ms: pending
                .iter()
                .find(|request| request.id == task.id)
                .map(|r| r.earliest_at_ms),
        });
        Status {
            backend: self.core.scheduler.backend(),
            handler_attached: state.machine.handler_attached(),
            tasks: tasks.collect(),
            active: state.machine.active(),
            last: state.history.back().cloned(),
        }
    }

    /// The completed runs of this process, newest first, at most 200. In memory only: on disk nothing is kept yet, and a
    /// process that iOS launched anew starts from none.
    pub fn history(&self) -> Vec<RunRecord> {
        self.core.lock().history.iter().rev().cloned().collect()
    }

    /// Runs a task now because the person asked, in the foreground. The system has no part in it.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], [`Error::NoHandler`], or `AlreadyRunning`.
    pub fn wake_now(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        let effects = {
            let mut state = self.core.lock();
            if !state.machine.handler_attached() {
                return Err(Error::NoHandler);
            }
            if state.machine.token_of(id).is_some() {
                return Err(SchedulerError::AlreadyRunning(id.to_owned()).into());
            }
            state.last_person_token += 1;
            let token = Token::Person(state.last_person_token);
            let launched = Input::Launched {
                token,
                id: task.id.clone(),
                reason: LaunchReason::Person,
            };
            state.machine.handle(self.core.clock.now(), launched)
        };
        self.core.perform(effects);
        Ok(())
    }

    /// Has the simulated scheduler launch a task now.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], or where launches cannot be simulated, or the task runs already.
    pub fn simulate_launch(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        if self.core.lock().machine.token_of(id).is_some() {
            return Err(SchedulerError::AlreadyRunning(id.to_owned()).into());
        }
        Ok(self.core.scheduler.simulate_launch(&task.id)?)
    }

    /// Calls time on the run of a task, as the system would.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], or `NotRunning`.
    pub fn simulate_expiration(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        let token = self.core.lock().machine.token_of(id);
        match token {
            None => Err(SchedulerError::NotRunning(id.to_owned()).into()),
            // The scheduler knows nothing of a run that the person asked for; time is called on it here.
            Some(token @ Token::Person(_)) => {
                self.core.feed(Input::Expired { token });
                Ok(())
            }
            Some(Token::Scheduler(_)) => Ok(self.core.scheduler.simulate_expiration(&task.id)?),
        }
    }

    /// Calls `listener` at each launch and completion, on the thread where it happens: be brief.
    pub fn on_event(&self, listener: impl Fn(&RunEvent) + Send + Sync + 'static) {
        self.core
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(listener));
    }

    /// Does what is due by the clock. The timer thread calls this; with a virtual clock the test does.
    pub fn tick(&self) {
        self.core.feed(Input::Tick);
    }
}

struct Core {
    config: Config,
    scheduler: Arc<dyn Scheduler>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    listeners: Mutex<Vec<Listener>>,
    alarm: Alarm,
    me: Weak<Self>,
}

struct State {
    machine: Machine,
    handler: Option<Handler>,
    cancels: BTreeMap<Token, CancellationToken>,
    history: VecDeque<RunRecord>,
    registration_errors: BTreeMap<String, SchedulerError>,
    submit_errors: BTreeMap<String, SchedulerError>,
    last_person_token: u64,
}

impl State {
    fn new(machine: Machine) -> Self {
        Self {
            machine,
            handler: None,
            cancels: BTreeMap::new(),
            history: VecDeque::new(),
            registration_errors: BTreeMap::new(),
            submit_errors: BTreeMap::new(),
            last_person_token: 0,
        }
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<&TaskConfig> {
        self.config
            .task(id)
            .ok_or_else(|| Error::UnknownTask(id.to_owned()))
    }

    /// The machine decides under the lock; what it decided is done outside it, because the scheduler and the listeners
    /// may call back.
    fn feed(&self, input: Input) {
        let effects = self.lock().machine.handle(self.clock.now(), input);
        self.perform(effects);
    }

    fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SubmitNext { id, delay } => {
                    if let Some(task) = self.config.task(&id) {
                        // A refusal is kept for the status; the run itself goes on.
                        let _refusal = self.submit(task, delay);
                    }
                }
                Effect::Start { token, run, deadline } => self.start(token, run, deadline),
                Effect::Cancel { token } => {
                    let cancel = self.lock().cancels.get(&token).cloned();
                    cancel.inspect(CancellationToken::cancel);
                }
                Effect::Complete { token, success } => {
                    // What is left of the handler should know, if it overran.
                    let cancel = self.lock().cancels.remove(&token);
                    cancel.inspect(CancellationToken::cancel);
                    self.complete(token, success);
                }
                Effect::Record(record) => {
                    tracing::info!(id = record.id, run = record.run, end = ?record.end, "background run ended");
                    let mut state = self.lock();
                    state.history.push_back(record.clone());
                    if state.history.len() > HISTORY_LIMIT {
                        state.history.pop_front();
                    }
                    drop(state);
                    self.emit(&RunEvent::Completed { record });
                }
                Effect::Reject { token } => {
                    tracing::error!(?token, "launch of an undeclared task, or under a token in use");
                    self.complete(token, false);
                }
            }
        }
        self.set_alarm();
    }

    fn complete(&self, token: Token, success: bool) {
        match token {
            Token::Scheduler(token) => self.scheduler.complete(token, success),
            // Nobody but us waits for a run that the person asked for.
            Token::Person(_) => {}
        }
    }

    fn submit(&self, task: &TaskConfig, delay: Duration) -> std::result::Result<(), SchedulerError> {
        // Submitting a task that is not registered throws on iOS, past what Swift or Rust can catch.
        let registration = self.lock().registration_errors.get(&task.id).cloned();
        let result = match registration {
            Some(error) => Err(error),
            None => self.scheduler.submit(&Request::new(task, delay)),
        };
        let mut state = self.lock();
        match &result {
            Ok(()) => state.submit_errors.remove(&task.id),
            Err(error) => {
                tracing::warn!(id = task.id, %error, "request refused");
                state.submit_errors.insert(task.id.clone(), error.clone())
            }
        };
        result
    }

    fn start(&self, token: Token, run: ActiveRun, deadline: Instant) {
        let cancel = CancellationToken::new();
        let handler = {
            let mut state = self.lock();
            state.cancels.insert(token, cancel.clone());
            state.handler.clone()
        };
        let launch = Launch {
            id: run.id.clone(),
            kind: run.kind,
            reason: run.reason,
            deadline,
            cancel,
        };
        tracing::info!(id = run.id, run = run.run, reason = ?run.reason, "background run starts");
        self.emit(&RunEvent::Launched { run });
        let Some(handler) = handler else {
            // The machine starts runs only after `HandlerAttached`, which is fed after the handler was kept.
            self.feed(Input::Panicked { token });
            return;
        };
        let me = self.me.clone();
        let spawned = std::thread::Builder::new()
            .name("background-run".to_owned())
            .spawn(move || {
                let input = match catch_unwind(AssertUnwindSafe(|| handler(launch))) {
                    Ok(outcome) => Input::Finished { token, outcome },
                    Err(_) => Input::Panicked { token },
                };
                if let Some(core) = me.upgrade() {
                    core.feed(input);
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread for the run");
            self.feed(Input::Panicked { token });
        }
    }

    fn emit(&self, event: &RunEvent) {
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for listener in listeners {
            // A listener's panic must not take the rest of the run's effects with it.
            if catch_unwind(AssertUnwindSafe(|| listener(event))).is_err() {
                tracing::error!("a listener of background runs panicked");
            }
        }
    }

    fn set_alarm(&self) {
        let state = self.lock();
        let me = self.me.clone();
        // Under the lock, so that an older moment cannot overwrite a newer one.
        self.alarm.set(state.machine.next_tick(), move || {
            if let Some(core) = me.upgrade() {
                core.feed(Input::Tick);
            }
        });
    }
}

/// What the scheduler holds of us. Weak, because we hold the scheduler.
struct Sink(Weak<Core>);

impl LaunchSink for Sink {
    fn launched(&self, token: u64, id: &str, reason: LaunchReason) {
        if let Some(core) = self.0.upgrade() {
            core.feed(Input::Launched {
                token: Token::Scheduler(token),
                id: id.to_owned(),
                reason,
            });
        }
    }

    fn expired(&self, token: u64) {
        if let Some(core) = self.0.upgrade() {
            core.feed(Input::Expired {
                token: Token::Scheduler(token),
            });
        }
    }
}
