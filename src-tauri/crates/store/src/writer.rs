//! The one thread that changes the database. Orders are taken in the order of the calls; all that wait
//! are written as one batch with one flush (group commit), and only then answered. Owns lazy removals:
//! they ride with the next batch, and a later write to the same key cancels them. Owns the moment of a
//! compaction, as nothing may change meanwhile; how it is done is `compact.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::claim::Claim;
use crate::compact::{self, Budget, Compaction, Step};
use crate::database::{Database, Seal, Standing, entries_of};
use crate::layout::{self, Place};
use crate::name::Name;
use crate::open::panic_text;
use crate::witness::Witness;
use crate::{StoreError, files, record};

/// A batch takes no further order above this many bytes: it is in memory several times, and all its
/// callers wait for the slowest. A single larger order still goes as one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// After as many bytes the size of the store is looked at.
const WEIGH_AFTER_BYTES: usize = 1024 * 1024;
/// sled's last threads may hold a lock for a moment; longer than this they never do.
const REOPEN_LIMIT: Duration = Duration::from_secs(30);
/// As many lazy removals wait for a batch to ride with, then they get one of their own.
const MAX_WAITING_REMOVALS: usize = 256;

type Outcome = Result<(), StoreError>;

/// A checked change: the new value, or `None` to remove.
pub(crate) type Edit = (Name, Option<Vec<u8>>);

/// What the handles and the writer share.
pub(crate) struct Shared {
    // Read while reading, written while a batch is applied: a value of many chunks is never seen half
    // old and half new.
    state: RwLock<State>,
}

struct State {
    /// `None` once closed.
    database: Option<Database>,
    /// Why nothing is served any more.
    failed: Option<String>,
}

