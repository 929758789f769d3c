//! What only an iPhone has: a process that iOS starts without a person, a window that comes when the person does, seconds
//! to put the node away, and a Keychain for the seed.
//!
//! The app's comings and goings arrive on any thread and in quick succession; one task works them off in order, so that the
//! node is never told to come up and to stop at the same time.

mod keychain;
mod notices;

pub use notices::{tell, warn};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pilotlight_node::{Config, Grace, Lifecycle};
use tauri::{AppHandle, Manager, RunEvent, WebviewWindowBuilder, async_runtime};
use tauri_plugin_background::ios::{self, Change};
use tokio::sync::mpsc;

use crate::settings::Settings;
use crate::wallets::{Home, Wallets};
use crate::warning::Notice;

/// What iOS grants an app that leaves, less the seconds by which it calls the time early. It calls it in any case; this is
/// for the node to plan with.
const GRACE: Duration = Duration::from_secs(25);

/// An iPhone, with each seed in the Keychain.
pub struct Device;

impl Home for Device {
    fn lifecycle(&self, config: Config) -> Arc<Lifecycle> {
        let seeds = keychain::KeychainSeeds::new(config.network);
        Lifecycle::with_seeds(config, Box::new(seeds))
    }

    /// Makes a folder and keeps it out of backups, once. A wallet that came back from an old backup would be a stale one, and
    /// stale channel state loses money; and a choice of a network that came back would name a wallet that is not there.
    fn prepare(&self, folder: &Path) {
        static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
        if done.contains(folder) {
            return;
        }
        if let Err(error) = std::fs::create_dir_all(folder) {
            // The node will say so in its own words when it opens.
            tracing::error!(%error, "cannot make a folder");
            return;
        }
        match ios::protect_folder(folder) {
            Ok(()) => {
                done.insert(folder.to_owned());
            }
            Err(code) => tracing::error!(code, "cannot keep a folder out of backups; will try again"),
        }
    }

    /// Before the first unlock after a start, files that are there may seem not to be.
    fn sees_files(&self) -> bool {
        ios::device().unlocked_once == Some(true)
    }

    fn keeps_real_money(&self) -> bool {
        true
    }
}

/// Listens for the person. No window is made before one is wanted: background launches need none.
///
/// # Errors
/// None today.
pub fn open(app: &AppHandle, _settings: &Settings) -> tauri::Result<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    ios::on_change(move |change| {
        // The receiver lives as long as the app.
        let _ = sender.send(change);
    });
    async_runtime::spawn(follow(app.clone(), receiver));
    async_runtime::spawn(notices::follow(app.state::<Arc<Wallets>>().inner().clone()));
    Ok(())
}

/// The app lives on without a window: iOS takes the window's scene away in the background when it is short of memory, and
/// wakes come without one.
pub fn on_run_event(_app: &AppHandle, event: RunEvent) {
    if let RunEvent::ExitRequested { api, code: None, .. } = event {
        api.prevent_exit();
    }
}

async fn follow(app: AppHandle, mut changes: mpsc::UnboundedReceiver<Change>) {
    let wallets = app.state::<Arc<Wallets>>().inner().clone();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Foreground => come_back(&app, &wallets).await,
            Change::Background => put_away(&app, &wallets, &mut changes).await,
            Change::MemoryWarning => warn_of_memory(),
            _ => {}
        }
    }
}

async fn come_back(app: &AppHandle, wallets: &Wallets) {
    show_window(app);
    wallets.prepare();
    wallets.enter_foreground().await;
}

/// Keeps the node up for a time of grace, and stops it while iOS still lets us run. It survives being cut off; this only
/// makes the next start quicker. A person who comes back meanwhile ends the grace, and finds the node as it was.
async fn put_away(app: &AppHandle, wallets: &Wallets, changes: &mut mpsc::UnboundedReceiver<Change>) {
    let granted = ios::Grace::begin("putting the wallet away");
    let grace = match &granted {
        Some(granted) => Grace {
            deadline: Instant::now() + GRACE,
            cancel: granted.expired().clone(),
        },
        None => {
            // Refused. The few seconds that every app has left may do, and the node must know that nobody looks.
            tracing::warn!("iOS grants no time to put the node away");
            Grace::none()
        }
    };
    let lifecycle = wallets.known();
    let before = lifecycle.as_ref().map(|lifecycle| lifecycle.safety());
    let mut stopping = pin!(wallets.enter_background_within(&grace));
    loop {
        tokio::select! {
            biased;
            stopped = &mut stopping => {
                if let Err(error) = stopped {
                    tracing::error!(code = ?error.code(), detail = error.detail(), "the node did not stop well");
                }
                break;
            }
            change = changes.recv() => match change {
                Some(Change::Foreground) => come_back(app, wallets).await,
                Some(Change::MemoryWarning) => warn_of_memory(),
                Some(_) => {}
                // The app ends.
                None => break,
            },
        }
    }
    // While the grace lasts: of what is under way now, the last look at the chain may not have known.
    let Some((lifecycle, before)) = lifecycle.zip(before) else {
        return;
    };
    // Another wallet may have taken its place meanwhile, and has a warning of its own.
    if !wallets.is_in_use(&lifecycle) {
        return;
    }
    let Some(notice) = Notice::after(&before, &lifecycle.safety(), SystemTime::now()) else {
        return;
    };
    if async_runtime::spawn_blocking(move || warn(&notice))
        .await
        .is_err()
    {
        tracing::error!("the warning is not armed");
    }
}

fn warn_of_memory() {
    tracing::warn!(left = ?ios::device().available_memory_bytes, "iOS wants memory back");
}

/// Makes the window, on the main thread, unless it is there. A window made after a scene connected joins that scene.
fn show_window(app: &AppHandle) {
    let handle = app.clone();
    let posted = app.run_on_main_thread(move || {
        for window in &handle.config().app.windows {
            if handle.get_webview_window(&window.label).is_some() {
                continue;
            }
            let built =
                WebviewWindowBuilder::from_config(&handle, window).and_then(WebviewWindowBuilder::build);
            if let Err(error) = built {
                tracing::error!(%error, label = window.label, "cannot make the window");
            }
        }
    });
    if let Err(error) = posted {
        tracing::error!(%error, "the main thread takes no work");
    }
}
