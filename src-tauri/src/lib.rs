//! The shell: puts the wallet, the background plugin and the webview together. What a test would want is in parts of its own.
//!
//! [`wiring`] joins node and plugin, [`commands`] and [`events`] are what the webview sees, [`bindings`] types them for
//! it, [`warning`] says when the person must be told to open the app. [`wallets`] holds the wallet in use, [`settings`] what the
//! environment says of it.

// The macro of the entry point makes a public function without documentation.
#![cfg_attr(mobile, allow(missing_docs))]

#[cfg(test)]
mod apple_tests;
mod bindings;
mod commands;
#[cfg(desktop)]
mod desktop;
mod events;
#[cfg(target_os = "ios")]
mod ios;
mod settings;
mod wallets;
mod warning;
mod wiring;

/// What differs between a desktop and a phone, under one name and with the same functions.
#[cfg(desktop)]
use desktop as platform;
#[cfg(target_os = "ios")]
use ios as platform;

use tracing_subscriber::EnvFilter;

/// Runs the app; returns when it was closed.
///
/// On iOS this also runs in a prewarmed process on a locked phone: until the app's setup, nothing here touches files,
/// Keychain or network.
#[cfg_attr(mobile, tauri::mobile_entry_point)]
pub fn run() {
    start_logging();
    let settings = match settings::Settings::from_environment() {
        Ok(settings) => settings,
        Err(error) => fail(&error),
    };
    let bindings = bindings::builder();
    let app = builder()
        .plugin(tauri_plugin_background::Builder::new().build())
        .invoke_handler(bindings.invoke_handler())
        .setup(move |app| {
            bindings.mount_events(app);
            wiring::start(app.handle(), &settings)?;
            platform::open(app.handle(), &settings)?;
            Ok(())
        })
        .build(tauri::generate_context!());
    match app {
        Ok(app) => app.run(platform::on_run_event),
        Err(error) => fail(&error),
    }
}

fn builder() -> tauri::Builder<tauri::Wry> {
    let builder = tauri::Builder::default();
    // WebKit ends the page's process when memory is short, often in the background; without this the person comes back
    // to a white screen.
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    let builder = builder.on_web_content_process_terminate(|webview| {
        if let Err(error) = webview.reload() {
            tracing::error!(%error, "cannot load the page again");
        }
    });
    builder
}

/// `RUST_LOG` decides, else what a developer wants to see of our own parts.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("warn,pilotlight_lib=info,pilotlight_node=info,tauri_plugin_background=info")
    });
    // Fails only if a subscriber is set already, which then does the work.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

fn fail(error: &dyn std::error::Error) -> ! {
    eprintln!("Pilotlight cannot start: {error}");
    std::process::exit(1);
}
