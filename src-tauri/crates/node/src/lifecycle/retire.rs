//! The end of one owner, so that another wallet can take its place in the same process.
//!
//! Owns the order: nothing new is opened, a wake gets a moment and is then called off, the node stops. Which wallet comes
//! next is the shell's business.

use std::time::Duration;

use tokio_util::sync::DropGuard;

use super::{Lifecycle, WAKE_PATIENCE};
use crate::error::Result;
use crate::wake::Grant;

/// A wake that is called off is over in 1.5 s by design. So long one that is not is waited for; what it holds of the node
/// is waited for without end.
const CALLED_OFF_LIMIT: Duration = Duration::from_secs(5);

impl Lifecycle {
    /// The wallet is not in use any more. Its node stops, whoever needs it, and is never opened again by this owner; its files
    /// stay as they are. A wake under way is given a moment to end, and is then called off: what it did is kept. When this
    /// returns, nothing of the node is up.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`](crate::ErrorCode::Internal) after a panic: then parts of it may be up until the process ends.
    pub async fn retire(&self) -> Result<()> {
        self.owner.retire();
        let mut turn = tokio::time::timeout(WAKE_PATIENCE, self.wake_turn.lock()).await;
        // From now on: one that comes later, because it was chosen to run before, is over at once.
        self.called_off.cancel();
        if turn.is_err() {
            turn = tokio::time::timeout(CALLED_OFF_LIMIT, self.wake_turn.lock()).await;
        }
        if turn.is_err() {
            tracing::error!("a wake does not end");
        }
        if let Some(node) = self.owner.up().filter(|_| self.owner.in_foreground()) {
            // Payments may be under way that the last look at the chain did not know of.
            self.owner.keep_safety(&node);
        }
        self.owner.end().await
    }

    /// A grant that [`Self::retire`] can call off, for as long as what comes with it lives.
    pub(super) fn or_called_off(&self, grant: Grant) -> (Grant, DropGuard) {
        let cancel = grant.cancel.child_token();
        let (called_off, over) = (self.called_off.clone(), cancel.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = called_off.cancelled() => over.cancel(),
                () = over.cancelled() => {}
            }
        });
        let guard = cancel.clone().drop_guard();
        (Grant { cancel, ..grant }, guard)
    }
}
