//! LDK's [`KVStore`](lightning::util::persist::KVStore) and
//! [`KVStoreSync`](lightning::util::persist::KVStoreSync) on sled 0.34.
//!
//! This crate owns one directory on disk: the database in it, the lock on it, and the promise that
//! a write which returned `Ok` is still there after the process was killed. It knows nothing of
//! wallets, networks or nodes; any LDK program can use it.
//!
//! What each file owns:
//! * [`Store`] (`store.rs`, `ldk.rs`): the handle, reads, and LDK's traits;
//! * `writer.rs`: the one thread that changes the database, with group commit;
//! * `record.rs`: how a value lies in the database (chunks, header, checksum);
//! * `name.rs`: which namespaces and keys are allowed;
//! * `open.rs`, `claim.rs`: opening within a time limit, once per process and machine;
//! * `database.rs`, `layout.rs`: one sled database, and which of those in the directory is the one;
//! * `digest.rs`, `witness.rs`: how a loss is noticed that sled does not notice;
//! * [`Capsules`] (`capsule/`): encrypted copies of the whole store, and what may be done with one;
//! * `compact.rs`: writing a database anew, for space, for a new format, for a restored state;
//! * [`files`]: whole files written atomically, for what is too large or too cheap for a database.

mod capsule;
mod claim;
mod compact;
mod database;
mod digest;
mod error;
pub mod files;
mod layout;
mod ldk;
mod name;
mod open;
mod record;
#[cfg(feature = "sqlite-twin")]
mod sqlite;
mod store;
mod witness;
mod writer;

pub use capsule::{CapsuleError, Capsules, Restored, Slot};
pub use compact::{Budget, Compaction};
pub use database::Standing;
pub use error::{OpenError, StoreError};
pub use record::MAX_VALUE_LEN;
#[cfg(feature = "sqlite-twin")]
pub use sqlite::SqliteStore;
pub use store::{Change, Options, Store};

/// The example in the README is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
