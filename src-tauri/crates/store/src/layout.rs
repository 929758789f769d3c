//! What lies in the store's directory, and which database in it is the one. Opens nothing.
//!
//! * `lock`: held while the store is open (`claim.rs`);
//! * `format`: the format, and the name of the current database, under a checksum. Replacing this small
//!   file is the one step that puts a new database in the place of an old one;
//! * `db-<n>/`: sled's own files. A number is never used twice, so whatever a former database's last
//!   threads may still do, they do it elsewhere;
//! * `witness`: what was last acknowledged (`witness.rs`);
//! * `damaged-<n>/`: a database that a restored one has replaced, for whoever wants to look into it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{OpenError, files};

/// The format of everything below the directory. Raise it together with a migration.
pub(crate) const FORMAT: u32 = 2;
/// The first format: one database, always in `db`, without digest and witness. Read, never written.
pub(crate) const FIRST_FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const WITNESS_FILE: &str = "witness";
const FIRST_DIRECTORY: &str = "db";
const DIRECTORY_PREFIX: &str = "db-";
const DAMAGED_PREFIX: &str = "damaged-";

/// A database within the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 is the one database of the first format.
    pub(crate) number: u64,
}

impl Place {
    pub(crate) fn directory(self, root: &Path) -> PathBuf {
        root.join(self.directory_name())
    }

    /// sled's file, which holds everything.
    pub(crate) fn file(self, root: &Path) -> PathBuf {
        self.directory(root).join("db")
    }

    /// Whether sled's file is there and not empty.
    pub(crate) fn has_content(self, root: &Path) -> bool {
        fs::metadata(self.file(root)).is_ok_and(|file| file.len() > 0)
    }

    pub(crate) fn format(self) -> u32 {
        if self.number == 0 { FIRST_FORMAT } else { FORMAT }
    }

    fn directory_name(self) -> String {
        match self.number {
            0 => FIRST_DIRECTORY.to_owned(),
            number => format!("{DIRECTORY_PREFIX}{number}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        if name == FIRST_DIRECTORY {
            return Some(Self { number: 0 });
        }
        let number = name.strip_prefix(DIRECTORY_PREFIX)?.parse().ok()?;
        // "db-007" and "db-0" were not written here.
        let place = Self { number };
        (number > 0 && place.directory_name() == name).then_some(place)
    }
}

pub(crate) fn witness_file(root: &Path) -> PathBuf {
    root.join(WITNESS_FILE)
}

/// The database that the format file names, `None` if there is no such file.
pub(crate) fn current(root: &Path) -> Result<Option<Place>, OpenError> {
    let content = files::read_if_present(&root.join(FORMAT_FILE)).map_err(|source| io(root, source))?;
    content.map(|content| parse_format(root, &content)).transpose()
}

/// Makes `place` the current database, durably. On an error the old one may or may not be current still:
/// [`current`] says.
pub(crate) fn set_current(root: &Path, place: Place) -> std::io::Result<()> {
    let said = format!("{FORMAT} {}", place.directory_name());
    let line = format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes()));
    files::write_atomically(&root.join(FORMAT_FILE), line.as_bytes())
}

/// All databases in the directory, current or not, by number.
pub(crate) fn places(root: &Path) -> std::io::Result<Vec<Place>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        found.extend(entry?.file_name().to_str().and_then(Place::parse));
    }
    found.sort_unstable_by_key(|place| place.number);
    Ok(found)
}

/// A place that no database has ever had: above all that are there, and above `used`.
pub(crate) fn next_place(root: &Path, used: u64) -> std::io::Result<Place> {
    let highest = places(root)?.last().map_or(0, |place| place.number);
    Ok(Place {
        number: highest.max(used) + 1,
    })
}

/// Removes every database but the current one: what a compaction left that was killed. Best effort, as it is
/// tried again with the next open.
pub(crate) fn sweep(root: &Path, keep: Place) {
    for place in places(root).unwrap_or_default() {
        if place != keep {
            discard(root, place);
        }
    }
}

