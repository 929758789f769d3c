//! What goes into the state machine and what comes out of it, as plain data.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::device::DeviceFacts;
use crate::models::{ActiveRun, LaunchReason, Outcome, RunRecord};

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
    /// The device answered [`Effect::AskDevice`].
    Device {
        /// The launch.
        token: Token,
        /// The answer.
        facts: DeviceFacts,
    },
    /// The device was unlocked for the first time since it started.
    Unlocked,
    /// The app has handlers for these tasks.
    Ready {
        /// The tasks.
        ids: Vec<String>,
    },
    /// The handler returned.
    Finished {
        /// The launch.
        token: Token,
        /// Its answer.
        outcome: Outcome,
        /// Memory that was left then, in bytes, if it is known.
        memory: Option<u64>,
    },
    /// The handler panicked, or could not be started.
    Panicked {
        /// The launch.
        token: Token,
        /// What it said.
        cause: String,
        /// Memory that was left then, in bytes, if it is known.
        memory: Option<u64>,
    },
    /// The system called time.
    Expired {
        /// The launch.
        token: Token,
    },
    /// The history was read: so often in a row each task failed before this process. At most once.
    FailedBefore {
        /// By task.
        failures: BTreeMap<String, u32>,
    },
    /// Time went by; see [`super::Machine::next_tick`].
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
    /// Ask the device for its facts, and answer with [`Input::Device`]. May take a while: the run waits for it, the promises
    /// do not.
    AskDevice {
        /// The launch.
        token: Token,
    },
    /// Keep the row of a run that is under way, so that a process that is ended leaves a trace of it.
    Opened(RunRecord),
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
    /// Keep the row of a completed run, in place of the one it had.
    Record(RunRecord),
    /// Tell the listeners of a completed run.
    Announce(RunRecord),
    /// A launch of an undeclared task, under a token in use, or by the person while the task runs. Nothing of ours runs.
    Reject {
        /// The launch.
        token: Token,
    },
}
