//! Copies of a wallet asleep.

use std::path::Path;

use crate::Error;

/// Copies a folder with all that is in it; made if absent. `to` must not be inside of it.
///
/// # Errors
/// [`Error::Io`]
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = || Error::io(format!("copying {}", from.display()));
    std::fs::create_dir_all(to).map_err(failed())?;
    for entry in std::fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let to = to.join(entry.file_name());
        if entry.file_type().map_err(failed())?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to).map_err(failed())?;
        }
    }
    Ok(())
}
