//! The one thread that changes the database. Orders are taken in the order of the calls; all that wait
//! are written as one batch with one flush (group commit), and only then answered. Owns lazy removals:
//! they ride with the next batch, and a later write to the same key cancels them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::oneshot;

use crate::StoreError;
use crate::claim::Claim;
use crate::name::Name;
use crate::open::{Database, generation_row, panic_text};
use crate::record;

/// A batch takes no further order above this many bytes: it is in memory several times, and all its
/// callers wait for the slowest. A single larger order still goes as one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
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

/// Takes orders until told to close or until nobody can give any, then lets go of the database and,
/// last, of the claim on it.
pub(crate) fn run(shared: &Arc<Shared>, orders: &Receiver<Order>, claim: Claim) {
    let mut round = Round::default();
    let mut next = orders.recv().ok();
    let mut closing = None;
    while let Some(order) = next.take() {
        match order {
            Order::Close { reply } => {
                closing = reply;
                break;
            }
            order => round.take(order),
        }
        // Drain what waits already; write when there is nothing more or the batch is large enough.
        if round.bytes < BATCH_BYTES
            && let Ok(order) = orders.try_recv()
        {
            next = Some(order);
            continue;
        }
        if round.is_due() {
            round.commit(shared);
        }
        next = orders.recv().ok();
    }
    round.commit(shared);
    let outcome = shared.for_reading().database().map(drop);
    let_go(shared);
    drop(claim);
    if let Some(reply) = closing {
        reply.send(outcome);
    }
}

/// The changes that will go to disk together, and who waits for them.
#[derive(Default)]
struct Round {
    /// The last word on each name. Keeps lazy removals from one batch to the next.
    changes: BTreeMap<Name, Option<Vec<u8>>>,
    bytes: usize,
    waiting: Vec<Reply>,
}

impl Round {
    fn take(&mut self, order: Order) {
        match order {
            Order::Commit { edits, reply } => {
                for (name, value) in edits {
                    self.bytes += name.prefix().len() + value.as_ref().map_or(0, Vec::len);
                    self.changes.insert(name, value);
                }
                self.waiting.push(reply);
            }
            Order::RemoveLazily(name) => {
                self.changes.insert(name, None);
            }
            Order::Close { .. } => {}
        }
    }

    fn is_due(&self) -> bool {
        !self.waiting.is_empty() || self.changes.len() >= MAX_WAITING_REMOVALS
    }

    fn commit(&mut self, shared: &Shared) {
        let Self { changes, waiting, .. } = std::mem::take(self);
        let outcome = catch_unwind(AssertUnwindSafe(|| write(shared, &changes)))
            .unwrap_or_else(|panic| Err(StoreError::Failed(panic_text(&*panic))));
        if let Err(StoreError::Failed(reason)) = &outcome {
            tracing::error!(reason, "a write to the store failed; it must be opened again");
            shared.for_writing().failed.get_or_insert_with(|| reason.clone());
        }
        for reply in waiting {
            reply.send(outcome.clone());
        }
    }
}

fn write(shared: &Shared, changes: &BTreeMap<Name, Option<Vec<u8>>>) -> Outcome {
    let (batch, db, generation) = {
        let state = shared.for_reading();
        let database = state.database()?;
        let generation = database.generation + 1;
        let Some(batch) = batch_of(&database.kv, changes, generation)? else {
            return Ok(());
        };
        (batch, database.db.clone(), generation)
    };
    {
        let mut state = shared.for_writing();
        let Some(database) = &mut state.database else {
            return Err(StoreError::Closed);
        };
        database.kv.apply_batch(batch).map_err(|error| failed(&error))?;
        database.generation = generation;
    }
    // Outside the lock: readers need not wait for the disk.
    db.flush().map_err(|error| failed(&error))?;
    Ok(())
}

/// The batch for these changes, `None` if they change nothing.
fn batch_of(
    kv: &sled::Tree,
    changes: &BTreeMap<Name, Option<Vec<u8>>>,
    generation: u64,
) -> Result<Option<sled::Batch>, StoreError> {
    let mut batch = sled::Batch::default();
    let mut anything = false;
    for (name, value) in changes {
        let entries = value
            .as_deref()
            .map(|value| record::encode(name, value, generation))
            .unwrap_or_default();
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
    let (key, row) = generation_row(generation);
    batch.insert(key, row);
    Ok(Some(batch))
}

/// Drops the database, which ends sled's threads and its lock.
fn let_go(shared: &Shared) {
    let database = shared.for_writing().database.take();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database))) {
        tracing::warn!(reason = panic_text(&*panic), "closing the database");
    }
}

fn failed(error: &sled::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}
