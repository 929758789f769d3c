//! Who may have the database open: one handle per process (a registry) and one process per machine
//! (a locked file). sled notices neither on iOS: a second open there succeeds and loses writes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::OpenError;

static CLAIMED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The right to have the database in a directory open. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    // Unlocked before the registry entry goes. `None` where there is no such lock, and while dropping.
    lock: Option<File>,
}

impl Claim {
    /// Claims the directory, which must exist. The path is made canonical, so that two ways of
    /// writing it are one claim.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let path = path.canonicalize().map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        if !CLAIMED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.clone())
        {
            return Err(OpenError::AlreadyOpen { path });
        }
        // From here on dropping the claim takes the registry entry back.
        let mut claim = Self { path, lock: None };
        claim.lock = lock_between_processes(&claim.path)?;
        Ok(claim)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            // Closing is not enough: a child being started elsewhere in this process holds a copy of the
            // file until it runs its own program. An error changes nothing: closing unlocks, if later.
            let _ = lock.unlock();
        }
        CLAIMED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.path);
    }
}

#[cfg(not(target_os = "ios"))]
fn lock_between_processes(path: &Path) -> Result<Option<File>, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// iOS runs one process per app container, and kills (0xDEAD10CC) an app that is suspended while it
/// holds a file lock in a shared one. So there is nothing to gain from a lock there, and much to lose.
#[cfg(target_os = "ios")]
#[allow(clippy::unnecessary_wraps)]
fn lock_between_processes(_path: &Path) -> Result<Option<File>, OpenError> {
    Ok(None)
}
