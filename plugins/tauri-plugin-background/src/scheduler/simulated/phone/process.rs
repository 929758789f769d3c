//! The app's process: the real plugin, and the handlers that stand in it on the plugin's own threads until their time has
//! come.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::link::Link;
use super::{Run, Stuck};
use crate::background::Background;
use crate::clock::VirtualClock;
use crate::config::Config;
use crate::error::Result;
use crate::lock::lock;
use crate::models::{Launch, Outcome, RunEvent, RunRecord, RunResult};
use crate::scheduler::simulated::SimulatedScheduler;

/// Real time that a thread is given to answer. It needs microseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The app's process.
pub(super) struct Process {
    link: Arc<Link>,
    pub(super) background: Background,
    events: Arc<Mutex<Events>>,
    arrivals: Receiver<Arrival>,
    /// Where handlers report, until they are attached.
    handlers: Option<Sender<Arrival>>,
    /// When the app will have started.
    pub(super) attaches_at: Option<Duration>,
    arrived: u64,
    pub(super) at_work: Vec<Work>,
}

#[derive(Default)]
struct Events {
    launched: u64,
    completed: Vec<RunRecord>,
}

/// A handler's thread has reached the handler.
pub(super) struct Arrival {
    pub(super) launch: Launch,
    answer: Sender<Outcome>,
    left: Receiver<()>,
}

/// A handler at work.
pub(super) struct Work {
    pub(super) run: Run,
    pub(super) arrival: Arrival,
    pub(super) ends_at: Duration,
    /// When it learned that time was called.
    pub(super) called_at: Option<Duration>,
}

impl Process {
    /// As `main` up to the plugin's setup: tasks are registered, no handler is attached.
    pub(super) fn start(
        config: Config,
        system: &Arc<SimulatedScheduler>,
        clock: &Arc<VirtualClock>,
    ) -> Result<Self> {
        let link = Arc::new(Link::new(system.clone()));
        let background = Background::new(config, link.clone(), clock.clone())?;
        let events: Arc<Mutex<Events>> = Arc::default();
        let seen = events.clone();
        background.on_event(move |event| match event {
            RunEvent::Launched { .. } => lock(&seen).launched += 1,
            RunEvent::Completed { record } => lock(&seen).completed.push(record.clone()),
        });
        let (handlers, arrivals) = channel();
        Ok(Self {
            link,
            background,
            events,
            arrivals,
            handlers: Some(handlers),
            attaches_at: None,
            arrived: 0,
            at_work: Vec::new(),
        })
    }

    /// Whether the app attached its handlers.
    pub(super) fn is_attached(&self) -> bool {
        self.handlers.is_none()
    }

    /// As the app's own setup.
    pub(super) fn attach(&mut self) -> Result<()> {
        self.attaches_at = None;
        match self.handlers.take() {
            Some(handlers) => self.background.attach(move |launch| work(launch, &handlers)),
            None => Ok(()),
        }
    }

    /// A handler that was started and not met yet. Waits for its thread to get there.
    pub(super) fn next_arrival(&mut self) -> std::result::Result<Option<Arrival>, Stuck> {
        if self.arrived == lock(&self.events).launched {
            return Ok(None);
        }
        let arrival = self.arrivals.recv_timeout(PATIENCE).map_err(|_| Stuck)?;
        self.arrived += 1;
        Ok(Some(arrival))
    }

    /// The rows of the runs that were completed since the last time.
    pub(super) fn completed(&self) -> Vec<RunRecord> {
        std::mem::take(&mut lock(&self.events).completed)
    }

    /// Ends in the middle of whatever it does. The runs that were under way.
    pub(super) fn end(self) -> std::result::Result<Vec<Run>, Stuck> {
        self.link.cut();
        let mut cut_off = Vec::new();
        for Work { run, arrival, .. } in self.at_work {
            // Threads cannot be ended: this one goes on in a process that nobody hears any more, and is gone soon.
            let Arrival { answer, left, .. } = arrival;
            drop(answer);
            left.recv_timeout(PATIENCE).map_err(|_| Stuck)?;
            cut_off.push(run);
        }
        Ok(cut_off)
    }
}

impl Arrival {
    /// Lets the handler return, and waits until its thread has done all that follows from it.
    pub(super) fn answer(self, outcome: Outcome) -> std::result::Result<(), Stuck> {
        self.answer.send(outcome).map_err(|_| Stuck)?;
        self.left.recv_timeout(PATIENCE).map_err(|_| Stuck)
    }
}

thread_local! {
    /// Dropped when the thread ends, after everything that the plugin does on it.
    static LEAVES: RefCell<Option<Leaves>> = const { RefCell::new(None) };
}

struct Leaves(Sender<()>);

impl Drop for Leaves {
    fn drop(&mut self) {
        // Nobody waits for the threads of a process that ended.
        let _ = self.0.send(());
    }
}

/// The handler, on the plugin's thread: reports, and returns when it is told to.
fn work(launch: Launch, handlers: &Sender<Arrival>) -> Outcome {
    let (answer, answered) = channel();
    let (leaves, left) = channel();
    LEAVES.with(|slot| *slot.borrow_mut() = Some(Leaves(leaves)));
    let arrival = Arrival { launch, answer, left };
    if handlers.send(arrival).is_err() {
        return Outcome::new(RunResult::Failed);
    }
    answered
        .recv()
        .unwrap_or_else(|_| Outcome::new(RunResult::Failed))
}
