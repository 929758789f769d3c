//! The shell: puts the node, the background plugin and the webview together. No logic that a test would want lives here.
//!
//! [`wiring`] joins node and plugin, [`commands`] and [`events`] are what the webview sees, [`bindings`] types them for
//! it, [`settings`] says which wallet this is.

mod bindings;
mod commands;
#[cfg(desktop)]
mod desktop;
mod events;
mod settings;
mod wiring;

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
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_background::Builder::new().build())
        .invoke_handler(bindings.invoke_handler())
        .setup(move |app| {
            bindings.mount_events(app);
            #[cfg(desktop)]
            let wake_every = settings.wake_every();
            wiring::start(app.handle(), settings)?;
            #[cfg(desktop)]
            desktop::open(app.handle(), wake_every)?;
            Ok(())
        })
        .build(tauri::generate_context!());
    match app {
        #[cfg(desktop)]
        Ok(app) => app.run(desktop::on_run_event),
        #[cfg(mobile)]
        Ok(app) => app.run(|_, _| {}),
        Err(error) => fail(&error),
    }
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
