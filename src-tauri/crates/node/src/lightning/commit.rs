//! Monitors and channel manager, made durable together.
//!
//! LDK writes a channel's monitor and the channel manager one after the other. A process that is killed between the two
//! leaves a monitor that is ahead of the manager, and LDK force-closes the channel at the next start. Phones kill. So
//! nothing is written when LDK asks: every change waits in a queue, LDK is told `InProgress` (and holds back its answer to
//! the peer), and a commit writes the queue and the manager in one atomic batch with one flush. Only then LDK is told that
//! the updates are complete. What is on disk is always one moment of the whole.
//!
//! A failed write is no different from a slow one: nothing was acknowledged, the queue stays, and nothing is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use lightning::chain::ChannelMonitorUpdateStatus;
use lightning::chain::chainmonitor::Persist;
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::io;
use lightning::ln::types::ChannelId;
use lightning::sign::InMemorySigner;
use lightning::util::async_poll::AsyncResult;
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE, KVStore, KVStoreSync, MonitorName,
    MonitorUpdatingPersister,
};
use lightning::util::ser::Writeable;
use pilotlight_store::{Change, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::types::{ChainMonitor, ChannelManager};
use crate::chain::{Broadcaster, Fees};
use crate::config::MAX_PENDING_MONITOR_UPDATES;
use crate::error::Result;
use crate::lock::lock;
use crate::log::Logger;
use crate::rows;

/// Decides what of a monitor is written: an update at a time, the whole now and then.
type Persister =
    MonitorUpdatingPersister<Arc<Queue>, Arc<Logger>, Arc<Keys>, Arc<Keys>, Arc<Broadcaster>, Arc<Fees>>;

/// What LDK calls completed once it is on disk.
type Completion = (ChannelId, u64);

/// Whose state is written; without a manager, only the monitors' is.
struct Attached {
    channels: Option<Weak<ChannelManager>>,
    chain_monitor: Weak<ChainMonitor>,
}

/// The one way by which LDK's state reaches the store.
pub struct Commit {
    store: Arc<Store>,
    queue: Arc<Queue>,
    persister: Persister,
    completions: Mutex<Vec<Completion>>,
    asked: Notify,
    /// One commit at a time, so that the queue's order is the store's.
    turn: tokio::sync::Mutex<()>,
    ldk: OnceLock<Attached>,
}

impl Commit {
    /// A commit for this store. It writes nothing before [`Self::attach`].
    pub fn new(
        store: Arc<Store>,
        keys: &Arc<Keys>,
        broadcaster: &Arc<Broadcaster>,
        fees: &Arc<Fees>,
    ) -> Self {
        let queue = Arc::new(Queue {
            store: Arc::clone(&store),
            changes: Mutex::default(),
        });
        let persister = Persister::new(
            Arc::clone(&queue),
            Arc::new(Logger),
            MAX_PENDING_MONITOR_UPDATES,
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(broadcaster),
            Arc::clone(fees),
        );
        Self {
            store,
            queue,
            persister,
            completions: Mutex::default(),
            asked: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            ldk: OnceLock::new(),
        }
    }

    /// The monitors on disk.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn monitors(&self) -> Result<Vec<ChannelMonitor<InMemorySigner>>> {
        let monitors = self.persister.read_all_channel_monitors_with_updates();
        Ok(monitors
            .map_err(|e| rows::storage(&e))?
            .into_iter()
            .map(|(_, monitor)| monitor)
            .collect())
    }

    /// Says whose state is written. Once, when LDK is put together.
    pub fn attach(&self, channels: &Arc<ChannelManager>, chain_monitor: &Arc<ChainMonitor>) {
        // A second call would be a second node, which `Node::open` does not make.
        let _ = self.ldk.set(Attached {
            channels: Some(Arc::downgrade(channels)),
            chain_monitor: Arc::downgrade(chain_monitor),
        });
    }

    /// The same where there is no channel manager: the one on disk stays as it is.
    pub fn attach_monitors(&self, chain_monitor: &Arc<ChainMonitor>) {
        let _ = self.ldk.set(Attached {
            channels: None,
            chain_monitor: Arc::downgrade(chain_monitor),
        });
    }

    /// Commits whenever LDK has something, and tells of it, until it is to stop. Never ends in the middle of a commit.
    pub async fn run(&self, stop: CancellationToken, committed: impl Fn()) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asked.notified() => {}
            }
            match self.commit().await {
                Ok(()) => committed(),
                Err(error) => {
                    tracing::error!(%error, "LDK's state could not be written; it waits, and no peer was told");
                }
            }
        }
    }

    /// Whether everything LDK asked for is on disk.
    pub fn idle(&self) -> bool {
        lock(&self.queue.changes).is_empty() && lock(&self.completions).is_empty()
    }

    /// Makes everything durable that LDK knows of at this moment, and tells it so. May be dropped at any await, like every
    /// caller that waits for it: what was under way is then written once more by the next commit.
    ///
    /// # Errors
    /// The store's. Nothing was completed then, and the next commit tries again.
    pub async fn commit(&self) -> io::Result<()> {
        let Some((channels, chain_monitor)) = self.attached() else {
            return Ok(());
        };
        let _turn = self.turn.lock().await;
        // The order matters: whatever is taken from the queue here is known to the manager that is encoded after it. The
        // other way round, an update could slip in between and reach the disk ahead of the manager.
        let mut taken = Taken::from(self);
        let mut changes: Vec<Change> = taken.changes.iter().map(Queued::change).collect();
        changes.extend(channels.map(|channels| {
            Change::put(
                CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
                CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE,
                CHANNEL_MANAGER_PERSISTENCE_KEY,
                channels.encode(),
            )
        }));
        if let Err(error) = self.store.durable_batch_async(changes).await {
            taken.refused = true;
            return Err(error.into());
        }
        taken.changes.clear();
        for (channel_id, update_id) in std::mem::take(&mut taken.completions) {
            if let Err(error) = chain_monitor.channel_monitor_updated(channel_id, update_id) {
                tracing::error!(%channel_id, update_id, ?error, "LDK does not know the update it asked for");
            }
        }
        Ok(())
    }

    /// `None` if there is nothing to write from, or not any more.
    fn attached(&self) -> Option<(Option<Arc<ChannelManager>>, Arc<ChainMonitor>)> {
        let Attached {
            channels,
            chain_monitor,
        } = self.ldk.get()?;
        let channels = match channels {
            Some(channels) => Some(channels.upgrade()?),
            None => None,
        };
        Some((channels, chain_monitor.upgrade()?))
    }

    /// Notes what is to be completed, after its write was queued. A commit between the two would complete it one commit
    /// later, which is late but never early.
    fn in_progress(
        &self,
        queued: ChannelMonitorUpdateStatus,
        completion: Option<Completion>,
    ) -> ChannelMonitorUpdateStatus {
        match queued {
            ChannelMonitorUpdateStatus::UnrecoverableError => queued,
            ChannelMonitorUpdateStatus::Completed | ChannelMonitorUpdateStatus::InProgress => {
                lock(&self.completions).extend(completion);
                self.asked.notify_one();
                ChannelMonitorUpdateStatus::InProgress
            }
        }
    }
}

