//! A phone that lives a [`Life`] with the real plugin on it, in virtual time: processes start and end, handlers run on the
//! plugin's own threads and return when their time has come.
//!
//! Everything happens in step with one thread, so the same life gives the same [`Diary`] every time, and a fortnight takes
//! milliseconds.

mod diary;
mod link;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use diary::Diary;
use process::{Process, Work};

use super::conditions::Conditions;
use super::life::{Happening, Life};
use super::scheduler::SimulatedScheduler;
use crate::clock::{Clock, Moment, VirtualClock, millis};
use crate::config::{Config, SimulatedConfig, TaskKind};
use crate::models::Outcome;
use crate::scheduler::Scheduler;

/// When every life begins: 1 January 2026, UTC.
const BEGINS_AT_MS: u64 = 1_767_225_600_000;

/// From the start of a process until the app has attached its handlers. Assumption: a cold start of a native app on a phone
/// that does something else as well.
const COLD_START: Duration = Duration::from_millis(900);

/// While a launch is open nothing goes unseen for longer: the plugin's own deadlines are kept to the second.
const STEP: Duration = Duration::from_secs(1);

/// The app on the phone: what its handler would do with a launch. Times are virtual.
pub trait App {
    /// A handler starts. Says how long it takes if nobody calls time.
    fn starts(&mut self, run: &Run) -> Duration;

    /// A handler returns, `after` so long. `called`: since then it knows that time was called, and has stopped what it did.
    fn ends(&mut self, run: &Run, after: Duration, called: Option<Duration>) -> Outcome;

    /// The process ended in the middle of a run.
    fn cut_off(&mut self, run: &Run) {
        let _ = run;
    }

    /// How long a handler takes to return once time was called.
    fn stops_in(&mut self) -> Duration;

    /// The person opened the app.
    fn opened(&mut self, at: Duration, phone: Conditions) {
        let _ = (at, phone);
    }
}

/// A handler at work.
#[derive(Debug, Clone)]
pub struct Run {
    /// The task.
    pub id: String,
    /// What was granted.
    pub kind: TaskKind,
    /// When the handler started, since the life began.
    pub at: Duration,
    /// How long it may take.
    pub budget: Duration,
    /// The phone at that moment.
    pub phone: Conditions,
}

/// A handler's thread did not answer. A fault of this machine or of the plugin, not of the life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a handler's thread does not answer")]
pub struct Stuck;

/// A phone with an app on it.
pub struct SimulatedPhone<A> {
    config: Config,
    app: A,
    clock: Arc<VirtualClock>,
    begins: Moment,
    system: Arc<SimulatedScheduler>,
    process: Option<Process>,
    diary: Diary,
    force_quit_since: Option<Duration>,
}

impl<A: App> SimulatedPhone<A> {
    /// A phone on which the app was installed and not opened yet. iOS finds time for it only when the life says so.
    pub fn new(config: Config, app: A) -> Self {
        let instant = Instant::now();
        let begins = Moment {
            instant,
            unix_ms: BEGINS_AT_MS,
        };
        let clock = Arc::new(VirtualClock::new(begins));
        let rules = SimulatedConfig {
            automatic: false,
            ..config.simulated.clone()
        };
        let system = SimulatedScheduler::new(rules, clock.clone());
        // Nobody has opened it yet.
        system.set_conditions(Conditions {
            foreground: false,
            ..Conditions::default()
        });
        Self {
            system,
            config,
            app,
            clock,
            begins,
            process: None,
            diary: Diary::default(),
            force_quit_since: None,
        }
    }

    /// Lives a life, to its end. What is under way then ends with it.
    ///
    /// # Errors
    /// [`Stuck`], if this machine starts no threads.
    pub fn live(mut self, life: &Life) -> Result<(Diary, A), Stuck> {
        for event in &life.events {
            self.pass_until(event.at)?;
            self.happens(event.what)?;
            self.settle()?;
        }
        self.pass_until(life.lasts)?;
        self.end_process()?;
        self.diary.refused = self.system.refused();
        if let Some(since) = self.force_quit_since {
            self.diary.force_quit = Some((since, life.lasts));
        }
        Ok((self.diary, self.app))
    }

    fn now(&self) -> Duration {
        self.since_begin(self.clock.now().instant)
    }

