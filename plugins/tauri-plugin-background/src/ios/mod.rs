//! The iOS host, seen from Rust: what the Swift package in `ios/` does for us.
//!
//! [`crate::scheduler::ios`] is the scheduler on top of it. What an app uses directly is here: the [`keychain`],
//! [`notices`], [`protect_folder`], time to finish in the background ([`Grace`]) and the app's comings and goings ([`on_change`]).
//! Nothing here needs a webview or Tauri's plugin channel, so all of it works in a cold background launch.

mod ffi;
pub mod keychain;
pub mod notices;

use std::os::raw::c_int;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

pub(crate) use ffi::{Host, PLUGIN, answer};

use crate::device::DeviceFacts;
use crate::lock::lock;

/// Something changed around the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Protected data became available: the device is unlocked.
    Unlocked,
    /// The app comes to the foreground: the person wants a window.
    Foreground,
    /// The app went to the background. It is suspended within seconds, unless a [`Grace`] is held.
    Background,
    /// Some of [`device`] changed.
    Device,
    /// iOS wants memory back.
    MemoryWarning,
}

impl Change {
    /// The number on the C side. `None` for one that only a newer host knows.
    fn from_raw(event: i32) -> Option<Self> {
        Some(match event {
            0 => Self::Unlocked,
            1 => Self::Foreground,
            2 => Self::Background,
            3 => Self::Device,
            4 => Self::MemoryWarning,
            _ => return None,
        })
    }
}

type ChangeListener = Arc<dyn Fn(Change) + Send + Sync>;

static LISTENERS: Mutex<Vec<ChangeListener>> = Mutex::new(Vec::new());

/// Calls `listener` at each [`Change`] from now on, often on the main thread: be brief. Add it before the app runs, or the
/// first [`Change::Foreground`] may be missed.
pub fn on_change(listener: impl Fn(Change) + Send + Sync + 'static) {
    listeners().push(Arc::new(listener));
}

fn listeners() -> std::sync::MutexGuard<'static, Vec<ChangeListener>> {
    lock(&LISTENERS)
}

pub(crate) fn changed(change: Change) {
    // Called outside the lock: a listener may add another.
    let listeners = listeners().clone();
    for listener in listeners {
        listener(change);
    }
}

/// What is known of the device now.
pub fn device() -> DeviceFacts {
    Host::device()
}

/// Keeps a folder out of backups to iCloud and computers, and readable while the device is locked once it was unlocked
/// after its start (`completeUntilFirstUserAuthentication`). The folder must exist; what is made in it later inherits the
/// protection class.
///
/// # Errors
/// The code of the `NSError`.
pub fn protect_folder(folder: &Path) -> Result<(), c_int> {
    Host::protect(folder)
}

/// Asks iOS for some 30 s of running time after the app went to the background
/// (`UIApplication.beginBackgroundTask(withName:)`), so that what is under way can end well. Given back on drop.
#[derive(Debug)]
pub struct Grace {
    token: u64,
    expired: CancellationToken,
}

impl Grace {
    /// Begins. `None`: iOS grants none; the app may be suspended at any moment.
    pub fn begin(name: &str) -> Option<Self> {
        let expired = CancellationToken::new();
        let token = Host::grace_begin(name, &expired)?;
        Some(Self { token, expired })
    }

    /// Fires shortly before the time is up.
    pub fn expired(&self) -> &CancellationToken {
        &self.expired
    }
}

impl Drop for Grace {
    fn drop(&mut self) {
        Host::grace_end(self.token);
    }
}
