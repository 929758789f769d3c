//! Whole files, written so that a reader sees the old content or the new, never a mixture, and that
//! `Ok` means it is on the disk. For the network graph, the wake history, logs: what sled should not
//! carry. Owns no names and no formats.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Two writers of one file would share its temporary file. Such writes are rare and short, so one
/// lock for all of them costs nothing.
static WRITING: Mutex<()> = Mutex::new(());

/// Replaces the content of `path`: temporary file beside it, fsync, rename, fsync of the directory.
/// A new file is readable by its owner only. The directory must exist.
///
/// # Errors
/// Whatever the system says; the old content is untouched then, except if only the last step
/// failed: the new content is in place but may not survive a power cut.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let (directory, temporary) = beside(path)?;
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let written = write_and_sync(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: what stays behind is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(directory)
}

/// Reads a file, `None` if it does not exist.
///
/// # Errors
/// Whatever the system says, other than "not found".
pub fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file durably. Not being there is fine.
///
/// # Errors
/// Whatever the system says, other than "not found".
pub fn remove_if_present(path: &Path) -> io::Result<()> {
    let (directory, _) = beside(path)?;
    match fs::remove_file(path) {
        Ok(()) => sync_directory(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory and its parents, each readable by its owner only. Being there already is fine.
///
/// # Errors
/// Whatever the system says.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes created, renamed and removed names in a directory durable.
///
/// # Errors
/// Whatever the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    // Windows cannot open a directory as a file, and its rename needs no such help.
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

/// Bytes that all files below a directory take, as `ls` would add them up.
pub(crate) fn size_of(path: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // sled removes its snapshot files, and a compaction whole directories, while we look.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                total += match size_of(&entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    size => size?,
                }
            }
            Ok(metadata) => total += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    // On Apple systems the standard library asks for F_FULLFSYNC here, which plain fsync is not.
    file.sync_all()
}

fn beside(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok((directory, directory.join(temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_nothing_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("graph");
        assert_eq!(read_if_present(&path).unwrap(), None);
        write_atomically(&path, b"first, and longer").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(read_if_present(&path).unwrap().unwrap(), b"second");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        remove_if_present(&path).unwrap();
        remove_if_present(&path).unwrap();
        assert_eq!(read_if_present(&path).unwrap(), None);
    }

    #[test]
    fn a_left_over_temporary_file_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("graph");
        write_atomically(&path, b"kept").unwrap();
        fs::write(
            directory.path().join(".graph.tmp"),
            b"half of something much longer",
        )
        .unwrap();
        assert_eq!(read_if_present(&path).unwrap().unwrap(), b"kept");
        write_atomically(&path, b"new").unwrap();
        assert_eq!(read_if_present(&path).unwrap().unwrap(), b"new");
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("graph");
        write_atomically(&path, b"kept").unwrap();
        // A directory where the temporary file should be makes the write fail, for root too.
        fs::create_dir(directory.path().join(".graph.tmp")).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(read_if_present(&path).unwrap().unwrap(), b"kept");
        assert!(write_atomically(Path::new("/"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        write_atomically(&path, b"x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
