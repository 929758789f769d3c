//! BDK's change sets as rows: appended one by one, folded on load, merged into one when they are many.

use std::sync::Arc;

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge;
use pilotlight_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};
use crate::rows::{self, Kind};

/// Rows after which they are merged into one: few enough to load in a moment, many enough that merging is rare.
const MERGE_AFTER: usize = 64;

const SCANNED: &str = "scanned";

/// The only version of the row's shape so far.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Row {
    version: u8,
    change_set: ChangeSet,
}

/// Where the change sets go.
pub struct ChangeSets {
    store: Arc<Store>,
    keys: Vec<String>,
    next: u64,
}

/// What was found on load.
pub struct Kept {
    /// All changes folded; `None` on the first start.
    pub change_set: Option<ChangeSet>,
    /// Whether the wallet's history was looked for.
    pub scanned: bool,
}

impl ChangeSets {
    /// Reads and folds what is there.
    pub fn load(store: Arc<Store>) -> Result<(Self, Kept)> {
        let scanned = rows::read::<bool>(&store, Kind::Onchain, SCANNED)?.unwrap_or(false);
        let mut keys = rows::keys(&store, Kind::Onchain)?;
        keys.retain(|key| key != SCANNED);
        let mut whole = ChangeSet::default();
        let mut next = 0;
        for key in &keys {
            let corrupt =
                |what: &str| Error::new(ErrorCode::StorageCorrupt, format!("on-chain row {key}: {what}"));
            let number: u64 = key.parse().map_err(|_| corrupt("is not a number"))?;
            let row: Row = rows::read(&store, Kind::Onchain, key)?.ok_or_else(|| corrupt("is gone"))?;
            if row.version != VERSION {
                return Err(corrupt("was written by a newer version"));
            }
            whole.merge(row.change_set);
            next = number + 1;
        }
        let change_set = (!keys.is_empty()).then_some(whole);
        let mut change_sets = Self { store, keys, next };
        if change_sets.keys.len() > MERGE_AFTER
            && let Some(whole) = &change_set
        {
            change_sets.replace_all(whole)?;
        }
        Ok((change_sets, Kept { change_set, scanned }))
    }

    /// Keeps one more change set. Durable when it returns.
    pub fn append(&mut self, change_set: &ChangeSet) -> Result<()> {
        let key = self.take_key();
        rows::write(
            &self.store,
            Kind::Onchain,
            &key,
            &Row {
                version: VERSION,
                change_set: change_set.clone(),
            },
        )?;
        self.keys.push(key);
        Ok(())
    }

    /// Remembers that the wallet's history was looked for.
    pub fn mark_scanned(&self) -> Result<()> {
        rows::write(&self.store, Kind::Onchain, SCANNED, &true)
    }

    fn replace_all(&mut self, whole: &ChangeSet) -> Result<()> {
        let key = self.take_key();
        let row = Row {
            version: VERSION,
            change_set: whole.clone(),
        };
        rows::replace(&self.store, Kind::Onchain, &key, &row, &self.keys)?;
        self.keys = vec![key];
        Ok(())
    }

    /// Keys sort as text in the order of their numbers.
    fn take_key(&mut self) -> String {
        let key = format!("{:012}", self.next);
        self.next += 1;
        key
    }
}
