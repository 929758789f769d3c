//! The way out: a clean stop in a bounded time from any point, and the end of a node that died.
//!
//! In order: nobody new inside and everybody out, peers away, what LDK still has to say is heard, the manager and every
//! monitor in one last batch, the capsule of that very state, the store closed. A step that hangs is left behind: what
//! was durable before stays so, and the next start begins there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::tasks::Tasks;
use super::{Node, Result, lock};
use crate::error::{Error, ErrorCode};

/// The most that tasks get to end. All of them end at their next await, or within one write of the store; this is for
/// a disk that hangs.
const TASKS_LIMIT: Duration = Duration::from_millis(600);

/// The most that is spent on hearing LDK's last events. They are kept with the manager and told again at the next start.
const LAST_EVENTS_LIMIT: Duration = Duration::from_millis(150);

/// Later than this after the stop began no capsule is written: the one of the last stop must do.
const CAPSULE_UNTIL: Duration = Duration::from_millis(900);

impl Node {
    /// Stops. Nothing of the node acts any more when this returns, and its store is closed.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the last write failed; what was durable before stays so.
    pub(crate) async fn stop(self: &Arc<Self>) -> Result<()> {
        let begun = Instant::now();
        let Some(tasks) = lock(&self.tasks).take() else {
            return Ok(());
        };
        if tasks.died().is_cancelled() {
            return self.abandon(tasks).await;
        }
        tasks.stop.cancel();
        let limit = begun + TASKS_LIMIT;
        if timeout_at(limit, self.doors.shut()).await.is_err() {
            tracing::error!("somebody is still at work in the node");
        }
        // After the doors: nobody can connect any more.
        self.hang_up(limit).await;
        if let Some(foreground) = tasks.foreground {
            ended("the foreground", foreground.rounds, limit).await;
        }
        ended("the pulse", tasks.pulse, limit).await;
        ended("the sender", tasks.sender, limit).await;
        let heard = ended("LDK's background work", tasks.processor, limit).await;
        if heard {
            let last_events = self.last_events();
            let _ = tokio::time::timeout(LAST_EVENTS_LIMIT, last_events).await;
        }
        self.gossip.fall_asleep();
        // Before the last write, and not in the middle of one: a commit that came after it would not be in the capsule.
        tasks.no_more_commits.cancel();
        ended("the committer", tasks.committer, limit).await;
        let written = self.persist().await;
        if written.is_ok() && begun.elapsed() < CAPSULE_UNTIL {
            self.write_capsule().await;
        }
        let closed = self.close_store().await;
        tracing::debug!(took = ?begun.elapsed(), "stopped");
        written.and(closed)
    }

    /// Ends a node that died: LDK may be in the middle of anything, so nothing of it is written. What is on disk is one
    /// moment of the whole, as it always is.
    async fn abandon(self: &Arc<Self>, tasks: Tasks) -> Result<()> {
        tracing::error!("the node died; what it knew since the last commit is left behind");
        tasks.stop.cancel();
        tasks.no_more_commits.cancel();
        let foreground = tasks.foreground.map(|foreground| foreground.rounds);
        for task in [tasks.processor, tasks.sender, tasks.committer, tasks.pulse]
            .into_iter()
            .chain(foreground)
        {
            task.abort();
        }
        let limit = Instant::now() + TASKS_LIMIT;
        let _ = timeout_at(limit, self.doors.shut()).await;
        self.hang_up(limit).await;
        self.close_store().await
    }

    /// Hangs up on everybody. On a thread of its own: a lock of a library that hangs must not hold up the stop, and one
    /// that a panic has poisoned must not spread it.
    async fn hang_up(&self, limit: Instant) {
        let peers = Arc::clone(&self.lightning.peers);
        let hanging_up = tokio::task::spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(|| peers.disconnect_all_peers())).is_ok()
        });
        if !matches!(timeout_at(limit, hanging_up).await, Ok(Ok(true))) {
            tracing::error!("not hung up on every peer");
        }
    }

    /// Handles what LDK has to say after its last round.
    async fn last_events(&self) {
        let handle = |event| {
            let handler = Arc::clone(&self.handler);
            async move { handler.handle(event).await }
        };
        self.lightning.channels.process_pending_events_async(handle).await;
        self.lightning
            .chain_monitor
            .process_pending_events_async(handle)
            .await;
    }

    /// Of the very last state. Without one the wallet is no worse off than before.
    async fn write_capsule(self: &Arc<Self>) {
        let node = Arc::clone(self);
        let writing = tokio::task::spawn_blocking(move || node.capsules.write(&node.store));
        match writing.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "no state capsule was written"),
            Err(error) => tracing::warn!(%error, "no state capsule was written"),
        }
    }

    async fn close_store(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let closing = tokio::task::spawn_blocking(move || {
            let closed = store.close();
            tracing::debug!(target: "pilotlight_node::life", nodes = -1_i64, "closed");
            closed
        });
        let failed = |e: &dyn std::fmt::Display| Error::new(ErrorCode::StorageFailed, format!("store: {e}"));
        match closing.await {
            Ok(closed) => closed.map_err(|e| failed(&e)),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Waits for a task that was told to end; one that does not is called off. Whether it ended by itself.
async fn ended(what: &'static str, mut task: JoinHandle<()>, limit: Instant) -> bool {
    match timeout_at(limit, &mut task).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(what, %error, "ended badly");
            false
        }
        Err(_) => {
            tracing::error!(what, "did not end in time");
            task.abort();
            false
        }
    }
}
