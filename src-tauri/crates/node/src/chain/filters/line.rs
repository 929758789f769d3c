//! Filters in bulk, from one peer, by way of `bip157`.
//!
//! That crate's node does the protocol: headers, filter headers, batches of filters in height order, each checked against
//! its filter header. It keeps what it has to tell in a queue without end; here it is not driven while the reader is
//! behind, so that the bytes wait at the peer. It may also hang in silence, so every wait has an end.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bip157::chain::{BlockHeaderChanges, IndexedHeader};
use bip157::{Builder, ChainState, Client, Event, HashCheckpoint, IndexedFilter, Node, TrustedPeer, Warning};
use bitcoin::Network;
use bitcoin::block::Header;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Place;
use super::wire::fault;
use crate::chain::host::HostPort;
use crate::config::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::error::{Error, ErrorCode, Result};

/// Filters that wait for the reader, some 20 kB each. A few round trips' worth.
const WAITING: usize = 64;

/// Longest wait for the next filter: a connection, its handshake, headers and filter headers come before the first, and
/// each of these has [`REQUEST_TIMEOUT`] by itself.
const SILENCE: Duration = Duration::from_secs(10);

/// A run of filters on its way.
pub struct Line {
    peer: HostPort,
    said: mpsc::Receiver<Said>,
    carrier: JoinHandle<()>,
}

enum Said {
    Filter(IndexedFilter),
    /// The peer's chain is not the one that it began with.
    Moved,
    /// Why it ended.
    Ended(String),
}

impl Line {
    /// Begins to bring the filters above a block, whose header may be known, from one peer.
    pub fn start(
        network: Network,
        peer: &HostPort,
        proxy: Option<SocketAddr>,
        above: Place,
        header: Option<Header>,
    ) -> Self {
        let state = match header {
            Some(header) => ChainState::Snapshot(vec![IndexedHeader {
                height: above.height,
                header,
            }]),
            None => ChainState::Checkpoint(HashCheckpoint::new(above.height, above.hash)),
        };
        let trusted = match peer.socket() {
            Some(address) => TrustedPeer::from_socket_addr(address),
            None => TrustedPeer::from_hostname(peer.host(), peer.port()),
        };
        let mut builder = Builder::new(network)
            .add_peer(trusted)
            // Which peers agree is settled before, by name; this one only carries.
            .whitelist_only()
            .required_peers(1)
            .chain_state(state)
            .handshake_timeout(CONNECT_TIMEOUT)
            .response_timeout(REQUEST_TIMEOUT)
            .fetch_witness_data();
        if let Some(proxy) = proxy {
            builder = builder.socks5_proxy(proxy);
        }
        let (node, client) = builder.build();
        let (tell, said) = mpsc::channel(WAITING);
        Self {
            peer: peer.clone(),
            said,
            carrier: tokio::spawn(carry(node, client, tell)),
        }
    }

    /// The next filter, in height order.
    ///
    /// # Errors
    /// [`ErrorCode::SyncTimeout`] if nothing comes, [`ErrorCode::NetworkUnavailable`] if the line ended,
    /// [`ErrorCode::ChainSyncFailed`] if the peer's chain changed under it.
    pub async fn next(&mut self) -> Result<IndexedFilter> {
        match timeout(SILENCE, self.said.recv()).await {
            Ok(Some(Said::Filter(filter))) => Ok(filter),
            Ok(Some(Said::Moved)) => {
                Err(self.fault(ErrorCode::ChainSyncFailed, "its chain changed meanwhile"))
            }
            Ok(Some(Said::Ended(why))) => Err(self.fault(ErrorCode::NetworkUnavailable, &why)),
            Ok(None) => Err(self.fault(ErrorCode::NetworkUnavailable, "it brings no more filters")),
            Err(_) => Err(self.fault(ErrorCode::SyncTimeout, "no filter in time")),
        }
    }

    fn fault(&self, code: ErrorCode, what: &str) -> Error {
        fault(&self.peer, code, what)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// Drives `bip157`, but only while the reader keeps up.
async fn carry(node: Node, client: Client, tell: mpsc::Sender<Said>) {
    // The requester stays: a node whose last one is gone spins.
    let Client {
        requester: _requester,
        mut event_rx,
        mut warn_rx,
        info_rx: _,
    } = client;
    let mut node = pin!(node.run());
    let mut last_warning = None;
    loop {
        // In this order: everything that it told is passed on before it may go on.
        tokio::select! {
            biased;
            event = event_rx.recv() => {
                let said = match event {
                    Some(Event::IndexedFilter(filter)) => Said::Filter(filter),
                    Some(Event::ChainUpdate(BlockHeaderChanges::Reorganized { .. })) => Said::Moved,
                    Some(_) => continue,
                    None => return,
                };
                if tell.send(said).await.is_err() {
                    return;
                }
            }
            Some(warning) = warn_rx.recv() => {
                // This one it repeats a hundred times a second while it has no connection.
                if !matches!(warning, Warning::NeedConnections { .. }) {
                    tracing::debug!(%warning, "filters");
                    last_warning = Some(warning.to_string());
                }
            }
            ended = &mut node => {
                let ended = match ended {
                    Ok(()) => "it ended".to_owned(),
                    Err(error) => error.to_string(),
                };
                // What it told before it ended comes first.
                while let Ok(event) = event_rx.try_recv() {
                    if let Event::IndexedFilter(filter) = event
                        && tell.send(Said::Filter(filter)).await.is_err()
                    {
                        return;
                    }
                }
                let why = last_warning.map_or(ended.clone(), |warning| format!("{ended}; before that: {warning}"));
                let _ = tell.send(Said::Ended(why)).await;
                return;
            }
        }
    }
}
