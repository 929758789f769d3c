//! A program that runs beside us and never outlives us.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Error;

/// How often the keeper looks whether the program is still there.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// A running program. Dropping it kills the process.
pub(crate) struct Kept {
    // Hanging up tells the keeper to kill the child.
    keeper: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    ended: Arc<()>,
}

impl Kept {
    /// Starts a program. What it says on standard error goes to this file.
    pub(crate) fn start(program: &Path, arguments: &[String], stderr_file: &Path) -> Result<Self, Error> {
        let command = command(program, arguments, stderr_file)?;
        let (line, orders) = channel();
        let (report, started) = channel();
        let keeper = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keep(command, &report, &orders))
            .map_err(|e| Error::io("starting a thread")(e))?;
        let ended = started
            .recv()
            .map_err(|_| Error::Input("the keeper thread died".into()))?
            .map_err(|e| Error::io(format!("starting {}", program.display()))(e))?;
        Ok(Self {
            keeper: Mutex::new(Some((line, keeper))),
            ended,
        })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        Arc::strong_count(&self.ended) == 1
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((line, keeper)) = keeper {
            drop(line);
            // Returns at once: the hang-up wakes the keeper.
            let _ = keeper.join();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.kill();
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

#[cfg(target_os = "linux")]
fn command(program: &Path, arguments: &[String], stderr_file: &Path) -> Result<Command, Error> {
    use std::os::unix::process::CommandExt;

    let stderr =
        std::fs::File::create(stderr_file).map_err(Error::io("making a file for what a program says"))?;
    let mut command = Command::new(program);
    command.args(arguments);
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
fn command(program: &Path, arguments: &[String], stderr_file: &Path) -> Result<Command, Error> {
    let stderr =
        std::fs::File::create(stderr_file).map_err(Error::io("making a file for what a program says"))?;
    let mut command = Command::new("/bin/sh");
    // The pipe to `read` closes when we end, however we end; so no parent-death signal is needed. The second
    // subshell notices the daemon's own end, so that the shell ends with it.
    command.args(["-c", WATCHDOG, "sh"]).arg(program).args(arguments);
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

/// A port that was free a moment ago. The listener is returned too, so that two calls cannot give the same one.
pub(crate) fn free_port() -> Result<(TcpListener, u16), Error> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("looking for a free port"))?;
    let port = listener
        .local_addr()
        .map_err(Error::io("looking for a free port"))?
        .port();
    Ok((listener, port))
}

pub(crate) fn tail(file: &Path, bytes: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(file) {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text[text.len().saturating_sub(bytes)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
