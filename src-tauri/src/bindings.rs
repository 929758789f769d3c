//! The commands and events as TypeScript sees them, and the tests that hold TypeScript, permissions and plist to them.

use tauri::Wry;
use tauri_specta::{Builder, collect_commands, collect_events};

use crate::{commands, events};

/// Every command and event of the app, with its types.
pub fn builder() -> Builder<Wry> {
    Builder::<Wry>::new()
        .commands(collect_commands![
            commands::overview,
            commands::create_wallet,
            commands::restore_wallet,
            commands::reveal_words,
            commands::new_address,
            commands::send_onchain,
            commands::parse_destination,
            commands::create_invoice,
            commands::pay,
            commands::payments,
            commands::channels,
            commands::connect_peer,
            commands::open_channel,
            commands::close_channel,
            commands::connection,
            commands::choose_connection,
            commands::networks,
            commands::choose_network,
            commands::sync_now,
            commands::wakes,
            commands::background_status,
            commands::wake_now,
            commands::full_check,
            commands::simulate_launch,
            commands::simulate_expiration,
        ])
        .events(collect_events![events::NodeMessage, events::RunMessage])
        // One type per model: what is written is what is read.
        .disable_serde_phases()
}

#[cfg(test)]
mod tests;