/// Removes a database that is not current. Best effort.
pub(crate) fn discard(root: &Path, place: Place) {
    if let Err(error) = fs::remove_dir_all(place.directory(root)) {
        tracing::debug!(%error, number = place.number, "a former database could not be removed");
    }
}

/// Puts a database that was replaced where neither [`places`] nor [`sweep`] sees it. One is kept.
pub(crate) fn set_aside(root: &Path, place: Place) -> std::io::Result<PathBuf> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DAMAGED_PREFIX) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let aside = root.join(format!("{DAMAGED_PREFIX}{}", place.number));
    fs::rename(place.directory(root), &aside)?;
    files::sync_directory(root)?;
    Ok(aside)
}

/// Makes every file of a database durable, and their names. sled alone syncs neither on all platforms.
pub(crate) fn sync_database(root: &Path, place: Place) -> std::io::Result<()> {
    let directory = place.directory(root);
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            fs::File::options()
                .read(true)
                .write(true)
                .open(entry.path())?
                .sync_all()?;
        }
    }
    files::sync_directory(&directory)?;
    files::sync_directory(root)
}

fn parse_format(root: &Path, content: &[u8]) -> Result<Place, OpenError> {
    let unreadable = || damaged(root, "its format file is unreadable");
    let text = std::str::from_utf8(content).map_err(|_| unreadable())?;
    let (format, rest) = text.split_once([' ', '\n']).ok_or_else(unreadable)?;
    match format.parse::<u32>() {
        Ok(FIRST_FORMAT) if rest.is_empty() => Ok(Place { number: 0 }),
        Ok(FORMAT) => {
            let (said, checksum) = text
                .strip_suffix('\n')
                .and_then(|line| line.rsplit_once(' '))
                .ok_or_else(unreadable)?;
            if checksum != format!("{:08x}", crc32c::crc32c(said.as_bytes())) {
                return Err(unreadable());
            }
            let (_, name) = said.split_once(' ').ok_or_else(unreadable)?;
            Place::parse(name)
                .filter(|place| place.format() == FORMAT)
                .ok_or_else(unreadable)
        }
        Ok(found) if found > FORMAT => Err(OpenError::NewerFormat {
            path: root.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Err(unreadable()),
    }
}

pub(crate) fn io(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_to_the_format_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let place = Place { number: 12 };
        set_current(root, place).unwrap();
        assert_eq!(current(root).unwrap(), Some(place));
        let line = fs::read(root.join(FORMAT_FILE)).unwrap();
        for at in 0..line.len() {
            assert!(parse_format(root, &line[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert!(parse_format(root, &changed).is_err(), "byte {at} bit {bit}");
            }
        }
        assert_eq!(parse_format(root, b"1\n").unwrap(), Place { number: 0 });
        assert!(matches!(
            parse_format(root, b"3 anything\n"),
            Err(OpenError::NewerFormat { found: 3, .. })
        ));
        for strange in ["", "1", "1 db\n", "0\n", "2\n", "-1\n", "2 db 00000000\n"] {
            let result = parse_format(root, strange.as_bytes());
            assert!(matches!(result, Err(OpenError::Damaged { .. })), "{strange:?}");
        }
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(next_place(root, 0).unwrap().number, 1);
        for name in ["db", "db-3", "db-007", "db-x", "damaged-9", "db-0"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let numbers: Vec<_> = places(root).unwrap().iter().map(|place| place.number).collect();
        assert_eq!(numbers, [0, 3]);
        assert_eq!(next_place(root, 0).unwrap().number, 4);
        assert_eq!(next_place(root, 7).unwrap().number, 8);
        sweep(root, Place { number: 3 });
        assert_eq!(places(root).unwrap(), [Place { number: 3 }]);
        assert!(root.join("damaged-9").exists());
    }
}
