//! When a wallet was made. Before that nothing on the chain is its own, and a source that reads every block begins there.
//!
//! Kept in a file beside the store, because it is noted before there is a store, and a store may be put back from an older
//! time. Whoever keeps a seed writes it anew first, so that it is never another wallet's. Without it, everything is read.

use std::path::{Path, PathBuf};

use pilotlight_store::files;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};

/// The only version of the file's shape so far.
const VERSION: u8 = 1;

/// What is known of a wallet's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Birthday {
    /// It was made on this device, at this Unix time in ms.
    Made(u64),
    /// Whoever brought it back from its words says that nothing in the blocks up to this height is its own.
    Since(u32),
}

#[derive(Serialize, Deserialize)]
struct Row {
    version: u8,
    birthday: Option<Birthday>,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("birthday.json")
}

/// Notes it, or that it is not known. Durable when it returns.
///
/// # Errors
/// [`ErrorCode::StorageFailed`].
pub fn keep(data_dir: &Path, birthday: Option<Birthday>) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(ErrorCode::StorageFailed, format!("birthday: {e}"));
    let row = Row {
        version: VERSION,
        birthday,
    };
    let bytes = serde_json::to_vec(&row).map_err(|e| Error::new(ErrorCode::Internal, e))?;
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    files::write_atomically(&path(data_dir), &bytes).map_err(failed)
}

/// What was noted. A file that is absent, damaged or of a later version says nothing: more is read then than need be.
pub fn read(data_dir: &Path) -> Option<Birthday> {
    let bytes = std::fs::read(path(data_dir)).ok()?;
    match serde_json::from_slice::<Row>(&bytes) {
        Ok(row) => row.birthday.filter(|_| row.version == VERSION),
        Err(error) => {
            tracing::warn!(%error, "the wallet's birthday cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_last_counts_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        assert_eq!(read(&dir), None);
        for birthday in [Some(Birthday::Made(7)), Some(Birthday::Since(800_000)), None] {
            keep(&dir, birthday).unwrap();
            assert_eq!(read(&dir), birthday);
        }
        for bad in [
            "",
            "{",
            r#"{"version":2,"birthday":{"since":9}}"#,
            r#"{"version":1,"birthday":{"since":-9}}"#,
        ] {
            std::fs::write(path(&dir), bad).unwrap();
            assert_eq!(read(&dir), None, "{bad}");
        }
    }
}
