//! The wallet's state capsules: where they are, and whose key they have. What they are and what may be done with one is
//! the store's business.

use std::path::PathBuf;

use pilotlight_store::{CapsuleError, Capsules, OpenError, Standing, Store};
use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::seed::{Keys, Seed};

/// Beside the store and not in it: what befalls the one should not befall the other.
const DIRECTORY: &str = "capsules";

/// One of the two capsule files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CapsuleSlot {
    /// The name of the file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The generation of the state in it, if it can be used.
    pub generation: Option<u64>,
    /// How many values are in it.
    pub values: Option<usize>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// A state that was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CapsuleRestored {
    /// The generation of the state in the capsule.
    pub generation: u64,
    /// The last generation known to have been acknowledged, if any is.
    pub acknowledged: Option<u64>,
    /// How many values were put back.
    pub values: usize,
    /// Whether the channels may live on it. If not, the wallet does not open on it: an old state can cost all the
    /// money in a channel.
    pub live: bool,
    /// Where the damaged database is now.
    pub set_aside: Option<PathBuf>,
}

/// Takes keys rather than the seed: deriving them is made slow on purpose, and every start has them already.
pub(crate) fn capsules(config: &Config, keys: &Keys) -> Capsules {
    Capsules::new(config.data_dir.join(DIRECTORY), &keys.lightning)
}

pub(crate) fn inspect(config: &Config, seed: &Seed) -> Result<Vec<CapsuleSlot>> {
    let keys = seed.keys(config.network)?;
    let slots = capsules(config, &keys).inspect().into_iter().map(|slot| {
        let (content, problem) = match slot.content {
            Ok(content) => (Some(content), None),
            Err(problem) => (None, Some(problem)),
        };
        CapsuleSlot {
            file: slot.file.to_owned(),
            bytes: slot.size,
            generation: content.map(|(generation, _)| generation),
            values: content.map(|(_, values)| values),
            problem,
        }
    });
    Ok(slots.collect())
}

pub(crate) fn restore(config: &Config, seed: &Seed, recorded: Option<u64>) -> Result<CapsuleRestored> {
    let keys = seed.keys(config.network)?;
    let restored = capsules(config, &keys)
        .restore(&config.store_dir(), recorded)
        .map_err(|error| {
            let code = match &error {
                CapsuleError::Open(OpenError::AlreadyOpen { .. } | OpenError::InUse { .. }) => {
                    ErrorCode::InUse
                }
                CapsuleError::None | CapsuleError::Unreadable(_) => ErrorCode::StorageCorrupt,
                _ => ErrorCode::StorageFailed,
            };
            Error::new(code, format!("capsule: {error}"))
        })?;
    Ok(CapsuleRestored {
        generation: restored.generation,
        acknowledged: restored.acknowledged,
        values: restored.values,
        live: restored.standing == Standing::Live,
        set_aside: restored.set_aside,
    })
}

/// Refuses a state that is not known to be the newest. LDK would take it for the truth, and publish an old commitment
/// when an HTLC in it runs out.
///
/// # Errors
/// [`ErrorCode::StorageCorrupt`].
pub(crate) fn must_be_live(store: &Store) -> Result<()> {
    match store.standing() {
        Ok(Standing::Live) => Ok(()),
        Ok(Standing::RecoveryOnly) => Err(Error::new(
            ErrorCode::StorageCorrupt,
            "the state was restored from a capsule that may be old; channels must not run on it",
        )),
        Err(error) => Err(Error::new(ErrorCode::StorageFailed, format!("store: {error}"))),
    }
}
