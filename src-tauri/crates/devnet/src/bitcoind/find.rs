//! Which `bitcoind` to use: the one named by `BITCOIND_EXE`, else one on `PATH`, else one built here once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde::Serialize;

use super::build;
use crate::{Error, progress};

/// Below this, `peerblockfilters` and JSON-RPC 2.0 answers are not what the devnet relies on.
const OLDEST_MAJOR: u32 = 28;

/// Where a `bitcoind` came from.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The environment variable `BITCOIND_EXE`.
    Environment,
    /// A folder on `PATH`.
    Path,
    /// Built from the source that the crate `libbitcoinkernel-sys` carries, now or earlier.
    Built,
}

/// A usable `bitcoind`.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub path: PathBuf,
    /// Its version as it says itself, e.g. `v31.99.0-unk`.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Finds a usable `bitcoind`, building one if there is none. Blocks: at once when one is installed or cached,
/// else for the minutes a build takes (progress on stderr).
///
/// # Errors
/// [`Error::NoBitcoind`] with what to install, or why the one named by `BITCOIND_EXE` will not do.
pub fn ensure() -> Result<Found, Error> {
    // Asking for the version costs a process; many devnets of one test binary need to ask only once.
    static KNOWN: Mutex<Option<Found>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = known.as_ref() {
        return Ok(found.clone());
    }
    let found = look()?;
    *known = Some(found.clone());
    Ok(found)
}

fn look() -> Result<Found, Error> {
    if let Some(named) = std::env::var_os("BITCOIND_EXE").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(named);
        let (version, major) = version_of(&path)
            .map_err(|why| Error::NoBitcoind(format!("BITCOIND_EXE is {}: {why}", path.display())))?;
        if major < OLDEST_MAJOR {
            return Err(Error::NoBitcoind(format!(
                "BITCOIND_EXE is {} {version}; {OLDEST_MAJOR} or newer is needed",
                path.display()
            )));
        }
        return Ok(Found {
            path,
            version,
            origin: Origin::Environment,
        });
    }
    for path in on_path("bitcoind", std::env::var_os("PATH").as_deref()) {
        match version_of(&path) {
            Ok((version, major)) if major >= OLDEST_MAJOR => {
                return Ok(Found {
                    path,
                    version,
                    origin: Origin::Path,
                });
            }
            Ok((version, _)) => {
                progress(&format!(
                    "{} is {version}, older than {OLDEST_MAJOR}: not used",
                    path.display()
                ));
            }
            Err(why) => progress(&format!("{} does not run ({why}): not used", path.display())),
        }
    }
    let path = build::cached_or_built()?;
    let (version, _) =
        version_of(&path).map_err(|why| Error::NoBitcoind(format!("{}: {why}", path.display())))?;
    Ok(Found {
        path,
        version,
        origin: Origin::Built,
    })
}

fn on_path(name: &str, path: Option<&OsStr>) -> Vec<PathBuf> {
    path.map(|path| {
        std::env::split_paths(path)
            .map(|dir| dir.join(name))
            .filter(|p| p.is_file())
            .collect()
    })
    .unwrap_or_default()
}

/// The version a daemon states, and its major number.
fn version_of(program: &Path) -> Result<(String, u32), String> {
    let output = Command::new(program)
        .arg("-version")
        // Even when asked for its version only, it writes a settings file into the user's own data folder.
        .arg("-nosettings")
        .arg(format!("-datadir={}", std::env::temp_dir().display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| format!("`-version` says {:?}", text.lines().next().unwrap_or("")))
}

fn parse_version(text: &str) -> Option<(String, u32)> {
    let line = text.lines().next()?;
    let version = line.split_whitespace().find(|word| {
        word.strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })?;
    let major = version.strip_prefix('v')?.split('.').next()?.parse().ok()?;
    Some((version.to_owned(), major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_daemon_prints() {
        let read = |text| parse_version(text).map(|(_, major)| major);
        assert_eq!(
            read("Bitcoin Core daemon version v31.99.0-unk bitcoind\nCopyright"),
            Some(31)
        );
        assert_eq!(read("Bitcoin Core daemon version v28.1.0\n"), Some(28));
        assert_eq!(read("Bitcoin Core version v0.21.2\n"), Some(0));
        assert_eq!(read("Bitcoin Knots\n"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn only_files_on_the_path_count() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, full) = (dir.path().join("empty"), dir.path().join("full"));
        std::fs::create_dir_all(empty.join("bitcoind")).unwrap();
        std::fs::create_dir_all(&full).unwrap();
        std::fs::write(full.join("bitcoind"), "").unwrap();
        let path = std::env::join_paths([&empty, &full]).unwrap();
        assert_eq!(on_path("bitcoind", Some(&path)), vec![full.join("bitcoind")]);
        assert!(on_path("bitcoind", None).is_empty());
    }
}