impl Shared {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            state: RwLock::new(State {
                database: Some(database),
                failed: None,
            }),
        }
    }

    /// Runs a read on the database. A panic inside sled comes back as damage.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = self.for_reading();
        let database = state.database()?;
        catch_unwind(AssertUnwindSafe(|| work(database)))
            .unwrap_or_else(|panic| Err(StoreError::Damaged(panic_text(&*panic))))
    }

    // A poisoned lock says that a thread panicked, which `failed` says more exactly.
    fn for_reading(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn for_writing(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn database(&self) -> Result<&Database, StoreError> {
        match (&self.failed, &self.database) {
            (Some(reason), _) => Err(StoreError::Failed(reason.clone())),
            (None, Some(database)) => Ok(database),
            (None, None) => Err(StoreError::Closed),
        }
    }
}

/// What the writer is asked to do.
pub(crate) enum Order {
    /// Write or remove values, all or none.
    Commit { edits: Vec<Edit>, reply: Reply },
    /// Remove at some later time; nobody waits.
    RemoveLazily(Name),
    /// Write the database anew.
    Compact {
        reply: SyncSender<Result<Compaction, StoreError>>,
    },
    /// The restored state may be lived on from now on.
    EndRecovery { reply: SyncSender<Outcome> },
    /// Write what is left and let go of the database.
    Close { reply: Option<Reply> },
}

/// How the caller hears of the end.
pub(crate) enum Reply {
    Blocking(SyncSender<Outcome>),
    Async(oneshot::Sender<Outcome>),
}

impl Reply {
    fn send(self, outcome: Outcome) {
        // A caller who stopped waiting does not undo the write.
        match self {
            Self::Blocking(sender) => drop(sender.send(outcome)),
            Self::Async(sender) => drop(sender.send(outcome)),
        }
    }
}

/// The thread's own state.
pub(crate) struct Writer<'a> {
    shared: &'a Shared,
    claim: Claim,
    witness: Witness,
    disk: Disk,
    budget: Budget,
    /// The highest number a database was given, in use or not.
    used: u64,
    /// Bytes written since the size was looked at.
    unweighed: usize,
    /// Not to be compacted unasked before it is larger than this.
    quiet_until: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(shared: &'a Shared, claim: Claim, witness: Witness, budget: Budget) -> Self {
        Self {
            shared,
            claim,
            witness,
            disk: Disk::default(),
            budget,
            used: 0,
            unweighed: 0,
            quiet_until: 0,
        }
    }

    /// Takes orders until told to close or until nobody can give any, then lets go of the database and,
    /// last, of the claim on it.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        let mut round = Round::default();
        let mut next = orders.recv().ok();
        let mut closing = None;
        while let Some(order) = next.take() {
            match order {
                Order::Close { reply } => {
                    closing = reply;
                    break;
                }
                Order::Compact { reply } => {
                    self.commit(&mut round);
                    // A caller who stopped waiting does not undo it.
                    let _ = reply.send(self.compact());
                }
                Order::EndRecovery { reply } => {
                    self.commit(&mut round);
                    round.ends_recovery = true;
                    round.waiting.push(Reply::Blocking(reply));
                }
                Order::Commit { edits, reply } => round.take(edits, reply),
                Order::RemoveLazily(name) => drop(round.changes.insert(name, None)),
            }
            // Drain what waits already; write when there is nothing more or the batch is large enough.
            if round.bytes < BATCH_BYTES
                && let Ok(order) = orders.try_recv()
            {
                next = Some(order);
                continue;
            }
            if round.is_due() {
                self.commit(&mut round);
                self.compact_if_overdue();
            }
            next = orders.recv().ok();
        }
        self.commit(&mut round);
        let outcome = self.close();
        drop(self.claim);
        if let Some(reply) = closing {
            reply.send(outcome);
        }
    }

    fn commit(&mut self, round: &mut Round) {
        let Round {
            changes,
            bytes,
            waiting,
            ends_recovery,
        } = std::mem::take(round);
        self.unweighed = self.unweighed.saturating_add(bytes);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.write(&changes, ends_recovery)))
            .unwrap_or_else(|panic| Err(StoreError::Failed(panic_text(&*panic))));
        if let Err(StoreError::Failed(reason)) = &outcome {
            self.fail(reason);
        }
        for reply in waiting {
            reply.send(outcome.clone());
        }
    }

    fn write(&mut self, changes: &BTreeMap<Name, Option<Vec<u8>>>, ends_recovery: bool) -> Outcome {
        let (batch, db, place, seal) = {
            let state = self.shared.for_reading();
            let database = state.database()?;
            let mut seal = database.seal;
            seal.generation += 1;
            if ends_recovery {
                seal.standing = Standing::Live;
            }
            let Some(batch) = batch_of(&database.kv, changes, &mut seal, ends_recovery)? else {
                return Ok(());
            };
            (batch, database.db.clone(), database.place, seal)
        };
        {
            let mut state = self.shared.for_writing();
            let Some(database) = &mut state.database else {
                return Err(StoreError::Closed);
            };
            database.kv.apply_batch(batch).map_err(|error| failed(&error))?;
            database.seal = seal;
        }
        // Outside the lock: readers need not wait for the disk.
        db.flush().map_err(|error| failed(&error))?;
        let told = |error: std::io::Error| StoreError::Failed(error.to_string());
        self.disk.sync(self.claim.path(), place).map_err(told)?;
        self.witness.say(seal.generation, seal.digest).map_err(told)
    }

    /// Writes the database anew and puts the copy in its place.
    fn compact(&mut self) -> Result<Compaction, StoreError> {
        let started = Instant::now();
        let root = self.claim.path();
        let not_compacted = |error: &dyn std::fmt::Display| StoreError::NotCompacted(error.to_string());
        let before = files::size_of(root).map_err(|error| not_compacted(&error))?;
        // Only this thread changes the database, so the copy of the handle stays true.
        let (kv, seal, old) = {
            let state = self.shared.for_reading();
            let database = state.database()?;
            (database.kv.clone(), database.seal, database.place)
        };
        let place =
            layout::next_place(root, self.used.max(old.number)).map_err(|error| not_compacted(&error))?;
        self.used = place.number;
        let deadline = started + REOPEN_LIMIT;
        let new = compact::rewrite(root, &entries_of(&kv), seal, place, deadline)
            .map_err(|error| not_compacted(&error))?;
        drop(kv);
        if let Err(error) = layout::set_current(root, place) {
            if layout::current(root).is_ok_and(|current| current == Some(old)) {
                drop(new);
                layout::discard(root, place);
                return Err(not_compacted(&error));
            }
            // Which of the two will be found is open, and both hold the same: but nothing may be added.
            let reason = format!("the swap of a compaction failed: {error}");
            self.fail(&reason);
            return Err(StoreError::Failed(reason));
        }
        compact::reached(Step::Swapped);
        let former = self.shared.for_writing().database.replace(new);
        self.disk = Disk::default();
        close_database(former);
        compact::reached(Step::Closed);
        layout::discard(root, old);
        compact::reached(Step::Discarded);
        let after = files::size_of(root).map_err(|error| not_compacted(&error))?;
        let took = started.elapsed();
        tracing::info!(before, after, ?took, "the store was compacted");
        Ok(Compaction { before, after, took })
    }

    /// Nobody may ever call for a compaction; the disk must not fill for that.
    fn compact_if_overdue(&mut self) {
        if self.unweighed < WEIGH_AFTER_BYTES {
            return;
        }
        self.unweighed = 0;
        let Ok(size) = files::size_of(self.claim.path()) else {
            return;
        };
        let rewritten = self.shared.read(|database| Ok(database.rewritten)).unwrap_or(0);
        if size <= self.quiet_until || !self.budget.is_overdue(size, rewritten) {
            return;
        }
        if let Err(error) = self.compact() {
            // Tried again when it is a good deal larger, not with every batch.
            self.quiet_until = size.saturating_add(self.budget.floor);
            tracing::warn!(%error, "the store has outgrown its budget and could not be compacted");
        }
    }

    fn fail(&self, reason: &str) {
        tracing::error!(reason, "a write to the store failed; it must be opened again");
        self.shared
            .for_writing()
            .failed
            .get_or_insert_with(|| reason.to_owned());
    }

    /// Lets the witness say that all is well, if it is, and lets go of the database.
    fn close(&mut self) -> Outcome {
        let seal = self.shared.for_reading().database().map(|database| database.seal);
        let outcome = seal.and_then(|seal| {
            self.witness
                .close(seal.generation, seal.digest)
                .map_err(|error| StoreError::Failed(error.to_string()))
        });
        let database = self.shared.for_writing().database.take();
        close_database(database);
        outcome
    }
}

