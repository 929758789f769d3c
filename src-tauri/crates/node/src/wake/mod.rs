//! The background engine: what one wake does, within its grant, and the record it leaves.
//!
//! `budget` says how much time there is, `run` spends it stage by stage, `record` is the row of metrics, `history` keeps
//! the rows, `policy` says when to come again. `safe_until` says before which moment somebody must have looked, `safety`
//! keeps that and says when to warn. Who may open the node is decided in `lifecycle`.

pub mod budget;
pub(crate) mod history;
pub mod policy;
mod record;
mod run;
pub mod safe_until;
pub mod safety;

pub use record::*;
pub(crate) use run::Wake;

use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the system gave a wake.
#[derive(Debug, Clone)]
pub struct Grant {
    /// How much can be expected.
    pub kind: GrantKind,
    /// Who asked.
    pub reason: WakeReason,
    /// When the system will end it. Work winds down before.
    pub deadline: Instant,
    /// Cancelled when the system (or the person) wants the time back early.
    pub cancel: CancellationToken,
    /// Where to say how far the wake came, if somebody watches.
    pub progress: Option<watch::Sender<WakeProgress>>,
}

/// How far a wake came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WakeProgress {
    /// Stages that ended, well or not.
    pub done: u32,
    /// Stages that a whole wake has.
    pub total: u32,
}
