//! LDK's storage traits on [`Store`]: names and `io::Error` on LDK's side, everything else in `store.rs`.

use lightning::io;
use lightning::util::async_poll::AsyncResult;
use lightning::util::persist::{KVStore, KVStoreSync, MigratableKVStore};

use crate::{Change, Store};

impl KVStoreSync for Store {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        Ok(self.get(primary, secondary, key)?)
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, buf: Vec<u8>) -> Result<(), io::Error> {
        Ok(self.durable_batch(vec![Change::put(primary, secondary, key, buf)])?)
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> Result<(), io::Error> {
        Ok(self.remove_key(primary, secondary, key, lazy)?)
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        Ok(self.keys(primary, secondary)?)
    }
}

/// Reads happen at the call: they come from memory or one local file, sooner done than handed over.
impl KVStore for Store {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> AsyncResult<'static, Vec<u8>, io::Error> {
        let result = self.get(primary, secondary, key);
        Box::pin(async move { Ok(result?) })
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        buf: Vec<u8>,
    ) -> AsyncResult<'static, (), io::Error> {
        let written = self.durable_batch_async(vec![Change::put(primary, secondary, key, buf)]);
        Box::pin(async move { Ok(written.await?) })
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        lazy: bool,
    ) -> AsyncResult<'static, (), io::Error> {
        if lazy {
            let result = self.remove_key(primary, secondary, key, true);
            return Box::pin(async move { Ok(result?) });
        }
        let removed = self.durable_batch_async(vec![Change::remove(primary, secondary, key)]);
        Box::pin(async move { Ok(removed.await?) })
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<'static, Vec<String>, io::Error> {
        let result = self.keys(primary, secondary);
        Box::pin(async move { Ok(result?) })
    }
}

impl MigratableKVStore for Store {
    fn list_all_keys(&self) -> Result<Vec<(String, String, String)>, io::Error> {
        Ok(self.all_keys()?)
    }
}
