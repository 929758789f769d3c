//! Why a request to the plugin was refused. Owns the words; does not own retries.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::config::ConfigError;

/// Why the scheduler refused. The names follow `BGTaskScheduler.Error` where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// This platform has no background scheduler that we can use.
    #[error("background tasks are not supported here: {0}")]
    Unsupported(&'static str),
    /// Background refresh is switched off, or the app runs where it cannot be had.
    #[error("background tasks are unavailable; Background App Refresh may be off")]
    Unavailable,
    /// One refresh request and ten processing requests may be pending.
    #[error("too many requests are pending")]
    TooManyPending,
    /// The identifier or its background mode is missing in the Info.plist, or the task was not registered.
    #[error("the system does not permit the task {0:?}")]
    NotPermitted(String),
    /// The task was registered before; iOS would end the app.
    #[error("the task {0:?} is registered already")]
    AlreadyRegistered(String),
    /// A run of this task is under way.
    #[error("the task {0:?} is running already")]
    AlreadyRunning(String),
    /// No run of this task is under way.
    #[error("the task {0:?} is not running")]
    NotRunning(String),
}

/// Why a request to the plugin was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `tauri.conf.json` declares something that iOS would refuse.
    #[error("tauri.conf.json, plugins.background: {0}")]
    Config(#[from] ConfigError),
    /// `tauri.conf.json` declares no task of this identifier.
    #[error("no task {0:?} is declared in tauri.conf.json")]
    UnknownTask(String),
    /// Nothing can run before the app attaches its handler.
    #[error("no handler is attached yet")]
    NoHandler,
    /// The app attached a handler before.
    #[error("a handler is attached already")]
    AlreadyAttached,
    /// The task is of the wrong kind: the person starts continued tasks, the system the others.
    #[error("the task {0:?} is of another kind: continued tasks are started, the others scheduled")]
    WrongKind(String),
    /// Not a time to wait for.
    #[error("{0} seconds is not a delay")]
    InvalidDelay(String),
    /// The app named a folder for the history before.
    #[error("the history is kept already")]
    HistoryKept,
    /// Two handlers for one task.
    #[error("the task {0:?} has a handler already")]
    DuplicateHandler(String),
    /// The app is on its way out.
    #[error("the status cannot be asked for any more")]
    NoStatus,
    /// The scheduler refused.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// The result of everything the plugin does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::UnknownTask(_) => "unknownTask",
            Self::NoHandler => "noHandler",
            Self::AlreadyAttached => "alreadyAttached",
            Self::WrongKind(_) => "wrongKind",
            Self::InvalidDelay(_) => "invalidDelay",
            Self::HistoryKept => "historyKept",
            Self::DuplicateHandler(_) => "duplicateHandler",
            Self::NoStatus => "noStatus",
            Self::Scheduler(error) => match error {
                SchedulerError::Unsupported(_) => "unsupported",
                SchedulerError::Unavailable => "unavailable",
                SchedulerError::TooManyPending => "tooManyPending",
                SchedulerError::NotPermitted(_) => "notPermitted",
                SchedulerError::AlreadyRegistered(_) => "alreadyRegistered",
                SchedulerError::AlreadyRunning(_) => "alreadyRunning",
                SchedulerError::NotRunning(_) => "notRunning",
            },
        }
    }
}

/// To the webview: `{ code, message }`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Error", 2)?;
        out.serialize_field("code", self.code())?;
        out.serialize_field("message", &self.to_string())?;
        out.end()
    }
}
