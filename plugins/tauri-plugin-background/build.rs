//! Generates the permissions of the plugin's commands, and refuses a task declaration that iOS would refuse at run time.

#[path = "src/config.rs"]
#[allow(dead_code, missing_docs)]
mod config;

const COMMANDS: &[&str] = &[
    "status",
    "history",
    "wake_now",
    "simulate_launch",
    "simulate_expiration",
];

fn main() {
    // The Tauri CLI hands the plugin's section of tauri.conf.json over in the environment; plain cargo does not, and
    // then the same check is made when the app starts.
    println!("cargo:rerun-if-env-changed=TAURI_BACKGROUND_PLUGIN_CONFIG");
    if let Some(config) = tauri_plugin::plugin_config::<config::Config>("background")
        && let Err(error) = config.validate()
    {
        println!("cargo:warning=tauri.conf.json, plugins.background: {error}");
        std::process::exit(1);
    }
    tauri_plugin::Builder::new(COMMANDS).build();
}
