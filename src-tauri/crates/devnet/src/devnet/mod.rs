//! The devnet as a whole: what it consists of, starting it, and what can be asked of it.

mod chain;
mod peers;

pub use chain::Seen;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::bitcoind::Bitcoind;
use crate::esplora::follow::Follower;
use crate::esplora::{Face, Faults, Listener, Traffic};
use crate::gossip::{self, GossipServer};
use crate::info::{BitcoindInfo, Info, Options};
use crate::mining::Miner;
use crate::peer::Peer;
use crate::rpc::Rpc;
use crate::start::{Claim, OwnRuntime, Parts, auto_mine, begin, live_gossip, watch};
use crate::{Error, progress};

/// The peers there can be, in the order in which they are started.
pub const PEER_NAMES: [&str; 3] = ["lsp", "alice", "bob"];

/// A peer's orderly end takes 0.1 s. After this, the process goes on without it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running devnet. Cheap to clone; it ends, with all its processes and temporary files, when the last clone is dropped.
#[derive(Clone)]
pub struct Devnet {
    inner: Arc<Inner>,
    // `None` in the hands of the devnet's own tasks: they must not keep it alive while they are at work.
    _life: Option<Arc<Life>>,
}

/// Ends the devnet when its users are done with it.
struct Life(Arc<Inner>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Inner {
    peers: Mutex<Vec<Peer>>,
    starting: tokio::sync::Mutex<()>,
    listener: Listener,
    plain: Listener,
    gossip: GossipServer,
    face: Arc<Face>,
    miner: Miner,
    bitcoind: Bitcoind,
    version: String,
    control_url: Mutex<Option<String>>,
    dir: PathBuf,
    claim: Mutex<Option<Claim>>,
    runtime: Handle,
    own_runtime: Mutex<Option<OwnRuntime>>,
}

impl Inner {
    fn new(parts: Parts, runtime: OwnRuntime) -> Self {
        Self {
            peers: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            listener: parts.listener,
            plain: parts.plain,
            gossip: parts.gossip,
            face: parts.face,
            miner: parts.miner,
            bitcoind: parts.bitcoind,
            version: parts.version,
            control_url: Mutex::default(),
            dir: parts.dir,
            claim: Mutex::new(Some(parts.claim)),
            runtime: runtime.handle(),
            own_runtime: Mutex::new(Some(runtime)),
        }
    }
}

impl Devnet {
    /// Starts a devnet. Takes about a second, with peers and channels a few; minutes if `bitcoind` must be built first.
    ///
    /// # Errors
    /// [`Error::NoBitcoind`] when none can be had; else whichever part did not start.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let runtime = OwnRuntime::new()?;
        let handle = runtime.handle();
        let inside = handle.clone();
        let began = handle.spawn(async move { begin(&options, inside).await.map(|parts| (parts, options)) });
        let (parts, options) = began
            .await
            .map_err(|e| Error::Bitcoind(format!("starting died: {e}")))??;
        let inner = Arc::new(Inner::new(parts, runtime));
        let life = Arc::new(Life(Arc::clone(&inner)));
        let devnet = Self {
            inner,
            _life: Some(life),
        };
        let say = |words: &str| {
            if options.progress {
                progress(words);
            }
        };

        for name in PEER_NAMES.iter().take(options.peers) {
            say(&format!("starting {name}"));
            devnet.start_peer(name).await?;
        }
        if options.peers > 0 {
            devnet.fund_peers(&devnet.peers()).await?;
        }
        if options.channels {
            say("opening channels");
            devnet.open_channels().await?;
        }
        let watched = devnet.downgrade();
        handle.spawn(watch(watched.clone()));
        if options.live_gossip {
            handle.spawn(live_gossip(devnet.downgrade()));
        }
        if let Some(interval) = options.auto_mine {
            handle.spawn(auto_mine(watched, interval));
        }
        Ok(devnet)
    }

    /// The wallet's Esplora URL: with round-trip time and faults.
    pub fn esplora_url(&self) -> String {
        self.inner.listener.url()
    }

    /// An Esplora URL of the same chain that is never slowed or broken.
    pub fn plain_esplora_url(&self) -> String {
        self.inner.plain.url()
    }

    /// The Rapid Gossip Sync server. It tells what was published on it; see [`Options::live_gossip`].
    pub fn gossip(&self) -> &GossipServer {
        &self.inner.gossip
    }

    /// The public channels that the LSP has heard of; none without an LSP.
    pub fn heard_gossip(&self) -> gossip::Network {
        self.lsp()
            .map(|lsp| gossip::Network::heard_by(&lsp))
            .unwrap_or_default()
    }

    /// What can be made to go wrong on the wallet's Esplora listener.
    pub fn faults(&self) -> &Faults {
        self.inner.listener.faults()
    }

    /// What the wallet's Esplora listener carried.
    pub fn traffic(&self) -> Traffic {
        self.inner.listener.meter().read()
    }

    /// Starts counting anew.
    pub fn reset_traffic(&self) {
        self.inner.listener.meter().reset();
    }

    /// Changes the round-trip time of the wallet's Esplora listener.
    pub fn set_rtt(&self, rtt: Duration) {
        self.inner.listener.set_rtt(rtt);
    }

    /// `bitcoind`'s JSON-RPC.
    pub fn rpc(&self) -> &Rpc {
        &self.inner.bitcoind.rpc
    }

    /// `bitcoind`'s peer-to-peer address; serves compact block filters.
    pub fn p2p_address(&self) -> SocketAddr {
        self.inner.bitcoind.p2p
    }

    /// Its folder (logs of the daemon and the peers).
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    fn follower(&self) -> &Follower {
        &self.inner.face.follower
    }

    /// Everything somebody needs to know to use it.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn info(&self) -> Result<Info, Error> {
        let inner = &self.inner;
        let (height, tip) = self.tip().await?;
        let estimate: Value = self.rpc().call("estimatesmartfee", json!([6])).await?;
        Ok(Info {
            network: "regtest".into(),
            pid: std::process::id(),
            dir: inner.dir.clone(),
            esplora_url: self.esplora_url(),
            plain_esplora_url: self.plain_esplora_url(),
            gossip_url: self.gossip().url(),
            control_url: inner
                .control_url
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            rtt_ms: u64::try_from(inner.listener.rtt().as_millis()).unwrap_or(u64::MAX),
            bitcoind: BitcoindInfo {
                rpc: self.rpc().access().clone(),
                p2p: inner.bitcoind.p2p,
                cookie_file: inner.bitcoind.cookie_file.clone(),
                version: inner.version.clone(),
            },
            peers: self.peers().iter().map(|peer| peer.info().clone()).collect(),
            height,
            tip,
            fee_rate: crate::esplora::fees::sat_per_vb(&estimate),
        })
    }

    pub(crate) fn set_control_url(&self, url: String) {
        *self
            .inner
            .control_url
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    pub(crate) fn runtime(&self) -> Handle {
        self.inner.runtime.clone()
    }

    pub(crate) fn downgrade(&self) -> WeakDevnet {
        WeakDevnet(Arc::downgrade(&self.inner))
    }
}

