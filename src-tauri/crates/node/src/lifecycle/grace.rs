//! How long the node stays up when the app goes to the background.
//!
//! A person who fetches an invoice from another app is back in a moment, and a payment that is under way is better
//! brought to its end now than by a wake hours later. Owns the rule and the waiting; who grants the time is the shell's
//! business.

use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::models::NodeEvent;
use crate::node::Node;

/// So long the node stays up without a reason: about what iOS grants an app that leaves, and long enough to fetch an
/// invoice elsewhere.
pub const LINGER: Duration = Duration::from_secs(30);

/// So long while a payment is under way, where somebody grants so much. A payment that is not settled after three
/// minutes hangs at somebody on its way, for hours perhaps.
pub const LINGER_FOR_PAYMENT: Duration = Duration::from_secs(180);

/// Kept free before the grace ends: a stop takes under 1.5 s.
const STOP_TIME: Duration = Duration::from_secs(2);

/// How often a payment is looked at, should no event tell of it.
const LOOK: Duration = Duration::from_secs(1);

/// The time that a node has when the app goes.
#[derive(Debug, Clone)]
pub struct Grace {
    /// When the system takes the time back. The node has stopped before.
    pub deadline: Instant,
    /// Cancelled when the system wants it back early: the node stops at once.
    pub cancel: CancellationToken,
}

impl Grace {
    /// No time at all: the node stops at once.
    pub fn none() -> Self {
        Self::until(Instant::now())
    }

    /// Until then.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            cancel: CancellationToken::new(),
        }
    }
}

/// How long the node stays up after the app has gone, if nobody calls the time.
pub fn linger(granted: Duration, payment_under_way: bool) -> Duration {
    let wish = if payment_under_way {
        LINGER_FOR_PAYMENT
    } else {
        LINGER
    };
    wish.min(granted.saturating_sub(STOP_TIME))
}

/// Waits for as long as the node should stay up, or until the time is called. A payment that settles late ends the wait.
pub async fn over(node: &Node, grace: &Grace, events: broadcast::Receiver<NodeEvent>) {
    let granted = grace.deadline.saturating_duration_since(Instant::now());
    let long = tokio::time::sleep(linger(granted, true));
    let staying = async {
        tokio::time::sleep(linger(granted, false)).await;
        tokio::select! {
            () = long => {}
            () = payments_settled(node, events) => {}
        }
    };
    tokio::select! {
        biased;
        () = grace.cancel.cancelled() => {}
        () = staying => {}
    }
}

async fn payments_settled(node: &Node, mut events: broadcast::Receiver<NodeEvent>) {
    while node.payment_under_way() {
        tokio::select! {
            // Whatever was told, or missed: look again.
            _ = events.recv() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_lingers_as_long_as_it_should_and_stops_before_the_time_is_up() {
        let s = Duration::from_secs;
        for (granted, payment, expected) in [
            (0, false, 0),
            (0, true, 0),
            (1, true, 0),
            (25, false, 23),
            (25, true, 23),
            (600, false, 30),
            (600, true, 180),
            (60, true, 58),
        ] {
            assert_eq!(linger(s(granted), payment), s(expected), "{granted} s, {payment}");
        }
    }
}
