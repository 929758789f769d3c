//! What this server has proved to this process: transactions, which stay what they are, and places, which hold as long as the
//! chain goes on where it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use bitcoin::block::Header;
use bitcoin::{BlockHash, Transaction, Txid};

use crate::chain::engine::Recent;
use crate::lock::lock;

/// Bytes of transactions that are kept. Those of a wallet with channels have some 300 each.
const BYTES: usize = 1024 * 1024;

/// Places that are kept, of some 150 bytes each.
const PLACES: usize = 4096;

/// The proved place of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The block's header, with its work.
    pub header: Header,
    /// Its height in the best chain, on the server's word.
    pub height: u32,
    /// The transaction's position in the block.
    pub position: usize,
}

/// What can be asked of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The whole of it.
    Transaction,
    /// Where it is.
    Place,
}

/// Held while something is asked.
type Turn = tokio::sync::Mutex<()>;

/// What was proved.
#[derive(Default)]
pub struct Known {
    state: Mutex<State>,
    turns: Mutex<BTreeMap<(Txid, Wanted), Weak<Turn>>>,
}

#[derive(Default)]
struct State {
    transactions: BTreeMap<Txid, Arc<Transaction>>,
    bytes: usize,
    tip: Option<BlockHash>,
    places: BTreeMap<Txid, Place>,
}

impl State {
    /// Forgets the places if this chain is not known to go on from the one they were proved in.
    fn move_to(&mut self, recent: &Recent) {
        if self.tip.is_none_or(|tip| recent.height_of(&tip).is_none()) {
            self.places.clear();
        }
        self.tip = Some(recent.tip.hash);
    }
}

impl Known {
    /// Whose turn it is to ask for this: LDK's part of a round and the wallet's want the same at the same moment, and whoever
    /// comes second waits, and finds it known. Whoever is dropped while asking passes the turn on.
    pub fn turn(&self, txid: &Txid, wanted: Wanted) -> Arc<Turn> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let key = (*txid, wanted);
        turns.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(key, Arc::downgrade(&turn));
            turn
        })
    }

    /// A transaction.
    pub fn transaction(&self, txid: &Txid) -> Option<Arc<Transaction>> {
        lock(&self.state).transactions.get(txid).cloned()
    }

    /// Keeps a transaction whose id was proved.
    pub fn keep_transaction(&self, txid: Txid, transaction: &Arc<Transaction>) {
        let bytes = transaction.total_size();
        let mut state = lock(&self.state);
        if bytes > BYTES {
            return;
        }
        if state.bytes + bytes > BYTES {
            // Which ones will be asked for next, nobody knows.
            state.transactions.clear();
            state.bytes = 0;
        }
        if state.transactions.insert(txid, Arc::clone(transaction)).is_none() {
            state.bytes += bytes;
        }
    }

    /// The place of a transaction in this chain, if it was proved at this height.
    pub fn place(&self, recent: &Recent, txid: &Txid, height: u32) -> Option<Place> {
        let mut state = lock(&self.state);
        state.move_to(recent);
        let place = state.places.get(txid).copied();
        place.filter(|place| place.height == height)
    }

    /// Keeps a place that was proved in this chain.
    pub fn keep_place(&self, recent: &Recent, txid: Txid, place: Place) {
        let mut state = lock(&self.state);
        state.move_to(recent);
        if state.places.len() >= PLACES {
            state.places.clear();
        }
        state.places.insert(txid, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    /// A header on this one.
    fn on(header: &Header, nonce: u32) -> Header {
        Header {
            prev_blockhash: header.block_hash(),
            nonce,
            ..*header
        }
    }

    #[test]
    fn places_hold_while_the_chain_goes_on_and_no_longer() {
        let genesis = genesis_block(Network::Regtest).header;
        let (one, other) = (on(&genesis, 1), on(&genesis, 2));
        let two = on(&one, 3);
        let recent =
            |headers: &[Header]| Recent::new(u32::try_from(headers.len()).unwrap() - 1, headers).unwrap();
        let known = Known::default();
        let txid = Txid::all_zeros();
        let place = Place {
            header: one,
            height: 1,
            position: 0,
        };
        known.keep_place(&recent(&[one, genesis]), txid, place);
        let longer = recent(&[two, one, genesis]);
        assert_eq!(known.place(&longer, &txid, 1), Some(place));
        assert_eq!(known.place(&longer, &txid, 2), None, "said to be elsewhere");
        assert_eq!(
            known.place(&recent(&[other, genesis]), &txid, 1),
            None,
            "another chain"
        );
        assert_eq!(known.place(&longer, &txid, 1), None, "and it is forgotten");
    }

    #[test]
    fn the_same_is_one_turn_while_somebody_has_it_and_nothing_is_kept_of_it() {
        let known = Known::default();
        let (one, other) = (Txid::hash(b"one"), Txid::hash(b"other"));
        let turn = known.turn(&one, Wanted::Place);
        assert!(Arc::ptr_eq(&turn, &known.turn(&one, Wanted::Place)));
        assert!(!Arc::ptr_eq(&turn, &known.turn(&one, Wanted::Transaction)));
        assert!(!Arc::ptr_eq(&turn, &known.turn(&other, Wanted::Place)));
        drop(turn);
        let _turn = known.turn(&other, Wanted::Transaction);
        assert_eq!(lock(&known.turns).len(), 1);
    }

    #[test]
    fn transactions_have_bounds() {
        let block = genesis_block(Network::Regtest);
        let known = Known::default();
        let transaction = Arc::new(block.txdata[0].clone());
        for n in 0..20_000u32 {
            let txid = Txid::hash(&n.to_le_bytes());
            known.keep_transaction(txid, &transaction);
            assert!(known.transaction(&txid).is_some());
        }
        let state = lock(&known.state);
        let bytes: usize = state.transactions.values().map(|t| t.total_size()).sum();
        assert!(bytes == state.bytes && bytes <= BYTES, "{bytes}");
    }
}