/// What a commit has taken and not yet told LDK of. Whatever ends the commit before that (an error, a panic, a caller who
/// stopped waiting) puts it back in front of what came later: a manager that is written without it would be ahead of its
/// monitors, and the wallet would never open again.
struct Taken<'a> {
    commit: &'a Commit,
    changes: Vec<Queued>,
    completions: Vec<Completion>,
    /// The store would not have it; asking at once again would only burn the battery.
    refused: bool,
}

impl<'a> From<&'a Commit> for Taken<'a> {
    fn from(commit: &'a Commit) -> Self {
        let completions = std::mem::take(&mut *lock(&commit.completions));
        let changes = std::mem::take(&mut *lock(&commit.queue.changes));
        Self {
            commit,
            changes,
            completions,
            refused: false,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.changes.is_empty() && self.completions.is_empty() {
            return;
        }
        let mut queue = lock(&self.commit.queue.changes);
        let newer = std::mem::replace(&mut *queue, std::mem::take(&mut self.changes));
        queue.extend(newer);
        drop(queue);
        lock(&self.commit.completions).append(&mut self.completions);
        if !self.refused {
            self.commit.asked.notify_one();
        }
    }
}

impl Persist<InMemorySigner> for Commit {
    fn persist_new_channel(
        &self,
        name: MonitorName,
        monitor: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        let queued = self.persister.persist_new_channel(name, monitor);
        self.in_progress(
            queued,
            Some((monitor.channel_id(), monitor.get_latest_update_id())),
        )
    }

    fn update_persisted_channel(
        &self,
        name: MonitorName,
        update: Option<&ChannelMonitorUpdate>,
        monitor: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        let queued = self.persister.update_persisted_channel(name, update, monitor);
        self.in_progress(
            queued,
            update.map(|update| (monitor.channel_id(), update.update_id)),
        )
    }

