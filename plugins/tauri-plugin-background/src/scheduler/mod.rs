//! Who grants the runs: one trait, and the backend of each platform.

#[cfg(target_os = "ios")]
pub mod ios;
#[cfg(all(target_os = "ios", target_abi = "sim"))]
pub mod ios_simulator;
pub mod simulated;
pub mod unsupported;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, TaskConfig, TaskKind};
use crate::device::DeviceFacts;
use crate::error::SchedulerError;
use crate::models::{Backend, LaunchReason, PendingRequest};

/// A wish for one run of a task. A later request of the same identifier takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The task.
    pub id: String,
    /// Refresh or processing; never continued.
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
    /// The device was unlocked for the first time since it started: files and Keychain can be read from now on.
    fn unlocked(&self);
    /// The device's facts changed, or the app came to the foreground: what was refused may be taken now.
    fn changed(&self) {}
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

    /// The identifiers that the app is built to run, where the system has such a list (`BGTaskSchedulerPermittedIdentifiers`).
    fn permitted(&self) -> Vec<String> {
        Vec::new()
    }

    /// Asks for a run of a registered task, in place of the request that was pending.
    ///
    /// # Errors
    /// Why the system refuses.
    fn submit(&self, request: &Request) -> Result<(), SchedulerError>;

    /// Takes the pending request of a task back.
    fn cancel(&self, id: &str);

    /// Ends a launch. Called exactly once for each.
    fn complete(&self, token: u64, success: bool);

    /// The requests that are pending. May wait for the system, up to a second: not for the main thread.
    fn pending(&self) -> Vec<PendingRequest>;

    /// Whether [`Scheduler::pending`] and [`Scheduler::device`] may wait for the system. They are then kept off the thread
    /// that attaches handlers, which on iOS is the main one.
    fn pending_may_block(&self) -> bool {
        false
    }

    /// What is known of the device now. Cheap, but on iOS it asks the Keychain: not before the app has finished launching.
    ///
    /// A launch gets no handler, and no file is touched, before [`DeviceFacts::unlocked_once`] is `Some(true)`: `None` is
    /// for a device that has a lock and does not say. A platform without such a lock answers as this does.
    fn device(&self) -> DeviceFacts {
        DeviceFacts {
            unlocked_once: Some(true),
            ..DeviceFacts::default()
        }
    }

    /// Starts a continued task (`BGContinuedProcessingTask`, iOS 26): work that the person began and wants finished, with
    /// progress that the system shows under `title` and `subtitle`. The launch comes through the sink.
    ///
    /// # Errors
    /// [`SchedulerError::Unsupported`] where there is no such thing, or why the system refuses.
    fn start_continued(&self, id: &str, title: &str, subtitle: &str) -> Result<(), SchedulerError> {
        let _ = (id, title, subtitle);
        Err(SchedulerError::Unsupported("continued tasks need iOS 26"))
    }

    /// Reports how far a continued launch came. The system ends those that do not move.
    fn progress(&self, token: u64, done: u64, total: u64) {
        let _ = (token, done, total);
    }

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
    #[cfg(all(target_os = "ios", not(target_abi = "sim")))]
    return Arc::new(ios::IosScheduler::new(config.clone()));
    #[cfg(all(target_os = "ios", target_abi = "sim"))]
    return Arc::new(ios_simulator::IosSimulatorScheduler::new(config, clock));
    #[cfg(not(any(desktop, target_os = "ios")))]
    return Arc::new(unsupported::UnsupportedScheduler::new(
        "there is no backend for this platform yet",
    ));
}
