//! Background tasks for Tauri: declared once in `tauri.conf.json`, run in Rust, with or without a window.
//!
//! Add the plugin with [`Builder`], hand it the work with [`Background::attach`], and let the work's [`Outcome`] decide
//! when it comes again:
//!
//! ```no_run
//! use tauri_plugin_background::{BackgroundExt, Outcome, RunResult};
//!
//! tauri::Builder::default()
//!     .plugin(tauri_plugin_background::Builder::new().build())
//!     .setup(|app| {
//!         app.background().attach(|launch| {
//!             // Runs on a thread of its own. Stop when `launch.cancel` fires, be done by `launch.deadline`.
//!             println!("{} woke us", launch.id);
//!             Outcome::new(RunResult::Completed)
//!         })?;
//!         Ok(())
//!     });
//! ```
//!
//! The parts, from the inside out: [`run`] is the state machine of a run, [`policy`] says when the next one should come,
//! [`scheduler`] is who grants runs, [`Background`] joins them.

mod alarm;
mod background;
pub mod clock;
mod commands;
pub mod config;
mod error;
mod models;
pub mod policy;
pub mod run;
pub mod scheduler;

use std::sync::Arc;

use tauri::plugin::TauriPlugin;
use tauri::{Emitter, Manager, Runtime};

pub use background::Background;
pub use config::Config;
pub use error::{Error, Result, SchedulerError};
pub use models::{
    ActiveRun, Backend, COMPLETED_EVENT, LAUNCHED_EVENT, Launch, LaunchReason, Outcome, PendingRequest,
    RunEnd, RunEvent, RunRecord, RunResult, Status, TaskKind, TaskStatus,
};

use clock::{Clock, SystemClock};
use scheduler::Scheduler;

/// Access to the plugin from anything that manages a Tauri app.
pub trait BackgroundExt<R: Runtime> {
    /// The background work of this app.
    ///
    /// # Panics
    /// If the plugin was not added to the app.
    fn background(&self) -> &Background;
}

impl<R: Runtime, T: Manager<R>> BackgroundExt<R> for T {
    fn background(&self) -> &Background {
        self.state::<Background>().inner()
    }
}

/// Makes the plugin.
#[derive(Default)]
pub struct Builder {
    scheduler: Option<Arc<dyn Scheduler>>,
}

impl Builder {
    /// With the scheduler of the platform: `BGTaskScheduler` on iOS, the simulated one on desktops.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another scheduler, for tests and experiments.
    #[must_use]
    pub fn scheduler(mut self, scheduler: Arc<dyn Scheduler>) -> Self {
        self.scheduler = Some(scheduler);
        self
    }

    /// The plugin, for `tauri::Builder::plugin`. The app's build fails on a declaration that iOS would refuse.
    pub fn build<R: Runtime>(self) -> TauriPlugin<R, Option<Config>> {
        tauri::plugin::Builder::<R, Option<Config>>::new("background")
            .invoke_handler(tauri::generate_handler![
                commands::status,
                commands::history,
                commands::wake_now,
                commands::simulate_launch,
                commands::simulate_expiration
            ])
            .setup(move |app, api| {
                // On iOS this runs before `UIApplicationMain`, and maybe in a prewarmed process on a locked phone: the
                // tasks are registered here, and nothing else is touched.
                let config = api.config().clone().unwrap_or_default();
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let scheduler = self
                    .scheduler
                    .unwrap_or_else(|| scheduler::of_platform(&config, clock.clone()));
                let background = Background::new(config, scheduler, clock)?;
                let handle = app.clone();
                background.on_event(move |event| emit(&handle, event));
                app.manage(background);
                Ok(())
            })
            .build()
    }
}

fn emit<R: Runtime>(app: &tauri::AppHandle<R>, event: &RunEvent) {
    let emitted = match event {
        RunEvent::Launched { run } => app.emit(LAUNCHED_EVENT, run),
        RunEvent::Completed { record } => app.emit(COMPLETED_EVENT, record),
    };
    if let Err(error) = emitted {
        tracing::warn!(%error, "cannot tell the webviews about a run");
    }
}
