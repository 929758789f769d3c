//! Joins the state machine with the scheduler, the app's handlers, the history, the clock and threads.
//!
//! Owns the effects. Decides nothing about runs: that is [`crate::run`]. What an app sees of it is
//! [`crate::background`].

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::config::{Config, TaskConfig};
use crate::device::DeviceFacts;
use crate::error::{Error, Result, SchedulerError};
use crate::gate::{Gate, Order, Port, Table};
use crate::history::History;
use crate::lock::lock;
use crate::models::{ActiveRun, Launch, LaunchReason, Outcome, RunEvent, RunRecord, RunResult};
use crate::policy::next_delay;
use crate::progress::Progress;
use crate::requests::Requests;
use crate::run::{Input, Token};
use crate::scheduler::{LaunchSink, Scheduler};

pub(crate) type Handler = Arc<dyn Fn(Launch) -> Outcome + Send + Sync>;
type Listener = Arc<dyn Fn(&RunEvent) + Send + Sync>;

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) requests: Requests,
    gate: Gate<Mutex<Table>>,
    handlers: Mutex<Handlers>,
    history: Mutex<History>,
    listeners: Mutex<Vec<Listener>>,
    alarm: Alarm,
    me: Weak<Self>,
}

#[derive(Default)]
pub(crate) struct Handlers {
    /// Of single tasks.
    pub(crate) own: BTreeMap<String, Handler>,
    /// Of all other tasks.
    pub(crate) rest: Option<Handler>,
    /// Whether the app has started, from when on the handlers of single tasks may run.
    pub(crate) started: bool,
}

impl Core {
    /// Registers the declared tasks. Touches no file, Keychain or socket, and starts no thread.
    pub(crate) fn new(config: Config, scheduler: Arc<dyn Scheduler>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let core = Arc::new_cyclic(|me| Self {
            alarm: Alarm::new("background-deadlines", clock.clone()),
            gate: Gate::new(config.clone()),
            requests: Requests::new(&config, scheduler.clone()),
            config,
            scheduler,
            clock,
            handlers: Mutex::default(),
            history: Mutex::default(),
            listeners: Mutex::default(),
            me: me.clone(),
        });
        for task in &core.config.tasks {
            let sink = Arc::new(Sink(Arc::downgrade(&core)));
            core.requests
                .registered(&task.id, core.scheduler.register(task, sink));
        }
        core
    }

    pub(crate) fn task(&self, id: &str) -> Result<&TaskConfig> {
        self.config
            .task(id)
            .ok_or_else(|| Error::UnknownTask(id.to_owned()))
    }

    pub(crate) fn handlers(&self) -> MutexGuard<'_, Handlers> {
        lock(&self.handlers)
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub(crate) fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        lock(&self.listeners)
    }

    pub(crate) fn gate(&self) -> &Gate<Mutex<Table>> {
        &self.gate
    }

    pub(crate) fn feed(&self, input: Input) {
        self.gate.feed(&*self.clock, self, input);
    }

    /// Launches a task for the person, unless it runs or nobody would do it.
    pub(crate) fn launch_for_person(&self, task: &TaskConfig, token: u64) -> Result<()> {
        self.gate.feed_if(&*self.clock, self, |machine| {
            if !machine.is_ready(&task.id) {
                return Err(Error::NoHandler);
            }
            if machine.is_busy(&task.id) {
                return Err(SchedulerError::AlreadyRunning(task.id.clone()).into());
            }
            Ok(Input::Launched {
                token: Token::Person(token),
                id: task.id.clone(),
                reason: LaunchReason::Person,
            })
        })
    }

    /// Asks the system for a run of a task.
    pub(crate) fn submit(
        &self,
        task: &TaskConfig,
        delay: Duration,
    ) -> std::result::Result<(), SchedulerError> {
        self.requests
            .submit(self.clock.now(), task, delay, self.gate.order())
    }

    /// Makes again the requests that were refused. `at_once`: there is a reason to think they are taken now.
    pub(crate) fn retry_refused(&self, at_once: bool) {
        for task in &self.config.tasks {
            self.requests
                .retry(self.clock.now(), task, self.gate.order(), at_once);
        }
    }

    /// Lets the runs of these tasks start, and asks for those of which none is pending.
    pub(crate) fn make_ready(&self, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        // Decided now: a request that a run makes in the meantime is the later one.
        let order = self.gate.order();
        let wanted: Vec<_> = ids
            .iter()
            .filter(|id| self.config.task(id).is_some_and(TaskConfig::is_scheduled))
            .cloned()
            .collect();
        if !wanted.is_empty() {
            self.off_this_thread("background-requests", move |core| core.top_up(&wanted, order));
        }
        self.feed(Input::Ready { ids });
    }

    fn top_up(&self, ids: &[String], order: Order) {
        let pending = self.scheduler.pending();
        for id in ids {
            if !pending.iter().any(|request| request.id == *id)
                && let Some(task) = self.config.task(id)
            {
                let failures = self.gate.look(|machine| machine.failures_of(id));
                let delay = next_delay(task, None, failures);
                // A refusal is kept for the status, and the request made again later.
                let _refusal = self.requests.submit(self.clock.now(), task, delay, order);
            }
        }
    }

    /// Reads the history as soon as files can be read: now, or when the device is known to be unlocked.
    pub(crate) fn open_history_soon(&self) {
        self.off_this_thread("background-history", |core| {
            core.device();
        });
    }

    /// What is known of the device, and the history read if it says that files can be.
    pub(crate) fn device(&self) -> DeviceFacts {
        let facts = self.scheduler.device();
        if facts.unlocked_once == Some(true) {
            self.open_history();
        }
        facts
    }

    /// Only on a device that was unlocked.
    fn open_history(&self) {
        let mut history = self.history();
        if !history.wants_open() {
            return;
        }
        let failures = history.open();
        drop(history);
        if let Some(failures) = failures {
            self.feed(Input::FailedBefore { failures });
        }
    }

    /// Where the scheduler may have to wait for the system, works on a thread of its own: the caller may be the main one.
    fn off_this_thread(&self, name: &str, work: impl FnOnce(&Self) + Send + 'static) {
        if !self.scheduler.pending_may_block() {
            return work(self);
        }
        let me = self.me.clone();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(core) = me.upgrade() {
                work(&core);
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread; what it was for is left to the next run");
        }
    }

    fn emit(&self, event: &RunEvent) {
        let listeners = self.listeners().clone();
        for listener in listeners {
            // A listener's panic must not take the rest of the run's effects with it.
            if catch_unwind(AssertUnwindSafe(|| listener(event))).is_err() {
                tracing::error!("a listener of background runs panicked");
            }
        }
    }

    /// A row with what the system said to the request that it tells of.
    fn with_refusal(&self, mut row: RunRecord) -> RunRecord {
        if let Some(error) = self.requests.refusal(&row.id)
            && row.next_at_ms.is_some()
        {
            row.next_at_ms = None;
            row.next_refused = Some(error.to_string());
        }
        row
    }

    fn run(&self, token: Token, handler: &Handler, launch: Launch) {
        let answer = catch_unwind(AssertUnwindSafe(|| handler(launch)));
        let memory = self.scheduler.device().available_memory_bytes;
        self.feed(match answer {
            Ok(outcome) => Input::Finished {
                token,
                outcome,
                memory,
            },
            Err(panic) => Input::Panicked {
                token,
                cause: message(&*panic),
                memory,
            },
        });
        self.retry_refused(false);
    }

    fn not_started(&self, token: Token, cause: &str) {
        self.feed(Input::Panicked {
            token,
            cause: cause.to_owned(),
            memory: None,
        });
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panicked without words").to_owned()
}