/// Makes what sled flushed proof against a power cut. On most systems sled itself asks for that; on Linux it uses
/// `sync_file_range`, which moves data to the disk without its cache and without the file's length.
#[derive(Default)]
struct Disk {
    #[cfg(target_os = "linux")]
    file: Option<std::fs::File>,
}

impl Disk {
    #[cfg(target_os = "linux")]
    fn sync(&mut self, root: &Path, place: Place) -> std::io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => std::fs::File::open(place.file(root))?,
        };
        self.file.insert(file).sync_data()
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn sync(&mut self, _root: &Path, _place: Place) -> std::io::Result<()> {
        Ok(())
    }
}

/// The changes that will go to disk together, and who waits for them.
#[derive(Default)]
struct Round {
    /// The last word on each name. Keeps lazy removals from one batch to the next.
    changes: BTreeMap<Name, Option<Vec<u8>>>,
    bytes: usize,
    waiting: Vec<Reply>,
    ends_recovery: bool,
}

impl Round {
    fn take(&mut self, edits: Vec<Edit>, reply: Reply) {
        for (name, value) in edits {
            self.bytes += name.prefix().len() + value.as_ref().map_or(0, Vec::len);
            self.changes.insert(name, value);
        }
        self.waiting.push(reply);
    }

    fn is_due(&self) -> bool {
        !self.waiting.is_empty() || self.changes.len() >= MAX_WAITING_REMOVALS
    }
}

/// The batch for these changes, `None` if they change nothing. Brings the seal's digest up to date.
fn batch_of(
    kv: &sled::Tree,
    changes: &BTreeMap<Name, Option<Vec<u8>>>,
    seal: &mut Seal,
    mut anything: bool,
) -> Result<Option<sled::Batch>, StoreError> {
    let mut batch = sled::Batch::default();
    for (name, value) in changes {
        let entries = value
            .as_deref()
            .map(|value| record::encode(name, value, seal.generation))
            .unwrap_or_default();
        if let Some(former) = kv.get(name.chunk_key(0)).map_err(|error| failed(&error))? {
            seal.digest.remove(name, &former);
        }
        if let Some((_, first)) = entries.first() {
            seal.digest.add(name, first);
        }
        let last = entries.last().map(|(key, _)| key.clone());
        for (key, chunk) in entries {
            batch.insert(key, chunk);
            anything = true;
        }
        // Whatever lies behind the new last chunk belongs to an older, longer value.
        let from = last.map_or(Bound::Included(name.chunk_key(0)), Bound::Excluded);
        for key in kv.range((from, Bound::Included(name.chunk_key(u16::MAX)))).keys() {
            batch.remove(key.map_err(|error| failed(&error))?);
            anything = true;
        }
    }
    if !anything {
        return Ok(None);
    }
    let (key, row) = seal.row();
    batch.insert(key, row);
    Ok(Some(batch))
}

/// Drops a database, which ends sled's threads and its lock.
fn close_database(database: Option<Database>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database))) {
        tracing::warn!(reason = panic_text(&*panic), "closing a database");
    }
}

fn failed(error: &sled::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}
