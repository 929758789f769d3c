//! The iOS app's files held against each other and against the disk, on any host: what Xcode, XcodeGen or the App Store
//! would refuse, and what no tool would notice (a task that is declared, and never permitted).
//!
//! [`plists`] has the property lists, [`project`] the Xcode project's description, [`pictures`] icons and launch screen.

mod pictures;
mod plists;
mod project;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the Xcode project.
fn apple(path: &str) -> PathBuf {
    root().join("gen/apple").join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_str(&read(path)).unwrap()
}

fn app_config() -> serde_json::Value {
    json("tauri.conf.json")
}

/// The keys of the file that the CLI merges into the app's Info.plist.
fn info_keys() -> Vec<String> {
    plists::info().keys().cloned().collect()
}