    fn since_begin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begins.instant)
    }

    /// Lets time pass, and what is due in it happen.
    fn pass_until(&mut self, end: Duration) -> Result<(), Stuck> {
        loop {
            let now = self.now();
            let next = self.next_moment(now).min(end);
            let step = next.saturating_sub(now);
            if self.lacks_request() {
                self.diary.without_request += step;
            }
            self.clock.advance(step);
            self.attach_if_started();
            self.system.poll();
            if let Some(process) = &self.process {
                process.background.tick();
            }
            self.settle()?;
            if next == end {
                return Ok(());
            }
        }
    }

    fn next_moment(&self, now: Duration) -> Duration {
        let mut next = Duration::MAX;
        if let Some(at) = self.system.next_event() {
            next = next.min(self.since_begin(at));
        }
        if self.system.open_launches() > 0 {
            next = next.min(now + STEP);
        }
        if let Some(process) = &self.process {
            next = next.min(process.attaches_at.unwrap_or(Duration::MAX));
            for work in &process.at_work {
                next = next.min(work.ends_at);
                if work.called_at.is_none() {
                    next = next.min(self.since_begin(work.arrival.launch.deadline));
                }
            }
        }
        // What is overdue is due now, and time does not stand still.
        next.max(now + Duration::from_millis(1))
    }

    fn happens(&mut self, what: Happening) -> Result<(), Stuck> {
        match what {
            Happening::Phone(phone) => self.changes(phone),
            // Not while it runs: iOS ends suspended apps first.
            Happening::Reclaimed => {
                if self.system.open_launches() == 0 && !self.system.conditions().foreground {
                    self.end_process()?;
                }
            }
            Happening::Prewarmed => {
                if self.process.is_none() {
                    self.diary.prewarmed += 1;
                    self.start_process();
                }
            }
            Happening::Restarted => self.end_process()?,
            Happening::ForceQuit => {
                self.end_process()?;
                self.system.force_quit();
                self.force_quit_since = Some(self.now());
            }
            Happening::Chance { kind, lasts } => self.chance(kind, lasts),
        }
        self.settle()
    }

    fn changes(&mut self, phone: Conditions) {
        let opens = phone.foreground && !self.system.conditions().foreground;
        if opens {
            self.start_process();
        }
        self.system.set_conditions(phone);
        if opens {
            if let Some(since) = self.force_quit_since.take() {
                self.diary.force_quit = Some((since, self.now()));
            }
            self.diary.opened += 1;
            let now = self.now();
            if let Some(process) = &mut self.process {
                process.attaches_at = Some(now);
            }
            self.attach_if_started();
            self.app.opened(now, phone);
        }
    }

    fn chance(&mut self, kind: TaskKind, lasts: Duration) {
        self.diary.chances += 1;
        if self.system.conditions().foreground {
            // Both kinds are for apps in the background.
            self.diary.in_front += 1;
            return;
        }
        if self.system.is_force_quit() {
            self.diary.swiped_away += 1;
            return;
        }
        if !self.system.is_due(kind) {
            let now = self.clock.now().unix_ms;
            let pending = self.system.pending();
            let waits = pending.iter().any(|request| {
                let task = self.config.task(&request.id);
                request.earliest_at_ms <= now && task.is_some_and(|task| task.kind == kind)
            });
            if waits {
                self.diary.held_back += 1;
            } else {
                self.diary.too_early += 1;
            }
            return;
        }
        self.start_process();
        let soon = self.now() + COLD_START;
        if let Some(process) = &mut self.process
            && !process.is_attached()
        {
            process.attaches_at = Some(soon);
        }
        self.system.grant(kind, Some(lasts));
    }

    fn start_process(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.diary.processes += 1;
        match Process::start(self.config.clone(), &self.system, &self.clock) {
            Ok(process) => self.process = Some(process),
            Err(error) => tracing::error!(%error, "this app would start on no phone"),
        }
    }

    fn attach_if_started(&mut self) {
        let now = self.now();
        if let Some(process) = &mut self.process
            && process.attaches_at.is_some_and(|at| at <= now)
            && let Err(error) = process.attach()
        {
            tracing::error!(%error, "the handlers cannot be attached");
        }
    }

    fn end_process(&mut self) -> Result<(), Stuck> {
        self.system.process_ended();
        if let Some(process) = self.process.take() {
            for run in process.end()? {
                self.app.cut_off(&run);
            }
        }
        Ok(())
    }

    /// Waits until every thread stands still: handlers have arrived, or have left for good.
    fn settle(&mut self) -> Result<(), Stuck> {
        let moment = self.clock.now();
        let now = self.since_begin(moment.instant);
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        loop {
            while let Some(arrival) = process.next_arrival()? {
                let launch = &arrival.launch;
                let run = Run {
                    id: launch.id.clone(),
                    kind: launch.kind,
                    at: now,
                    budget: launch.deadline.saturating_duration_since(moment.instant),
                    phone: self.system.conditions(),
                };
                process.at_work.push(Work {
                    ends_at: now + whole_millis(self.app.starts(&run)),
                    run,
                    arrival,
                    called_at: None,
                });
            }
            for work in &mut process.at_work {
                if work.called_at.is_none() && work.arrival.launch.cancel.is_cancelled() {
                    work.called_at = Some(now);
                    work.ends_at = work.ends_at.min(now + whole_millis(self.app.stops_in()));
                }
            }
            let Some(over) = process.at_work.iter().position(|work| work.ends_at <= now) else {
                break;
            };
            let work = process.at_work.remove(over);
            let called = work.called_at.map(|at| at.saturating_sub(work.run.at));
            let after = now.saturating_sub(work.run.at);
            let outcome = self.app.ends(&work.run, after, called);
            work.arrival.answer(outcome)?;
        }
        for mut record in process.completed() {
            let pending = self.system.pending();
            if !pending.iter().any(|request| request.id == record.id) {
                self.diary.chain_broken += 1;
            }
            record.launched_at_ms -= BEGINS_AT_MS;
            record.finished_at_ms = record.finished_at_ms.map(|at| at - BEGINS_AT_MS);
            record.next_at_ms = record.next_at_ms.map(|at| at - BEGINS_AT_MS);
            self.diary.runs.push(record);
        }
        Ok(())
    }

    fn lacks_request(&self) -> bool {
        let pending = self.system.pending();
        let scheduled = self.config.tasks.iter().filter(|task| task.is_scheduled());
        scheduled.count() > pending.len() && !self.system.is_force_quit()
    }
}

/// Rounded up: records count in milliseconds, and nothing may happen between two of them.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration.saturating_add(Duration::from_nanos(999_999))))
}
