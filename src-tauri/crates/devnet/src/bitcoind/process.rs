//! One running `bitcoind` on regtest. It owns the child process and the ports; it never outlives us.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::Error;
use crate::child::{Kept, free_port, tail};
use crate::rpc::{Rpc, RpcAccess};

/// A free port may be taken by somebody else between our choice and the daemon's bind; then another is chosen.
const PORT_TRIES: usize = 8;
/// An idle machine needs 0.1 s. A machine compiling on every core may need a hundred times that.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running daemon. Dropping it kills the process.
pub(crate) struct Bitcoind {
    pub(crate) rpc: Rpc,
    pub(crate) p2p: SocketAddr,
    pub(crate) cookie_file: PathBuf,
    child: Kept,
}

impl Bitcoind {
    /// Starts `program` on a fresh chain in `dir`, on ports of 127.0.0.1 that are free.
    pub(crate) async fn start(program: &Path, dir: &Path, runtime: Handle) -> Result<Self, Error> {
        let mut last = String::new();
        for _ in 0..PORT_TRIES {
            // A failed try may leave a lock or half a chain behind.
            if dir.exists() {
                std::fs::remove_dir_all(dir).map_err(Error::io("clearing the chain's folder"))?;
            }
            std::fs::create_dir_all(dir).map_err(Error::io("making the chain's folder"))?;
            let (rpc_port, p2p_port) = free_ports()?;
            match Self::launch(program, dir, rpc_port, p2p_port, runtime.clone()).await {
                Ok(daemon) => return Ok(daemon),
                Err(Launch::PortTaken(words)) => last = words,
                Err(Launch::Failed(e)) => return Err(e),
            }
        }
        Err(Error::Bitcoind(format!(
            "no free port after {PORT_TRIES} tries: {last}"
        )))
    }

    async fn launch(
        program: &Path,
        dir: &Path,
        rpc_port: u16,
        p2p_port: u16,
        runtime: Handle,
    ) -> Result<Self, Launch> {
        let stderr_file = dir.join("stderr.log");
        let child = Kept::start(program, &arguments(dir, rpc_port, p2p_port), &stderr_file)?;

        let cookie_file = dir.join("regtest").join(".cookie");
        let mut daemon = Self {
            // Replaced below as soon as the cookie is there.
            rpc: Rpc::new(
                RpcAccess {
                    url: String::new(),
                    user: String::new(),
                    password: String::new(),
                },
                runtime.clone(),
            )?,
            p2p: SocketAddr::from((Ipv4Addr::LOCALHOST, p2p_port)),
            cookie_file,
            child,
        };
        let begun = Instant::now();
        let mut ready = false;
        while !ready {
            if daemon.child.has_ended() {
                return Err(post_mortem(dir, &stderr_file));
            }
            if begun.elapsed() > START_LIMIT {
                return Err(Launch::Failed(Error::Timeout {
                    what: "bitcoind's first answer".into(),
                    waited: START_LIMIT,
                }));
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
            if daemon.rpc.access().url.is_empty() {
                let Ok(cookie) = std::fs::read_to_string(&daemon.cookie_file) else {
                    continue;
                };
                let Some((user, password)) = cookie.trim().split_once(':') else {
                    continue;
                };
                let access = RpcAccess {
                    url: format!("http://127.0.0.1:{rpc_port}/"),
                    user: user.to_owned(),
                    password: password.to_owned(),
                };
                daemon.rpc = Rpc::new(access, runtime.clone())?;
            }
            // Refused while it loads (code -28) and unreachable before it listens: both only mean "not yet".
            ready = daemon.rpc.call::<Value>("getblockcount", json!([])).await.is_ok();
        }
        Ok(daemon)
    }
}

impl Bitcoind {
    /// Kills the daemon and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.child.kill();
    }
}

enum Launch {
    PortTaken(String),
    Failed(Error),
}

impl From<Error> for Launch {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

/// Why the daemon is gone, from its own words.
fn post_mortem(dir: &Path, stderr_file: &Path) -> Launch {
    let mut words = tail(stderr_file, 2_000);
    if words.trim().is_empty() {
        words = tail(&dir.join("regtest").join("debug.log"), 2_000);
    }
    let words = words.trim().to_owned();
    // The last one is what bitcoind says when another process took the RPC port first.
    let taken = [
        "Unable to bind",
        "Address already in use",
        "Unable to start HTTP server",
    ];
    if taken.iter().any(|known| words.contains(known)) {
        Launch::PortTaken(words)
    } else {
        Launch::Failed(Error::Bitcoind(format!("it stopped at once: {words}")))
    }
}

fn arguments(dir: &Path, rpc_port: u16, p2p_port: u16) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-regtest",
        "-server=1",
        "-listen=1",
        "-txindex=1",
        "-blockfilterindex=1",
        "-peerblockfilters=1",
        // electrs reads blocks there.
        "-rest=1",
        // Nobody out there is to be looked for.
        "-dnsseed=0",
        "-fixedseeds=0",
        "-discover=0",
        "-listenonion=0",
        "-natpmp=0",
        // Peers on this machine may misbehave (that is what tests do) without being banned for it.
        "-whitelist=noban,relay,mempool@127.0.0.1",
        // Regtest checks its whole mempool and index at every change by default: wasted work here.
        "-checkmempool=0",
        "-checkblockindex=0",
        "-persistmempool=0",
        "-par=1",
        "-dbcache=16",
        "-rpcthreads=4",
        // All requests of several clients in parallel tests must find a place in the queue.
        "-rpcworkqueue=512",
        "-printtoconsole=0",
        "-rpcallowip=127.0.0.1",
        "-rpcbind=127.0.0.1",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("-datadir={}", dir.display()));
    arguments.push(format!("-rpcport={rpc_port}"));
    arguments.push(format!("-bind=127.0.0.1:{p2p_port}"));
    arguments
}

/// Two ports of 127.0.0.1 that were free a moment ago.
fn free_ports() -> Result<(u16, u16), Error> {
    let (a, b) = (free_port()?, free_port()?);
    Ok((a.1, b.1))
}
