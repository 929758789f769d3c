//! What the plugin tells the outside: launches for the handler, and plain data for status, history and events.
//!
//! Units are in the names; moments are milliseconds since the Unix epoch. Owns no behaviour beyond constructors.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use crate::config::TaskKind;

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum LaunchReason {
    /// The operating system.
    System,
    /// The simulated scheduler, by itself or on request.
    Simulated,
    /// The person, in the foreground.
    Person,
}

/// What a handler is given.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The task's identifier.
    pub id: String,
    /// What was granted.
    pub kind: TaskKind,
    /// Who asked.
    pub reason: LaunchReason,
    /// Be done by then. The system may call time earlier, through `cancel`.
    pub deadline: Instant,
    /// Fires when time is called. The run is then taken as lost after [`crate::run::WATCHDOG`].
    pub cancel: CancellationToken,
}

/// How far a handler came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunResult {
    /// All of it.
    Completed,
    /// What matters was done; something of less worth was not.
    Partial,
    /// Time was called before what matters was done.
    Expired,
    /// It could not be done.
    Failed,
}

/// What a handler answers: how far it came, and when it wants to run next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How far it came.
    pub result: RunResult,
    /// The earliest time until the next run. `None`: the plugin's own policy decides (see [`crate::policy`]).
    pub next_in: Option<Duration>,
}

impl Outcome {
    /// An outcome that leaves the next run to the plugin's policy.
    pub fn new(result: RunResult) -> Self {
        Self {
            result,
            next_in: None,
        }
    }

    /// The same, with a wish for the next run.
    #[must_use]
    pub fn with_next_in(mut self, delay: Option<Duration>) -> Self {
        self.next_in = delay;
        self
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum RunEnd {
    /// The handler did all of it.
    Completed,
    /// The handler did what matters.
    Partial,
    /// The handler was stopped before what matters was done.
    Expired,
    /// The handler could not do it.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The handler did not stop in time after time was called; its run was completed without it.
    Overran,
    /// No handler was attached in time.
    NoHandler,
}

impl RunEnd {
    /// What the system is told: whether the task did its work.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::Partial)
    }
}

impl From<RunResult> for RunEnd {
    fn from(result: RunResult) -> Self {
        match result {
            RunResult::Completed => Self::Completed,
            RunResult::Partial => Self::Partial,
            RunResult::Expired => Self::Expired,
            RunResult::Failed => Self::Failed,
        }
    }
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct RunRecord {
    /// Counts up from 1 in this process.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub run: u64,
    /// The task.
    pub id: String,
    /// What was granted.
    pub kind: TaskKind,
    /// Who asked.
    pub reason: LaunchReason,
    /// When the launch arrived.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub launched_at_ms: u64,
    /// When the run was completed.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub finished_at_ms: u64,
    /// How it ended.
    pub end: RunEnd,
    /// Whether time was called on it.
    pub time_called: bool,
    /// The earliest moment of the next run, as asked of the system when this one ended.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub next_at_ms: u64,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct ActiveRun {
    /// The number it will have in the history.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub run: u64,
    /// The task.
    pub id: String,
    /// What was granted.
    pub kind: TaskKind,
    /// Who asked.
    pub reason: LaunchReason,
    /// When the launch arrived.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub launched_at_ms: u64,
    /// When it will be told to stop, if the system does not call time earlier.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub deadline_at_ms: u64,
    /// Whether a handler has it. `false`: the launch waits for one.
    pub started: bool,
    /// Whether time was called on it.
    pub time_called: bool,
}

/// Something happened to a run. Goes to Rust listeners and, as [`LAUNCHED_EVENT`] or [`COMPLETED_EVENT`], to webviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum RunEvent {
    /// A handler was started.
    Launched {
        /// The run.
        run: ActiveRun,
    },
    /// A run was completed, with or without its handler's help.
    Completed {
        /// Its row in the history.
        record: RunRecord,
    },
}

/// The webview event of a started run; its payload is an [`ActiveRun`].
pub const LAUNCHED_EVENT: &str = "background://launched";

/// The webview event of a completed run; its payload is a [`RunRecord`].
pub const COMPLETED_EVENT: &str = "background://completed";

/// Which scheduler grants the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum Backend {
    /// `BGTaskScheduler`.
    Ios,
    /// Ours, on desktops and in tests.
    Simulated,
    /// None: this platform has no backend yet.
    Unsupported,
}

/// A request that the system holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct PendingRequest {
    /// The task.
    pub id: String,
    /// It will not be granted before this moment.
    #[cfg_attr(feature = "specta", specta(type = specta_typescript::Number))]
    pub earliest_at_ms: u64,
}

/// A task and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct TaskStatus {
    /// The identifier.
    pub id: String,
    /// Refresh or processing.
    pub kind: TaskKind,
    /// The shortest time between two runs, in minutes.
    pub min_interval_minutes: u32,
    /// How long a run may take, in seconds.
    pub soft_budget_secs: u32,
    /// Only with a network.
    pub requires_network: bool,
    /// Only on external power.
    pub requires_power: bool,
    /// Why the system refused to register the task; `null` when it is registered.
    pub registration_error: Option<String>,
    /// Why the last request was refused; `null` when it was taken.
    pub submit_error: Option<String>,
    /// When the pending request becomes due; `null` when none is pending.
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub earliest_at_ms: Option<u64>,
}

/// Everything about background work that a person needs to see why it did, or did not, run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename = "BackgroundStatus")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct Status {
    /// Who grants the runs.
    pub backend: Backend,
    /// Whether the app attached its handler.
    pub handler_attached: bool,
    /// The declared tasks.
    pub tasks: Vec<TaskStatus>,
    /// The runs under way.
    pub active: Vec<ActiveRun>,
    /// The last completed run in this process.
    pub last: Option<RunRecord>,
}
