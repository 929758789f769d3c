//! The iOS simulator, where `BGTaskScheduler` refuses every request (`BGTaskScheduler.Error.unavailable`): the simulated
//! scheduler grants the runs, and the Swift host tells about the device and the app's comings and goings.

use std::sync::Arc;

use super::simulated::SimulatedScheduler;
use super::{LaunchSink, Request, Scheduler};
use crate::clock::Clock;
use crate::config::{Config, TaskConfig};
use crate::device::DeviceFacts;
use crate::error::SchedulerError;
use crate::ios::Host;
use crate::models::{Backend, PendingRequest};

/// The simulated scheduler inside the iOS simulator.
pub struct IosSimulatorScheduler {
    simulated: Arc<SimulatedScheduler>,
}

impl IosSimulatorScheduler {
    /// Nothing is registered yet.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            simulated: SimulatedScheduler::new(config.simulated.clone(), clock),
        }
    }
}

impl Scheduler for IosSimulatorScheduler {
    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn register(&self, task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        // Without tasks: nothing is asked of `BGTaskScheduler` here.
        Host::install(&Config::default(), sink.clone());
        self.simulated.register(task, sink)
    }

    fn permitted(&self) -> Vec<String> {
        Host::permitted()
    }

    fn submit(&self, request: &Request) -> Result<(), SchedulerError> {
        self.simulated.submit(request)
    }

    fn cancel(&self, id: &str) {
        self.simulated.cancel(id);
    }

    fn complete(&self, token: u64, success: bool) {
        self.simulated.complete(token, success);
    }

    fn pending(&self) -> Vec<PendingRequest> {
        self.simulated.pending()
    }

    fn device(&self) -> DeviceFacts {
        Host::device()
    }

    fn start_continued(&self, id: &str, title: &str, subtitle: &str) -> Result<(), SchedulerError> {
        self.simulated.start_continued(id, title, subtitle)
    }

    fn progress(&self, token: u64, done: u64, total: u64) {
        self.simulated.progress(token, done, total);
    }

    fn simulate_launch(&self, id: &str) -> Result<(), SchedulerError> {
        self.simulated.simulate_launch(id)
    }

    fn simulate_expiration(&self, id: &str) -> Result<(), SchedulerError> {
        self.simulated.simulate_expiration(id)
    }
}
