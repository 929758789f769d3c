//! Background tasks for Tauri: declared once in `tauri.conf.json`, run in Rust, with or without a window.
//!
//! Add the plugin with [`Builder`], hand it the work, and let the work's [`Outcome`] decide when it comes again:
//!
//! ```no_run
//! use tauri::Manager;
//! use tauri_plugin_background::{BackgroundExt, Outcome, RunResult};
//!
//! tauri::Builder::default()
//!     .plugin(
//!         tauri_plugin_background::Builder::new()
//!             // One task, after the app's setup, with what that manages.
//!             .task("com.example.app.cleanup", |app, launch| {
//!                 println!("{} runs in {}", launch.id, app.package_info().name);
//!                 Outcome::new(RunResult::Completed)
//!             })
//!             .build(),
//!     )
//!     .setup(|app| {
//!         app.background().keep_history(app.path().app_data_dir()?)?;
//!         // All other tasks.
//!         app.background().attach(|launch| {
//!             // Runs on a thread of its own. Stop when `launch.cancel` fires, be done by `launch.deadline`.
//!             println!("{} woke us", launch.id);
//!             Outcome::new(RunResult::Failed).with_cause("not written yet")
//!         })?;
//!         Ok(())
//!     });
//! ```
//!
//! The parts, from the inside out: [`run`] is the state machine of a run, [`policy`] says when the next one should come,
//! [`scheduler`] is who grants runs, [`Background`] joins them with the app, its history on disk and its threads.

mod alarm;
mod background;
mod blockers;
pub mod clock;
mod commands;
pub mod config;
mod device;
mod engine;
mod error;
mod gate;
mod history;
#[cfg(target_os = "ios")]
pub mod ios;
mod lock;
mod models;
pub mod policy;
mod progress;
mod requests;
pub mod run;
pub mod scheduler;
pub mod secrets;

use std::sync::Arc;

use tauri::plugin::TauriPlugin;
use tauri::{AppHandle, Emitter, Manager, Runtime};

pub use background::Background;
pub use blockers::{Blocker, BlockerCode, blockers};
pub use config::Config;
pub use device::{BackgroundRefresh, DeviceFacts, NetworkState};
pub use error::{Error, Result, SchedulerError};
pub use models::{
    ActiveRun, Backend, COMPLETED_EVENT, HistoryStatus, LAUNCHED_EVENT, Launch, LaunchReason,
    MAX_CAUSE_BYTES, Outcome, PendingRequest, RunEnd, RunEvent, RunRecord, RunResult, Status, TaskKind,
    TaskStatus,
};
pub use progress::Progress;

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
pub struct Builder<R: Runtime> {
    scheduler: Option<Arc<dyn Scheduler>>,
    tasks: Vec<(String, TaskHandler<R>)>,
}

type TaskHandler<R> = Box<dyn Fn(&AppHandle<R>, Launch) -> Outcome + Send + Sync>;

impl<R: Runtime> Default for Builder<R> {
    fn default() -> Self {
        Self {
            scheduler: None,
            tasks: Vec::new(),
        }
    }
}

impl<R: Runtime> Builder<R> {
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

    /// With the work of one task. It runs, each time on a thread of its own, after the app's setup; launches that come
    /// earlier wait for that. Tasks without work of their own are those of [`Background::attach`].
    ///
    /// The app does not start if `tauri.conf.json` does not declare the task, or it is given work twice.
    #[must_use]
    pub fn task(
        mut self,
        id: impl Into<String>,
        handler: impl Fn(&AppHandle<R>, Launch) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.tasks.push((id.into(), Box::new(handler)));
        self
    }

    /// The plugin, for `tauri::Builder::plugin`. The app's build fails on a declaration that iOS would refuse.
    pub fn build(self) -> TauriPlugin<R, Option<Config>> {
        tauri::plugin::Builder::<R, Option<Config>>::new("background")
            .invoke_handler(tauri::generate_handler![
                commands::status,
                commands::history,
                commands::wake_now,
                commands::schedule,
                commands::cancel,
                commands::simulate_launch,
                commands::simulate_expiration
            ])
            .setup(move |app, api| {
                // On iOS this runs before `UIApplicationMain`, and maybe in a prewarmed process on a locked phone: the
                // tasks are registered here, and nothing else is touched.
                let config = api.config().clone().unwrap_or_default();
                // The Swift object that sets up webviews. It registers no task.
                #[cfg(target_os = "ios")]
                api.register_ios_plugin(ios::PLUGIN)?;
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let scheduler = self
                    .scheduler
                    .unwrap_or_else(|| scheduler::of_platform(&config, clock.clone()));
                let background = Background::new(config, scheduler, clock)?;
                for (id, handler) in self.tasks {
                    let handle = app.clone();
                    background.task(&id, move |launch| handler(&handle, launch))?;
                }
                let handle = app.clone();
                background.on_event(move |event| emit(&handle, event));
                app.manage(background);
                Ok(())
            })
            .on_event(|app, event| {
                // Tauri sends this after the app's setup: what that manages is there for the work of single tasks.
                if let tauri::RunEvent::Ready = event {
                    app.background().ready();
                }
            })
            .build()
    }
}

fn emit<R: Runtime>(app: &AppHandle<R>, event: &RunEvent) {
    let emitted = match event {
        RunEvent::Launched { run } => app.emit(LAUNCHED_EVENT, run),
        RunEvent::Completed { record } => app.emit(COMPLETED_EVENT, record),
    };
    if let Err(error) = emitted {
        tracing::warn!(%error, "cannot tell the webviews about a run");
    }
}

// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
