//! What the plugin tells the outside: launches for the handler, and plain data for status, history and events.
//!
//! Units are in the names; moments are milliseconds since the Unix epoch. Owns no behaviour beyond constructors.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::blockers::Blocker;
pub use crate::config::TaskKind;
use crate::device::DeviceFacts;
use crate::progress::Progress;

/// The longest cause that is kept of a run, in bytes: a sentence or two. Two hundred rows of it stay a small file.
pub const MAX_CAUSE_BYTES: usize = 400;

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
    /// Where to tell how far the run came. The system ends a continued run that tells nothing for long.
    pub progress: Progress,
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
    /// Nothing was tried: what it needs cannot be read on a device that was not unlocked since it started. No failure, so the
    /// next run is not put off.
    Locked,
}

/// What a handler answers: how far it came, and when it wants to run next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How far it came.
    pub result: RunResult,
    /// The earliest time until the next run. `None`: the plugin's own policy decides (see [`crate::policy`]).
    pub next_in: Option<Duration>,
    /// Why it came no further, for the history. Goes to disk and to webviews: no secrets.
    pub cause: Option<String>,
}

impl Outcome {
    /// An outcome that leaves the next run to the plugin's policy.
    pub fn new(result: RunResult) -> Self {
        Self {
            result,
            next_in: None,
            cause: None,
        }
    }

    /// The same, with a wish for the next run.
    #[must_use]
    pub fn with_next_in(mut self, delay: Option<Duration>) -> Self {
        self.next_in = delay;
        self
    }

    /// The same, with the reason why it came no further. What exceeds [`MAX_CAUSE_BYTES`] is cut off.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(bounded(cause.into()));
        self
    }
}

/// A cause, cut to [`MAX_CAUSE_BYTES`] between two characters.
pub(crate) fn bounded(mut cause: String) -> String {
    if cause.len() > MAX_CAUSE_BYTES {
        let mut end = MAX_CAUSE_BYTES - '…'.len_utf8();
        while !cause.is_char_boundary(end) {
            end -= 1;
        }
        cause.truncate(end);
        cause.push('…');
    }
    cause
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum RunEnd {
    /// It did not end yet.
    UnderWay,
    /// The handler did all of it.
    Completed,
    /// The handler did what matters.
    Partial,
    /// The handler was stopped before what matters was done; or time was called on a launch that had joined another run.
    Expired,
    /// The handler could not do it.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The handler did not stop in time after time was called; its run was completed without it.
    Overran,
    /// No handler was attached in time.
    NoHandler,
    /// The device was not unlocked since it started, so that no file could be read. No handler was started, or it found so.
    Locked,
    /// The handler of an earlier run of the task, which overran, had still not returned. No handler was started.
    Busy,
    /// The process ended, or was ended, while the run was under way. Found at the next start.
    CutOff,
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
            RunResult::Locked => Self::Locked,
        }
    }
}

/// One row of the history. Written when a launch is known, and again when it was completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct RunRecord {
    /// Counts up from 1, over all the processes that kept this history. A run that ended before the history was read,
    /// because the device was locked, gets its number then.
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
    /// When the run was completed. `null`: it is under way, or was cut off and nobody saw when.
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub finished_at_ms: Option<u64>,
    /// How it ended.
    pub end: RunEnd,
    /// Why it came no further, if it did not do all of it and this is known.
    #[serde(default)]
    pub cause: Option<String>,
    /// Whether time was called on it.
    pub time_called: bool,
    /// The run of the same task, under way when the launch came, that did its work for it.
    #[serde(default)]
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub joined: Option<u64>,
    /// The device at the launch, with the memory that was left. `null`: it did not answer in time.
    #[serde(default)]
    pub device: Option<DeviceFacts>,
    /// Memory that the app might still have taken when the handler returned, in bytes.
    #[serde(default)]
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub memory_at_end_bytes: Option<u64>,
    /// The earliest moment of the next run, as last asked of the system. `null` for tasks that only the person starts, and
    /// when the system refused.
    #[serde(default)]
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub next_at_ms: Option<u64>,
    /// Why the system refused the request for the next run.
    #[serde(default)]
    pub next_refused: Option<String>,
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
    /// The run that does the work for this launch, which came while it was under way.
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub joined: Option<u64>,
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
// Four of its facts are plain yes or no.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct TaskStatus {
    /// The identifier.
    pub id: String,
    /// Refresh, processing or continued.
    pub kind: TaskKind,
    /// The shortest time between two runs, in minutes. 0 for a continued task.
    pub min_interval_minutes: u32,
    /// How long a run may take, in seconds.
    pub soft_budget_secs: u32,
    /// Only with a network.
    pub requires_network: bool,
    /// Only on external power.
    pub requires_power: bool,
    /// Whether the system knows the task.
    pub registered: bool,
    /// Whether the app is built to run it. `false`: declared in `tauri.conf.json`, but not permitted by the Info.plist.
    pub permitted: bool,
    /// Why the system refused to register the task; `null` when it is registered.
    pub registration_error: Option<String>,
    /// Whether a handler is there.
    pub handler_ready: bool,
    /// Why the last request was refused; `null` when it was taken. It is made again at the next occasion.
    pub submit_error: Option<String>,
    /// When the pending request becomes due; `null` when none is pending.
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub earliest_at_ms: Option<u64>,
    /// The last completed run.
    pub last: Option<RunRecord>,
    /// When a run of it last did what matters.
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub last_success_at_ms: Option<u64>,
    /// Runs since then that did not.
    pub failures_in_a_row: u32,
}

/// The history on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct HistoryStatus {
    /// Whether it is on disk now. `false`: the app keeps none, or its file cannot be read yet.
    pub on_disk: bool,
    /// What went wrong with it, if something did.
    pub trouble: Option<String>,
}

/// Everything about background work that a person needs to see why it did, or did not, run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename = "BackgroundStatus")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct Status {
    /// Who grants the runs.
    pub backend: Backend,
    /// What is known of the device.
    pub device: DeviceFacts,
    /// Whether every declared task has its handler.
    pub handler_attached: bool,
    /// What keeps runs from coming, weightiest first.
    pub blockers: Vec<Blocker>,
    /// The declared tasks.
    pub tasks: Vec<TaskStatus>,
    /// Identifiers that the app's Info.plist permits and no task declares: left over, or misspelt. Apple wants a handler for
    /// every one.
    pub undeclared: Vec<String>,
    /// The runs under way.
    pub active: Vec<ActiveRun>,
    /// The last completed run.
    pub last: Option<RunRecord>,
    /// The history on disk.
    pub history: HistoryStatus,
}
