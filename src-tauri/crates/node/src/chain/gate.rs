//! The gate between a chain source and everything that follows the chain.
//!
//! A source's word goes through only while the gate is open and only with headers that carry their work; a gate to a tip
//! lets only that tip through, whose header was proved before the sync began. One thing that does not fit closes the gate for the rest of the
//! sync, so that no part of a lie is followed by another part.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::block::Header;
use bitcoin::{BlockHash, Txid};
use lightning::chain::Confirm;
use lightning::chain::transaction::TransactionData;

use crate::lock::lock;

/// Why a gate closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The source's tip is not the one that was proved. Harmless if a block was just found.
    TipMoved,
    /// The source said something that cannot be true.
    Lie(String),
}

/// One sync's gate; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Gate {
    state: Arc<State>,
}

struct State {
    tip: Option<BlockHash>,
    open: AtomicBool,
    closed: Mutex<Option<Closed>>,
    confirmed: AtomicU32,
}

impl Default for Gate {
    /// A gate for blocks of any height.
    fn default() -> Self {
        Self::with(None)
    }
}

impl Gate {
    /// A gate for a sync to this tip.
    pub fn to(tip: BlockHash) -> Self {
        Self::with(Some(tip))
    }

    fn with(tip: Option<BlockHash>) -> Self {
        Self {
            state: Arc::new(State {
                tip,
                open: AtomicBool::new(true),
                closed: Mutex::new(None),
                confirmed: AtomicU32::new(0),
            }),
        }
    }

    /// Closes it: whatever the source still says is dropped. Safe at any time, because the next sync asks for
    /// everything again.
    pub fn shut(&self) {
        self.state.open.store(false, Ordering::SeqCst);
    }

    /// Why it closed by itself, if it did.
    pub fn closed(&self) -> Option<Closed> {
        lock(&self.state.closed).clone()
    }

    /// How many transactions were confirmed through it.
    pub fn confirmed(&self) -> u32 {
        self.state.confirmed.load(Ordering::SeqCst)
    }

    /// Puts the gate before a follower of the chain.
    pub fn before<C>(&self, follower: C) -> Gated<C> {
        Gated {
            gate: self.clone(),
            follower,
        }
    }

    fn open(&self) -> bool {
        self.state.open.load(Ordering::SeqCst)
    }

    fn close(&self, why: Closed) {
        self.shut();
        lock(&self.state.closed).get_or_insert(why);
    }
}

/// A follower of the chain behind its gate.
pub struct Gated<C> {
    gate: Gate,
    follower: C,
}

impl<C> Gated<C> {
    /// Whether the header's hash meets its target; the gate closes if not.
    fn carries_its_work(&self, header: &Header) -> bool {
        let fine = header.validate_pow(header.target()).is_ok();
        if !fine {
            let what = format!("block {} has no proof of work", header.block_hash());
            self.gate.close(Closed::Lie(what));
        }
        fine
    }
}

impl<C> Confirm for Gated<C>
where
    C: std::ops::Deref,
    C::Target: Confirm,
{
    fn transactions_confirmed(&self, header: &Header, txdata: &TransactionData, height: u32) {
        if !self.gate.open() {
            return;
        }
        if !self.carries_its_work(header) {
            return;
        }
        self.gate
            .state
            .confirmed
            .fetch_add(u32::try_from(txdata.len()).unwrap_or(u32::MAX), Ordering::SeqCst);
        self.follower.transactions_confirmed(header, txdata, height);
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        if self.gate.open() {
            self.follower.transaction_unconfirmed(txid);
        }
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        if !self.gate.open() {
            return;
        }
        if self.gate.state.tip.is_some_and(|tip| tip != header.block_hash()) {
            self.gate.close(Closed::TipMoved);
        } else if self.carries_its_work(header) {
            self.follower.best_block_updated(header, height);
        }
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        self.follower.get_relevant_txids()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;

    #[derive(Default)]
    struct Follower(Mutex<Vec<String>>);

    impl Confirm for Follower {
        fn transactions_confirmed(&self, _: &Header, _: &TransactionData, height: u32) {
            self.0.lock().unwrap().push(format!("confirmed {height}"));
        }
        fn transaction_unconfirmed(&self, _: &Txid) {
            self.0.lock().unwrap().push("unconfirmed".into());
        }
        fn best_block_updated(&self, _: &Header, height: u32) {
            self.0.lock().unwrap().push(format!("best {height}"));
        }
        fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
            Vec::new()
        }
    }

    #[test]
    fn only_the_proved_tip_goes_through_and_nothing_after_another_one() {
        let follower = Follower::default();
        let tip = genesis_block(Network::Regtest).header;
        let other = genesis_block(Network::Bitcoin).header;
        let gate = Gate::to(tip.block_hash());
        let gated = gate.before(&follower);
        gated.best_block_updated(&tip, 7);
        gated.best_block_updated(&other, 8);
        gated.best_block_updated(&tip, 9);
        gated.transactions_confirmed(&tip, &[], 9);
        assert_eq!(*follower.0.lock().unwrap(), ["best 7"]);
        assert_eq!(gate.closed(), Some(Closed::TipMoved));
    }

    #[test]
    fn a_block_without_work_is_a_lie() {
        let follower = Follower::default();
        let tip = genesis_block(Network::Bitcoin).header;
        let gate = Gate::to(tip.block_hash());
        let gated = gate.before(&follower);
        let forged = Header {
            nonce: tip.nonce + 1,
            ..tip
        };
        gated.transactions_confirmed(&forged, &[], 1);
        assert!(follower.0.lock().unwrap().is_empty());
        assert!(matches!(gate.closed(), Some(Closed::Lie(_))));

        let any = Gate::default();
        any.before(&follower).best_block_updated(&tip, 0);
        any.before(&follower).best_block_updated(&forged, 1);
        any.before(&follower).best_block_updated(&tip, 2);
        assert_eq!(*follower.0.lock().unwrap(), ["best 0"]);
    }
}
