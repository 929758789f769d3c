//! The doors of the node: whoever works with it goes through them, and once they are shut, nobody is inside.
//!
//! A node that was stopped must not act any more: a connection that came up a moment later would show a peer a channel
//! state that the next node has left behind. So everything with an effect runs inside, is called off when the doors
//! shut, and the stop goes on only when the last one is out.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, ErrorCode, Result};

/// Who is inside.
#[derive(Default)]
pub struct Doors {
    shut: CancellationToken,
    inside: TaskTracker,
}

impl Doors {
    /// Does work inside. It may be dropped at any await, when the doors shut.
    ///
    /// # Errors
    /// [`ErrorCode::Cancelled`] if the doors are shut or are shut meanwhile; those of the work.
    pub async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        // Before the look at the doors: whoever shuts them waits for this one, or this one sees them shut.
        let _inside = self.inside.token();
        tokio::select! {
            biased;
            () = self.shut.cancelled() => Err(Error::new(ErrorCode::Cancelled, "the node is stopping")),
            done = work => done,
        }
    }

    /// Does work inside that must not be dropped half-way. It is waited for by whoever shuts the doors, so it must be short.
    pub async fn to_the_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        if self.shut.is_cancelled() {
            return;
        }
        if self.inside.spawn(work).await.is_err() {
            tracing::error!("work inside the node panicked");
        }
    }

    /// Fires when they are shut.
    pub fn token(&self) -> CancellationToken {
        self.shut.clone()
    }

    /// Shuts them for good, and returns when everybody is out. Work that computes is waited for until its next await.
    pub async fn shut(&self) {
        self.shut.cancel();
        self.inside.close();
        self.inside.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_must_not_be_dropped_goes_on_and_is_waited_for() {
        let doors = Doors::default();
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let work = doors.to_the_end(async move {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            told.store(true, Ordering::SeqCst);
        });
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(5), work)
                .await
                .is_err()
        );
        doors.shut().await;
        assert!(done.load(Ordering::SeqCst));
        doors
            .to_the_end(async { panic!("nobody works behind shut doors") })
            .await;
    }

    #[tokio::test]
    async fn when_the_doors_are_shut_everybody_is_out_and_nobody_comes_in() {
        let doors = Arc::new(Doors::default());
        assert_eq!(doors.within(async { Ok(7) }).await.unwrap(), 7);
        let out = Arc::new(AtomicBool::new(false));
        let (inside, entered) = tokio::sync::oneshot::channel();
        let working = tokio::spawn({
            let (doors, out) = (Arc::clone(&doors), Arc::clone(&out));
            async move {
                let work = async {
                    let _out = crate::node::OnDrop(|| out.store(true, Ordering::SeqCst));
                    let _ = inside.send(());
                    std::future::pending::<Result<()>>().await
                };
                doors.within(work).await
            }
        });
        entered.await.unwrap();
        doors.shut().await;
        assert!(out.load(Ordering::SeqCst), "shut, and somebody is still inside");
        assert_eq!(working.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
        let late: Result<()> = doors.within(async { panic!("it was begun") }).await;
        assert_eq!(late.unwrap_err().code(), ErrorCode::Cancelled);
        // A second time is fine.
        doors.shut().await;
    }
}
