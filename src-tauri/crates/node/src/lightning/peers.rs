//! Connections to peers, and where to find them again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use pilotlight_store::Store;
use tokio::time::Instant;

use super::types::PeerManager;
use crate::config::{CONNECT_TIMEOUT, PeerAddress};
use crate::doors::Doors;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::rows::{self, Kind};

/// Round trips from the first packet to the end of the handshake: TCP's, the two acts of the noise handshake (BOLT 8), and
/// the `init` messages.
const HANDSHAKE_ROUND_TRIPS: u32 = 3;

/// The peers of this wallet.
pub struct Peers {
    store: Arc<Store>,
    ldk: Arc<PeerManager>,
    /// Nobody connects once they are shut: a stopped node must not come back to a peer.
    doors: Arc<Doors>,
    /// One attempt at a time for each peer: of two connections at once each side may close the other one.
    turns: Mutex<HashMap<PublicKey, Arc<tokio::sync::Mutex<()>>>>,
    /// How long the last handshake with each took.
    handshakes: Mutex<HashMap<PublicKey, Duration>>,
    attempts: AtomicU64,
}

impl Peers {
    /// The peers in this store.
    pub fn new(store: Arc<Store>, ldk: Arc<PeerManager>, doors: Arc<Doors>) -> Self {
        Self {
            store,
            ldk,
            doors,
            turns: Mutex::default(),
            handshakes: Mutex::default(),
            attempts: AtomicU64::new(0),
        }
    }

    /// Connects (which may be so already), and waits for the Lightning handshake.
    ///
    /// # Errors
    /// [`ErrorCode::PeerUnreachable`], also for the wrong node at the right address; [`ErrorCode::NetworkUnavailable`] if
    /// nobody says where its name is; [`ErrorCode::Cancelled`] if the node stops.
    pub async fn connect(&self, peer: &PeerAddress) -> Result<()> {
        self.doors.within(self.connect_inside(peer)).await
    }

    async fn connect_inside(&self, peer: &PeerAddress) -> Result<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            Arc::clone(turns.entry(peer.node_id).or_default())
        };
        let _turn = turn.lock().await;
        if self.connected(&peer.node_id) {
            return Ok(());
        }
        let unreachable = |why: &dyn std::fmt::Display| {
            Error::new(
                ErrorCode::PeerUnreachable,
                format!("peer {}: {why}", peer.node_id),
            )
        };
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let attempt = async {
            let addresses = tokio::net::lookup_host(peer.address.to_string()).await;
            let address = addresses
                .map_err(|e| nameless(peer, &e))?
                .next()
                .ok_or_else(|| unreachable(&"its name has no address"))?;
            let started = Instant::now();
            let mut closed = Box::pin(
                lightning_net_tokio::connect_outbound(Arc::clone(&self.ldk), peer.node_id, address)
                    .await
                    .ok_or_else(|| unreachable(&"no connection"))?,
            );
            // LDK tells of a closed connection, but not of a finished handshake, so that has to be asked for.
            while !self.connected(&peer.node_id) {
                tokio::select! {
                    () = &mut closed => return Err(unreachable(&"it closed the connection")),
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            }
            lock(&self.handshakes).insert(peer.node_id, started.elapsed());
            Ok(())
        };
        tokio::time::timeout(CONNECT_TIMEOUT, attempt)
            .await
            .map_err(|_| unreachable(&"no answer in time"))?
    }

    /// Whether the handshake with a peer is done.
    pub fn connected(&self, node_id: &PublicKey) -> bool {
        self.ldk.peer_by_node_id(node_id).is_some()
    }

    /// Connections tried so far.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// A round trip to the slowest of the connected peers, as its handshake showed it; `None` if none is connected.
    pub fn round_trip(&self) -> Option<Duration> {
        let handshakes = lock(&self.handshakes).clone();
        let connected = handshakes.iter().filter(|(id, _)| self.connected(id));
        connected.map(|(_, took)| *took / HANDSHAKE_ROUND_TRIPS).max()
    }

    /// Remembers where a peer is. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn remember(&self, peer: &PeerAddress) -> Result<()> {
        rows::write(&self.store, Kind::Peer, &peer.node_id.to_string(), peer)
    }

    /// Where a peer was last.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub fn address(&self, node_id: &PublicKey) -> Result<Option<PeerAddress>> {
        rows::read(&self.store, Kind::Peer, &node_id.to_string())
    }
}

/// A name that cannot be looked up says nothing of the peer: most of the time there is no network.
fn nameless(peer: &PeerAddress, error: &std::io::Error) -> Error {
    Error::new(
        ErrorCode::NetworkUnavailable,
        format!("peer {}: {error}", peer.node_id),
    )
}
