//! Refuses a task declaration that iOS would refuse at run time, writes what the declared tasks need into the iOS app's
//! Info.plist, generates the permissions of the plugin's commands, and links the Swift half on a Mac.

#[path = "src/config.rs"]
#[allow(dead_code, missing_docs)]
mod config;
#[path = "src/plist.rs"]
#[allow(dead_code, missing_docs)]
mod info_plist;

use std::env;
use std::error::Error;
use std::path::PathBuf;

const COMMANDS: &[&str] = &[
    "status",
    "history",
    "wake_now",
    "schedule",
    "cancel",
    "simulate_launch",
    "simulate_expiration",
];

/// Where the Tauri CLI puts the section `plugins.background` of tauri.conf.json, as JSON. Plain cargo does not set it;
/// then the same check is made when the app starts.
const CONFIG: &str = "TAURI_BACKGROUND_PLUGIN_CONFIG";

/// Where the CLI says which Xcode project it is building for.
const IOS_PROJECT: &str = "TAURI_IOS_PROJECT_PATH";
const IOS_APP: &str = "TAURI_IOS_APP_NAME";

fn main() {
    for variable in [CONFIG, IOS_PROJECT, IOS_APP] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if let Err(error) = declare_tasks() {
        eprintln!("error: tauri.conf.json > plugins > background: {error}");
        std::process::exit(1);
    }
    // The Swift package is built by tauri-plugin where there is a Swift for it: on a Mac, for iOS.
    tauri_plugin::Builder::new(COMMANDS).ios_path("ios").build();
}

fn declare_tasks() -> Result<(), Box<dyn Error>> {
    let Ok(json) = env::var(CONFIG) else {
        return Ok(());
    };
    // Not `tauri_plugin::plugin_config`: it panics on a key that it does not know, and does not say where that stands.
    let config: config::Config = serde_json::from_str(&json)?;
    config.validate()?;
    if let Some(path) = generated_plist() {
        // Without this, a fresh Info.plist beside a warm target folder would stay without the keys.
        println!("cargo:rerun-if-changed={}", path.display());
        info_plist::update_file(&path, &config.tasks)?;
    }
    Ok(())
}

/// The Info.plist that Xcode reads: the file that `tauri_plugin::mobile::update_info_plist` edits. That function exists
/// on Macs only; ours runs anywhere, so that it can be tested anywhere.
fn generated_plist() -> Option<PathBuf> {
    let project = PathBuf::from(env::var_os(IOS_PROJECT)?);
    let app = env::var(IOS_APP).ok()?;
    Some(project.join(format!("{app}_iOS")).join("Info.plist"))
}
