//! Opening the database: in a worker thread, within a time limit, with every way it can go wrong
//! turned into a typed error. Owns the directory's layout:
//!
//! * `lock`: held while the store is open (`claim.rs`);
//! * `db/`: sled's own files. A folder of its own, so that compaction can put another in its place;
//! * `format`: says that a database was created here, so that its loss is not taken for a first start.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::claim::Claim;
use crate::{OpenError, files};

/// A healthy database of 50 MB opens in under 50 ms; a damaged one may make sled search for ever.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// The format of everything below the directory. Raise it together with a migration.
const FORMAT: u32 = 1;
const DATABASE_DIRECTORY: &str = "db";
const FORMAT_FILE: &str = "format";
const META_TREE: &str = "meta";
const META_FORMAT_KEY: &str = "format";
const KV_TREE: &str = "kv";

/// sled's default of 1 GB is a desktop's; iOS kills a background app far below that.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// sled's last threads may hold its own lock for a moment after a database was dropped.
const LOCK_RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The first byte of our own rows in the `kv` tree. No name can begin with it.
pub(crate) const RESERVED: u8 = 1;
const GENERATION_KEY: &[u8] = b"\x01generation";

/// An open database. Deliberately without `Debug`: sled would print the values.
pub(crate) struct Database {
    pub(crate) db: sled::Db,
    pub(crate) kv: sled::Tree,
    /// The number of the last batch written.
    pub(crate) generation: u64,
}

/// Opens the database in `path`, creating the directory and the database where there is none.
pub(crate) fn open(path: &Path, limit: Duration) -> Result<(Database, Claim), OpenError> {
    let started = Instant::now();
    files::create_private_directory(path).map_err(|source| io(path, source))?;
    let claim = Claim::take(path)?;
    let path = claim.path().to_owned();

    let (sender, receiver) = mpsc::sync_channel(1);
    let deadline = started + limit;
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            let result = attempt(claim.path(), deadline).map(|database| (database, claim));
            // Nobody listens any more after the limit: the database closes here and the claim ends.
            let _ = sender.send(result);
        })
        .map_err(|source| io(&path, source))?;
    receiver
        .recv_timeout(limit.saturating_sub(started.elapsed()))
        .unwrap_or(Err(OpenError::TimedOut { path, limit }))
}

/// The row that keeps the generation, written with every batch.
pub(crate) fn generation_row(generation: u64) -> (&'static [u8], Vec<u8>) {
    let mut row = generation.to_be_bytes().to_vec();
    row.extend_from_slice(&crc32c::crc32c(&generation.to_be_bytes()).to_be_bytes());
    (GENERATION_KEY, row)
}

/// What a caught panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied());
    format!("sled panicked: {}", text.unwrap_or("without a word"))
}

fn attempt(path: &Path, deadline: Instant) -> Result<Database, OpenError> {
    catch_unwind(AssertUnwindSafe(|| open_and_check(path, deadline)))
        .unwrap_or_else(|panic| Err(damaged(path, &panic_text(&*panic))))
}

fn open_and_check(path: &Path, deadline: Instant) -> Result<Database, OpenError> {
    let directory = path.join(DATABASE_DIRECTORY);
    let created_before = read_format_file(path)?;
    if created_before && !std::fs::metadata(directory.join("db")).is_ok_and(|file| file.len() > 0) {
        return Err(damaged(path, "its file is gone"));
    }

    let db = open_sled(path, &directory, deadline)?;
    let failed = |error| sled_error(path, error);
    let meta = db.open_tree(META_TREE).map_err(failed)?;
    let kv = db.open_tree(KV_TREE).map_err(failed)?;
    let stored = meta.get(META_FORMAT_KEY).map_err(failed)?;
    match stored.as_deref().map(<[u8; 4]>::try_from) {
        Some(Ok(bytes)) => check_format(path, u32::from_be_bytes(bytes))?,
        Some(Err(_)) => return Err(damaged(path, "its format version is unreadable")),
        None if created_before || !kv.is_empty() => return Err(damaged(path, "its format version is gone")),
        None => {
            meta.insert(META_FORMAT_KEY, &FORMAT.to_be_bytes())
                .map_err(failed)?;
            db.flush().map_err(failed)?;
        }
    }
    if !created_before {
        // sled does not make its new file's name durable; the format file must not outlive the database.
        files::sync_directory(&directory).map_err(|source| io(path, source))?;
        files::write_atomically(&path.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes())
            .map_err(|source| io(path, source))?;
    }
    let generation = read_generation(path, &kv)?;
    Ok(Database { db, kv, generation })
}

/// Whether the format file is there. What it says is checked.
fn read_format_file(path: &Path) -> Result<bool, OpenError> {
    let content = files::read_if_present(&path.join(FORMAT_FILE)).map_err(|source| io(path, source))?;
    let Some(content) = content else { return Ok(false) };
    let format = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.trim_end().parse().ok());
    let format = format.ok_or_else(|| damaged(path, "its format file is unreadable"))?;
    check_format(path, format)?;
    Ok(true)
}

fn check_format(path: &Path, found: u32) -> Result<(), OpenError> {
    match found {
        FORMAT => Ok(()),
        0 => Err(damaged(path, "its format version is 0")),
        _ => Err(OpenError::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
    }
}

fn open_sled(path: &Path, directory: &Path, deadline: Instant) -> Result<sled::Db, OpenError> {
    // The segment size stays sled's default: it can never be changed for an existing database.
    let config = sled::Config::new()
        .path(directory)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(error) if !is_lock_error(&error) => return Err(sled_error(path, error)),
            // We hold our own lock, so this is either sled's previous self or someone who bypasses it.
            Err(_) if Instant::now() + LOCK_RETRY_PAUSE >= deadline => {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(_) => thread::sleep(LOCK_RETRY_PAUSE),
        }
    }
}

fn read_generation(path: &Path, kv: &sled::Tree) -> Result<u64, OpenError> {
    let row = kv.get(GENERATION_KEY).map_err(|error| sled_error(path, error))?;
    let Some(row) = row else {
        return if kv.is_empty() {
            Ok(0)
        } else {
            Err(damaged(path, "its generation is gone"))
        };
    };
    let generation = row.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    generation
        .filter(|generation| generation_row(*generation).1 == *row)
        .ok_or_else(|| damaged(path, "its generation is unreadable"))
}

/// sled reports a held lock as an `Other` error with this text (`config.rs`, 0.34.7).
fn is_lock_error(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(inner) if inner.to_string().contains("could not acquire lock"))
}

fn sled_error(path: &Path, error: sled::Error) -> OpenError {
    match error {
        // With a code from the operating system it is the system's word, without one it is sled's
        // own about what it found in the file.
        sled::Error::Io(source) if source.raw_os_error().is_some() => io(path, source),
        other => damaged(path, &other.to_string()),
    }
}

fn io(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Io {
        path: PathBuf::from(path),
        source,
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: PathBuf::from(path),
        reason: reason.to_owned(),
    }
}
