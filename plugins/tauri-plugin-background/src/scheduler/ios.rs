//! `BGTaskScheduler`, behind the [`Scheduler`] trait: each call is one C call into the Swift host.
//!
//! Decides nothing: which request to make and when is [`crate::run`]'s, what a launch does is the app's. In the iOS
//! simulator, where `BGTaskScheduler` refuses every request (`BGTaskScheduler.Error.unavailable`), the simulated scheduler
//! takes its place, with the host's own facts about the device.

use std::sync::Arc;

use super::{LaunchSink, Request, Scheduler};
use crate::config::{Config, TaskConfig};
use crate::device::DeviceFacts;
use crate::error::SchedulerError;
use crate::ios::{Host, answer};
use crate::models::{Backend, PendingRequest};

/// `BGTaskScheduler`.
pub struct IosScheduler {
    config: Config,
}

impl IosScheduler {
    /// Nothing is registered yet.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Scheduler for IosScheduler {
    fn backend(&self) -> Backend {
        Backend::Ios
    }

    /// The first registration registers all tasks: the host is installed once.
    fn register(&self, task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        let installed = Host::install(&self.config, sink);
        if installed.registered.contains(&task.id) {
            return Ok(());
        }
        Err(match installed.refused.get(&task.id).map(String::as_str) {
            Some("alreadyRegistered") => SchedulerError::AlreadyRegistered(task.id.clone()),
            Some("unsupported") => SchedulerError::Unsupported("continued tasks need iOS 26"),
            _ => SchedulerError::NotPermitted(task.id.clone()),
        })
    }

    fn permitted(&self) -> Vec<String> {
        Host::permitted()
    }

    fn submit(&self, request: &Request) -> Result<(), SchedulerError> {
        explain(Host::submit(request), &request.id)
    }

    fn cancel(&self, id: &str) {
        Host::cancel(id);
    }

    fn complete(&self, token: u64, success: bool) {
        Host::complete(token, success);
    }

    fn pending(&self) -> Vec<PendingRequest> {
        Host::pending().unwrap_or_default()
    }

    fn pending_may_block(&self) -> bool {
        true
    }

    fn device(&self) -> DeviceFacts {
        Host::device()
    }

    fn start_continued(&self, id: &str, title: &str, subtitle: &str) -> Result<(), SchedulerError> {
        explain(Host::start_continued(id, title, subtitle), id)
    }

    fn progress(&self, token: u64, done: u64, total: u64) {
        Host::progress(token, done, total);
    }

    fn simulate_launch(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(
            "on a device only the debugger can launch a task; wake_now runs one in the foreground",
        ))
    }

    fn simulate_expiration(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unsupported(
            "on a device only the debugger can call time on a task",
        ))
    }
}

fn explain(code: i32, id: &str) -> Result<(), SchedulerError> {
    Err(match code {
        answer::TAKEN => return Ok(()),
        answer::UNAVAILABLE => SchedulerError::Unavailable,
        answer::TOO_MANY_PENDING => SchedulerError::TooManyPending,
        answer::NOT_PERMITTED | answer::NOT_REGISTERED => SchedulerError::NotPermitted(id.to_owned()),
        answer::IMMEDIATE_RUN_INELIGIBLE => SchedulerError::Unsupported("the system will not run it at once"),
        answer::NEEDS_NEWER_IOS => SchedulerError::Unsupported("continued tasks need iOS 26"),
        _ => SchedulerError::Unavailable,
    })
}
