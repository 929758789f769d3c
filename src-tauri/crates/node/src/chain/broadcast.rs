//! Transactions on their way out.
//!
//! LDK hands transactions over without waiting; they queue here until someone with a network sends them. Nothing is
//! lost with the queue: LDK and the sweeper offer every unconfirmed transaction again after a restart.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bitcoin::Transaction;
use lightning::chain::chaininterface::BroadcasterInterface;
use tokio::sync::Notify;

use crate::lock::lock;

/// Transactions kept while there is no network. LDK offers them again, so the oldest may be dropped.
const QUEUE_LIMIT: usize = 200;

/// The queue of transactions to send.
#[derive(Default)]
pub struct Broadcaster {
    queue: Mutex<VecDeque<Transaction>>,
    arrived: Notify,
}

impl Broadcaster {
    /// Everything that waits, oldest first; a package's parent stands before its child. It waits until [`Self::sent`].
    pub fn waiting(&self) -> Vec<Transaction> {
        self.queue().iter().cloned().collect()
    }

    /// Takes a transaction off the queue: a server has it, or wants it never.
    pub fn sent(&self, transaction: &Transaction) {
        self.queue().retain(|waiting| waiting != transaction);
    }

    /// Waits until there is something new to send.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Transaction>> {
        lock(&self.queue)
    }
}

impl BroadcasterInterface for Broadcaster {
    fn broadcast_transactions(&self, txs: &[&Transaction]) {
        let mut queue = self.queue();
        for &transaction in txs {
            // LDK offers what is unconfirmed again and again.
            if !queue.contains(transaction) {
                queue.push_back(transaction.clone());
            }
        }
        let surplus = queue.len().saturating_sub(QUEUE_LIMIT);
        queue.drain(..surplus);
        drop(queue);
        self.arrived.notify_one();
    }
}
