//! A peer's log file. ldk-node's own writer opens the file anew for each line, and panics when its folder is gone.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ldk_node::logger::{LogLevel, LogRecord, LogWriter};

use crate::Error;

/// Writes what matters to one file.
pub(super) struct LogFile {
    file: Mutex<File>,
}

impl LogFile {
    pub(super) fn create(dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let path = dir.join("log.txt");
        let file = File::create(&path).map_err(Error::io(format!("making {}", path.display())))?;
        Ok(Self {
            file: Mutex::new(file),
        })
    }
}

impl LogWriter for LogFile {
    fn log(&self, record: LogRecord<'_>) {
        // Below are each message and each byte of gossip: more work to write than to do.
        if record.level < LogLevel::Debug {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let LogRecord {
            level,
            args,
            module_path,
            line,
        } = record;
        let text = format!(
            "{}.{:03} {level:?} [{module_path}:{line}] {args}\n",
            now.as_secs(),
            now.subsec_millis()
        );
        // A log that cannot be written is no reason for a node to stop.
        let _ = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(text.as_bytes());
    }
}
