//! One run in the machine's table: what is known of it, and the rows that tell of it.

use std::time::{Duration, Instant};

use super::{HANDLER_WAIT, Token, WATCHDOG};
use crate::clock::Moment;
use crate::config::TaskKind;
use crate::device::DeviceFacts;
use crate::models::{ActiveRun, LaunchReason, RunEnd, RunRecord, bounded};

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) kind: TaskKind,
    pub(super) reason: LaunchReason,
    pub(super) launched: Moment,
    pub(super) deadline: Instant,
    /// `None`: the device has not answered yet.
    pub(super) device: Option<DeviceFacts>,
    pub(super) next_at_ms: Option<u64>,
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Running,
    Expiring { since: Instant },
    Joined { host: Token, number: u64 },
}

/// How a run ends, before it is written down.
pub(super) struct Ending {
    pub(super) end: RunEnd,
    pub(super) cause: Option<String>,
    pub(super) wish: Option<Duration>,
    pub(super) memory: Option<u64>,
}

impl Ending {
    pub(super) fn new(end: RunEnd, cause: impl Into<String>) -> Self {
        Self {
            end,
            cause: Some(bounded(cause.into())),
            wish: None,
            memory: None,
        }
    }
}

impl Run {
    pub(super) fn next_tick(&self) -> Instant {
        match self.phase {
            Phase::Waiting => self.deadline.min(self.launched.instant + HANDLER_WAIT),
            Phase::Running | Phase::Joined { .. } => self.deadline,
            Phase::Expiring { since } => since + WATCHDOG,
        }
    }

    fn joined(&self) -> Option<u64> {
        match self.phase {
            Phase::Joined { number, .. } => Some(number),
            Phase::Waiting | Phase::Running | Phase::Expiring { .. } => None,
        }
    }

    pub(super) fn describe(&self) -> ActiveRun {
        ActiveRun {
            run: self.number,
            id: self.id.clone(),
            kind: self.kind,
            reason: self.reason,
            launched_at_ms: self.launched.unix_ms,
            deadline_at_ms: self.launched.unix_ms_of(self.deadline),
            started: matches!(self.phase, Phase::Running | Phase::Expiring { .. }),
            time_called: matches!(self.phase, Phase::Expiring { .. }),
            joined: self.joined(),
        }
    }

    /// The row of the run while it is under way.
    pub(super) fn row(&self) -> RunRecord {
        RunRecord {
            run: self.number,
            id: self.id.clone(),
            kind: self.kind,
            reason: self.reason,
            launched_at_ms: self.launched.unix_ms,
            finished_at_ms: None,
            end: RunEnd::UnderWay,
            cause: None,
            time_called: matches!(self.phase, Phase::Expiring { .. }),
            joined: self.joined(),
            device: self.device,
            memory_at_end_bytes: None,
            next_at_ms: self.next_at_ms,
            next_refused: None,
        }
    }
}
