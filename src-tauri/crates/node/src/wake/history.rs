//! The wake records on disk: one small file each, so that a wake can be recorded even when the store will not open, and
//! one damaged record never hides the others.

use std::fs;
use std::path::{Path, PathBuf};

use pilotlight_store::files;

use super::record::{WakeOutcome, WakeRecord};
use crate::error::{Error, ErrorCode, Result};

/// Records kept: some weeks of wakes.
pub const KEPT: usize = 200;

/// The records of one wallet.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// The history in a data folder; made when the first record is written.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("wakes"),
        }
    }

    /// The number of the next record.
    pub fn next_id(&self) -> u64 {
        self.ids().last().map_or(1, |last| last + 1)
    }

    /// Writes a record, and drops the oldest ones. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn write(&self, record: &WakeRecord) -> Result<()> {
        let failed = |e: std::io::Error| Error::new(ErrorCode::StorageFailed, format!("wake record: {e}"));
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let bytes = serde_json::to_vec(record).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        files::write_atomically(&self.path(record.id), &bytes).map_err(failed)?;
        let ids = self.ids();
        for old in ids.iter().take(ids.len().saturating_sub(KEPT)) {
            // An old record that stays is no harm.
            let _ = fs::remove_file(self.path(*old));
        }
        Ok(())
    }

    /// The records that can be read, newest first.
    pub fn read(&self) -> Vec<WakeRecord> {
        self.last(KEPT)
    }

    /// The newest so many of them, newest first.
    pub fn last(&self, count: usize) -> Vec<WakeRecord> {
        self.ids()
            .into_iter()
            .rev()
            .take(count)
            .filter_map(|id| {
                let record = fs::read(self.path(id))
                    .ok()
                    .map(|bytes| serde_json::from_slice(&bytes));
                match record {
                    Some(Ok(record)) => Some(record),
                    Some(Err(error)) => {
                        tracing::warn!(id, %error, "a wake record cannot be read");
                        None
                    }
                    None => None,
                }
            })
            .collect()
    }

    /// Calls every wake that never said how it ended cut off. Only when none is running in this process.
    pub fn close_open_records(&self) {
        for record in self.read() {
            if record.outcome == WakeOutcome::InProgress
                && let Err(error) = self.write(&WakeRecord {
                    outcome: WakeOutcome::CutOff,
                    ..record
                })
            {
                tracing::warn!(detail = error.detail(), "a cut-off wake stays in progress");
            }
        }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:010}.json"))
    }

    fn ids(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut ids: Vec<u64> = entries
            .filter_map(|entry| {
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .parse()
                    .ok()
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::{GrantKind, WakeReason};

    fn record(id: u64, outcome: WakeOutcome) -> WakeRecord {
        WakeRecord {
            outcome,
            ..WakeRecord::begin(id, GrantKind::Refresh, WakeReason::Test, 30_000, id)
        }
    }

    #[test]
    fn two_hundred_are_kept_and_a_damaged_one_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path());
        for id in 1..=KEPT as u64 + 10 {
            assert_eq!(history.next_id(), id);
            history.write(&record(id, WakeOutcome::Completed)).unwrap();
        }
        fs::write(history.path(100), b"{ not json").unwrap();
        let records = history.read();
        assert_eq!(records.len(), KEPT - 1);
        assert_eq!((records[0].id, records.last().unwrap().id), (210, 11));
    }

    #[test]
    fn a_wake_that_never_said_how_it_ended_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path());
        history.write(&record(1, WakeOutcome::Completed)).unwrap();
        history.write(&record(2, WakeOutcome::InProgress)).unwrap();
        history.close_open_records();
        let outcomes: Vec<_> = history.read().into_iter().map(|record| record.outcome).collect();
        assert_eq!(outcomes, [WakeOutcome::CutOff, WakeOutcome::Completed]);
    }
}
