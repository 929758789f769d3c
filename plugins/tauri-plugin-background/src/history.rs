//! The runs of the past, in memory and on disk: a ring of [`LIMIT`] rows that survives the process.
//!
//! Rows of this process carry numbers counted from 1, as the state machine gives them, until the file was read; then they
//! go on from the highest number there. Nothing here touches a file before [`History::open`], which must not be called on
//! a device that was not unlocked since it started.

mod file;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use crate::models::{HistoryStatus, RunEnd, RunRecord};
use crate::policy::failures_after;
use file::RowFile;

/// Completed runs that are kept: about a week of a phone's refresh grants.
const LIMIT: usize = 200;

/// The file is written anew, with the rows in the ring only, when it has so many lines: two for each row, and as many
/// again, so that this happens every few hundred runs.
const MAX_LINES: usize = 4 * LIMIT;

/// See the module.
#[derive(Default)]
pub(crate) struct History {
    folder: Option<PathBuf>,
    file: Option<RowFile>,
    /// What was wrong with the file when it was read, or why it cannot be.
    found: Option<String>,
    /// Why the last row could not be written. All rows are then written at the next.
    unwritten: Option<String>,
    /// Of earlier processes, oldest first.
    earlier: VecDeque<RunRecord>,
    /// Of this process, oldest first, with the state machine's numbers.
    ours: VecDeque<RunRecord>,
    /// The highest number in the file when it was read.
    base: u64,
}

impl History {
    /// Where the file shall be. `false`: a folder was named before.
    pub(crate) fn keep_in(&mut self, folder: PathBuf) -> bool {
        let first = self.folder.is_none();
        if first {
            self.folder = Some(folder);
        }
        first
    }

    /// Whether [`History::open`] has something to do.
    pub(crate) fn wants_open(&self) -> bool {
        self.folder.is_some() && self.file.is_none()
    }

    /// Reads the file, if there is a folder for it and it was not read yet, and writes to it what was kept until now. Says
    /// how often in a row each task failed before this process, the first time this works.
    pub(crate) fn open(&mut self) -> Option<BTreeMap<String, u32>> {
        let folder = self.folder.as_ref().filter(|_| self.file.is_none())?;
        let (mut file, read) = match RowFile::open(folder) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "cannot read the history of background runs; will try again");
                self.found = Some(format!("cannot be read: {error}"));
                return None;
            }
        };
        self.found = read.trouble;
        self.base = read.rows.last().map_or(0, |row| row.run);
        self.earlier = read.rows.into();
        for row in &mut self.earlier {
            if row.end == RunEnd::UnderWay {
                tracing::warn!(id = row.id, run = row.run, "a background run was cut off");
                row.end = RunEnd::CutOff;
                row.cause = Some("the process ended while the run was under way".to_owned());
            }
        }
        let mut failures = BTreeMap::<String, u32>::new();
        for row in self.earlier.iter().filter(|row| row.joined.is_none()) {
            let count = failures.entry(row.id.clone()).or_default();
            *count = failures_after(row.end, *count);
        }
        self.trim();
        let written = file.rewrite(self.all());
        self.file = Some(file);
        self.written(written);
        Some(failures)
    }

    /// Keeps a row under the state machine's number, in place of the one it had. A row of a completed run stays.
    pub(crate) fn keep(&mut self, row: RunRecord) {
        match self.ours.iter_mut().rev().find(|other| other.run == row.run) {
            Some(kept) if kept.end != RunEnd::UnderWay => return,
            Some(kept) => *kept = row.clone(),
            None => self.ours.push_back(row.clone()),
        }
        self.trim();
        let row = self.numbered(row);
        let Some(mut file) = self.file.take() else {
            return;
        };
        let written = if self.unwritten.is_some() || file.lines() >= MAX_LINES {
            file.rewrite(self.all())
        } else {
            file.append(&row)
        };
        self.file = Some(file);
        self.written(written);
    }

    /// A row, or what tells of one, under the number it has for the outside.
    pub(crate) fn numbered(&self, mut row: RunRecord) -> RunRecord {
        row.run = self.number(row.run);
        row.joined = row.joined.map(|run| self.number(run));
        row
    }

    /// The number for the outside of a run of this process.
    pub(crate) fn number(&self, run: u64) -> u64 {
        self.base.saturating_add(run)
    }

    /// The completed runs, newest first.
    pub(crate) fn rows(&self) -> Vec<RunRecord> {
        let mut rows: Vec<_> = self.all().filter(|row| row.end != RunEnd::UnderWay).collect();
        rows.reverse();
        rows
    }

    pub(crate) fn status(&self) -> HistoryStatus {
        HistoryStatus {
            on_disk: self.file.is_some(),
            trouble: self.unwritten.clone().or_else(|| self.found.clone()),
        }
    }

    /// All rows, oldest first.
    fn all(&self) -> impl Iterator<Item = RunRecord> {
        let ours = self.ours.iter().cloned().map(|row| self.numbered(row));
        self.earlier.iter().cloned().chain(ours)
    }

    /// Lets go of the oldest, except each task's last success, which the status tells, and what is under way.
    fn trim(&mut self) {
        while self.earlier.len() + self.ours.len() > LIMIT {
            let mut succeeded = BTreeSet::new();
            let mut oldest = None;
            let rows = self.earlier.iter().chain(&self.ours);
            for (index, row) in rows.enumerate().collect::<Vec<_>>().into_iter().rev() {
                let last_success = row.end.is_success() && succeeded.insert(&row.id);
                if !last_success && row.end != RunEnd::UnderWay {
                    oldest = Some(index);
                }
            }
            let Some(index) = oldest else { return };
            if index < self.earlier.len() {
                self.earlier.remove(index);
            } else {
                self.ours.remove(index - self.earlier.len());
            }
        }
    }

    fn written(&mut self, result: std::io::Result<()>) {
        self.unwritten = result.err().map(|error| {
            tracing::error!(%error, "cannot write the history of background runs");
            format!("cannot be written: {error}")
        });
    }
}
