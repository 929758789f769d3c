//! What can go wrong, in types. LDK's traits speak `io::Error`; ours travel inside it and can be
//! found again with [`StoreError::find`].

use std::path::PathBuf;
use std::time::Duration;

use lightning::io;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This process has the store open already. Clone that [`Store`](crate::Store) instead.
    #[error("{} is already open in this process", .path.display())]
    AlreadyOpen {
        /// The store's directory.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process", .path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The database is there but cannot be trusted. Nothing was changed on disk.
    #[error("the database in {} is damaged: {reason}", .path.display())]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A newer program wrote this store.
    #[error("{} has format {found}, this program knows up to {known}", .path.display())]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format found on disk.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// The database did not open within the time limit. The attempt goes on in the background and
    /// keeps its claim on the directory until it ends.
    #[error("{} did not open within {} ms", .path.display(), .limit.as_millis())]
    TimedOut {
        /// The store's directory.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The operating system refused: permissions, a full disk, too many open files.
    #[error("cannot open {}: {source}", .path.display())]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why an operation on an open store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A namespace or key that LDK's rules forbid.
    #[error("{part} {reason}")]
    InvalidName {
        /// "primary namespace", "secondary namespace" or "key".
        part: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value longer than [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN).
    #[error("a value of {len} bytes is longer than the {max} bytes the store takes")]
    TooLong {
        /// Length of the value in bytes.
        len: usize,
        /// The longest value taken, in bytes.
        max: usize,
    },
    /// There is no such key. Only ever said when the key is truly absent.
    #[error("no such key")]
    Absent,
    /// The key is there, its value is not what was written.
    #[error("stored value is damaged: {0}")]
    Damaged(String),
    /// The store could not be compacted: no space, or a value in it is damaged. It goes on as it was.
    #[error("the store was not compacted: {0}")]
    NotCompacted(String),
    /// An earlier write failed. What is in memory may differ from what is on disk, so nothing more
    /// is served until the store is opened again.
    #[error("the store failed earlier and must be opened again: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Finds the typed error inside an `io::Error` that came from this crate.
    pub fn find(error: &io::Error) -> Option<&StoreError> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::InvalidName { .. } | StoreError::TooLong { .. } => io::ErrorKind::InvalidInput,
            StoreError::Absent => io::ErrorKind::NotFound,
            StoreError::Damaged(_) => io::ErrorKind::InvalidData,
            StoreError::Failed(_) | StoreError::NotCompacted(_) => io::ErrorKind::Other,
            StoreError::Closed => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}
