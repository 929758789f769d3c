//! The handle: what a program holds, reads with, and hands to LDK. Changes go to the writer thread
//! (`writer.rs`); reads go straight to the database and see every write that was answered with `Ok`.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::compact::{Budget, Compaction};
use crate::database::{RESERVED, Standing, unreadable};
use crate::name::{self, Name};
use crate::writer::{self, Edit, Order, Reply, Shared};
use crate::{OpenError, StoreError, files, open, record};

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long opening may take.
    pub open_limit: Duration,
    /// When the store has grown enough to be compacted.
    pub budget: Budget,
}

impl Default for Options {
    /// 4.5 seconds, and [`Budget::default`].
    fn default() -> Self {
        Self {
            open_limit: open::OPEN_LIMIT,
            budget: Budget::default(),
        }
    }
}

/// One change within [`Store::durable_batch`].
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    primary_namespace: String,
    secondary_namespace: String,
    key: String,
    value: Option<Vec<u8>>,
}

impl Change {
    /// Stores a value under a key, in place of what was there.
    pub fn put(primary_namespace: &str, secondary_namespace: &str, key: &str, value: Vec<u8>) -> Self {
        Self {
            value: Some(value),
            ..Self::remove(primary_namespace, secondary_namespace, key)
        }
    }

    /// Removes a key. Its not being there is fine.
    pub fn remove(primary_namespace: &str, secondary_namespace: &str, key: &str) -> Self {
        Self {
            primary_namespace: primary_namespace.to_owned(),
            secondary_namespace: secondary_namespace.to_owned(),
            key: key.to_owned(),
            value: None,
        }
    }

    fn check(self) -> Result<Edit, StoreError> {
        let name = Name::new(&self.primary_namespace, &self.secondary_namespace, &self.key)?;
        self.value.as_deref().map_or(Ok(()), record::check_len)?;
        Ok((name, self.value))
    }
}

