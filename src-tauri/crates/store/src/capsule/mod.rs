//! State capsules: the whole store in one encrypted file, so that a database that can no longer be opened is
//! not the end. Two files, A and B, written in turn, so that one is always whole.
//!
//! A capsule is a copy, and old state is dangerous: whoever runs a channel on it can lose all the money in it. So
//! a restored store is [`Standing::RecoveryOnly`] unless it is *proven* that nothing was acknowledged
//! after the capsule was made: by the store's own witness, if the store was closed in order, or by a generation
//! that the caller recorded elsewhere. Owns the two files and the verdict; `seal.rs` owns the encryption,
//! `content.rs` the bytes within.

mod content;
mod seal;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::compact::Entries;
use crate::database::{Database, Seal, Standing};
use crate::digest::Digest;
use crate::layout::{self, Place};
use crate::open::{OPEN_LIMIT, in_worker};
use crate::witness::{Testimony, Witness};
use crate::{OpenError, Store, StoreError, compact, files, record};

use content::{Packer, Row, unpack};
use seal::Key;

const SLOTS: [&str; 2] = ["capsule-a", "capsule-b"];

/// Why a capsule could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// Neither file is there.
    #[error("there is no capsule")]
    None,
    /// A file is there and is no capsule of this wallet.
    #[error("the capsule cannot be used: {0}")]
    Unreadable(&'static str),
    /// The store holds more than one message can be encrypted to.
    #[error("the store is too large for a capsule")]
    TooLarge,
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The restored store could not be put in place.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// What the system said about the files.
    #[error("capsule: {0}")]
    Io(#[from] std::io::Error),
}

/// What one of the two files holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The name of the file.
    pub file: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// The generation of the state in it, and how many values that are; or why it cannot be used.
    pub content: Result<(u64, usize), String>,
}

/// A store put back from a capsule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The generation of the state in the capsule.
    pub generation: u64,
    /// The last generation that is known to have been acknowledged, if any is.
    pub acknowledged: Option<u64>,
    /// How many values were restored.
    pub values: usize,
    /// What may be done with them. It is kept in the store: [`Store::standing`].
    pub standing: Standing,
    /// Where the damaged database was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// The capsules of one wallet, in a directory of their own.
pub struct Capsules {
    directory: PathBuf,
    key: Key,
}

impl Capsules {
    /// `secret` is 32 bytes that can be had again from the wallet's seed and from nothing else. The key is derived from
    /// it and used for nothing but capsules. Touches no file.
    pub fn new(directory: impl Into<PathBuf>, secret: &[u8; 32]) -> Self {
        Self {
            directory: directory.into(),
            key: Key::derive(secret),
        }
    }

    /// Seals the whole store as it is now into the older of the two files. Durable when it returns its generation.
    /// Reads and writes of the store go on; a few 100 KB take milliseconds.
    ///
    /// # Errors
    /// [`CapsuleError::Store`] if a value cannot be read: no capsule is better than one that lacks something.
    /// [`CapsuleError::Io`].
    pub fn write(&self, store: &Store) -> Result<u64, CapsuleError> {
        let mut packer = Packer::default();
        let generation = store.each_value(|name, value| packer.push(name, value))?;
        files::create_private_directory(&self.directory)?;
        let generations = SLOTS.map(|file| self.read(file).ok().map(|(generation, ..)| generation));
        // Never the newer one, and rather one that cannot be used. `None` is the smallest.
        let file = if generations[0] <= generations[1] {
            SLOTS[0]
        } else {
            SLOTS[1]
        };
        let capsule = self.key.seal(generation, packer.bytes())?;
        files::write_atomically(&self.directory.join(file), &capsule)?;
        Ok(generation)
    }

    /// What the two files hold, those of them that are there.
    pub fn inspect(&self) -> Vec<Slot> {
        let slots = SLOTS.map(|file| {
            let content = match self.read(file) {
                Err(CapsuleError::None) => return None,
                content => content,
            };
            Some(Slot {
                file,
                size: std::fs::metadata(self.directory.join(file)).map_or(0, |file| file.len()),
                content: content
                    .map(|(generation, rows)| (generation, rows.len()))
                    .map_err(|error| error.to_string()),
            })
        });
        slots.into_iter().flatten().collect()
    }

