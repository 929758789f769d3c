//! The node's own rows in the store: JSON under the primary namespace `pilotlight`.
//!
//! Owns the namespaces, so that no two parts of the node can write over each other. LDK's rows are LDK's.

use lightning::util::persist::KVStoreSync;
use pilotlight_store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorCode, Result};

const PRIMARY: &str = "pilotlight";

/// What kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Change sets of the on-chain wallet, by sequence number.
    Onchain,
    /// Lightning payments, by payment hash.
    Payment,
    /// Peers' addresses, by node id.
    Peer,
    /// Funding transactions of our channels, by transaction id.
    Funding,
    /// What the chain last said: tip, fees.
    Chain,
    /// Partners that cheated, by channel id.
    Breach,
}

impl Kind {
    /// The secondary namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Onchain => "onchain",
            Self::Payment => "payment",
            Self::Peer => "peer",
            Self::Funding => "funding",
            Self::Chain => "chain",
            Self::Breach => "breach",
        }
    }
}

/// Reads a row; `None` only if it is truly absent.
///
/// # Errors
/// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
pub fn read<T: DeserializeOwned>(store: &Store, kind: Kind, key: &str) -> Result<Option<T>> {
    match KVStoreSync::read(store, PRIMARY, kind.namespace(), key) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Error::new(
                ErrorCode::StorageCorrupt,
                format!("row {}/{key}: {e}", kind.namespace()),
            )
        }),
        Err(e) if e.kind() == lightning::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(storage(&e)),
    }
}

/// Writes a row; it is durable when this returns.
///
/// # Errors
/// [`ErrorCode::StorageFailed`].
pub fn write<T: Serialize>(store: &Store, kind: Kind, key: &str, row: &T) -> Result<()> {
    let bytes = serde_json::to_vec(row).map_err(|e| Error::new(ErrorCode::Internal, e))?;
    KVStoreSync::write(store, PRIMARY, kind.namespace(), key, bytes).map_err(|e| storage(&e))
}

/// Writes one row and removes others, all or nothing.
///
/// # Errors
/// [`ErrorCode::StorageFailed`].
pub fn replace<T: Serialize>(store: &Store, kind: Kind, key: &str, row: &T, remove: &[String]) -> Result<()> {
    let bytes = serde_json::to_vec(row).map_err(|e| Error::new(ErrorCode::Internal, e))?;
    let mut changes = vec![pilotlight_store::Change::put(
        PRIMARY,
        kind.namespace(),
        key,
        bytes,
    )];
    let others = remove.iter().filter(|other| *other != key);
    changes.extend(others.map(|other| pilotlight_store::Change::remove(PRIMARY, kind.namespace(), other)));
    store
        .durable_batch(changes)
        .map_err(|e| storage(&lightning::io::Error::from(e)))
}

/// Removes a row; it is gone for good when this returns. Nothing happens if there is none.
///
/// # Errors
/// [`ErrorCode::StorageFailed`].
pub fn remove(store: &Store, kind: Kind, key: &str) -> Result<()> {
    KVStoreSync::remove(store, PRIMARY, kind.namespace(), key, false).map_err(|e| storage(&e))
}

/// The keys of all rows of a kind, sorted.
///
/// # Errors
/// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
pub fn keys(store: &Store, kind: Kind) -> Result<Vec<String>> {
    let mut keys = KVStoreSync::list(store, PRIMARY, kind.namespace()).map_err(|e| storage(&e))?;
    keys.sort_unstable();
    Ok(keys)
}

/// All rows of a kind, by key.
///
/// # Errors
/// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
pub fn all<T: DeserializeOwned>(store: &Store, kind: Kind) -> Result<Vec<(String, T)>> {
    let mut rows = Vec::new();
    for key in keys(store, kind)? {
        if let Some(row) = read(store, kind, &key)? {
            rows.push((key, row));
        }
    }
    Ok(rows)
}

/// A store's error as ours: damage and failure need different answers.
pub fn storage(error: &lightning::io::Error) -> Error {
    let code = match error.kind() {
        lightning::io::ErrorKind::InvalidData => ErrorCode::StorageCorrupt,
        _ => ErrorCode::StorageFailed,
    };
    Error::new(code, format!("store: {error}"))
}
