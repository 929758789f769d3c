//! The LSP and the peers: real Lightning nodes of independent make (ldk-node), following our chain through a listener
//! of the Esplora face that is never slowed or broken.

mod build;
mod channels;
mod cheat;
mod events;
mod log;
mod models;
mod payments;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::Txid;
use bitcoin::secp256k1::PublicKey;
use ldk_node::Node;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use build::Recipe;
pub(crate) use build::start;
pub use cheat::OldState;
use events::Heard;
pub use models::{Balances, Channel, Payment, PaymentState, PeerInfo};
use store::MemoryStore;

use crate::Error;
use crate::esplora::Face;

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(25);

/// A node other than the wallet's. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    info: PeerInfo,
    node: Arc<Node>,
    runtime: Handle,
    recipe: Recipe,
    store: Arc<MemoryStore>,
    face: Arc<Face>,
    heard: Arc<Mutex<Heard>>,
    pump: Mutex<Option<JoinHandle<()>>>,
}

impl Peer {
    fn new(info: PeerInfo, node: Node, recipe: Recipe, store: Arc<MemoryStore>, face: Arc<Face>) -> Self {
        let inner = Inner {
            info,
            node: Arc::new(node),
            runtime: recipe.runtime().clone(),
            recipe,
            store,
            face,
            heard: Arc::default(),
            pump: Mutex::new(None),
        };
        inner.listen();
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Name, key and address.
    pub fn info(&self) -> &PeerInfo {
        &self.inner.info
    }

    /// `lsp`, `alice` or `bob`.
    pub fn name(&self) -> &str {
        &self.inner.info.name
    }

    /// Its public key.
    pub fn node_id(&self) -> PublicKey {
        self.inner.info.node_id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.inner.info.address
    }

    /// Whether it runs (see [`Peer::stop`]).
    pub fn is_running(&self) -> bool {
        self.inner.node.status().is_running
    }

    /// Height of the chain as it knows it.
    pub fn height(&self) -> u32 {
        self.inner.node.status().current_best_block.height
    }

    /// What it owns.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn balances(&self) -> Result<Balances, Error> {
        self.blocking("reading its balances", |node| Ok(node.list_balances().into()))
            .await
    }

    /// A fresh address of its on-chain wallet.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn new_address(&self) -> Result<bitcoin::Address, Error> {
        self.blocking("making an address", |node| node.onchain_payment().new_address())
            .await
    }

    /// Pays on chain from its wallet.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn send_onchain(&self, address: &bitcoin::Address, sats: u64) -> Result<Txid, Error> {
        let address = address.clone();
        self.blocking("paying on chain", move |node| {
            node.onchain_payment().send_to_address(&address, sats, None)
        })
        .await
    }

    /// Connects to another node, and does so again about every minute if the connection is lost.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn connect(&self, node_id: PublicKey, address: SocketAddr) -> Result<(), Error> {
        self.blocking("connecting", move |node| {
            node.connect(node_id, address.into(), true)
        })
        .await
    }

    /// Hangs up on another node, and no longer connects to it by itself.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn disconnect(&self, node_id: PublicKey) -> Result<(), Error> {
        self.blocking("disconnecting", move |node| node.disconnect(node_id))
            .await
    }

    /// Whether another node is connected to it.
    pub fn is_connected_to(&self, node_id: PublicKey) -> bool {
        self.inner
            .node
            .list_peers()
            .iter()
            .any(|peer| peer.node_id == node_id && peer.is_connected)
    }

    /// Follows the chain to its present end.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn sync(&self) -> Result<(), Error> {
        self.blocking("following the chain", Node::sync_wallets).await
    }

    /// Stops it: it can no longer be reached, and its port is closed. Its state stays.
    ///
    /// # Errors
    /// [`Error::Peer`] when it is stopped already.
    pub async fn stop(&self) -> Result<(), Error> {
        self.inner.deafen();
        self.blocking("stopping", Node::stop).await
    }

    /// Starts it again after [`Peer::stop`], on the same port, and follows the chain.
    ///
    /// # Errors
    /// [`Error::Peer`] when it runs already or its port was taken meanwhile.
    pub async fn start(&self) -> Result<(), Error> {
        self.blocking("starting", Node::start).await?;
        self.inner.listen();
        self.sync().await
    }

    /// Whether this is the best block it knows.
    pub(crate) fn knows(&self, tip: bitcoin::BlockHash) -> bool {
        self.inner.node.status().current_best_block.block_hash == tip
    }

    /// Waits until it has heard of `channels` announced channels, in both directions each.
    pub(crate) async fn wait_gossip(&self, channels: usize, timeout: Duration) -> Result<(), Error> {
        self.wait(
            &format!("{}: gossip of {channels} channels", self.name()),
            timeout,
            || {
                let graph = self.inner.node.network_graph();
                let known = graph
                    .list_channels()
                    .into_iter()
                    .filter_map(|scid| graph.channel(scid));
                let complete = known
                    .filter(|c| c.one_to_two.is_some() && c.two_to_one.is_some())
                    .count();
                (complete >= channels).then_some(())
            },
        )
        .await
    }

    /// What it has heard of the network.
    pub(crate) fn graph(&self) -> ldk_node::graph::NetworkGraph {
        self.inner.node.network_graph()
    }

    pub(crate) fn shut_down(&self) {
        self.inner.deafen();
        let _ = self.inner.node.stop();
    }

    fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Peer {
            peer: self.name().to_owned(),
            reason: reason.into(),
        }
    }

    /// ldk-node's calls block; they run where that is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        call: impl FnOnce(&Node) -> Result<T, ldk_node::NodeError> + Send + 'static,
    ) -> Result<T, Error> {
        let node = Arc::clone(&self.inner.node);
        let done = self.inner.runtime.spawn_blocking(move || call(&node)).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.failed(format!("{what} failed: {e}"))),
            Err(e) => Err(self.failed(format!("{what} failed: {e}"))),
        }
    }

    async fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if begun.elapsed() > timeout {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    waited: timeout,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