    fn archive_persisted_channel(&self, name: MonitorName) {
        Persist::<InMemorySigner>::archive_persisted_channel(&self.persister, name);
        self.asked.notify_one();
    }
}

/// LDK's background processor writes through here: the manager by a commit, everything else directly.
impl KVStore for Commit {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> AsyncResult<'static, Vec<u8>, io::Error> {
        KVStore::read(&*self.store, primary, secondary, key)
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        value: Vec<u8>,
    ) -> AsyncResult<'static, (), io::Error> {
        let manager = primary == CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE
            && secondary == CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE
            && key == CHANNEL_MANAGER_PERSISTENCE_KEY;
        if manager {
            // The bytes given are older than what a commit will encode.
            self.asked.notify_one();
            Box::pin(std::future::ready(Ok(())))
        } else {
            KVStore::write(&*self.store, primary, secondary, key, value)
        }
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        lazy: bool,
    ) -> AsyncResult<'static, (), io::Error> {
        KVStore::remove(&*self.store, primary, secondary, key, lazy)
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<'static, Vec<String>, io::Error> {
        KVStore::list(&*self.store, primary, secondary)
    }
}

/// A change that waits for its commit.
struct Queued {
    name: Name,
    /// `None` removes.
    value: Option<Vec<u8>>,
}

type Name = (String, String, String);

impl Queued {
    fn change(&self) -> Change {
        let (primary, secondary, key) = &self.name;
        match &self.value {
            Some(value) => Change::put(primary, secondary, key, value.clone()),
            None => Change::remove(primary, secondary, key),
        }
    }
}

/// What LDK's persister takes for a store: writes wait, reads see them.
struct Queue {
    store: Arc<Store>,
    changes: Mutex<Vec<Queued>>,
}

impl Queue {
    fn push(&self, primary: &str, secondary: &str, key: &str, value: Option<Vec<u8>>) {
        let name = (primary.to_owned(), secondary.to_owned(), key.to_owned());
        lock(&self.changes).push(Queued { name, value });
    }
}

impl KVStoreSync for Queue {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> io::Result<Vec<u8>> {
        let waiting = {
            let changes = lock(&self.changes);
            let found = changes
                .iter()
                .rev()
                .find(|c| c.name.0 == primary && c.name.1 == secondary && c.name.2 == key);
            found.map(|queued| queued.value.clone())
        };
        match waiting {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(io::Error::new(io::ErrorKind::NotFound, "removed")),
            None => KVStoreSync::read(&*self.store, primary, secondary, key),
        }
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, value: Vec<u8>) -> io::Result<()> {
        self.push(primary, secondary, key, Some(value));
        Ok(())
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, _lazy: bool) -> io::Result<()> {
        self.push(primary, secondary, key, None);
        Ok(())
    }

    fn list(&self, primary: &str, secondary: &str) -> io::Result<Vec<String>> {
        let mut keys: HashMap<String, bool> = KVStoreSync::list(&*self.store, primary, secondary)?
            .into_iter()
            .map(|key| (key, true))
            .collect();
        for queued in lock(&self.changes)
            .iter()
            .filter(|c| c.name.0 == primary && c.name.1 == secondary)
        {
            keys.insert(queued.name.2.clone(), queued.value.is_some());
        }
        Ok(keys
            .into_iter()
            .filter_map(|(key, there)| there.then_some(key))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_seen_by_reads_and_not_yet_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path().join("store")).unwrap());
        KVStoreSync::write(&*store, "p", "s", "old", vec![0]).unwrap();
        let queue = Queue {
            store: Arc::clone(&store),
            changes: Mutex::default(),
        };
        queue.write("p", "s", "a", vec![1]).unwrap();
        queue.write("p", "s", "a", vec![2]).unwrap();
        queue.remove("p", "s", "old", true).unwrap();
        assert_eq!(queue.read("p", "s", "a").unwrap(), [2]);
        assert_eq!(
            queue.read("p", "s", "old").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(queue.list("p", "s").unwrap(), ["a"]);
        assert_eq!(KVStoreSync::list(&*store, "p", "s").unwrap(), ["old"]);
        store
            .durable_batch(lock(&queue.changes).iter().map(Queued::change).collect())
            .unwrap();
        assert_eq!(KVStoreSync::list(&*store, "p", "s").unwrap(), ["a"]);
        assert_eq!(KVStoreSync::read(&*store, "p", "s", "a").unwrap(), [2]);
    }
}
