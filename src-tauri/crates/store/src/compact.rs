//! Writing a database anew, beside the old one: what bounds the space, brings an older format up to date,
//! and puts a restored state in place. sled has a segment collector, but only in its flusher thread, which
//! does not exist on iOS.
//!
//! Export and import in one pass, then a reopening, then every entry compared and every value checked, then
//! everything synced. Only a copy that passed all that may become current (`layout::set_current`). Killed at
//! any step, the old database is current and untouched, or the new one is, and the other is swept away at
//! the next open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::database::{Database, Seal, digest_of, entries_of, sled_error};
use crate::layout::{self, Place};
use crate::name::Name;
use crate::open::panic_text;
use crate::{OpenError, StoreError, files, name, record};

/// When a store has grown enough to be worth compacting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Below this size it is never compacted, in bytes.
    pub floor: u64,
    /// How many times its size after the last compaction it may grow to.
    pub growth: u64,
}

impl Default for Budget {
    /// 24 MiB is 20 busy sessions, and nothing a phone would miss. A compacted store takes up to twice its live
    /// data, so four times that is where most of it is waste.
    fn default() -> Self {
        Self {
            floor: 24 * 1024 * 1024,
            growth: 4,
        }
    }
}

/// As many times over its budget the store no longer waits to be told.
const OVERDUE: u64 = 4;

impl Budget {
    pub(crate) fn is_due(&self, size: u64, rewritten: u64) -> bool {
        size > self.floor.max(rewritten.saturating_mul(self.growth))
    }

    pub(crate) fn is_overdue(&self, size: u64, rewritten: u64) -> bool {
        self.is_due(size / OVERDUE, rewritten)
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Size of the store on disk before, in bytes.
    pub before: u64,
    /// Size of the store on disk after, in bytes.
    pub after: u64,
    /// How long writes had to wait for it.
    pub took: Duration,
}

/// One pass over the entries of a database, in the order of their keys.
pub(crate) type Entries<'a, K, V, E> = Box<dyn Iterator<Item = Result<(K, V), E>> + 'a>;

/// Why a database could not be written anew. The old one is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("a stored value is unreadable: {0}")]
    Source(StoreError),
    #[error("the copy is not the original: {0}")]
    Copy(&'static str),
    #[error("{0}")]
    Panicked(String),
}

impl RewriteError {
    /// The same, when it keeps a store from being opened.
    pub(crate) fn at_open(self, root: &Path) -> OpenError {
        match self {
            Self::Io(source) => layout::io(root, source),
            Self::Sled(error) => sled_error(root, error),
            Self::Open(error) => error,
            other => layout::damaged(root, &other.to_string()),
        }
    }
}

/// The steps that can be cut short, for the tests that do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Created,
    HalfImported,
    Imported,
    Complete,
    Reopened,
    Verified,
    Synced,
    Swapped,
    Closed,
    Discarded,
}

/// Writes what `entries` yields, in the order of their keys and as often as it is called, into a new database,
/// and proves that it is there.
pub(crate) fn rewrite<'a, K, V, E>(
    root: &Path,
    entries: &impl Fn() -> Entries<'a, K, V, E>,
    seal: Seal,
    place: Place,
    deadline: Instant,
) -> Result<Database, RewriteError>
where
    K: AsRef<[u8]> + 'a,
    V: AsRef<[u8]> + 'a,
    RewriteError: From<E>,
    E: 'a,
{
    let written = catch_unwind(AssertUnwindSafe(|| {
        import(root, entries, seal, place, deadline)?;
        let database = Database::open(root, place, true, deadline)?;
        reached(Step::Reopened);
        verify(entries, &database, seal)?;
        reached(Step::Verified);
        layout::sync_database(root, place)?;
        reached(Step::Synced);
        Ok(database)
    }))
    .unwrap_or_else(|panic| Err(RewriteError::Panicked(panic_text(&*panic))));
    if written.is_err() {
        layout::discard(root, place);
    }
    written
}

fn import<'a, K, V, E>(
    root: &Path,
    entries: &impl Fn() -> Entries<'a, K, V, E>,
    seal: Seal,
    place: Place,
    deadline: Instant,
) -> Result<(), RewriteError>
where
    K: AsRef<[u8]> + 'a,
    V: AsRef<[u8]> + 'a,
    RewriteError: From<E>,
    E: 'a,
{
    let database = Database::open_trees(root, place, deadline)?;
    reached(Step::Created);
    // The keys alone first. They make sled split its leaves while they are small; then each value is
    // written once into a leaf that is never split or rewritten again. In one pass every value is
    // written three times over, and what sled wrote it does not give back.
    for entry in entries() {
        database.kv.insert(entry?.0, &[])?;
    }
    reached(Step::HalfImported);
    for entry in entries() {
        let (key, chunk) = entry?;
        if !chunk.as_ref().is_empty() {
            database.kv.insert(key, chunk.as_ref())?;
        }
    }
    if seal != Seal::default() {
        let (key, row) = seal.row();
        database.kv.insert(key, row)?;
    }
    database.db.flush()?;
    reached(Step::Imported);
    // Last, as it says that the database is complete.
    database.set_format(files::size_of(&place.directory(root))?)?;
    reached(Step::Complete);
    Ok(())
}

/// Every entry is the same, none is missing, none is too many, and every value can be read.
fn verify<'a, K, V, E>(
    entries: &impl Fn() -> Entries<'a, K, V, E>,
    copy: &Database,
    seal: Seal,
) -> Result<(), RewriteError>
where
    K: AsRef<[u8]> + 'a,
    V: AsRef<[u8]> + 'a,
    RewriteError: From<E>,
    E: 'a,
{
    let mut copied = entries_of(&copy.kv)();
    for original in entries() {
        let (key, chunk) = original?;
        let (copied_key, copied_chunk) = copied.next().ok_or(RewriteError::Copy("an entry is missing"))??;
        if copied_key != key.as_ref() || copied_chunk != chunk.as_ref() {
            return Err(RewriteError::Copy("an entry differs"));
        }
    }
    if copied.next().is_some() {
        return Err(RewriteError::Copy("there is an entry too many"));
    }
    if copy.seal != seal || digest_of(&copy.kv)? != seal.digest {
        return Err(RewriteError::Copy("the digest differs"));
    }
    check_values(&copy.kv).map_err(RewriteError::Source)
}

/// Reads every value and its checksum.
fn check_values(kv: &sled::Tree) -> Result<(), StoreError> {
    let mut entries = entries_of(kv)()
        .map(|entry| entry.map_err(crate::database::unreadable))
        .peekable();
    while let Some(first) = entries.next() {
        let first = first?;
        let strange = || StoreError::Damaged("there is a key that was never written".to_owned());
        let (primary, secondary, key, _) = name::parse(&first.0).ok_or_else(strange)?;
        let name = Name::new(primary, secondary, key)?;
        let mut whole = vec![Ok(first)];
        while let Some(next) = entries.next_if(|next| {
            next.as_ref()
                .map_or(true, |(key, _)| key.starts_with(name.prefix()))
        }) {
            whole.push(next);
        }
        record::decode(&name, whole.into_iter())?;
    }
    Ok(())
}

/// A place where a test may end the process.
#[cfg(not(test))]
pub(crate) fn reached(_step: Step) {}

#[cfg(test)]
pub(crate) use tests::reached;

#[cfg(test)]
mod tests;
