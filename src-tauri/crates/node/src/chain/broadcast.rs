//! Transactions on their way out.
//!
//! LDK hands transactions over without waiting; they queue here until someone with a network sends them. Nothing is
//! lost with the queue: LDK and the sweeper offer every unconfirmed transaction again after a restart.
//!
//! On a state that may be old, LDK must not close a channel: its newest commitment may be one that was revoked, and the peer
//! would take everything. There the queue takes no commitment transaction, whoever offers it
//! (`docs/decisions/0018-watching-without-a-manager.md`).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bitcoin::{Transaction, Txid};
use lightning::chain::chaininterface::BroadcasterInterface;
use tokio::sync::Notify;

use crate::lock::lock;

/// Packages kept while there is no network. LDK offers them again, so the oldest may be dropped.
const QUEUE_LIMIT: usize = 200;

/// What LDK handed over at once: a transaction, or parents and the child that pays for them, in this order.
pub type Package = Vec<Transaction>;

/// The queue of transactions to send.
#[derive(Default)]
pub struct Broadcaster {
    queue: Mutex<VecDeque<Package>>,
    arrived: Notify,
    /// Commitment transactions that were not taken, and what spends them; `None` if everything is taken.
    withheld: Option<Mutex<HashSet<Txid>>>,
}

impl Broadcaster {
    /// A queue that takes no commitment transaction, and nothing that spends one it did not take.
    pub fn without_commitments() -> Self {
        Self {
            withheld: Some(Mutex::default()),
            ..Self::default()
        }
    }

    fn takes(&self, transaction: &Transaction) -> bool {
        let Some(withheld) = &self.withheld else {
            return true;
        };
        let mut withheld = lock(withheld);
        let child = transaction
            .input
            .iter()
            .any(|input| withheld.contains(&input.previous_output.txid));
        if child || is_commitment(transaction) {
            let txid = transaction.compute_txid();
            if withheld.insert(txid) {
                tracing::warn!(%txid, "a closing was not published: the state may be old");
            }
            return false;
        }
        true
    }

    /// Everything that waits, oldest first. It waits until [`Self::sent`].
    pub fn packages(&self) -> Vec<Package> {
        self.queue().iter().cloned().collect()
    }

    /// The same one by one, each once; a package's parents stand before its child.
    pub fn waiting(&self) -> Vec<Transaction> {
        let mut all: Vec<Transaction> = Vec::new();
        for transaction in self.queue().iter().flatten() {
            if !all.contains(transaction) {
                all.push(transaction.clone());
            }
        }
        all
    }

    /// Takes a package off the queue: a server has it, or wants it never.
    pub fn sent(&self, package: &Package) {
        self.queue().retain(|waiting| waiting != package);
    }

    /// Waits until there is something new to send.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Package>> {
        lock(&self.queue)
    }
}

impl BroadcasterInterface for Broadcaster {
    fn broadcast_transactions(&self, txs: &[&Transaction]) {
        let taken = txs.iter().filter(|transaction| self.takes(transaction));
        let package = parents_first(taken.map(|&transaction| transaction.clone()).collect());
        let mut queue = self.queue();
        // LDK offers what is unconfirmed again and again.
        if !package.is_empty() && !queue.contains(&package) {
            queue.push_back(package);
        }
        let surplus = queue.len().saturating_sub(QUEUE_LIMIT);
        queue.drain(..surplus);
        drop(queue);
        self.arrived.notify_one();
    }
}

