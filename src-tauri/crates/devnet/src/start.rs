//! Starting a devnet's parts, and the tasks that go with it: one that watches the chain, one that mines.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

use crate::bitcoind::{Bitcoind, ensure};
use crate::devnet::WeakDevnet;
use crate::esplora::follow::Follower;
use crate::esplora::{Face, Listener};
use crate::gossip::GossipServer;
use crate::mining::Miner;
use crate::{Error, Options, progress};

/// How often it is looked whether somebody else made blocks (`bitcoind`'s RPC is open to all).
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The devnet's own runtime: independent of the caller's, whose flavour and life it does not know.
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(crate) fn new() -> Result<Self, Error> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("devnet")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(Error::io("making a runtime"))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0
            .as_ref()
            .expect("it is only taken when dropped")
            .handle()
            .clone()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // An ordinary drop blocks, which panics inside of an async task.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The parts that are started inside of the devnet's runtime.
pub(crate) struct Parts {
    pub(crate) listener: Listener,
    pub(crate) plain: Listener,
    pub(crate) gossip: GossipServer,
    pub(crate) face: Arc<Face>,
    pub(crate) miner: Miner,
    pub(crate) bitcoind: Bitcoind,
    pub(crate) version: String,
    pub(crate) dir: PathBuf,
    pub(crate) claim: Claim,
}

/// What makes the folder ours for as long as we live: nobody else knows it, or its lock.
pub(crate) enum Claim {
    Temporary(#[allow(dead_code, reason = "removes the folder when dropped")] tempfile::TempDir),
    Locked(#[allow(dead_code, reason = "unlocks when dropped")] File),
}

pub(crate) async fn begin(options: &Options, runtime: Handle) -> Result<Parts, Error> {
    let found = runtime
        .spawn_blocking(ensure)
        .await
        .map_err(|e| Error::NoBitcoind(format!("looking for it died: {e}")))??;
    let (dir, claim) = if let Some(dir) = &options.dir {
        claim(dir)?
    } else {
        let temporary = tempfile::Builder::new()
            .prefix("pilotlight-devnet-")
            .tempdir()
            .map_err(Error::io("making a temporary folder"))?;
        (temporary.path().to_owned(), Claim::Temporary(temporary))
    };
    if options.progress {
        progress(&format!("starting bitcoind {}", found.version));
    }
    let bitcoind = Bitcoind::start(&found.path, &dir.join("bitcoind"), runtime).await?;
    let face = Arc::new(Face::new(Follower::new(bitcoind.rpc.clone())));
    let miner = Miner::new();
    miner.found(&face.follower).await?;
    Ok(Parts {
        listener: Listener::start(Arc::clone(&face), options.rtt).await?,
        plain: Listener::start(Arc::clone(&face), Duration::ZERO).await?,
        gossip: GossipServer::start(bitcoin::Network::Regtest).await?,
        face,
        miner,
        bitcoind,
        version: found.version,
        dir,
        claim,
    })
}

/// Takes a folder for ourselves and removes what an earlier devnet left in it.
fn claim(dir: &Path) -> Result<(PathBuf, Claim), Error> {
    std::fs::create_dir_all(dir).map_err(Error::io(format!("making {}", dir.display())))?;
    let dir = dir
        .canonicalize()
        .map_err(Error::io(format!("finding {}", dir.display())))?;
    let lock_path = dir.join("devnet.lock");
    let mut entries = std::fs::read_dir(&dir).map_err(Error::io(format!("reading {}", dir.display())))?;
    if !lock_path.exists() && entries.next().is_some() {
        // Things are removed below; not somebody's else.
        return Err(Error::Input(format!(
            "{} is neither empty nor a devnet's folder",
            dir.display()
        )));
    }
    let lock = File::create(&lock_path).map_err(Error::io(format!("making {}", lock_path.display())))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Occupied(dir)),
        Err(TryLockError::Error(e)) => return Err(Error::io(format!("locking {}", lock_path.display()))(e)),
    }
    let peers = dir.join("peers");
    if peers.exists() {
        std::fs::remove_dir_all(&peers).map_err(Error::io(format!("clearing {}", peers.display())))?;
    }
    Ok((dir, Claim::Locked(lock)))
}

/// Makes the peers follow blocks that were not mined through us.
pub(crate) async fn watch(devnet: WeakDevnet) {
    let mut settled = None;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(devnet) = devnet.upgrade() else {
            return;
        };
        if devnet.peers().is_empty() {
            continue;
        }
        let Ok((_, tip)) = devnet.tip().await else {
            continue;
        };
        if settled != Some(tip) && devnet.settle().await.is_ok() {
            settled = Some(tip);
        }
    }
}

/// Makes the gossip server tell of channels as they open.
pub(crate) async fn live_gossip(devnet: WeakDevnet) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(devnet) = devnet.upgrade() else {
            return;
        };
        let heard = devnet.heard_gossip();
        if !heard.channels.is_empty() && !devnet.gossip().tells(&heard) {
            devnet.gossip().publish(heard, Duration::ZERO);
        }
    }
}

pub(crate) async fn auto_mine(devnet: WeakDevnet, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(devnet) = devnet.upgrade() else {
            return;
        };
        if let Err(e) = devnet.mine(1).await {
            progress(&format!("mining failed: {e}"));
        }
    }
}
