//! Connecting and settling. What runs all the time is in `tasks`, the end in `stop`.

use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use lightning::ln::channel_state::{ChannelShutdownState, InboundHTLCDetails, OutboundHTLCDetails};
use lightning::ln::channelmanager::RecentPaymentDetails;

use super::{Node, Result};
use crate::clock;
use crate::config::PeerAddress;
use crate::models::{Direction, PaymentKind, PaymentStatus};

/// What a peer needs to answer a commitment, besides the round trips: it writes to its disk first, and its server may be
/// busy.
const ANSWER: Duration = Duration::from_millis(100);

/// The longest quiet time. A peer further away than that has our channels' state by then, or never.
const LONGEST_QUIET: Duration = Duration::from_secs(1);

/// A payment that has not moved for so long, peers being connected, is held by somebody on its way or at its end, for
/// hours perhaps. Each of its steps takes a few round trips, and what a peer has to say of it comes with the connection.
const HELD: Duration = Duration::from_secs(2);

/// How often the node is looked at while it settles.
const LOOK: Duration = Duration::from_millis(25);

/// Nothing happened for so long: LDK is settled. A peer answers a commitment within a round trip or two.
fn quiet(round_trip: Duration) -> Duration {
    (2 * round_trip + ANSWER).min(LONGEST_QUIET)
}

/// A payment of ours that LDK does not know, this old, was never sent: the process ended between our row and LDK's.
const UNSENT_AFTER_MS: u64 = 60_000;

impl Node {
    /// Connects to the peers of our channels and to the liquidity provider; gives how many are not connected after it.
    pub async fn connect_peers(&self) -> usize {
        let wanted = self.wanted_peers();
        let attempts = wanted.iter().map(|peer| async move {
            let connected = self.peers.connect(peer).await;
            if let Err(error) = &connected {
                tracing::info!(detail = error.detail(), "peer not connected");
            }
            connected.is_err()
        });
        futures::future::join_all(attempts)
            .await
            .into_iter()
            .filter(|missing| *missing)
            .count()
    }

    /// Whether all of them are connected now.
    pub fn peers_connected(&self) -> bool {
        self.wanted_peers()
            .iter()
            .all(|peer| self.peers.connected(&peer.node_id))
    }

