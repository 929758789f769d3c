//! One running `bitcoind` on regtest. It owns the child process and the ports; it never outlives us.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::Error;
use crate::rpc::{Rpc, RpcAccess};

/// A free port may be taken by somebody else between our choice and the daemon's bind; then another is chosen.
const PORT_TRIES: usize = 8;
/// An idle machine needs 0.1 s. A machine compiling on every core may need a hundred times that.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often the keeper looks whether the daemon is still there.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// A running daemon. Dropping it kills the process.
pub(crate) struct Bitcoind {
    pub(crate) rpc: Rpc,
    pub(crate) p2p: SocketAddr,
    pub(crate) cookie_file: PathBuf,
    // Hanging up tells the keeper to kill the child.
    keeper: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
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
        let command = command(program, dir, rpc_port, p2p_port, &stderr_file)?;
        let (line, orders) = channel();
        let (report, started) = channel();
        let keeper = std::thread::Builder::new()
            .name("bitcoind-keeper".into())
            .spawn(move || keep(command, &report, &orders))
            .map_err(|e| Error::io("starting a thread")(e))?;
        let ended = started
            .recv()
            .map_err(|_| Error::Bitcoind("the keeper thread died".into()))?
            .map_err(|e| Error::io(format!("starting {}", program.display()))(e))?;

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
            keeper: Mutex::new(Some((line, keeper))),
        };
        let begun = Instant::now();
        let mut ready = false;
        while !ready {
            if Arc::strong_count(&ended) == 1 {
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
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((line, keeper)) = keeper {
            drop(line);
            // Returns at once: the hang-up wakes the keeper.
            let _ = keeper.join();
        }
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        self.kill();
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

/// Spawns the child and stays until told to kill it or until it ends.
///
/// This is a thread of its own because Linux sends the parent-death signal when the *thread* that forked ends, not
/// the process: a worker of an async runtime may retire long before we do.
///
/// The `Arc` handed out in the report is dropped when the child has ended.
fn keep(mut command: Command, report: &Sender<std::io::Result<Arc<()>>>, orders: &Receiver<()>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            let _ = report.send(Err(e));
            return;
        }
    };
    let alive = Arc::new(());
    let _ = report.send(Ok(Arc::clone(&alive)));
    while let Err(RecvTimeoutError::Timeout) = orders.recv_timeout(WATCH_INTERVAL) {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            drop(alive);
            // Nothing left to kill. Wait for the hang-up, so that the owner's `drop` finds us.
            let _ = orders.recv();
            return;
        }
    }
    kill(&mut child);
}

#[cfg(target_os = "linux")]
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Elsewhere the child is a shell that kills the daemon when its standard input ends.
#[cfg(not(target_os = "linux"))]
fn kill(child: &mut Child) {
    drop(child.stdin.take());
    let _ = child.wait();
}

fn arguments(dir: &Path, rpc_port: u16, p2p_port: u16) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-regtest",
        "-server=1",
        "-listen=1",
        "-txindex=1",
        "-blockfilterindex=1",
        "-peerblockfilters=1",
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

#[cfg(target_os = "linux")]
fn command(
    program: &Path,
    dir: &Path,
    rpc_port: u16,
    p2p_port: u16,
    stderr_file: &Path,
) -> Result<Command, Error> {
    use std::os::unix::process::CommandExt;

    let stderr = std::fs::File::create(stderr_file).map_err(Error::io("making bitcoind's stderr file"))?;
    let mut command = Command::new(program);
    command.args(arguments(dir, rpc_port, p2p_port));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let parent = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe and touch nothing of this process's memory.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // Our parent may have died before the line above took hold.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(std::io::Error::other("the parent is gone"));
            }
            Ok(())
        });
    }
    Ok(command)
}

#[cfg(not(target_os = "linux"))]
fn command(
    program: &Path,
    dir: &Path,
    rpc_port: u16,
    p2p_port: u16,
    stderr_file: &Path,
) -> Result<Command, Error> {
    let stderr = std::fs::File::create(stderr_file).map_err(Error::io("making bitcoind's stderr file"))?;
    let mut command = Command::new("/bin/sh");
    // The pipe to `read` closes when we end, however we end; so no parent-death signal is needed. The second
    // subshell notices the daemon's own end, so that the shell ends with it.
    command
        .args(["-c", WATCHDOG, "sh"])
        .arg(program)
        .args(arguments(dir, rpc_port, p2p_port));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
    Ok(command)
}

/// Runs the daemon until it ends or standard input does. `exec 3<&0` because a shell gives background jobs
/// `/dev/null` as their input.
#[cfg(any(test, not(target_os = "linux")))]
const WATCHDOG: &str = r#"exec 3<&0
"$@" 3<&- & daemon=$!
( read -r _ <&3; kill -9 "$daemon" 2>/dev/null ) & watch=$!
wait "$daemon"
kill "$watch" 2>/dev/null"#;

/// Two ports of 127.0.0.1 that were free a moment ago.
fn free_ports() -> Result<(u16, u16), Error> {
    let (a, b) = (free_port()?, free_port()?);
    Ok((a.1, b.1))
}

/// A port that was free a moment ago. The listener is returned too, so that two calls cannot give the same one.
fn free_port() -> Result<(TcpListener, u16), Error> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("looking for a free port"))?;
    let port = listener
        .local_addr()
        .map_err(Error::io("looking for a free port"))?
        .port();
    Ok((listener, port))
}

fn tail(file: &Path, bytes: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(file) {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text[text.len().saturating_sub(bytes)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way used where there is no parent-death signal, tried here with a daemon that only sleeps.
    #[test]
    fn watchdog_kills_the_daemon_when_its_input_ends() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "sh", "sleep", "600"])
            .stdin(Stdio::piped())
            // The shell says "Killed" there.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            child.try_wait().unwrap().is_none(),
            "it runs while the input is open"
        );
        drop(child.stdin.take());
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is still running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn watchdog_ends_with_its_daemon() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "sh", "sleep", "0.2"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is still running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
