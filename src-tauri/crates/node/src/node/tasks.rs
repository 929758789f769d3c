//! What runs while the node is open: LDK's background work, the sender of transactions, the committer, the foreground's
//! rounds, and the ear for a process that was asleep.
//!
//! None of them may end unasked. One that does (a panic in a library, a write that failed) leaves a node that looks
//! alive and keeps nothing safe: it is told by [`Tasks::died`], and whoever owns the node makes a new one from what is
//! on disk.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lightning_background_processor::{NO_LIQUIDITY_MANAGER, process_events_async};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Node, OnDrop};
use crate::clock;
use crate::config::FOREGROUND_SYNC_INTERVAL;
use crate::error::Result;
use crate::gossip::scores::Scorer;
use crate::lightning::{EventHandler, GossipSync};
use crate::lock::lock;
use crate::models::NodeEvent;

/// How often we look whether the process was asleep.
const PULSE: Duration = Duration::from_secs(1);

/// A pulse that took so long was no busy processor but a suspended process, whose sockets the system may have taken
/// away. LDK's own measure is one second, at which a phone under load hangs up on its peers in the middle of a payment;
/// a connection that lives through ten seconds of silence is found out by LDK's pings anyway.
const ASLEEP: Duration = Duration::from_secs(10);

/// What runs while the node is open.
pub struct Tasks {
    pub(super) stop: CancellationToken,
    pub(super) processor: JoinHandle<()>,
    pub(super) sender: JoinHandle<()>,
    pub(super) committer: JoinHandle<()>,
    pub(super) pulse: JoinHandle<()>,
    pub(super) no_more_commits: CancellationToken,
    pub(super) foreground: Option<Foreground>,
    died: CancellationToken,
}

/// The rounds of the open app.
pub(super) struct Foreground {
    pub(super) leave: CancellationToken,
    pub(super) rounds: JoinHandle<()>,
}

