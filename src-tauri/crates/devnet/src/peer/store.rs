//! A peer's storage: memory. It lasts as long as the devnet, also over a peer's stop and start, and spares tests the
//! disk's `fsync`s.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ldk_node::lightning::io::{Error, ErrorKind};
use ldk_node::lightning::util::persist::{KVStore, KVStoreSync};

type AsyncResult<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
type Namespace = (String, String);

/// A key-value store in memory.
#[derive(Default)]
pub(super) struct MemoryStore {
    values: Mutex<HashMap<Namespace, HashMap<String, Vec<u8>>>>,
}

impl MemoryStore {
    /// The same values in a store of their own.
    pub(super) fn copy(&self) -> Self {
        Self {
            values: Mutex::new(self.lock().clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Namespace, HashMap<String, Vec<u8>>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn namespace(primary: &str, secondary: &str) -> Namespace {
    (primary.to_owned(), secondary.to_owned())
}

impl KVStoreSync for MemoryStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, Error> {
        self.lock()
            .get(&namespace(primary, secondary))
            .and_then(|keys| keys.get(key))
            .cloned()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, buf: Vec<u8>) -> Result<(), Error> {
        self.lock()
            .entry(namespace(primary, secondary))
            .or_default()
            .insert(key.to_owned(), buf);
        Ok(())
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, _lazy: bool) -> Result<(), Error> {
        if let Some(keys) = self.lock().get_mut(&namespace(primary, secondary)) {
            keys.remove(key);
        }
        Ok(())
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, Error> {
        Ok(self
            .lock()
            .get(&namespace(primary, secondary))
            .map(|keys| keys.keys().cloned().collect())
            .unwrap_or_default())
    }
}

// The trait demands that writes take effect in the order of the calls: they are done before the future is returned.
impl KVStore for MemoryStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> AsyncResult<Vec<u8>> {
        let result = KVStoreSync::read(self, primary, secondary, key);
        Box::pin(std::future::ready(result))
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, buf: Vec<u8>) -> AsyncResult<()> {
        let result = KVStoreSync::write(self, primary, secondary, key, buf);
        Box::pin(std::future::ready(result))
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> AsyncResult<()> {
        let result = KVStoreSync::remove(self, primary, secondary, key, lazy);
        Box::pin(std::future::ready(result))
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<Vec<String>> {
        let result = KVStoreSync::list(self, primary, secondary);
        Box::pin(std::future::ready(result))
    }
}
