//! The scheduler of a platform that has none: every request is refused with a reason, nothing is ever launched.

use std::sync::Arc;

use super::{LaunchSink, Request, Scheduler};
use crate::config::TaskConfig;
use crate::error::SchedulerError;
use crate::models::{Backend, PendingRequest};

/// Refuses everything, with one reason. Runs that a person asks for still work.
#[derive(Debug, Clone, Copy)]
pub struct UnsupportedScheduler(&'static str);

impl UnsupportedScheduler {
    /// Refuses with this reason.
    pub fn new(reason: &'static str) -> Self {
        Self(reason)
    }
}

impl Scheduler for UnsupportedScheduler {
    fn backend(&self) -> Backend {
        Backend::Unsupported
    }

    fn register(&self, _task: &TaskConfig, _sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(self.0))
    }

    fn submit(&self, _request: &Request) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(self.0))
    }

    fn cancel(&self, _id: &str) {}

    fn complete(&self, _token: u64, _success: bool) {}

    fn pending(&self) -> Vec<PendingRequest> {
        Vec::new()
    }

    fn simulate_launch(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(self.0))
    }

    fn simulate_expiration(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(self.0))
    }
}
