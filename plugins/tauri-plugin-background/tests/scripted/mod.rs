//! A system that does what a test tells it to, and keeps what the plugin asked of it.

#![allow(clippy::unwrap_used, dead_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tauri_plugin_background::config::TaskConfig;
use tauri_plugin_background::scheduler::{LaunchSink, Request, Scheduler};
use tauri_plugin_background::{Backend, DeviceFacts, LaunchReason, PendingRequest, SchedulerError};

pub struct Scripted {
    sink: Mutex<Option<Arc<dyn LaunchSink>>>,
    pub device: Mutex<DeviceFacts>,
    /// What it says to requests.
    pub refuses: Mutex<Option<SchedulerError>>,
    /// `pending` and `device` wait for as long as this is held.
    pub stuck: Mutex<()>,
    pub may_block: AtomicBool,
    pub continued: AtomicBool,
    pub permitted: Mutex<Vec<String>>,
    submitted: Mutex<Vec<(String, Duration)>>,
    completed: Mutex<Vec<(u64, bool)>>,
    pub progress: Mutex<Vec<(u64, u64, u64)>>,
    last: AtomicU64,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            sink: Mutex::default(),
            device: Mutex::new(DeviceFacts {
                unlocked_once: Some(true),
                ..DeviceFacts::default()
            }),
            refuses: Mutex::default(),
            stuck: Mutex::default(),
            may_block: AtomicBool::new(false),
            continued: AtomicBool::new(false),
            permitted: Mutex::default(),
            submitted: Mutex::default(),
            completed: Mutex::default(),
            progress: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }
}

impl Scripted {
    pub fn locked() -> Self {
        let scripted = Self::default();
        scripted.device.lock().unwrap().unlocked_once = Some(false);
        scripted
    }

    pub fn sink(&self) -> Arc<dyn LaunchSink> {
        self.sink.lock().unwrap().clone().unwrap()
    }

    pub fn launch(&self, id: &str) -> u64 {
        let token = self.last.fetch_add(1, Ordering::SeqCst);
        self.sink().launched(token, id, LaunchReason::System);
        token
    }

    pub fn unlock(&self) {
        self.device.lock().unwrap().unlocked_once = Some(true);
        self.sink().unlocked();
    }

    /// In the order in which they were made.
    pub fn submitted(&self) -> Vec<(String, Duration)> {
        self.submitted.lock().unwrap().clone()
    }

    pub fn completed(&self) -> Vec<(u64, bool)> {
        self.completed.lock().unwrap().clone()
    }
}

impl Scheduler for Scripted {
    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn register(&self, _task: &TaskConfig, sink: Arc<dyn LaunchSink>) -> Result<(), SchedulerError> {
        *self.sink.lock().unwrap() = Some(sink);
        Ok(())
    }

    fn submit(&self, request: &Request) -> Result<(), SchedulerError> {
        if let Some(error) = self.refuses.lock().unwrap().clone() {
            return Err(error);
        }
        self.submitted
            .lock()
            .unwrap()
            .push((request.id.clone(), request.delay));
        Ok(())
    }

    fn permitted(&self) -> Vec<String> {
        self.permitted.lock().unwrap().clone()
    }

    fn cancel(&self, _id: &str) {}

    fn complete(&self, token: u64, success: bool) {
        self.completed.lock().unwrap().push((token, success));
    }

    fn pending(&self) -> Vec<PendingRequest> {
        drop(self.stuck.lock().unwrap());
        Vec::new()
    }

    fn pending_may_block(&self) -> bool {
        self.may_block.load(Ordering::SeqCst)
    }

    fn device(&self) -> DeviceFacts {
        drop(self.stuck.lock().unwrap());
        *self.device.lock().unwrap()
    }

    fn start_continued(&self, id: &str, _title: &str, _subtitle: &str) -> Result<(), SchedulerError> {
        if !self.continued.load(Ordering::SeqCst) {
            return Err(SchedulerError::Unsupported("this system is too old"));
        }
        self.launch(id);
        Ok(())
    }

    fn progress(&self, token: u64, done: u64, total: u64) {
        self.progress.lock().unwrap().push((token, done, total));
    }

    fn simulate_launch(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unavailable)
    }

    fn simulate_expiration(&self, _id: &str) -> Result<(), SchedulerError> {
        Err(SchedulerError::Unavailable)
    }
}
