//! What a process has of the system: nothing any more, once it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::TaskConfig;
use crate::device::DeviceFacts;
use crate::error::SchedulerError;
use crate::models::{Backend, PendingRequest};
use crate::scheduler::simulated::SimulatedScheduler;
use crate::scheduler::{LaunchSink, Request, Scheduler};

/// The system, as long as the process lives.
pub(super) struct Link {
    system: Arc<SimulatedScheduler>,
    alive: AtomicBool,
}

impl Link {
    /// Of a process that lives.
    pub(super) fn new(system: Arc<SimulatedScheduler>) -> Self {
        Self {
            system,
            alive: AtomicBool::new(true),
        }
    }

    /// The process ended.
    pub(super) fn cut(&self) {
        self.alive.store(false, Ordering::SeqCst);
    }

    fn system(&self) -> Option<&SimulatedScheduler> {
        self.alive.load(Ordering::SeqCst).then_some(&*self.system)
    }
}

impl Scheduler for Link {
    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn register(&self, task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        let system = self.system().ok_or(SchedulerError::Unavailable)?;
        system.register(task, sink)
    }

    fn submit(&self, request: &Request) -> Result<(), SchedulerError> {
        let system = self.system().ok_or(SchedulerError::Unavailable)?;
        system.submit(request)
    }

    fn cancel(&self, id: &str) {
        if let Some(system) = self.system() {
            system.cancel(id);
        }
    }

    fn complete(&self, token: u64, success: bool) {
        if let Some(system) = self.system() {
            system.complete(token, success);
        }
    }

    fn pending(&self) -> Vec<PendingRequest> {
        self.system().map(Scheduler::pending).unwrap_or_default()
    }

    fn device(&self) -> DeviceFacts {
        self.system.device()
    }

    fn start_continued(&self, id: &str, title: &str, subtitle: &str) -> Result<(), SchedulerError> {
        let system = self.system().ok_or(SchedulerError::Unavailable)?;
        system.start_continued(id, title, subtitle)
    }

    fn progress(&self, token: u64, done: u64, total: u64) {
        if let Some(system) = self.system() {
            system.progress(token, done, total);
        }
    }

    fn simulate_launch(&self, id: &str) -> Result<(), SchedulerError> {
        let system = self.system().ok_or(SchedulerError::Unavailable)?;
        system.simulate_launch(id)
    }

    fn simulate_expiration(&self, id: &str) -> Result<(), SchedulerError> {
        let system = self.system().ok_or(SchedulerError::Unavailable)?;
        system.simulate_expiration(id)
    }
}
