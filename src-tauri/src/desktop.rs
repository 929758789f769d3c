//! What only a desktop has: a window from the start, an end that can be waited for, and wakes often enough to watch.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pilotlight_node::{Config, Grace, GrantKind, Lifecycle, WalletState};
use tauri::{AppHandle, Manager, RunEvent, WebviewWindowBuilder, async_runtime};
use tauri_plugin_background::BackgroundExt;
use tokio::time::{Instant, MissedTickBehavior};

use crate::settings::Settings;
use crate::wallets::{Home, Wallets};
use crate::warning::{News, Notice};
use crate::wiring;

/// A clean stop takes under 1.5 s by design. The node survives being cut off, so a stop that hangs must not keep the
/// person waiting for longer than they would before ending the app by force.
const STOP_LIMIT: Duration = Duration::from_secs(5);

static STOPPING: AtomicBool = AtomicBool::new(false);

/// A desktop, with each seed in a file.
pub struct Device;

impl Home for Device {
    fn lifecycle(&self, config: Config) -> Arc<Lifecycle> {
        Lifecycle::new(config)
    }

    /// Nothing to do: who writes makes the folder.
    fn prepare(&self, _folder: &Path) {}

    fn sees_files(&self) -> bool {
        true
    }

    /// The seed's file is not encrypted.
    fn keeps_real_money(&self) -> bool {
        false
    }
}

/// Nothing is armed: a desktop app that is not running warns of nothing, and one that runs looks at the chain.
pub fn warn(_notice: &Notice) {}

/// Nothing is shown: the window says it.
pub fn tell(_news: News) {}

/// Opens the window and brings the node up.
///
/// # Errors
/// If the window cannot be made.
pub fn open(app: &AppHandle, settings: &Settings) -> tauri::Result<()> {
    for window in &app.config().app.windows {
        WebviewWindowBuilder::from_config(app, window)?.build()?;
    }
    let wallets = app.state::<Arc<Wallets>>().inner().clone();
    async_runtime::spawn(async move { wallets.enter_foreground().await });
    #[cfg(unix)]
    async_runtime::spawn(exit_on_signal(app.clone()));
    // The developer's wish for more wakes than a phone would grant.
    if let Some(every) = settings.wake_every() {
        async_runtime::spawn(keep_launching(app.clone(), every));
    }
    Ok(())
}

/// Has the simulated system launch the refresh task again and again, for as long as the app lives. A turn is left out
/// while another run is under way, and while there is no wallet: its records would only say so.
async fn keep_launching(app: AppHandle, every: Duration) {
    let mut turns = tokio::time::interval_at(Instant::now() + every, every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let overview = app.state::<Arc<Wallets>>().overview().await;
        let is_there = overview.is_ok_and(|overview| overview.state != WalletState::None);
        if !is_there || !app.background().status().active.is_empty() {
            continue;
        }
        for id in app.background().tasks_of(wiring::task_kind(GrantKind::Refresh)) {
            if let Err(error) = app.background().simulate_launch(id) {
                tracing::warn!(id, %error, "no simulated launch this time");
            }
        }
    }
}

/// Holds the exit until the node has stopped.
pub fn on_run_event(app: &AppHandle, event: RunEvent) {
    let RunEvent::ExitRequested { api, code, .. } = event else {
        return;
    };
    if STOPPING.swap(true, Ordering::SeqCst) {
        return;
    }
    api.prevent_exit();
    let app = app.clone();
    async_runtime::spawn(async move {
        let wallets = app.state::<Arc<Wallets>>().inner().clone();
        let grace = Grace::none();
        match tokio::time::timeout(STOP_LIMIT, wallets.enter_background_within(&grace)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(code = ?error.code(), detail = error.detail(), "the node did not stop well");
            }
            Err(_) => tracing::error!("the node did not stop in time"),
        }
        app.exit(code.unwrap_or(0));
    });
}

/// Ctrl-C and `kill` are as good as closing the window.
#[cfg(unix)]
async fn exit_on_signal(app: AppHandle) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    app.exit(0);
}