/// An open store. Clones share one database; it closes when [`close`](Store::close) is called or the last
/// clone is dropped, and can then be opened again by this process.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    budget: Budget,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a directory, creating both where there is none. Answers within 5 seconds.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// Like [`open`](Store::open) with another time limit.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_within(path: impl AsRef<Path>, limit: Duration) -> Result<Self, OpenError> {
        Self::open_with(
            path,
            Options {
                open_limit: limit,
                ..Options::default()
            },
        )
    }

    /// Like [`open`](Store::open) with other options.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let (database, witness, claim) = open::open(path.as_ref(), options.open_limit)?;
        let path = claim.path().to_owned();
        let shared = Arc::new(Shared::new(database));
        let (orders, received) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::Writer::new(&shared, claim, witness, options.budget).run(&received)
            })
            .map_err(|source| OpenError::Io {
                path: path.clone(),
                source,
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                budget: options.budget,
                shared,
                orders,
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// The directory of the store, canonical.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes and removes several keys: after a crash either all of it happened or nothing. Blocks until
    /// it is on the disk. If a key occurs twice, its last change counts.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] and [`StoreError::TooLong`] before anything is written;
    /// [`StoreError::Failed`] if the disk refused; [`StoreError::Closed`].
    pub fn durable_batch(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let edits = check_all(changes)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        self.order(Order::Commit {
            edits,
            reply: Reply::Blocking(sender),
        })?;
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Like [`durable_batch`](Store::durable_batch) without blocking. The order among all writes is fixed when
    /// this returns; dropping the future does not stop the write.
    ///
    /// # Errors
    /// As for `durable_batch`, from the future.
    pub fn durable_batch_async(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let ordered = check_all(changes).and_then(|edits| {
            self.order(Order::Commit {
                edits,
                reply: Reply::Async(sender),
            })
        });
        async move {
            ordered?;
            receiver.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// The number of the last batch written. It only ever grows, so of two copies of a store the one with
    /// the lower number is stale.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Closed`].
    pub fn generation(&self) -> Result<u64, StoreError> {
        self.inner.shared.read(|database| Ok(database.seal.generation))
    }

    /// What may be done with the state in the store. Ask before any channel is brought up.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Closed`].
    pub fn standing(&self) -> Result<Standing, StoreError> {
        self.inner.shared.read(|database| Ok(database.seal.standing))
    }

    /// Ends [`Standing::RecoveryOnly`]. Only right when no channel of the restored state is left.
    ///
    /// # Errors
    /// As for [`durable_batch`](Store::durable_batch).
    pub fn end_recovery(&self) -> Result<(), StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.order(Order::EndRecovery { reply: sender })?;
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Writes the database anew without what sled leaves behind, and puts the copy in place of the original once
    /// every value in it was checked. Blocks; reads go on meanwhile, writes wait. 50 MB take about a second.
    ///
    /// # Errors
    /// [`StoreError::NotCompacted`] if there was no space or a value is damaged: the store goes on as it was.
    /// [`StoreError::Failed`] if the system failed at the very swap; nothing is lost, but the store must be
    /// opened again. [`StoreError::Closed`].
    pub fn compact(&self) -> Result<Compaction, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.order(Order::Compact { reply: sender })?;
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Compacts if the store has outgrown its [`Budget`]. Call it at a quiet time. A store that is four times
    /// over its budget compacts by itself, whatever the time.
    ///
    /// # Errors
    /// As for [`compact`](Store::compact).
    pub fn compact_if_due(&self) -> Result<Option<Compaction>, StoreError> {
        if self.compaction_due()? {
            self.compact().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether [`Self::compact_if_due`] would compact now.
    ///
    /// # Errors
    /// As [`Self::compact_if_due`].
    pub fn compaction_due(&self) -> Result<bool, StoreError> {
        let rewritten = self.inner.shared.read(|database| Ok(database.rewritten))?;
        let size = self
            .size_on_disk()
            .map_err(|error| StoreError::NotCompacted(error.to_string()))?;
        Ok(self.inner.budget.is_due(size, rewritten))
    }

    /// Bytes that all files of the store take, as `ls` would add them up.
    ///
    /// # Errors
    /// What the file system says.
    pub fn size_on_disk(&self) -> std::io::Result<u64> {
        files::size_of(&self.inner.path)
    }

    /// Writes what is still waiting, flushes, and lets go of the database and its locks, for all clones.
    /// Closing twice is fine.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the last write or an earlier one failed. The store is closed all the same.
    pub fn close(&self) -> Result<(), StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let outcome = match self.order(Order::Close {
            reply: Some(Reply::Blocking(sender)),
        }) {
            Ok(()) => receiver.recv().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        };
        self.inner.join();
        outcome
    }

    fn order(&self, order: Order) -> Result<(), StoreError> {
        self.inner.orders.send(order).map_err(|_| StoreError::Closed)
    }

    pub(crate) fn get(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, StoreError> {
        let name = Name::new(primary, secondary, key)?;
        self.inner.shared.read(|database| {
            let entries = database
                .kv
                .scan_prefix(name.prefix())
                .map(|entry| entry.map_err(unreadable));
            record::decode(&name, entries)
        })
    }

    pub(crate) fn remove_key(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        lazy: bool,
    ) -> Result<(), StoreError> {
        if lazy {
            let name = Name::new(primary, secondary, key)?;
            return self.order(Order::RemoveLazily(name));
        }
        self.durable_batch(vec![Change::remove(primary, secondary, key)])
    }

    pub(crate) fn keys(&self, primary: &str, secondary: &str) -> Result<Vec<String>, StoreError> {
        let prefix = name::namespace_prefix(primary, secondary)?;
        let mut keys = Vec::new();
        self.inner
            .shared
            .read(|database| each_name(&database.kv, &prefix, |_, _, key| keys.push(key.to_owned())))?;
        Ok(keys)
    }

    /// Visits every value, all of one moment, and returns the generation of that moment.
    pub(crate) fn each_value(&self, mut visit: impl FnMut(&Name, &[u8])) -> Result<u64, StoreError> {
        self.inner.shared.read(|database| {
            let mut names = Vec::new();
            each_name(&database.kv, &[], |primary, secondary, key| {
                names.push(Name::new(primary, secondary, key));
            })?;
            for name in names {
                let name = name?;
                let entries = database
                    .kv
                    .scan_prefix(name.prefix())
                    .map(|entry| entry.map_err(unreadable));
                visit(&name, &record::decode(&name, entries)?);
            }
            Ok(database.seal.generation)
        })
    }

    pub(crate) fn all_keys(&self) -> Result<Vec<(String, String, String)>, StoreError> {
        let mut all = Vec::new();
        self.inner.shared.read(|database| {
            each_name(&database.kv, &[], |primary, secondary, key| {
                all.push((primary.to_owned(), secondary.to_owned(), key.to_owned()));
            })
        })?;
        Ok(all)
    }
}

/// Says where the store is, and nothing of what is in it: channel secrets must not reach a log.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

/// Says which key, and how long the value is, not the value.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("primary_namespace", &self.primary_namespace)
            .field("secondary_namespace", &self.secondary_namespace)
            .field("key", &self.key)
            .field("value_len", &self.value.as_ref().map(Vec::len))
            .finish()
    }
}

impl Inner {
    /// Waits for the writer to end, unless this is the writer: waking a task may drop the last handle there.
    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.thread().id() != thread::current().id()
        {
            // It catches panics itself; if it died all the same there is nothing left to do here.
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error means that it is closed already.
        let _ = self.orders.send(Order::Close { reply: None });
        self.join();
    }
}

pub(crate) fn check_all(changes: Vec<Change>) -> Result<Vec<Edit>, StoreError> {
    changes.into_iter().map(Change::check).collect()
}

/// Visits every name below a prefix once, jumping over the chunks of large values. A name whose first chunk
/// is missing is visited too: that it is damaged is for the read to say.
fn each_name(
    kv: &sled::Tree,
    prefix: &[u8],
    mut visit: impl FnMut(&str, &str, &str),
) -> Result<(), StoreError> {
    let mut from = Bound::Included(prefix.to_vec());
    loop {
        let range: (Bound<Vec<u8>>, Bound<Vec<u8>>) = (from, Bound::Unbounded);
        let Some(entry) = kv.range(range).next() else {
            return Ok(());
        };
        let (database_key, _) = entry.map_err(unreadable)?;
        if !database_key.starts_with(prefix) {
            return Ok(());
        }
        if database_key.first() == Some(&RESERVED) {
            from = Bound::Excluded(database_key.to_vec());
            continue;
        }
        let (primary, secondary, key, _) = name::parse(&database_key)
            .ok_or_else(|| StoreError::Damaged("there is a key that was never written".to_owned()))?;
        visit(primary, secondary, key);
        from = Bound::Excluded(Name::new(primary, secondary, key)?.chunk_key(u16::MAX));
    }
}
