//! What an app's `Info.plist` must say before iOS grants it background tasks.
//!
//! Owns two keys: `BGTaskSchedulerPermittedIdentifiers` (an identifier that is not in it cannot be registered) and
//! `UIBackgroundModes` (without the mode of its kind, a request is refused). Adds what the declared tasks need and keeps
//! everything that the app or another plugin wrote there. Does not know where the file is: `build.rs` does, which
//! compiles this file as well, so it knows nothing of the rest of the crate but [`config`](crate::config).
//!
//! Source: <https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler> and
//! <https://developer.apple.com/documentation/bundleresources/information-property-list/uibackgroundmodes>

use std::io;
use std::path::{Path, PathBuf};

use ::plist::{Dictionary, Value};

use crate::config::{TaskConfig, TaskKind};

/// The identifiers that `BGTaskScheduler.register` accepts.
pub const PERMITTED_IDENTIFIERS: &str = "BGTaskSchedulerPermittedIdentifiers";

/// What the app may do in the background.
pub const BACKGROUND_MODES: &str = "UIBackgroundModes";

/// Why an `Info.plist` was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum PlistError {
    /// The key holds something else than a list; overwriting it would lose what somebody meant.
    #[error("{0} is not an array")]
    NotAnArray(&'static str),
    /// The root of the file is not a dictionary.
    #[error("{} is not a dictionary", .0.display())]
    NotADictionary(PathBuf),
    /// The file cannot be read as a property list, or cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The property list.
        path: PathBuf,
        /// What went wrong.
        source: Box<::plist::Error>,
    },
}

/// The background mode that a request of this kind needs; `None` for a kind that needs none.
pub fn background_mode(kind: TaskKind) -> Option<&'static str> {
    match kind {
        TaskKind::Refresh => Some("fetch"),
        TaskKind::Processing => Some("processing"),
        // A continued task (iOS 26) needs its identifier permitted, and no mode.
        TaskKind::Continued => None,
    }
}

/// Adds what `tasks` need to an `Info.plist`, behind what stands there; says whether anything was missing. Removes
/// nothing, and doing it twice is doing it once.
///
/// # Errors
/// If one of the two keys is not an array; nothing is changed then.
pub fn declare(plist: &mut Dictionary, tasks: &[TaskConfig]) -> Result<bool, PlistError> {
    for key in [PERMITTED_IDENTIFIERS, BACKGROUND_MODES] {
        if plist.get(key).is_some_and(|value| value.as_array().is_none()) {
            return Err(PlistError::NotAnArray(key));
        }
    }
    let identifiers = tasks.iter().map(|task| task.id.as_str());
    let modes = tasks.iter().filter_map(|task| background_mode(task.kind));
    // Both, always: `||` would stop at the first that had something missing.
    let missing = [
        append(plist, PERMITTED_IDENTIFIERS, identifiers),
        append(plist, BACKGROUND_MODES, modes),
    ];
    Ok(missing.contains(&true))
}

/// Does [`declare`] to the file at `path`, which is written only if something was missing. A file that does not exist
/// yet is no error: `false`.
///
/// # Errors
/// If the file is no property list, or cannot be read or written.
pub fn update_file(path: &Path, tasks: &[TaskConfig]) -> Result<bool, PlistError> {
    let failed = |source: ::plist::Error| PlistError::File {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let mut root = match Value::from_file(path) {
        Ok(root) => root,
        Err(error)
            if error
                .as_io()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(failed(error)),
    };
    let plist = root
        .as_dictionary_mut()
        .ok_or_else(|| PlistError::NotADictionary(path.to_owned()))?;
    let changed = declare(plist, tasks)?;
    if changed {
        root.to_file_xml(path).map_err(failed)?;
    }
    Ok(changed)
}

/// Appends the strings that the array at `key` lacks, in their order.
fn append<'a>(plist: &mut Dictionary, key: &str, wanted: impl Iterator<Item = &'a str>) -> bool {
    let mut array = plist
        .get(key)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let before = array.len();
    for text in wanted {
        if !array.iter().any(|value| value.as_string() == Some(text)) {
            array.push(text.into());
        }
    }
    let changed = array.len() > before;
    if changed {
        plist.insert(key.to_owned(), Value::Array(array));
    }
    changed
}
