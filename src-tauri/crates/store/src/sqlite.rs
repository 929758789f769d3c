//! The twin: the same traits on SQLite, by the plainest means. It is the oracle that the tests hold the sled
//! store against, and the way out should sled ever lose anything. Behind the feature `sqlite-twin`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lightning::io;
use lightning::util::async_poll::AsyncResult;
use lightning::util::persist::{KVStore, KVStoreSync, MigratableKVStore};
use rusqlite::{Connection, OptionalExtension, params};

use crate::name::{self, Name};
use crate::store::check_all;
use crate::{Change, OpenError, StoreError, layout};

/// WAL with `FULL` syncs on every commit: the same promise as the sled store makes.
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    CREATE TABLE IF NOT EXISTS kv (
        primary_namespace TEXT NOT NULL,
        secondary_namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (primary_namespace, secondary_namespace, key)
    ) WITHOUT ROWID;";

/// A store on SQLite. Clones share one connection.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteStore {
    /// Opens the database file `kv.sqlite` in a directory that exists.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] with SQLite's own words.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        let damaged = |error: rusqlite::Error| layout::damaged(directory, &error.to_string());
        let connection = Connection::open(directory.join("kv.sqlite")).map_err(damaged)?;
        connection.execute_batch(SETUP).map_err(damaged)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Like [`Store::durable_batch`](crate::Store::durable_batch).
    ///
    /// # Errors
    /// The same.
    pub fn durable_batch(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let edits = check_all(changes)?;
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for (name, value) in &edits {
                let (primary, secondary, key) = parts(name);
                match value {
                    Some(value) => transaction
                        .prepare_cached("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![primary, secondary, key, value])?,
                    None => transaction
                        .prepare_cached(
                            "DELETE FROM kv WHERE primary_namespace = ?1 AND secondary_namespace = ?2 AND key = ?3",
                        )?
                        .execute([primary, secondary, key])?,
                };
            }
            transaction.commit()
        })
    }

    fn get(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, StoreError> {
        Name::new(primary, secondary, key)?;
        let found = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT value FROM kv WHERE primary_namespace = ?1 AND secondary_namespace = ?2 AND key = ?3",
                )?
                .query_row([primary, secondary, key], |row| row.get(0))
                .optional()
        })?;
        found.ok_or(StoreError::Absent)
    }

    fn keys(&self, primary: &str, secondary: &str) -> Result<Vec<String>, StoreError> {
        name::namespace_prefix(primary, secondary)?;
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT key FROM kv WHERE primary_namespace = ?1 AND secondary_namespace = ?2",
                )?
                .query_map([primary, secondary], |row| row.get(0))?
                .collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut connection).map_err(|error| StoreError::Failed(error.to_string()))
    }
}

impl KVStoreSync for SqliteStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        Ok(self.get(primary, secondary, key)?)
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, buf: Vec<u8>) -> Result<(), io::Error> {
        Ok(self.durable_batch(vec![Change::put(primary, secondary, key, buf)])?)
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, _lazy: bool) -> Result<(), io::Error> {
        Ok(self.durable_batch(vec![Change::remove(primary, secondary, key)])?)
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        Ok(self.keys(primary, secondary)?)
    }
}

/// Everything happens at the call; that is an order too.
impl KVStore for SqliteStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> AsyncResult<'static, Vec<u8>, io::Error> {
        let result = KVStoreSync::read(self, primary, secondary, key);
        Box::pin(async move { result })
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        buf: Vec<u8>,
    ) -> AsyncResult<'static, (), io::Error> {
        let result = KVStoreSync::write(self, primary, secondary, key, buf);
        Box::pin(async move { result })
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        lazy: bool,
    ) -> AsyncResult<'static, (), io::Error> {
        let result = KVStoreSync::remove(self, primary, secondary, key, lazy);
        Box::pin(async move { result })
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<'static, Vec<String>, io::Error> {
        let result = KVStoreSync::list(self, primary, secondary);
        Box::pin(async move { result })
    }
}

impl MigratableKVStore for SqliteStore {
    fn list_all_keys(&self) -> Result<Vec<(String, String, String)>, io::Error> {
        let all = self.with(|connection| {
            connection
                .prepare_cached("SELECT primary_namespace, secondary_namespace, key FROM kv")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })?;
        Ok(all)
    }
}

fn parts(name: &Name) -> (String, String, String) {
    let (primary, secondary, key) = name::parse_prefix(name.prefix()).expect("a checked name parses back");
    (primary.to_owned(), secondary.to_owned(), key.to_owned())
}
