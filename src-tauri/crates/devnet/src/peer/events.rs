//! Listening to a peer's node: draining its events, and remembering what cannot be asked for later.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use bitcoin::hex::DisplayHex;
use ldk_node::Event;

use super::{Inner, POLL};

/// What events told that cannot be asked for later.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) closed: HashMap<u128, String>,
    pub(super) failed: HashMap<String, String>,
    pub(super) claimable: HashSet<[u8; 32]>,
}

impl Inner {
    /// Drains the node's events: it stops accepting new ones if nobody does, and some are told only once.
    pub(super) fn listen(&self) {
        let node = Arc::clone(&self.node);
        let heard = Arc::clone(&self.heard);
        let task = self.runtime.spawn(async move {
            loop {
                let event = node.next_event_async().await;
                heard.lock().unwrap_or_else(PoisonError::into_inner).note(&event);
                if node.event_handled().is_err() {
                    tokio::time::sleep(POLL).await;
                }
            }
        });
        let old = self
            .pump
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(task);
        if let Some(old) = old {
            old.abort();
        }
    }

    pub(super) fn deafen(&self) {
        if let Some(task) = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    pub(super) fn heard<T>(&self, read: impl FnOnce(&Heard) -> T) -> T {
        read(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Heard {
    fn note(&mut self, event: &Event) {
        match event {
            Event::ChannelClosed {
                user_channel_id,
                reason,
                ..
            } => {
                let reason = reason
                    .as_ref()
                    .map_or_else(|| "no reason given".to_owned(), ToString::to_string);
                self.closed.insert(user_channel_id.0, reason);
            }
            Event::PaymentFailed {
                payment_hash: Some(hash),
                reason,
                ..
            } => {
                let reason =
                    reason.map_or_else(|| "no reason given".to_owned(), |reason| format!("{reason:?}"));
                self.failed.insert(hash.0.to_lower_hex_string(), reason);
            }
            Event::PaymentClaimable { payment_hash, .. } => {
                self.claimable.insert(payment_hash.0);
            }
            _ => {}
        }
    }
}
