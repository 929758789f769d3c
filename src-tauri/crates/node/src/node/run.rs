//! Starting, settling and stopping the node.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use lightning::ln::channel_state::ChannelShutdownState;
use lightning::ln::channelmanager::RecentPaymentDetails;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{EventHandler, NO_LIQUIDITY_MANAGER, Node, NodeEvent, Result, lock, process_events_async};
use crate::clock;
use crate::config::{FOREGROUND_SYNC_INTERVAL, PeerAddress};
use crate::lightning::{GossipSync, Scorer};
use crate::models::{Direction, PaymentKind, PaymentStatus};

/// What a peer needs to answer a commitment, besides the round trips: it writes to its disk first, and its server may be
/// busy.
const ANSWER: Duration = Duration::from_millis(100);

/// The longest quiet time. A peer further away than that has our channels' state by then, or never.
const LONGEST_QUIET: Duration = Duration::from_secs(1);

/// How often the node is looked at while it settles.
const LOOK: Duration = Duration::from_millis(25);

/// Nothing happened for so long: LDK is settled. A peer answers a commitment within a round trip or two.
fn quiet(round_trip: Duration) -> Duration {
    (2 * round_trip + ANSWER).min(LONGEST_QUIET)
}

/// Longest wait for LDK's background work to end. It only has to write the channel manager.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A payment of ours that LDK does not know, this old, was never sent: the process ended between our row and LDK's.
const UNSENT_AFTER_MS: u64 = 60_000;

/// What runs while the node is open.
pub struct Tasks {
    stop: CancellationToken,
    processor: JoinHandle<()>,
    sender: JoinHandle<()>,
    committer: JoinHandle<()>,
    no_more_commits: CancellationToken,
    foreground: Option<JoinHandle<()>>,
}

impl Tasks {
    /// Starts LDK's background processor and the sender of transactions.
    pub fn start(node: &Arc<Node>) -> Self {
        let stop = CancellationToken::new();
        let processor = tokio::spawn(process_events(node, stop.clone()));
        let sender = tokio::spawn({
            let (node, stop) = (Arc::clone(node), stop.clone());
            async move {
                // The first look takes what LDK offered while it was read from disk.
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = node.send_broadcasts() => {}
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = node.broadcaster.arrived() => {}
                    }
                }
            }
        });
        let no_more_commits = CancellationToken::new();
        let committer = tokio::spawn({
            let (commit, events) = (Arc::clone(&node.lightning.commit), node.events.clone());
            let stop = no_more_commits.clone();
            async move {
                commit
                    .run(stop, || {
                        // Nobody may be listening, which is fine.
                        let _ = events.send(NodeEvent::OverviewChanged);
                    })
                    .await;
            }
        });
        Self {
            stop,
            processor,
            sender,
            committer,
            no_more_commits,
            foreground: None,
        }
    }
}

