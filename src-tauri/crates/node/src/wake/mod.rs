//! The background engine: what one wake does, within its grant, and the record it leaves.
//!
//! `plan` says what comes next and what is left, from what `conditions`, `costs` and `journal` know; `budget` says how much
//! time there is, `run` spends it stage by stage on what `work` drives, `record` is the row of metrics, `reports` what it
//! tells of others, `history` keeps the rows, `policy` says when to come again. `safe_until` says before which moment somebody must have looked, `safety` keeps
//! that and says when to warn. Who may open the node is decided in `lifecycle`.

pub mod budget;
mod conditions;
pub mod costs;
pub(crate) mod history;
pub mod instruments;
pub mod journal;
pub mod plan;
pub mod policy;
mod record;
mod reports;
mod run;
pub mod safe_until;
pub mod safety;
#[cfg(test)]
mod tests;
pub mod work;

pub use conditions::*;
pub use record::*;
pub(crate) use run::{Keep, Wake};

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
    /// What the phone is like.
    pub conditions: Conditions,
}

/// How far a wake came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WakeProgress {
    /// Stages that ended, well or not.
    pub done: u32,
    /// Stages that this wake has, as far as can be foreseen.
    pub total: u32,
    /// How far the look at the chain came.
    pub blocks: Blocks,
}

/// How far the look at the chain came, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Worked off.
    pub done: u32,
    /// To work off in all; zero as long as nothing is known.
    pub total: u32,
}

/// What one stage counts for in [`WakeProgress::parts`]: a part of the chain stage that is worked off must move the bar.
const PARTS: u64 = 1_000;

impl WakeProgress {
    /// The same as parts of a whole, where blocks that are worked off move it too.
    pub fn parts(&self) -> (u64, u64) {
        let total = u64::from(self.total.max(self.done).max(1)) * PARTS;
        let Blocks { done, total: blocks } = self.blocks;
        // The chain is the second stage; while it runs, one stage is done.
        let within = if self.done == 1 && blocks > 0 {
            PARTS * u64::from(done.min(blocks)) / u64::from(blocks)
        } else {
            0
        };
        (u64::from(self.done) * PARTS + within, total)
    }
}
