//! The journal: what wakes found, and had on disk, so that one that was cut off is not done again.
//!
//! Owns the file and the rule of what still holds. An entry is true only if it was written after the persist barrier that
//! covers it; the engine keeps that order. What is true of the channels themselves is in the store, never here: a journal
//! that is lost costs some requests, and one that is kept too long is asked how old it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::BlockHash;
use pilotlight_store::files;
use serde::{Deserialize, Serialize};

use super::record::StageName;
use crate::error::{Error, ErrorCode, Result};

/// So long a sweep, or a scan of the on-chain wallet, holds while the tip is the same: less than the mean time between
/// blocks, so that little is missed that is in no block yet.
const HOLDS: Duration = Duration::from_secs(10 * 60);

/// A stage that was done, and whose result was on disk when this was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub stage: StageName,
    /// The tip that it was done at.
    pub tip: BlockHash,
    /// That tip's height, in blocks.
    pub height: u32,
    /// When, Unix time in ms.
    pub at_ms: u64,
}

/// What wakes found. One entry for each stage, the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    /// Notes a stage, in place of what was known of it.
    pub fn note(&mut self, entry: Entry) {
        self.entries.retain(|known| known.stage != entry.stage);
        self.entries.push(entry);
    }

    /// What is known of a stage.
    pub fn entry(&self, stage: StageName) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.stage == stage)
    }

    /// Whether what a stage found still holds, so that it need not run again.
    pub fn holds(&self, stage: StageName, tip: Option<BlockHash>, now_ms: u64) -> bool {
        if !matches!(stage, StageName::Sweep | StageName::Onchain) {
            // The chain is always looked at and peers are always asked; gossip and compaction know by themselves.
            return false;
        }
        self.entry(stage).is_some_and(|entry| {
            // An entry of the future comes from a clock that was wrong then or is wrong now.
            let age = now_ms.checked_sub(entry.at_ms).map(Duration::from_millis);
            tip == Some(entry.tip) && age.is_some_and(|age| age < HOLDS)
        })
    }
}

/// The file that keeps the journal.
#[derive(Debug, Clone)]
pub struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// The journal in a data folder; made when something is noted.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("journal.json"),
        }
    }

    /// What was noted. A file that is absent, damaged or cannot be read says nothing.
    pub fn read(&self) -> Journal {
        let Ok(Some(bytes)) = files::read_if_present(&self.path) else {
            return Journal::default();
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "the journal cannot be read");
            Journal::default()
        })
    }

    /// Writes it. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn write(&self, journal: &Journal) -> Result<()> {
        let bytes = serde_json::to_vec(journal).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        files::write_atomically(&self.path, &bytes)
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("journal: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    const MINUTE: u64 = 60_000;
    const AT: u64 = 1_800_000_000_000;

    fn tip(n: u8) -> BlockHash {
        BlockHash::from_byte_array([n; 32])
    }

    fn noted(stage: StageName) -> Journal {
        let mut journal = Journal::default();
        journal.note(Entry {
            stage,
            tip: tip(1),
            height: 100,
            at_ms: AT,
        });
        journal
    }

    #[test]
    fn what_was_found_holds_for_a_while_at_the_same_tip() {
        // Stage, tip now, minutes later, whether it holds.
        let table = [
            (StageName::Sweep, Some(1), 0, true),
            (StageName::Sweep, Some(1), 9, true),
            (StageName::Sweep, Some(1), 10, false),
            (StageName::Sweep, Some(2), 0, false),
            (StageName::Sweep, None, 0, false),
            (StageName::Onchain, Some(1), 9, true),
            (StageName::Onchain, Some(2), 9, false),
            (StageName::Gossip, Some(1), 0, false),
            (StageName::Chain, Some(1), 0, false),
            (StageName::Peers, Some(1), 0, false),
            (StageName::Events, Some(1), 0, false),
        ];
        for (stage, now, minutes, holds) in table {
            let at = AT + minutes * MINUTE;
            assert_eq!(
                noted(stage).holds(stage, now.map(tip), at),
                holds,
                "{stage:?} {now:?} {minutes}"
            );
        }
        assert!(
            !noted(StageName::Sweep).holds(StageName::Sweep, Some(tip(1)), AT - 1),
            "of the future"
        );
        assert!(!noted(StageName::Sweep).holds(StageName::Onchain, Some(tip(1)), AT));
    }

    #[test]
    fn the_last_note_of_a_stage_counts_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = JournalFile::new(dir.path());
        assert_eq!(file.read(), Journal::default());
        let mut journal = noted(StageName::Chain);
        journal.note(Entry {
            height: 101,
            ..*journal.entry(StageName::Chain).unwrap()
        });
        journal.note(Entry {
            stage: StageName::Sweep,
            ..*journal.entry(StageName::Chain).unwrap()
        });
        file.write(&journal).unwrap();
        let read = JournalFile::new(dir.path()).read();
        assert_eq!(read, journal);
        assert_eq!(read.entry(StageName::Chain).unwrap().height, 101);
        std::fs::write(dir.path().join("journal.json"), b"{ not json").unwrap();
        assert_eq!(file.read(), Journal::default());
    }
}