fn process_events(node: &Node, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
    let handler = Arc::clone(&node.handler);
    let lightning = Arc::clone(&node.lightning);
    let commit = Arc::clone(&node.lightning.commit);
    let sleeper = move |pause| {
        let stop = stop.clone();
        let sleep: Pin<Box<dyn Future<Output = bool> + Send>> = Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(pause) => false,
            }
        });
        sleep
    };
    async move {
        let done = process_events_async(
            commit,
            move |event| {
                let handler: Arc<EventHandler> = Arc::clone(&handler);
                async move { handler.handle(event).await }
            },
            Arc::clone(&lightning.chain_monitor),
            Arc::clone(&lightning.channels),
            Some(Arc::clone(&lightning.onion)),
            GossipSync::None,
            Arc::clone(&lightning.peers),
            NO_LIQUIDITY_MANAGER,
            Some(Arc::clone(&lightning.sweeper)),
            Arc::new(crate::log::Logger),
            None::<Arc<std::sync::Mutex<Scorer>>>,
            sleeper,
            true,
            || Some(clock::since_epoch()),
        )
        .await;
        if let Err(error) = done {
            tracing::error!(%error, "LDK's background work ended: it could not write");
        }
    }
}

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

    /// Waits until nothing moves any more: no event for a while, no HTLC pending. Not at all if there is nobody who could
    /// move anything. The caller bounds it in time.
    pub async fn settled(&self) {
        let mut handled = self.handler.handled();
        let mut quiet_since = tokio::time::Instant::now();
        loop {
            // Nobody is connected and no channel ever was: nothing will come.
            let round_trip = self.peers.round_trip();
            if round_trip.is_none() && self.lightning.commit.idle() && !self.has_channels() {
                return;
            }
            tokio::time::sleep(LOOK).await;
            let now_handled = self.handler.handled();
            let pending = self.lightning.channels.list_channels().iter().any(|channel| {
                self.peers.connected(&channel.counterparty.node_id)
                    && !(channel.pending_inbound_htlcs.is_empty()
                        && channel.pending_outbound_htlcs.is_empty())
            });
            if now_handled != handled || pending || !self.lightning.commit.idle() {
                handled = now_handled;
                quiet_since = tokio::time::Instant::now();
            } else if quiet_since.elapsed() >= quiet(round_trip.unwrap_or_default()) {
                return;
            }
        }
    }

    /// Whether there are channels, or monitors of channels that were.
    fn has_channels(&self) -> bool {
        !self.lightning.chain_monitor.list_monitors().is_empty()
            || !self.lightning.channels.list_channels().is_empty()
    }

    /// Sweeps what can be swept, and sends everything that waits to be sent.
    pub async fn sweep(&self) {
        if self
            .lightning
            .sweeper
            .regenerate_and_broadcast_spend_if_necessary()
            .await
            .is_err()
        {
            tracing::warn!("a sweep could not be made now");
        }
        self.send_broadcasts().await;
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

    /// Keeps syncing and keeps peers connected until the node stops or [`Self::leave_foreground`].
    pub(crate) fn enter_foreground(
        self: &Arc<Self>,
        report: impl Fn(&Self, Result<()>) + Send + Sync + 'static,
    ) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut().filter(|tasks| tasks.foreground.is_none()) else {
            return;
        };
        let (node, stop) = (Arc::clone(self), tasks.stop.clone());
        // A quiet time: nothing is being paid yet. What is written meanwhile waits some tens of milliseconds.
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.compact_if_due() {
                tracing::warn!(%error, "store not compacted");
            }
        });
        tasks.foreground = Some(tokio::spawn(async move {
            let rounds = async {
                loop {
                    let before = node.checkpoint().map(|checkpoint| checkpoint.hash);
                    let synced = node.sync().await;
                    if synced.is_ok() {
                        // Peers only after the chain: an old channel state must not be shown to them.
                        node.connect_peers().await;
                        let after = node.checkpoint().map(|checkpoint| checkpoint.hash);
                        if before != after
                            && let Err(error) = node.persist().await
                        {
                            tracing::error!(%error, detail = error.detail(), "checkpoint not written");
                        }
                    }
                    report(&node, synced);
                    node.tell(NodeEvent::OverviewChanged);
                    tokio::time::sleep(FOREGROUND_SYNC_INTERVAL).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = rounds => {}
            }
        }));
    }

    /// Ends what [`Self::enter_foreground`] started, and leaves the node up.
    pub(crate) fn leave_foreground(&self) {
        if let Some(foreground) = lock(&self.tasks)
            .as_mut()
            .and_then(|tasks| tasks.foreground.take())
        {
            // Every await of the rounds may be dropped; see `sync`.
            foreground.abort();
        }
    }

    /// Stops: no new work, peers away, events handled, everything written, store closed.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`] if the last write failed; what was durable before stays so.
    pub(crate) async fn stop(&self) -> Result<()> {
        let Some(tasks) = lock(&self.tasks).take() else {
            return Ok(());
        };
        self.lightning.peers.disconnect_all_peers();
        tasks.stop.cancel();
        if let Some(foreground) = tasks.foreground {
            foreground.abort();
            let _ = foreground.await;
        }
        let _ = tasks.sender.await;
        // It ends by writing the channel manager.
        if tokio::time::timeout(STOP_LIMIT, tasks.processor).await.is_err() {
            tracing::error!("LDK's background work did not end in time");
        }
        // Before the last write, and not in the middle of one: a commit that came after it would not be in the capsule.
        tasks.no_more_commits.cancel();
        if tokio::time::timeout(STOP_LIMIT, tasks.committer).await.is_err() {
            tracing::error!("the last commit did not end in time");
        }
        let written = self.persist().await;
        // Of the very last state. Without one the wallet is no worse off than before.
        if let Err(error) = self.capsules.write(&self.store) {
            tracing::warn!(%error, "no state capsule was written");
        }
        let closed = self
            .store
            .close()
            .map_err(|e| crate::Error::new(crate::ErrorCode::StorageFailed, format!("store: {e}")));
        written.and(closed)
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
