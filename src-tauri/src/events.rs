//! What the webview hears without asking.

use pilotlight_node::NodeEvent;
use serde::{Deserialize, Serialize};
use tauri::{AppHandle, async_runtime};
use tauri_plugin_background::{BackgroundExt, RunEvent};
use tauri_specta::Event;
use tokio::sync::broadcast::error::RecvError;

use crate::wallets::Wallets;

/// An event of the node, as it came.
#[derive(Debug, Clone, Serialize, Deserialize, specta::Type, Event)]
#[tauri_specta(event_name = "node-event")]
pub struct NodeMessage(pub NodeEvent);

/// A background run started or ended, as the plugin sees it.
#[derive(Debug, Clone, Serialize, Deserialize, specta::Type, Event)]
#[tauri_specta(event_name = "run-event")]
pub struct RunMessage(pub RunEvent);

/// Forwards the events of plugin and wallet, whichever is in use, to the webview for as long as the app lives.
pub fn forward(app: &AppHandle, wallets: &Wallets) {
    let handle = app.clone();
    app.background()
        .on_event(move |event| emit(&handle, &RunMessage(event.clone())));
    let handle = app.clone();
    let mut events = wallets.events();
    async_runtime::spawn(async move {
        loop {
            match events.recv().await {
                Ok(event) => emit(&handle, &NodeMessage(event)),
                // Some were missed. What they said is in the overview and the lists, so have them read again.
                Err(RecvError::Lagged(_)) => {
                    emit(&handle, &NodeMessage(NodeEvent::OverviewChanged));
                    emit(&handle, &NodeMessage(NodeEvent::ChannelsChanged));
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
}

fn emit<E: Event + Serialize + Clone>(app: &AppHandle, event: &E) {
    if let Err(error) = event.emit(app) {
        tracing::warn!(%error, "cannot tell the webview");
    }
}
