//! The person's choice of a network, as it is kept: one small file in the folder of all that the app keeps.
//!
//! Owns the file and what may be concluded from it. "It cannot be read now" is an answer of its own here: who takes it for
//! "nothing was chosen" watches the practice wallet and leaves the real money alone.

use std::io::ErrorKind;
use std::path::Path;

use pilotlight_node::chain::networks::Chain;
use pilotlight_node::{Error, ErrorCode, Result};
use pilotlight_store::files;
use serde::{Deserialize, Serialize};

/// Not `network.json`: that is the mark in each wallet's own folder, which says which network the folder is of.
const FILE: &str = "network-in-use.json";

/// The file's shape.
const VERSION: u8 = 1;

/// Until the app was tried on enough phones: coins that are given away, on a network that behaves like the real one.
pub const DEFAULT: Chain = Chain::Signet;

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This network.
    Found(Chain),
    /// Certainly nothing: there is no file, or none that can be understood.
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u8,
    network: String,
}

/// The network of this name, if it is one that everybody can use.
///
/// # Errors
/// [`ErrorCode::InvalidInput`]; the detail does not quote the name.
pub fn public(name: &str) -> Result<Chain> {
    let chain = Chain::named(name, None)?;
    if chain.servers().is_empty() {
        let words = "network: nobody serves it to everybody";
        return Err(Error::new(ErrorCode::InvalidInput, words));
    }
    Ok(chain)
}

/// Reads the choice. `sees_files` says whether a file that is not found is not there: before a phone's first unlock some
/// systems answer "not found" for what is there.
///
/// # Errors
/// [`ErrorCode::Locked`] or [`ErrorCode::StorageFailed`] if it cannot be known now: ask again later.
pub fn read(folder: &Path, sees_files: impl FnOnce() -> bool) -> Result<Choice> {
    let bytes = match files::read_if_present(&folder.join(FILE)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) if sees_files() => return Ok(Choice::Nothing),
        Ok(None) => return Err(Error::new(ErrorCode::Locked, "a network may have been chosen")),
        // How iOS refuses a file before the first unlock.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Error::new(ErrorCode::Locked, format!("{FILE}: {error}")));
        }
        Err(error) => return Err(failed(&error)),
    };
    let kept = serde_json::from_slice::<Kept>(&bytes).map_err(|error| error.to_string());
    let chain = kept.and_then(|kept| match kept.version {
        VERSION => public(&kept.network).map_err(|error| error.detail().to_owned()),
        other => Err(format!("version {other}")),
    });
    match chain {
        Ok(chain) => Ok(Choice::Found(chain)),
        Err(error) => {
            tracing::error!(error, "the choice of a network is damaged");
            Ok(Choice::Nothing)
        }
    }
}

/// Keeps the choice. Durable when it returns.
///
/// # Errors
/// [`ErrorCode::StorageFailed`]: the old choice stands.
pub fn write(folder: &Path, chain: &Chain) -> Result<()> {
    let kept = Kept {
        version: VERSION,
        network: chain.to_string(),
    };
    let bytes = serde_json::to_vec(&kept).map_err(|e| Error::new(ErrorCode::Internal, e))?;
    files::create_private_directory(folder).map_err(|e| failed(&e))?;
    files::write_atomically(&folder.join(FILE), &bytes).map_err(|e| failed(&e))
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::StorageFailed, format!("{FILE}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTAIN: fn() -> bool = || true;

    #[test]
    fn a_choice_is_kept_and_nothing_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("app");
        assert_eq!(read(&folder, CERTAIN).unwrap(), Choice::Nothing);
        for chain in [Chain::Bitcoin, Chain::Testnet4, Chain::Signet] {
            write(&folder, &chain).unwrap();
            let asked = || -> bool { panic!("a file that is read needs no unlocked phone") };
            assert_eq!(read(&folder, asked).unwrap(), Choice::Found(chain));
        }
    }

    #[test]
    fn what_is_not_seen_on_a_phone_that_may_be_locked_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path(), || false).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Locked);
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody can read a folder as a file, root neither.
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = read(dir.path(), CERTAIN).unwrap_err();
        assert_eq!(error.code(), ErrorCode::StorageFailed);
        assert_eq!(
            write(dir.path(), &Chain::Signet).unwrap_err().code(),
            ErrorCode::StorageFailed
        );
    }

    #[test]
    fn damage_is_no_choice_and_no_end_of_the_app() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in [
            "",
            "{",
            "null",
            r#"{"version":2,"network":"bitcoin"}"#,
            r#"{"version":1,"network":"mainnet"}"#,
            r#"{"version":1,"network":"regtest"}"#,
            r#"{"version":1,"network":7}"#,
        ] {
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(read(dir.path(), CERTAIN).unwrap(), Choice::Nothing, "{damaged}");
        }
    }

    #[test]
    fn only_networks_for_everybody_can_be_named() {
        for name in ["bitcoin", "testnet4", "signet"] {
            assert_eq!(public(name).unwrap().to_string(), name);
        }
        let long = "bitcoin".repeat(10_000);
        for name in [
            "",
            "regtest",
            "mainnet",
            "Bitcoin",
            "../bitcoin",
            "signet\0",
            "signet-4ae81572f06e1b88",
            &long,
        ] {
            let error = public(name).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput);
            assert!(error.detail().len() < 100 && !error.detail().contains(".."));
        }
    }
}
