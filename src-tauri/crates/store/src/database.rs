//! One sled database: how it is configured, and the rows of our own in it: the format in the tree `meta`,
//! and in the tree `kv` the seal, written with every batch. Knows nothing of locks, witnesses or which
//! database is current.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::compact::Entries;
use crate::digest::Digest;
use crate::layout::{FIRST_FORMAT, FORMAT, Place, damaged, io};
use crate::name::{self, Name};
use crate::{OpenError, StoreError};

const META_TREE: &str = "meta";
const META_FORMAT_KEY: &str = "format";
/// Bytes the database took when it was written anew, as a `u64`.
const META_REWRITTEN_KEY: &str = "rewritten";
const KV_TREE: &str = "kv";

/// sled's default of 1 GB is a desktop's; iOS kills a background app far below that.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// sled's last threads may hold its own lock for a moment after a database was dropped.
const LOCK_RETRY_PAUSE: Duration = Duration::from_millis(5);

/// How the files of sled begin that hold what it knows of its log, and how those end that are being written.
const SNAPSHOT: &str = "snap.";
const UNFINISHED: &str = ".generating";

/// The first byte of our own rows in the `kv` tree. No name can begin with it.
pub(crate) const RESERVED: u8 = 1;
const SEAL_KEY: &[u8] = b"\x01generation";
const FLAG_RECOVERY_ONLY: u32 = 1;

/// What may be done with the state in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is what was acknowledged last: channels may live on it.
    #[default]
    Live,
    /// It was restored, and nothing proves that it is the newest. Running channels on it can lose all the money
    /// in them: watch the chain, ask the peers to close, nothing else.
    RecoveryOnly,
}

/// What a database says about itself with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The number of the last batch written.
    pub(crate) generation: u64,
    pub(crate) digest: Digest,
    pub(crate) standing: Standing,
}

impl Seal {
    /// The row that keeps the seal.
    pub(crate) fn row(&self) -> (&'static [u8], Vec<u8>) {
        let flags = match self.standing {
            Standing::Live => 0,
            Standing::RecoveryOnly => FLAG_RECOVERY_ONLY,
        };
        let mut row = self.generation.to_be_bytes().to_vec();
        row.extend_from_slice(&self.digest.to_bytes());
        row.extend_from_slice(&u32::to_be_bytes(flags));
        row.extend_from_slice(&crc32c::crc32c(&row).to_be_bytes());
        (SEAL_KEY, row)
    }

    fn parse(row: &[u8]) -> Option<Self> {
        let (generation, rest) = row.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (flags, _) = rest.split_first_chunk()?;
        let seal = Self {
            generation: u64::from_be_bytes(*generation),
            digest: Digest::from_bytes(*digest),
            standing: match u32::from_be_bytes(*flags) {
                0 => Standing::Live,
                _ => Standing::RecoveryOnly,
            },
        };
        (seal.row().1 == row).then_some(seal)
    }

    /// The row of the first format: the generation and its checksum.
    fn parse_first_format(row: &[u8], digest: Digest) -> Option<Self> {
        let (bytes, checksum) = row.split_first_chunk::<8>()?;
        (checksum == crc32c::crc32c(bytes).to_be_bytes()).then_some(Self {
            generation: u64::from_be_bytes(*bytes),
            digest,
            standing: Standing::Live,
        })
    }
}

/// An open database. Deliberately without `Debug`: sled would print the values.
pub(crate) struct Database {
    pub(crate) db: sled::Db,
    pub(crate) kv: sled::Tree,
    pub(crate) place: Place,
    pub(crate) seal: Seal,
    /// Bytes it took when it was written anew, 0 if it never was.
    pub(crate) rewritten: u64,
}

impl Database {
    /// Creates an empty database.
    pub(crate) fn create(root: &Path, place: Place, deadline: Instant) -> Result<Self, OpenError> {
        let database = Self::open_trees(root, place, deadline)?;
        database.set_format(0).map_err(|error| sled_error(root, error))?;
        Ok(database)
    }

    /// Opens a database and checks it against its seal. One that nobody `vouched` for may turn out to be
    /// empty, and is then finished.
    pub(crate) fn open(
        root: &Path,
        place: Place,
        vouched: bool,
        deadline: Instant,
    ) -> Result<Self, OpenError> {
        let mut database = Self::open_trees(root, place, deadline)?;
        let failed = |error| sled_error(root, error);
        let meta = database.db.open_tree(META_TREE).map_err(failed)?;
        let stored = meta.get(META_FORMAT_KEY).map_err(failed)?;
        match stored.as_deref().map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) if u32::from_be_bytes(bytes) == place.format() => {}
            Some(_) => return Err(damaged(root, "its format version is unreadable")),
            None if vouched || !database.kv.is_empty() => {
                return Err(damaged(root, "its format version is gone"));
            }
            None => database.set_format(0).map_err(failed)?,
        }
        let rewritten = meta.get(META_REWRITTEN_KEY).map_err(failed)?;
        database.rewritten = rewritten
            .as_deref()
            .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
            .map_or(0, u64::from_be_bytes);
        database.seal = database.check(root)?;
        Ok(database)
    }

    /// A database to be filled. Not complete until [`Database::set_format`].
    pub(crate) fn open_trees(root: &Path, place: Place, deadline: Instant) -> Result<Self, OpenError> {
        let db = open_sled(root, place, deadline)?;
        let kv = db.open_tree(KV_TREE).map_err(|error| sled_error(root, error))?;
        Ok(Self {
            db,
            kv,
            place,
            seal: Seal::default(),
            rewritten: 0,
        })
    }

    /// Says that the database is complete. Flushes.
    pub(crate) fn set_format(&self, rewritten: u64) -> sled::Result<()> {
        let meta = self.db.open_tree(META_TREE)?;
        meta.insert(META_REWRITTEN_KEY, &rewritten.to_be_bytes())?;
        meta.insert(META_FORMAT_KEY, &self.place.format().to_be_bytes())?;
        self.db.flush().map(drop)
    }

    /// Reads every entry, and holds their digest against the seal.
    fn check(&self, root: &Path) -> Result<Seal, OpenError> {
        let digest = digest_of(&self.kv).map_err(|error| sled_error(root, error))?;
        let row = self.kv.get(SEAL_KEY).map_err(|error| sled_error(root, error))?;
        let Some(row) = row else {
            return if self.kv.is_empty() {
                Ok(Seal::default())
            } else {
                Err(damaged(root, "its generation is gone"))
            };
        };
        let unreadable = || damaged(root, "its generation is unreadable");
        if self.place.format() == FIRST_FORMAT {
            return Seal::parse_first_format(&row, digest).ok_or_else(unreadable);
        }
        let seal = Seal::parse(&row).ok_or_else(unreadable)?;
        if seal.digest != digest {
            return Err(damaged(root, "values vanished or are not the ones written last"));
        }
        Ok(seal)
    }
}

