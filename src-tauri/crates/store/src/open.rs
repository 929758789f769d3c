//! Opening the store: in a worker thread, within a time limit, with every way it can go wrong turned into a
//! typed error. Checks that what is there is what was acknowledged last, and brings older formats up to date.
//! What lies where is `layout.rs`; one database in it is `database.rs`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::claim::Claim;
use crate::database::{self, Database, Seal};
use crate::layout::{self, FIRST_FORMAT, FORMAT, Place, damaged, io};
use crate::witness::{Heard, Witness};
use crate::{OpenError, compact, files};

/// A healthy database of 50 MB opens in well under a second; a damaged one may make sled search for ever. Five
/// seconds are the longest a person is left without an answer; a little is left for the answer itself.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_millis(4500);

/// Opens the store in `path`, creating the directory and the database where there is none.
pub(crate) fn open(path: &Path, limit: Duration) -> Result<(Database, Witness, Claim), OpenError> {
    let ((database, witness), claim) = in_worker(path, limit, open_and_check)?;
    Ok((database, witness, claim))
}

/// Claims a directory and runs `work` on it in a thread of its own; answers within the limit. If the time is up
/// the work goes on, and the claim ends with it.
pub(crate) fn in_worker<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    work: impl FnOnce(&Path, Instant) -> Result<T, OpenError> + Send + 'static,
) -> Result<(T, Claim), OpenError> {
    let started = Instant::now();
    files::create_private_directory(path).map_err(|source| io(path, source))?;
    let claim = Claim::take(path)?;
    let path = claim.path().to_owned();

    let (sender, receiver) = mpsc::sync_channel(1);
    let deadline = started + limit;
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            let root = claim.path();
            let result = catch_unwind(AssertUnwindSafe(|| work(root, deadline)))
                .unwrap_or_else(|panic| Err(damaged(root, &panic_text(&*panic))));
            // Nobody listens any more after the limit: the database closes here and the claim ends.
            let _ = sender.send(result.map(|done| (done, claim)));
        })
        .map_err(|source| io(&path, source))?;
    receiver
        .recv_timeout(limit.saturating_sub(started.elapsed()))
        .unwrap_or(Err(OpenError::TimedOut { path, limit }))
}

/// What a caught panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied());
    format!("sled panicked: {}", text.unwrap_or("without a word"))
}

fn open_and_check(root: &Path, deadline: Instant) -> Result<(Database, Witness), OpenError> {
    let said = Witness::hear(root).map_err(|source| io(root, source))?;
    let named = layout::current(root)?;
    let database = match named.map_or_else(|| only_place(root), |place| Ok(Some(place)))? {
        None => create(root, said, deadline)?,
        Some(place) => open_place(root, place, named.is_some(), deadline)?,
    };
    let database = match database {
        (database, FIRST_FORMAT) => migrate(root, database, deadline)?,
        (database, _) => {
            confront(root, &database, said, named.is_some())?;
            database
        }
    };
    let Seal {
        generation, digest, ..
    } = database.seal;
    let witness =
        Witness::swear(root, said.testimony(), generation, digest).map_err(|source| io(root, source))?;
    if named != Some(database.place) {
        // The format file comes last: it must not outlive what it vouches for.
        layout::sync_database(root, database.place).map_err(|source| io(root, source))?;
        layout::set_current(root, database.place).map_err(|source| io(root, source))?;
    }
    layout::sweep(root, database.place);
    Ok((database, witness))
}

/// Without a format file there may be one database: that of a store whose creation was cut short, or whose
/// format file was lost. With two nobody knows which is the one.
fn only_place(root: &Path) -> Result<Option<Place>, OpenError> {
    match layout::places(root).map_err(|source| io(root, source))?[..] {
        [] => Ok(None),
        [place] => Ok(Some(place)),
        _ => Err(damaged(root, "its format file is gone")),
    }
}

fn create(root: &Path, said: Heard, deadline: Instant) -> Result<(Database, u32), OpenError> {
    // A witness is made after the first database. With nothing acknowledged there is nothing to lose.
    let was_used = match said {
        Heard::Nobody => false,
        Heard::Gibberish => true,
        Heard::Said(said) => said.generation > 0,
    };
    if was_used {
        return Err(damaged(root, "its database is gone"));
    }
    let place = layout::next_place(root, 0).map_err(|source| io(root, source))?;
    Ok((Database::create(root, place, deadline)?, FORMAT))
}

fn open_place(
    root: &Path,
    place: Place,
    named: bool,
    deadline: Instant,
) -> Result<(Database, u32), OpenError> {
    if named && !place.has_content(root) {
        return Err(damaged(root, "its file is gone"));
    }
    Database::open(root, place, named, deadline).map(|database| (database, place.format()))
}

/// The same way a compaction goes, from the old format into the new.
fn migrate(root: &Path, old: Database, deadline: Instant) -> Result<Database, OpenError> {
    let place = layout::next_place(root, old.place.number).map_err(|source| io(root, source))?;
    let new = compact::rewrite(root, &database::entries_of(&old.kv), old.seal, place, deadline)
        .map_err(|error| error.at_open(root))?;
    tracing::info!(
        from = FIRST_FORMAT,
        to = FORMAT,
        "the store was brought up to date"
    );
    drop(old);
    Ok(new)
}

/// Holds what the database says against what was acknowledged.
fn confront(root: &Path, database: &Database, said: Heard, named: bool) -> Result<(), OpenError> {
    let Seal {
        generation, digest, ..
    } = database.seal;
    match said {
        Heard::Said(said) if said.generation > generation => Err(damaged(
            root,
            &format!(
                "it ends at batch {generation}, {} was acknowledged",
                said.generation
            ),
        )),
        Heard::Said(said) if said.generation == generation && said.digest != digest => {
            Err(damaged(root, "it is not what was acknowledged"))
        }
        Heard::Said(_) => Ok(()),
        // Cut short while it was created, when nothing had been acknowledged.
        Heard::Nobody if !named && generation == 0 && digest.count == 0 => Ok(()),
        Heard::Nobody => Err(damaged(root, "its witness is gone")),
        Heard::Gibberish => Err(damaged(root, "its witness is unreadable")),
    }
}
