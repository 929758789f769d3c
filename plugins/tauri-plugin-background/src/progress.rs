//! How far a run came, told to whoever shows it.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::scheduler::Scheduler;

/// Takes a run's progress to the system, which shows it for a continued task and ends one that does not move. For every
/// other run nobody shows it, and telling it costs nothing. Clones tell the same run's.
#[derive(Clone, Default)]
pub struct Progress(Option<Shown>);

#[derive(Clone)]
struct Shown {
    scheduler: Weak<dyn Scheduler>,
    token: u64,
}

impl Progress {
    /// Progress that nobody shows.
    pub fn nowhere() -> Self {
        Self::default()
    }

    pub(crate) fn of(scheduler: &Arc<dyn Scheduler>, token: u64) -> Self {
        Self(Some(Shown {
            scheduler: Arc::downgrade(scheduler),
            token,
        }))
    }

    /// `done` of `total` units, whatever a unit is. More than all is all; a total of nothing is not told.
    pub fn set(&self, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        if let Some(shown) = &self.0
            && let Some(scheduler) = shown.scheduler.upgrade()
        {
            scheduler.progress(shown.token, done.min(total), total);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("shown", &self.0.is_some())
            .finish()
    }
}
