//! Local notifications that can be armed in a background launch: the warning that comes even if iOS never runs us again.

use std::time::SystemTime;

use super::ffi::{Host, answer};

/// Why a notice was not armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The person does not allow notifications.
    #[error("notifications are not allowed")]
    NotAllowed,
    /// The system did not take it, or not in time. The code is the host's.
    #[error("the system did not take the notification ({0})")]
    Failed(i32),
}

/// Arms a notice for a moment, in place of the one of the same identifier; a moment that is past means now. May wait for
/// the system, up to a second: not for the main thread.
///
/// # Errors
/// [`Refused`].
pub fn arm(id: &str, title: &str, body: &str, at: SystemTime) -> Result<(), Refused> {
    let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match Host::notify(id, title, body, unix.as_secs_f64()) {
        answer::TAKEN => Ok(()),
        answer::NOT_PERMITTED => Err(Refused::NotAllowed),
        code => Err(Refused::Failed(code)),
    }
}

/// Takes a notice back, from the lock screen too.
pub fn cancel(id: &str) {
    Host::notify_cancel(id);
}

/// Asks the person whether notifications may come, if they were never asked. Returns at once.
pub fn ask() {
    Host::notify_allow();
}