/// Puts what others of them spend from before those others. Their number is LDK's: two or three.
fn parents_first(mut left: Package) -> Package {
    let mut ordered = Package::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |transaction: &Transaction| {
            let mut parents = transaction.input.iter().map(|input| input.previous_output.txid);
            parents.any(|parent| left.iter().any(|other| other.compute_txid() == parent))
        };
        // A ring of transactions cannot be: each would have to know the other's id.
        let next = left
            .iter()
            .position(|transaction| !waits(transaction))
            .unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

/// Whether it is a commitment transaction of a Lightning channel, by the form that BOLT 3 gives them: one input, and the
/// number of the commitment hidden in the low 24 bits of lock time and sequence, under the bytes 0x20 and 0x80. Nothing else
/// that a wallet sends looks so: read as a lock time, it would be a moment between 1987 and 1990.
pub fn is_commitment(transaction: &Transaction) -> bool {
    let locked = transaction.lock_time.to_consensus_u32() >> 24 == 0x20;
    matches!(transaction.input.as_slice(), [only] if locked && only.sequence.0 >> 24 == 0x80)
}

#[cfg(test)]
mod tests {
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Witness, absolute};
    use proptest::prelude::*;

    use super::*;

    fn spending(coins: &[OutPoint], sequence: u32, lock_time: u32) -> Transaction {
        let input = |coin: &OutPoint| TxIn {
            previous_output: *coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence(sequence),
            witness: Witness::new(),
        };
        Transaction {
            version: Version::TWO,
            lock_time: absolute::LockTime::from_consensus(lock_time),
            input: coins.iter().map(input).collect(),
            output: vec![TxOut {
                value: Amount::from_sat(1_000),
                script_pubkey: ScriptBuf::new(),
            }],
        }
    }

    fn of(transaction: &Transaction) -> OutPoint {
        OutPoint::new(transaction.compute_txid(), 0)
    }

    #[test]
    fn where_the_state_may_be_old_no_commitment_leaves_nor_what_pays_for_it() {
        let commitment = spending(&[OutPoint::null()], 0x80ab_cdef, 0x2012_3456);
        let bump = spending(&[of(&commitment), OutPoint::null()], 0xffff_fffd, 900_000);
        let after = spending(&[of(&bump)], 0, 0);
        let justice = spending(&[OutPoint::null()], 0xffff_fffd, 900_000);
        let all = [&commitment, &bump, &after, &justice];

        let open = Broadcaster::default();
        open.broadcast_transactions(&all);
        assert_eq!(open.waiting().len(), 4);

        let careful = Broadcaster::without_commitments();
        careful.broadcast_transactions(&all);
        assert_eq!(careful.waiting(), [justice]);
    }

    #[test]
    fn what_is_handed_over_at_once_stays_together_parents_first_and_is_kept_once() {
        let parent = spending(&[OutPoint::null()], 0, 0);
        let child = spending(&[of(&parent), OutPoint::null()], 0, 1);
        let alone = spending(&[OutPoint::null()], 0, 2);
        let queue = Broadcaster::default();
        queue.broadcast_transactions(&[&child, &parent]);
        queue.broadcast_transactions(&[&alone]);
        queue.broadcast_transactions(&[&parent, &child]);
        queue.broadcast_transactions(&[&parent]);
        let package = vec![parent.clone(), child.clone()];
        assert_eq!(
            queue.packages(),
            [package.clone(), vec![alone.clone()], vec![parent.clone()]]
        );
        assert_eq!(queue.waiting(), [parent.clone(), child, alone.clone()]);
        queue.sent(&package);
        assert_eq!(queue.waiting(), [alone, parent]);
    }

    #[test]
    fn what_a_wallet_sends_is_no_commitment() {
        // Sequence and lock time of: a payment, a claim of a revoked output, a sweep after 2016 blocks, an HTLC timeout with
        // anchors, a cooperative close, a lock time in 2026.
        for (sequence, lock_time) in [
            (0xffff_fffd, 900_000),
            (0xffff_fffd, 0),
            (2016, 900_000),
            (1, 900_144),
            (0xffff_ffff, 0),
            (0x8000_0000, 1_795_000_000),
        ] {
            assert!(!is_commitment(&spending(
                &[OutPoint::null()],
                sequence,
                lock_time
            )));
        }
    }

    proptest! {
        #[test]
        fn every_commitment_number_is_seen_and_two_inputs_are_none(low in 0u32..1 << 24, high in 0u32..1 << 24) {
            let (sequence, lock_time) = (0x8000_0000 | high, 0x2000_0000 | low);
            prop_assert!(is_commitment(&spending(&[OutPoint::null()], sequence, lock_time)));
            prop_assert!(!is_commitment(&spending(&[OutPoint::null(); 2], sequence, lock_time)));
        }
    }
}