    /// The peers of our channels and the liquidity provider, as far as we know where they are.
    pub fn wanted_peers(&self) -> Vec<PeerAddress> {
        let mut ids: Vec<PublicKey> = self
            .lightning
            .channels
            .list_channels()
            .iter()
            .map(|c| c.counterparty.node_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut wanted: Vec<PeerAddress> = self.lsp.iter().cloned().collect();
        for id in ids {
            if self.lsp.as_ref().is_some_and(|lsp| lsp.node_id == id) {
                continue;
            }
            match self.peers.address(&id) {
                Ok(Some(peer)) => wanted.push(peer),
                Ok(None) => tracing::warn!(%id, "a channel's peer, but no address"),
                Err(error) => tracing::warn!(detail = error.detail(), "a peer's address"),
            }
        }
        wanted
    }

    /// Waits until every channel with a connected peer can be used, as far as the chain allows it. The caller bounds it in
    /// time.
    pub async fn reestablished(&self) {
        loop {
            let channels = self.lightning.channels.list_channels();
            let waiting = channels.iter().any(|channel| {
                let deep_enough = channel.confirmations >= channel.confirmations_required;
                let coming = channel.is_channel_ready || (channel.confirmations.is_some() && deep_enough);
                coming
                    && !channel.is_usable
                    && channel.channel_shutdown_state == Some(ChannelShutdownState::NotShuttingDown)
                    && self.peers.connected(&channel.counterparty.node_id)
            });
            if !waiting {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until nothing moves any more: no event for a while, and no payment on its way between us and a peer. One that
    /// somebody holds for longer is not waited for. Not at all if there is nobody who could move anything. The caller bounds
    /// it in time.
    pub async fn settled(&self) {
        let mut handled = self.handler.handled();
        let mut on_their_way = self.on_their_way();
        let mut quiet_since = tokio::time::Instant::now();
        loop {
            // Nobody is connected and no channel ever was: nothing will come.
            let round_trip = self.peers.round_trip();
            if round_trip.is_none() && self.lightning.commit.idle() && !self.has_channels() {
                return;
            }
            tokio::time::sleep(LOOK).await;
            let (now_handled, now_on_their_way) = (self.handler.handled(), self.on_their_way());
            let enough = if now_on_their_way.is_empty() {
                quiet(round_trip.unwrap_or_default())
            } else {
                HELD
            };
            // A payment that came just before the last process ended is not looked at yet; LDK takes its time for that.
            let unread = self.lightning.channels.needs_pending_htlc_processing();
            let moved = now_handled != handled || now_on_their_way != on_their_way;
            if moved || unread || !self.lightning.commit.idle() {
                (handled, on_their_way) = (now_handled, now_on_their_way);
                quiet_since = tokio::time::Instant::now();
            } else if quiet_since.elapsed() >= enough {
                return;
            }
        }
    }

    /// The payments between us and the peers that are connected, with how far they are.
    fn on_their_way(&self) -> Vec<(Vec<InboundHTLCDetails>, Vec<OutboundHTLCDetails>)> {
        let channels = self.lightning.channels.list_channels();
        let connected = channels
            .into_iter()
            .filter(|channel| self.peers.connected(&channel.counterparty.node_id));
        connected
            .map(|channel| (channel.pending_inbound_htlcs, channel.pending_outbound_htlcs))
            .filter(|(inbound, outbound)| !(inbound.is_empty() && outbound.is_empty()))
            .collect()
    }

    /// Whether there are channels, or monitors of channels that were.
    fn has_channels(&self) -> bool {
        !self.lightning.chain_monitor.list_monitors().is_empty()
            || !self.lightning.channels.list_channels().is_empty()
    }

    /// Sweeps what can be swept, and sends everything that waits to be sent.
    pub async fn sweep(&self) {
        let sweeping = async {
            self.hear_monitors().await;
            let sweeper = &self.lightning.sweeper;
            if sweeper
                .regenerate_and_broadcast_spend_if_necessary()
                .await
                .is_err()
            {
                tracing::warn!("a sweep could not be made now");
            }
            self.send_broadcasts().await;
            Ok(())
        };
        // Called off only by a stop, and what was not sent is offered again at the next start.
        let _ = self.doors.within(sweeping).await;
    }

    /// Whether a payment of ours has left and has not come to its end.
    pub fn payment_under_way(&self) -> bool {
        let payments = self.lightning.channels.list_recent_payments();
        payments
            .iter()
            .any(|payment| matches!(payment, RecentPaymentDetails::Pending { .. }))
    }

    /// Calls payments failed that LDK never heard of. Only after a sync and after all events were handled.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`] or [`crate::ErrorCode::StorageCorrupt`].
    pub fn reconcile_payments(&self) -> Result<()> {
        let known: Vec<String> = self
            .lightning
            .channels
            .list_recent_payments()
            .into_iter()
            .map(|payment| match payment {
                RecentPaymentDetails::AwaitingInvoice { payment_id }
                | RecentPaymentDetails::Pending { payment_id, .. }
                | RecentPaymentDetails::Fulfilled { payment_id, .. }
                | RecentPaymentDetails::Abandoned { payment_id, .. } => payment_id.to_string(),
            })
            .collect();
        let now = clock::now_ms();
        for payment in self.payments.all()? {
            let open = payment.kind == PaymentKind::Lightning
                && payment.direction == Direction::Sent
                && payment.status == PaymentStatus::Pending;
            if open && payment.updated_at_ms + UNSENT_AFTER_MS < now && !known.contains(&payment.id) {
                self.payments.failed(
                    &payment.id,
                    "It was not sent: the app ended first. Nothing was paid.",
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quiet_time_follows_the_round_trip_and_has_an_end() {
        let ms = Duration::from_millis;
        for (round_trip, expected) in [(0, 100), (40, 180), (150, 400), (450, 1_000), (5_000, 1_000)] {
            assert_eq!(quiet(ms(round_trip)), ms(expected), "{round_trip}");
        }
    }
}