impl Port for Core {
    fn submit_next(&self, id: &str, delay: Duration, order: Order) {
        if let Some(task) = self.config.task(id) {
            // A refusal is kept for the status and made again later; the run itself goes on.
            let _refusal = self.requests.submit(self.clock.now(), task, delay, order);
        }
    }

    fn ask_device(&self, token: Token) {
        let facts = self.device();
        self.feed(Input::Device { token, facts });
    }

    fn keep(&self, row: RunRecord) {
        let row = self.with_refusal(row);
        self.history().keep(row);
    }

    fn start(&self, token: Token, mut run: ActiveRun, deadline: Instant, cancel: CancellationToken) {
        if cancel.is_cancelled() {
            // Time was called between the decision and here.
            let outcome =
                Outcome::new(RunResult::Expired).with_cause("time was called before the handler started");
            self.feed(Input::Finished {
                token,
                outcome,
                memory: None,
            });
            return;
        }
        run.run = self.history().number(run.run);
        let launch = Launch {
            id: run.id.clone(),
            kind: run.kind,
            reason: run.reason,
            deadline,
            cancel,
            progress: match token {
                Token::Scheduler(token) => Progress::of(&self.scheduler, token),
                Token::Person(_) => Progress::nowhere(),
            },
        };
        let handler = {
            let handlers = self.handlers();
            handlers.own.get(&run.id).or(handlers.rest.as_ref()).cloned()
        };
        tracing::info!(id = run.id, run = run.run, reason = ?run.reason, "background run starts");
        self.emit(&RunEvent::Launched { run });
        let Some(handler) = handler else {
            // The machine starts the runs of ready tasks only, and handlers are never taken back.
            return self.not_started(token, "the handler is gone");
        };
        let me = self.me.clone();
        let spawned = std::thread::Builder::new()
            .name("background-run".to_owned())
            .spawn(move || {
                if let Some(core) = me.upgrade() {
                    core.run(token, &handler, launch);
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread for the run");
            self.not_started(token, &format!("no thread could be started: {error}"));
        }
    }

    fn complete(&self, token: Token, success: bool) {
        match token {
            Token::Scheduler(token) => self.scheduler.complete(token, success),
            // Nobody but us waits for a run that the person asked for.
            Token::Person(_) => {}
        }
    }

    fn announce(&self, row: RunRecord) {
        let record = self.history().numbered(self.with_refusal(row));
        tracing::info!(id = record.id, run = record.run, end = ?record.end, "background run ended");
        self.emit(&RunEvent::Completed { record });
    }

    fn reject(&self, token: Token) {
        tracing::error!(?token, "launch of an undeclared task, or under a token in use");
        self.complete(token, false);
    }

    fn wake_at(&self, at: Option<Instant>) {
        let me = self.me.clone();
        self.alarm.set(at, move || {
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
            // A launch used a request up, so there may be room for another.
            core.retry_refused(false);
        }
    }

    fn expired(&self, token: u64) {
        if let Some(core) = self.0.upgrade() {
            core.feed(Input::Expired {
                token: Token::Scheduler(token),
            });
        }
    }

    fn unlocked(&self) {
        if let Some(core) = self.0.upgrade() {
            core.open_history();
            core.feed(Input::Unlocked);
            core.retry_refused(true);
        }
    }

    fn changed(&self) {
        if let Some(core) = self.0.upgrade() {
            core.retry_refused(true);
        }
    }
}
