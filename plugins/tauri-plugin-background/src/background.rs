//! The running plugin as an app sees it.
//!
//! Owns what may be asked of it, and by whom. What follows from that is done in [`crate::engine`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::blockers::blockers;
use crate::clock::Clock;
use crate::config::{Config, TaskConfig, TaskKind};
use crate::device::DeviceFacts;
use crate::engine::Core;
use crate::error::{Error, Result, SchedulerError};
use crate::models::{ActiveRun, Launch, Outcome, RunEvent, RunRecord, Status, TaskStatus};
use crate::run::{Input, Machine, Token};
use crate::scheduler::Scheduler;

/// The background work of an app. One per process; from [`crate::BackgroundExt::background`].
pub struct Background {
    core: Arc<Core>,
    last_person_token: AtomicU64,
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
        Ok(Self {
            core: Core::new(config, scheduler, clock),
            last_person_token: AtomicU64::new(0),
        })
    }

    /// Gives one task the work to do. It runs once the app has started ([`Background::ready`]).
    ///
    /// # Errors
    /// [`Error::UnknownTask`], [`Error::DuplicateHandler`].
    pub fn task(&self, id: &str, handler: impl Fn(Launch) -> Outcome + Send + Sync + 'static) -> Result<()> {
        let task = self.core.task(id)?;
        let started = {
            let mut handlers = self.core.handlers();
            // Not after the handler of all tasks took it on: a run may be under way with that one.
            if handlers.own.contains_key(id) || handlers.rest.is_some() {
                return Err(Error::DuplicateHandler(id.to_owned()));
            }
            handlers.own.insert(id.to_owned(), Arc::new(handler));
            handlers.started
        };
        if started {
            self.core.make_ready(vec![task.id.clone()]);
        }
        Ok(())
    }

    /// The app has started: tasks with handlers of their own run from now on. The plugin calls this itself, after the app's
    /// setup. Again does nothing.
    pub fn ready(&self) {
        let ids = {
            let mut handlers = self.core.handlers();
            if std::mem::replace(&mut handlers.started, true) {
                return;
            }
            handlers.own.keys().cloned().collect()
        };
        self.core.make_ready(ids);
    }

    /// Gives all tasks that have no handler of their own the work to do. Launches that waited for it start now, each on a
    /// thread of its own; every task without a pending request is asked for, its minimum interval from now (later after
    /// failures).
    ///
    /// # Errors
    /// [`Error::AlreadyAttached`] the second time.
    pub fn attach(&self, handler: impl Fn(Launch) -> Outcome + Send + Sync + 'static) -> Result<()> {
        let ids = {
            let mut handlers = self.core.handlers();
            if handlers.rest.is_some() {
                return Err(Error::AlreadyAttached);
            }
            handlers.rest = Some(Arc::new(handler));
            let others = self.core.config.tasks.iter().map(|task| task.id.clone());
            others.filter(|id| !handlers.own.contains_key(id)).collect()
        };
        self.core.make_ready(ids);
        Ok(())
    }

    /// Keeps the history in this folder, which is made if it is missing, from now on: in one file of some 100 kB, which no
    /// other process may write. It is not touched before the device was unlocked since it started; until then rows wait in
    /// memory. Call it in the app's setup, not before: a prewarmed process must not touch files.
    ///
    /// What goes wrong with the file shows in [`Background::status`]; runs go on without it.
    ///
    /// # Errors
    /// [`Error::HistoryKept`] the second time.
    pub fn keep_history(&self, folder: impl Into<PathBuf>) -> Result<()> {
        if !self.core.history().keep_in(folder.into()) {
            return Err(Error::HistoryKept);
        }
        self.core.open_history_soon();
        Ok(())
    }

    /// Asks the system for a run of a task, not before `delay` has passed, in place of the pending request.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], [`Error::WrongKind`] for a continued task, or why the system refuses.
    pub fn schedule(&self, id: &str, delay: Duration) -> Result<()> {
        let task = self.core.task(id)?;
        if !task.is_scheduled() {
            return Err(Error::WrongKind(id.to_owned()));
        }
        Ok(self.core.submit(task, delay)?)
    }

    /// Takes the pending request of a task back. A run that is under way goes on, and will ask for its next run.
    ///
    /// # Errors
    /// [`Error::UnknownTask`].
    pub fn cancel(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        self.core.requests.cancel(&task.id, self.core.gate().order());
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

    /// What is known of the device now. Asks the system, which on iOS may take up to a second: not for the main thread.
    pub fn device(&self) -> DeviceFacts {
        self.core.device()
    }

    /// Where everything stands, and why nothing runs, if so. Asks the system, which on iOS may take up to a second: not for
    /// the main thread.
    pub fn status(&self) -> Status {
        let pending = self.core.scheduler.pending();
        let device = self.core.device();
        let rows = self.history();
        let active = self.core.gate().look(Machine::active);
        let (history, active) = {
            let history = self.core.history();
            let number = |run: ActiveRun| ActiveRun {
                run: history.number(run.run),
                joined: run.joined.map(|run| history.number(run)),
                ..run
            };
            (history.status(), active.into_iter().map(number).collect())
        };
        let task = |task: &TaskConfig| {
            let unregistered = self.core.requests.unregistered(&task.id);
            let (handler_ready, failures_in_a_row) = self
                .core
                .gate()
                .look(|machine| (machine.is_ready(&task.id), machine.failures_of(&task.id)));
            let mut own = rows.iter().filter(|row| row.id == task.id);
            TaskStatus {
                id: task.id.clone(),
                kind: task.kind,
                min_interval_minutes: u32::try_from(task.min_interval().as_secs() / 60).unwrap_or(u32::MAX),
                soft_budget_secs: u32::try_from(task.soft_budget().as_secs()).unwrap_or(u32::MAX),
                requires_network: task.requires_network,
                requires_power: task.requires_power,
                registered: unregistered.is_none(),
                permitted: !matches!(unregistered, Some(SchedulerError::NotPermitted(_))),
                registration_error: unregistered.map(|error| error.to_string()),
                handler_ready,
                submit_error: self
                    .core
                    .requests
                    .refusal(&task.id)
                    .map(|error| error.to_string()),
                earliest_at_ms: pending
                    .iter()
                    .find(|request| request.id == task.id)
                    .map(|request| request.earliest_at_ms),
                last: own.clone().next().cloned(),
                last_success_at_ms: own
                    .find(|row| row.end.is_success())
                    .and_then(|row| row.finished_at_ms),
                failures_in_a_row,
            }
        };
        let tasks: Vec<_> = self.core.config.tasks.iter().map(task).collect();
        let mut status = Status {
            backend: self.core.scheduler.backend(),
            device,
            handler_attached: tasks.iter().all(|task| task.handler_ready),
            blockers: Vec::new(),
            tasks,
            undeclared: self.undeclared(),
            active,
            last: rows.into_iter().next(),
            history,
        };
        status.blockers = blockers(&status, self.core.clock.now().unix_ms);
        status
    }

    /// What the Info.plist permits and no task is. A continued task may be permitted by a wildcard.
    fn undeclared(&self) -> Vec<String> {
        let tasks = &self.core.config.tasks;
        let is_declared = |permitted: &str| match permitted.strip_suffix('*') {
            Some(prefix) => tasks
                .iter()
                .any(|task| task.kind == TaskKind::Continued && task.id.starts_with(prefix)),
            None => tasks.iter().any(|task| task.id == permitted),
        };
        let mut permitted = self.core.scheduler.permitted();
        permitted.retain(|id| !is_declared(id));
        permitted
    }

    /// The completed runs, newest first, at most 200. Those of earlier processes too, if the app keeps them
    /// ([`Background::keep_history`]) and the device was unlocked since it started.
    pub fn history(&self) -> Vec<RunRecord> {
        self.core.history().rows()
    }

    /// Runs a task now because the person asked, in the foreground. The system has no part in it; if it launches the task
    /// in the meantime, that launch joins this run.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], [`Error::NoHandler`], or `AlreadyRunning`.
    pub fn wake_now(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        let token = self.last_person_token.fetch_add(1, Ordering::Relaxed) + 1;
        self.core.launch_for_person(task, token)
    }

    /// Starts a continued task for the person, in the foreground: it goes on when they leave the app, and the system shows
    /// its progress under `title` and `subtitle`, with a way to stop it.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], [`Error::WrongKind`] for a task of another kind, [`Error::NoHandler`], `AlreadyRunning`, or
    /// why the system refuses: `Unsupported` before iOS 26, where [`Background::wake_now`] does the same work for as long
    /// as the app is in the foreground.
    pub fn start_continued(&self, id: &str, title: &str, subtitle: &str) -> Result<()> {
        let task = self.core.task(id)?;
        if task.kind != TaskKind::Continued {
            return Err(Error::WrongKind(id.to_owned()));
        }
        if let Some(error) = self.core.requests.unregistered(id) {
            return Err(error.into());
        }
        let (ready, busy) = self
            .core
            .gate()
            .look(|machine| (machine.is_ready(id), machine.is_busy(id)));
        if !ready {
            return Err(Error::NoHandler);
        }
        if busy {
            return Err(SchedulerError::AlreadyRunning(id.to_owned()).into());
        }
        Ok(self.core.scheduler.start_continued(id, title, subtitle)?)
    }

    /// Has the simulated scheduler launch a task now.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], or where launches cannot be simulated, or a launch of the task is open already.
    pub fn simulate_launch(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        Ok(self.core.scheduler.simulate_launch(&task.id)?)
    }

    /// Calls time on the launch of a task, as the system would; or on the person's run, of which the system does not know.
    ///
    /// # Errors
    /// [`Error::UnknownTask`], or `NotRunning`.
    pub fn simulate_expiration(&self, id: &str) -> Result<()> {
        let task = self.core.task(id)?;
        let tokens = self.core.gate().look(|machine| machine.tokens_of(id));
        let by_scheduler = |token: &Token| matches!(token, Token::Scheduler(_));
        if tokens.iter().any(by_scheduler) {
            return Ok(self.core.scheduler.simulate_expiration(&task.id)?);
        }
        let token = tokens.into_iter().next();
        let token = token.ok_or_else(|| SchedulerError::NotRunning(id.to_owned()))?;
        self.core.feed(Input::Expired { token });
        Ok(())
    }

    /// Calls `listener` at each launch and completion, on the thread where it happens: be brief.
    pub fn on_event(&self, listener: impl Fn(&RunEvent) + Send + Sync + 'static) {
        self.core.listeners().push(Arc::new(listener));
    }

    /// Does what is due by the clock. The timer thread calls this; with a virtual clock the test does.
    pub fn tick(&self) {
        self.core.feed(Input::Tick);
    }
}
