//! The file of the history: a line of JSON that says its version, then one for each row, the later of a run's two rows
//! counting.
//!
//! Appended to while the app runs, so that a run that starts costs one small write; written anew (aside, to the disk, then
//! in place of the old one) when it was read and when it has grown. What it holds is not believed: a damaged file is moved
//! aside and what can be read of it is kept.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::models::{MAX_CAUSE_BYTES, RunEnd, RunRecord, bounded};

const NAME: &str = "background-runs.jsonl";
const NEW: &str = "background-runs.jsonl.new";
const DAMAGED: &str = "background-runs.jsonl.damaged";

const VERSION: u32 = 1;

/// Ten times what the rows of a full file take. More is not ours, and is not read into memory.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Numbers above this are not exact in JavaScript, and no app runs that often.
const MAX_RUN: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

/// The open file.
pub(super) struct RowFile {
    folder: PathBuf,
    file: File,
    lines: usize,
}

/// What the file held.
pub(super) struct Contents {
    /// Oldest first, each run once.
    pub(super) rows: Vec<RunRecord>,
    /// What was wrong with it.
    pub(super) trouble: Option<String>,
}

impl RowFile {
    /// Reads the file of this folder, or makes both. The caller then has it written anew.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Contents)> {
        fs::create_dir_all(folder)?;
        let path = folder.join(NAME);
        let mut read = match read_bounded(&path) {
            Ok(Some(bytes)) => parse(&bytes),
            Ok(None) => Contents {
                rows: Vec::new(),
                trouble: Some("too large".to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents {
                rows: Vec::new(),
                trouble: None,
            },
            Err(error) => return Err(error),
        };
        if let Some(trouble) = &mut read.trouble {
            fs::rename(&path, folder.join(DAMAGED))?;
            tracing::error!(trouble, "the history of background runs was damaged");
            *trouble = format!(
                "the file was damaged ({trouble}) and moved aside to {DAMAGED}; {} runs were saved from it",
                read.rows.len()
            );
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let opened = Self {
            folder: folder.to_owned(),
            file,
            lines: 0,
        };
        Ok((opened, read))
    }

    /// Lines in the file.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// Adds a row. That of a completed run is on the disk when this returns; that of a run under way survives the end of
    /// the process, which is what it is for, and not that of the device.
    pub(super) fn append(&mut self, row: &RunRecord) -> io::Result<()> {
        self.file.write_all(&line(row)?)?;
        self.lines += 1;
        if row.end != RunEnd::UnderWay {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Writes the file anew.
    pub(super) fn rewrite(&mut self, rows: impl Iterator<Item = RunRecord>) -> io::Result<()> {
        let mut bytes = line(&Header { version: VERSION })?;
        let mut lines = 1;
        for row in rows {
            bytes.extend(line(&row)?);
            lines += 1;
        }
        let (path, new) = (self.folder.join(NAME), self.folder.join(NEW));
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // Else a loss of power may undo the rename. Not every file system can.
        if let Ok(folder) = File::open(&self.folder) {
            let _unsupported = folder.sync_all();
        }
        self.file = OpenOptions::new().append(true).open(&path)?;
        self.lines = lines;
        Ok(())
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// `None`: larger than any file of ours.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= MAX_BYTES))
}

fn parse(bytes: &[u8]) -> Contents {
    let mut rows = BTreeMap::<u64, RunRecord>::new();
    let mut trouble = None;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    // An empty file is one that was made and not yet written to.
    if let Some((_, first)) = lines.next() {
        match serde_json::from_slice::<Header>(first) {
            Ok(Header { version: VERSION }) => {}
            Ok(Header { version }) => trouble = Some(format!("version {version} is not known")),
            // The rows may still be good.
            Err(_) => trouble = Some("line 1 is not a header".to_owned()),
        }
    }
    for (index, line) in lines {
        match serde_json::from_slice::<RunRecord>(line) {
            Ok(row) if row.run == 0 || row.run > MAX_RUN => {
                trouble.get_or_insert_with(|| format!("line {} has no possible number", index + 1));
            }
            Ok(mut row) => {
                if row
                    .cause
                    .as_ref()
                    .is_some_and(|cause| cause.len() > MAX_CAUSE_BYTES)
                {
                    row.cause = row.cause.map(bounded);
                }
                // A run that ended does not get under way again.
                let ended = |kept: &RunRecord| kept.end != RunEnd::UnderWay;
                if row.end != RunEnd::UnderWay || !rows.get(&row.run).is_some_and(ended) {
                    rows.insert(row.run, row);
                }
            }
            // The last line, without its end: the device lost power while it was written.
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                trouble.get_or_insert_with(|| format!("line {}: {error}", index + 1));
            }
        }
    }
    Contents {
        rows: rows.into_values().collect(),
        trouble,
    }
}