/// A devnet that this does not keep alive.
#[derive(Clone)]
pub(crate) struct WeakDevnet(Weak<Inner>);

impl WeakDevnet {
    pub(crate) fn upgrade(&self) -> Option<Devnet> {
        self.0.upgrade().map(|inner| Devnet { inner, _life: None })
    }
}

impl Inner {
    /// Ends all parts, in the order in which they depend on one another.
    fn end(&self) {
        self.end_peers();
        self.listener.close();
        self.plain.close();
        self.bitcoind.kill();
        drop(
            self.own_runtime
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn end_peers(&self) {
        let peers = std::mem::take(&mut *self.peers.lock().unwrap_or_else(PoisonError::into_inner));
        let (done, all_done) = std::sync::mpsc::channel();
        for peer in &peers {
            let (peer, done) = (peer.clone(), done.clone());
            // On threads of their own: stopping blocks, and we may be inside of an async task.
            std::thread::spawn(move || {
                peer.shut_down();
                let _ = done.send(());
            });
        }
        let begun = Instant::now();
        let wait = || {
            for _ in &peers {
                if all_done
                    .recv_timeout(STOP_LIMIT.saturating_sub(begun.elapsed()))
                    .is_err()
                {
                    break;
                }
            }
        };
        // Waiting must not hold up a task of a runtime that others need.
        let flavour = Handle::try_current().map(|handle| handle.runtime_flavor());
        if matches!(flavour, Ok(RuntimeFlavor::MultiThread)) {
            tokio::task::block_in_place(wait);
        } else {
            wait();
        }
    }
}
