//! Who grants the runs: one trait, and the backend of each platform.

#[cfg(target_os = "ios")]
pub mod ios;
pub mod simulated;
pub mod unsupported;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, TaskConfig, TaskKind};
use crate::error::SchedulerError;
use crate::models::{Backend, LaunchReason, PendingRequest};

/// A wish for one run of a task. A later request of the same identifier takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The task.
    pub id: String,
    /// Refresh or processing.
    pub kind: TaskKind,
    /// Not before this time has passed.
    pub delay: Duration,
    /// Only with a network.
    pub requires_network: bool,
    /// Only on external power.
    pub requires_power: bool,
}

impl Request {
    /// The request that a declared task makes.
    pub fn new(task: &TaskConfig, delay: Duration) -> Self {
        Self {
            id: task.id.clone(),
            kind: task.kind,
            delay,
            requires_network: task.requires_network,
            requires_power: task.requires_power,
        }
    }
}

/// Where a scheduler reports its launches. May be called from any thread, but not from inside a call to the scheduler,
/// and never for the expiry of a launch before its launch was reported. Returns at once.
pub trait LaunchSink: Send + Sync {
    /// A task was launched. `token` is unique in this process; the launch stays open until
    /// [`Scheduler::complete`] was called with it.
    fn launched(&self, token: u64, id: &str, reason: LaunchReason);
    /// The system called time on a launch.
    fn expired(&self, token: u64);
}

/// A system that grants background runs.
pub trait Scheduler: Send + Sync + 'static {
    /// Which one it is.
    fn backend(&self) -> Backend;

    /// Makes a task known, before the app has finished launching and once per process. Touches no file, Keychain or
    /// socket, and starts no thread.
    ///
    /// # Errors
    /// Why the system refuses. The task is then never submitted.
    fn register(&self, task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError>;

    /// Asks for a run of a registered task, in place of the request that was pending.
    ///
    /// # Errors
    /// Why the system refuses.
    fn submit(&self, request: &Request) -> Result<(), SchedulerError>;

    /// Takes the pending request of a task back.
    fn cancel(&self, id: &str);

    /// Ends a launch. Called exactly once for each.
    fn complete(&self, token: u64, success: bool);

    /// The requests that are pending.
    fn pending(&self) -> Vec<PendingRequest>;

    /// Launches a task now, whatever its conditions; its pending request is used up, as iOS would.
    ///
    /// # Errors
    /// Where launches cannot be simulated, or the task runs already.
    fn simulate_launch(&self, id: &str) -> Result<(), SchedulerError>;

    /// Calls time on the launch of a task that is under way.
    ///
    /// # Errors
    /// Where expirations cannot be simulated, or the task does not run.
    fn simulate_expiration(&self, id: &str) -> Result<(), SchedulerError>;
}

/// The scheduler of this platform.
#[cfg_attr(mobile, allow(unused_variables, clippy::needless_pass_by_value))]
pub fn of_platform(config: &Config, clock: Arc<dyn Clock>) -> Arc<dyn Scheduler> {
    #[cfg(desktop)]
    return simulated::SimulatedScheduler::new(config.simulated.clone(), clock);
    #[cfg(target_os = "ios")]
    return ios::scheduler();
    #[cfg(not(any(desktop, target_os = "ios")))]
    return Arc::new(unsupported::UnsupportedScheduler::new(
        "there is no backend for this platform yet",
    ));
}