/// A pass over all entries of a tree but our own, as often as it is asked for.
#[allow(
    clippy::needless_lifetimes,
    reason = "left out, it would mean another one within Fn()"
)]
pub(crate) fn entries_of<'a>(
    kv: &'a sled::Tree,
) -> impl Fn() -> Entries<'a, sled::IVec, sled::IVec, sled::Error> {
    || {
        Box::new(
            kv.iter()
                .filter(|entry| !matches!(entry, Ok((key, _)) if key.first() == Some(&RESERVED))),
        )
    }
}

/// The digest of all values. Entries with keys that were never written are no values; listing tells of them.
pub(crate) fn digest_of(kv: &sled::Tree) -> sled::Result<Digest> {
    let mut digest = Digest::default();
    for entry in kv {
        let (key, chunk) = entry?;
        if let Some((primary, secondary, key, 0)) = name::parse(&key)
            && let Ok(name) = Name::new(primary, secondary, key)
        {
            digest.add(&name, &chunk);
        }
    }
    Ok(digest)
}

fn open_sled(root: &Path, place: Place, deadline: Instant) -> Result<sled::Db, OpenError> {
    // The segment size stays sled's default: it can never be changed for an existing database.
    let config = sled::Config::new()
        .path(place.directory(root))
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    remove_snapshots(root, place, |name| name.ends_with(UNFINISHED)).map_err(|error| io(root, error))?;
    let mut without_snapshots = false;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            // A snapshot only saves reading the log. What the log alone gives is held against the seal.
            Err(sled::Error::Corruption { .. }) if !without_snapshots => {
                remove_snapshots(root, place, |_| true).map_err(|error| io(root, error))?;
                without_snapshots = true;
            }
            Err(error) if !is_lock_error(&error) => return Err(sled_error(root, error)),
            // We hold our own lock, so this is either sled's previous self or someone who bypasses it.
            Err(_) if Instant::now() + LOCK_RETRY_PAUSE >= deadline => {
                return Err(OpenError::InUse {
                    path: root.to_owned(),
                });
            }
            Err(_) => thread::sleep(LOCK_RETRY_PAUSE),
        }
    }
}

/// sled takes the half of a snapshot, left by a kill or a full disk, for the newest one, and is then "corrupted".
fn remove_snapshots(root: &Path, place: Place, which: impl Fn(&str) -> bool) -> std::io::Result<()> {
    let directory = place.directory(root);
    if !directory.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(name) = name.to_str()
            && name.starts_with(SNAPSHOT)
            && which(name)
        {
            tracing::info!(name, "a snapshot of the database's log is removed");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled reports a held lock as an `Other` error with this text (`config.rs`, 0.34.7).
fn is_lock_error(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(inner) if inner.to_string().contains("could not acquire lock"))
}

/// Whether the system refused, and not the content. sled wraps an error that it tells a second time, and the code is
/// then only in its text.
fn is_of_the_system(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some() || error.to_string().starts_with("Os { code")
}

/// What sled said while the store was being opened.
pub(crate) fn sled_error(root: &Path, error: sled::Error) -> OpenError {
    match error {
        // With a code from the operating system it is the system's word, without one it is sled's
        // own about what it found in the file.
        sled::Error::Io(source) if is_of_the_system(&source) => io(root, source),
        other => damaged(root, &other.to_string()),
    }
}

/// What sled said while a value was being read.
pub(crate) fn unreadable(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if is_of_the_system(&io) => StoreError::Failed(io.to_string()),
        other => StoreError::Damaged(other.to_string()),
    }
}

const _: () = assert!(FORMAT != FIRST_FORMAT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_and_no_other_bytes_do() {
        for standing in [Standing::Live, Standing::RecoveryOnly] {
            let mut digest = Digest::default();
            digest.add(&Name::new("a", "", "k").unwrap(), b"x");
            let seal = Seal {
                generation: 77,
                digest,
                standing,
            };
            let (_, row) = seal.row();
            assert_eq!(Seal::parse(&row), Some(seal));
            for at in 0..row.len() {
                let mut changed = row.clone();
                changed[at] ^= 1;
                assert_eq!(Seal::parse(&changed), None, "byte {at}");
                assert_eq!(Seal::parse(&row[..at]), None);
            }
        }
        let mut first = 9u64.to_be_bytes().to_vec();
        first.extend_from_slice(&crc32c::crc32c(&9u64.to_be_bytes()).to_be_bytes());
        let seal = Seal::parse_first_format(&first, Digest::default()).unwrap();
        assert_eq!(seal.generation, 9);
        assert_eq!(Seal::parse(&first), None);
    }
}