impl Tasks {
    /// Starts LDK's background processor and the sender of transactions.
    pub fn start(node: &Arc<Node>) -> Self {
        let (stop, died) = (CancellationToken::new(), CancellationToken::new());
        let processor = watched(
            "LDK's background work",
            &stop,
            &died,
            process_events(node, stop.clone()),
        );
        let sender = watched("the sender", &stop, &died, {
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
        let committer = watched("the committer", &no_more_commits, &died, {
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
        let pulse = watched("the pulse", &stop, &died, {
            let (node, stop) = (Arc::clone(node), stop.clone());
            async move {
                loop {
                    let (running, of_day) = (tokio::time::Instant::now(), clock::since_epoch());
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(PULSE) => {}
                    }
                    let of_day = clock::since_epoch().saturating_sub(of_day);
                    if was_asleep(running.elapsed(), of_day) {
                        tracing::info!(?of_day, "the process was asleep; hanging up on its peers");
                        node.lightning.peers.disconnect_all_peers();
                        node.awake.notify_one();
                    }
                }
            }
        });
        Self {
            stop,
            processor,
            sender,
            committer,
            pulse,
            no_more_commits,
            foreground: None,
            died,
        }
    }

    /// Fires when one of the tasks ended unasked.
    pub fn died(&self) -> &CancellationToken {
        &self.died
    }
}

/// Whether a pulse of [`PULSE`] says that the process did not run. The one clock stands still while a phone sleeps, the
/// other may be set; a wrong guess costs a reconnection.
fn was_asleep(running: Duration, of_day: Duration) -> bool {
    running.max(of_day) > PULSE + ASLEEP
}

/// Spawns a task that may end only after `asked`.
fn watched(
    what: &'static str,
    asked: &CancellationToken,
    died: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let (asked, died) = (asked.clone(), died.clone());
    tokio::spawn(async move {
        let _alarm = OnDrop(move || {
            if !asked.is_cancelled() {
                tracing::error!(what, panicked = std::thread::panicking(), "ended unasked");
                died.cancel();
            }
        });
        work.await;
    })
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
            // No ten looks a second for a process that was asleep: `ASLEEP` says why, the pulse does it.
            false,
            || Some(clock::since_epoch()),
        )
        .await;
        if let Err(error) = done {
            tracing::error!(%error, "LDK's background work ended: it could not write");
        }
    }
}

impl Node {
    /// Keeps syncing and keeps peers connected until the node stops or [`Self::leave_foreground`].
    pub(crate) fn enter_foreground(
        self: &Arc<Self>,
        report: impl Fn(&Self, Result<()>) + Send + Sync + 'static,
    ) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut().filter(|tasks| tasks.foreground.is_none()) else {
            return;
        };
        // A quiet time: nothing is being paid yet. What is written meanwhile waits some tens of milliseconds.
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.compact_if_due() {
                tracing::warn!(%error, "store not compacted");
            }
        });
        self.gossip.wake_up();
        let leave = tasks.stop.child_token();
        let rounds = watched("the foreground", &leave, &tasks.died, {
            let (node, leave) = (Arc::clone(self), leave.clone());
            async move {
                tokio::select! {
                    () = leave.cancelled() => {}
                    () = node.rounds(report) => {}
                }
            }
        });
        tasks.foreground = Some(Foreground { leave, rounds });
    }

    /// Every await of it may be dropped; see `sync`.
    async fn rounds(self: &Arc<Self>, report: impl Fn(&Self, Result<()>)) {
        // Ends with the rounds.
        let mut quiet = tokio::task::JoinSet::new();
        loop {
            let before = self.checkpoint().map(|checkpoint| checkpoint.hash);
            let synced = self.sync().await;
            if synced.is_ok() {
                // Peers only after the chain: an old channel state must not be shown to them.
                self.connect_peers().await;
                if quiet.is_empty() {
                    quiet.spawn(Arc::clone(&self.gossip).keep_fresh());
                }
                let after = self.checkpoint().map(|checkpoint| checkpoint.hash);
                if before != after
                    && let Err(error) = self.persist().await
                {
                    tracing::error!(%error, detail = error.detail(), "checkpoint not written");
                }
            }
            report(self, synced);
            self.tell(NodeEvent::OverviewChanged);
            tokio::select! {
                () = self.awake.notified() => {}
                () = tokio::time::sleep(FOREGROUND_SYNC_INTERVAL) => {}
            }
        }
    }

    /// Ends what [`Self::enter_foreground`] started, and leaves the node up.
    pub(crate) fn leave_foreground(&self) {
        if let Some(foreground) = lock(&self.tasks)
            .as_mut()
            .and_then(|tasks| tasks.foreground.take())
        {
            foreground.leave.cancel();
        }
        self.gossip.fall_asleep();
    }

    /// Fires when the node can no longer keep anything safe, though nobody stopped it. `None`: it is not running.
    pub(crate) fn died(&self) -> Option<CancellationToken> {
        lock(&self.tasks).as_ref().map(|tasks| tasks.died().clone())
    }

    /// Ends LDK's background work as a panic in it would.
    #[cfg(test)]
    pub(crate) fn strike_down(&self) {
        lock(&self.tasks).as_ref().unwrap().processor.abort();
    }

    /// Whether it runs, and all of it.
    pub(crate) fn is_alive(&self) -> bool {
        self.died().is_some_and(|died| !died.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_processor_is_no_sleep_and_either_clock_tells_of_one() {
        let s = Duration::from_secs;
        for (running, of_day, expected) in [
            (s(1), s(1), false),
            (s(5), s(5), false),
            (s(11), s(0), false),
            (s(12), s(0), true),
            (s(1), s(600), true),
        ] {
            assert_eq!(was_asleep(running, of_day), expected, "{running:?} {of_day:?}");
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_told_of_and_one_that_was_asked_is_not() {
        let (asked, died) = (CancellationToken::new(), CancellationToken::new());
        asked.cancel();
        watched("asked", &asked, &died, async {}).await.unwrap();
        assert!(!died.is_cancelled());
        let unasked = CancellationToken::new();
        let panicked = watched("panics", &unasked, &died, async { panic!("planted") }).await;
        assert!(panicked.is_err() && died.is_cancelled());
    }
}
