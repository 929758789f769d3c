//! The place of the iOS backend, `BGTaskScheduler`. It is not built yet: every request is refused as unsupported, and
//! the app runs on with the runs that a person asks for.
//!
//! What will stand here is a [`Scheduler`] over a thin Swift host, joined by C functions with function pointers, so
//! that neither a webview nor Tauri's plugin channel is in the way of a cold background launch:
//!
//! ```c
//! int32_t tbg_install(const char *tasks_json, LaunchFn, ExpireFn); // Scheduler::register; pointers are stored first
//! int32_t tbg_submit(const char *id, int32_t kind, double earliest_secs, bool network, bool power);
//! void    tbg_cancel(const char *id);
//! void    tbg_complete(uint64_t token, bool success);              // idempotent
//! char   *tbg_status_json(void);                                   // pending requests, permitted identifiers
//! ```

use std::sync::Arc;

use super::Scheduler;
use super::unsupported::UnsupportedScheduler;

/// The scheduler of iOS.
pub fn scheduler() -> Arc<dyn Scheduler> {
    Arc::new(UnsupportedScheduler::new("the iOS backend is not built yet"))
}
