//! `up`: a devnet that lasts until it is interrupted, told to stop, or left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pilotlight_devnet::{Devnet, Error, Info, Options, serve_control};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{UpOptions, default_dir};
use crate::{Failure, print};

/// How often it is looked whether the parent still lives. Linux could send a signal instead, but it does so when the
/// parent's *thread* that started us ends, which is not what is meant.
const PARENT_INTERVAL: Duration = Duration::from_millis(300);

/// The process that started this one.
pub(crate) fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

pub(crate) async fn up(options: UpOptions, dir: Option<PathBuf>, parent: u32) -> Result<(), Failure> {
    let end = end(&options, parent)?;
    tokio::pin!(end);
    let dir = dir.unwrap_or_else(default_dir);
    let starting = start(&options, &dir);
    let (devnet, mut control, info) = tokio::select! {
        started = starting => started?,
        why = &mut end => return Err(Failure::Failed(format!("interrupted while starting: {why}"))),
    };
    let file = info.dir.join("devnet.json");
    write(&file, &info).map_err(|e| Failure::Failed(format!("writing {}: {e}", file.display())))?;
    if !options.json {
        eprintln!("devnet: ready. Esplora {}; end with Ctrl-C", info.esplora_url);
    }
    print(&json!(info));

    let why = tokio::select! {
        why = &mut end => why,
        () = control.stop_requested() => "told to stop",
    };
    if !options.json {
        eprintln!("devnet: {why}");
    }
    // First, so that nobody is sent to where there is nobody any more.
    let _ = std::fs::remove_file(&file);
    // The answer to `stop` is still on its way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(control);
    drop(devnet);
    Ok(())
}

async fn start(options: &UpOptions, dir: &Path) -> Result<(Devnet, pilotlight_devnet::Served, Info), Error> {
    let devnet = Devnet::start(Options {
        peers: options.peers.into(),
        channels: !options.no_channels && options.peers > 1,
        rtt: Duration::from_millis(options.rtt),
        dir: Some(dir.to_owned()),
        auto_mine: options.auto_mine.map(Duration::from_secs),
        live_gossip: true,
        progress: !options.json,
    })
    .await?;
    let control = serve_control(&devnet).await?;
    let info = devnet.info().await?;
    Ok((devnet, control, info))
}

/// Waits for the first reason to end, and says it.
fn end(options: &UpOptions, parent: u32) -> Result<impl Future<Output = &'static str> + use<>, Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::Failed(format!("listening for signals: {e}")));
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    let (watch_stdin, watch_parent) = (options.until_stdin_closes, !options.outlive_parent);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
            _ = hangup.recv() => "the terminal is gone",
            () = stdin_ends(), if watch_stdin => "standard input ended",
            () = parent_ends(parent), if watch_parent => "the parent process has ended",
        }
    })
}

/// On a thread of its own, which the process's end does not wait for: a read of standard input cannot be called off.
async fn stdin_ends() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    if end.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn parent_ends(parent: u32) {
    if parent <= 1 {
        // Started by the system itself, or orphaned before we looked: there is nobody to watch.
        std::future::pending::<()>().await;
    }
    while self::parent() == parent {
        tokio::time::sleep(PARENT_INTERVAL).await;
    }
}

/// Writes the whole file or nothing: others wait for it to appear, and read it at once.
fn write(file: &Path, info: &Info) -> std::io::Result<()> {
    let fresh = file.with_extension("json.fresh");
    std::fs::write(&fresh, format!("{}\n", json!(info)))?;
    std::fs::rename(&fresh, file)
}
