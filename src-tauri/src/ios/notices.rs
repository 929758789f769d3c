//! Arms the warning with iOS, which shows it even if the app never runs again.

use std::sync::Arc;
use std::time::SystemTime;

use pilotlight_node::NodeEvent;
use tauri::async_runtime;
use tauri_plugin_background::ios::notices::{self, Refused};
use tokio::sync::broadcast::error::RecvError;

use crate::wallets::Wallets;
use crate::warning::{ID, NEWS_ID, News, Notice, TITLE};

/// Arms the warning in place of the last one, or takes it back. May wait for iOS, up to a second: not for the main thread.
pub fn warn(notice: &Notice) {
    let Notice::At { at, body } = notice else {
        notices::cancel(ID);
        return;
    };
    match notices::arm(ID, TITLE, body, *at) {
        Ok(()) => {}
        Err(Refused::NotAllowed) => tracing::info!("the person allows no notifications"),
        Err(error) => tracing::error!(%error, "the warning is not armed"),
    }
}

/// Shows the news at once, in place of older ones. May wait for iOS, up to a second: not for the main thread.
pub fn tell(news: News) {
    match notices::arm(NEWS_ID, news.title, news.body, SystemTime::now()) {
        Ok(()) => {}
        Err(Refused::NotAllowed) => tracing::info!("the person allows no notifications"),
        Err(error) => tracing::error!(%error, "the news is not shown"),
    }
}

/// Keeps the warning up to date while the person has the app open, and asks once whether it may come. For as long as the
/// app lives, and for whichever wallet is in use: another one's warning takes the place of the last one's. (A wake arms its
/// own before its time is over.)
pub async fn follow(wallets: Arc<Wallets>) {
    let mut events = wallets.events();
    loop {
        match events.recv().await {
            // A missed event may have been this one.
            Ok(NodeEvent::SafeUntilChanged { .. }) | Err(RecvError::Lagged(_)) => {}
            Ok(_) => continue,
            Err(RecvError::Closed) => return,
        }
        let Some(lifecycle) = wallets.known() else {
            continue;
        };
        let notice = Notice::of(&lifecycle.safety());
        if notice.worth_asking_for() {
            notices::ask();
        }
        let armed = async_runtime::spawn_blocking(move || warn(&notice)).await;
        if let Err(error) = armed {
            tracing::error!(%error, "the warning is not armed");
        }
    }
}