    /// Puts the newest capsule in the place of the database in `store`, which must not be open, and says what may be
    /// done with it. `recorded` is the last generation that the caller knows was acknowledged and keeps where it cannot be
    /// lost together with the store: exactly the last one, or the verdict is worth nothing.
    ///
    /// The database that was there is set aside, not removed. Killed at any moment, either it is current
    /// as it was, or the restored one is.
    ///
    /// # Errors
    /// [`CapsuleError::None`], [`CapsuleError::Unreadable`], [`CapsuleError::Open`] as when opening the store.
    pub fn restore(&self, store: &Path, recorded: Option<u64>) -> Result<Restored, CapsuleError> {
        let (generation, rows) = self.newest()?;
        let work = move |root: &Path, deadline| {
            let io = |source| layout::io(root, source);
            // A witness that can no longer be read proves nothing, and neither does one that is gone.
            let said = Witness::hear(root).map_err(io)?.testimony();
            let standing = verdict(generation, said, recorded);
            let acknowledged = said.map(|said| said.generation).max(recorded);
            let values = rows.len();
            let former = former_place(root).map_err(io)?;
            // Above all that was ever acknowledged, so that the witness finds no fault with it.
            let next = generation.max(acknowledged.unwrap_or(0)) + 1;
            let new = build(root, &rows, next, standing, deadline)?;
            layout::set_current(root, new.place).map_err(io)?;
            Witness::swear(root, said, new.seal.generation, new.seal.digest).map_err(io)?;
            // It is current without this; a kill in between leaves the old one to be swept away.
            let set_aside = match former {
                Some(place) if place.directory(root).exists() => {
                    Some(layout::set_aside(root, place).map_err(io)?)
                }
                _ => None,
            };
            Ok(Restored {
                generation,
                acknowledged,
                values,
                standing,
                set_aside,
            })
        };
        let (restored, claim) = in_worker(store, OPEN_LIMIT * 2, work)?;
        drop(claim);
        Ok(restored)
    }

    fn newest(&self) -> Result<(u64, Vec<Row>), CapsuleError> {
        let mut problem = CapsuleError::None;
        let mut newest: Option<(u64, Vec<Row>)> = None;
        for file in SLOTS {
            match self.read(file) {
                Ok(found) if newest.as_ref().is_none_or(|newest| newest.0 < found.0) => newest = Some(found),
                Ok(_) | Err(CapsuleError::None) => {}
                Err(error) => problem = error,
            }
        }
        newest.ok_or(problem)
    }

    fn read(&self, file: &str) -> Result<(u64, Vec<Row>), CapsuleError> {
        let capsule = files::read_if_present(&self.directory.join(file))?.ok_or(CapsuleError::None)?;
        let (generation, content) = self.key.open(&capsule)?;
        Ok((generation, unpack(&content)?))
    }
}

/// Shows where, never the key.
impl fmt::Debug for Capsules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capsules")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Live only if it is proven that nothing was acknowledged after the capsule. Two proofs are taken: a witness
/// that saw the store closed in order, and the caller's own record. A witness of a store that was not closed may
/// itself be old after a power cut. Whatever speaks against the capsule outweighs what speaks for it.
fn verdict(generation: u64, said: Option<Testimony>, recorded: Option<u64>) -> Standing {
    let closed = said.filter(|said| said.closed).map(|said| said.generation);
    let known = said.map(|said| said.generation).max(recorded);
    let is_proven = closed.is_some() || recorded.is_some();
    if is_proven && known.is_some_and(|known| generation >= known) {
        Standing::Live
    } else {
        Standing::RecoveryOnly
    }
}

/// The database to be replaced: the current one, or the newest if none is named.
fn former_place(root: &Path) -> std::io::Result<Option<Place>> {
    if let Ok(Some(place)) = layout::current(root) {
        return Ok(Some(place));
    }
    Ok(layout::places(root)?.last().copied())
}

fn build(
    root: &Path,
    rows: &[Row],
    generation: u64,
    standing: Standing,
    deadline: std::time::Instant,
) -> Result<Database, OpenError> {
    let mut entries = Vec::new();
    let mut digest = Digest::default();
    for (name, value) in rows {
        let chunks = record::encode(name, value, generation);
        if let Some((_, first)) = chunks.first() {
            digest.add(name, first);
        }
        entries.extend(chunks);
    }
    entries.sort_unstable();
    let seal = Seal {
        generation,
        digest,
        standing,
    };
    let place = layout::next_place(root, 0).map_err(|source| layout::io(root, source))?;
    let pass = || -> Entries<'_, &[u8], &[u8], std::io::Error> {
        Box::new(
            entries
                .iter()
                .map(|(key, chunk)| Ok((key.as_slice(), chunk.as_slice()))),
        )
    };
    compact::rewrite(root, &pass, seal, place, deadline).map_err(|error| error.at_open(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proof_makes_a_restored_state_live() {
        use Standing::{Live, RecoveryOnly};
        let directory = tempfile::tempdir().unwrap();
        let said = |generation, closed| {
            let _ = std::fs::remove_file(layout::witness_file(directory.path()));
            let mut witness = Witness::swear(directory.path(), None, generation, Digest::default()).unwrap();
            if closed {
                witness.close(generation, Digest::default()).unwrap();
            }
            Witness::hear(directory.path()).unwrap().testimony()
        };
        for (witness, recorded, expected) in [
            (None, None, RecoveryOnly),
            (said(10, false), None, RecoveryOnly),
            (said(9, false), None, RecoveryOnly),
            (said(10, true), None, Live),
            (said(11, true), None, RecoveryOnly),
            (None, Some(10), Live),
            (None, Some(11), RecoveryOnly),
            (said(10, false), Some(10), Live),
            (said(11, false), Some(10), RecoveryOnly),
            (said(10, true), Some(11), RecoveryOnly),
            (said(11, true), Some(10), RecoveryOnly),
        ] {
            assert_eq!(
                verdict(10, witness, recorded),
                expected,
                "{witness:?} {recorded:?}"
            );
        }
    }
}
