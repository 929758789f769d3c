//! What one server has proved in earlier rounds and everybody was told: the reason why a wake can ask so little.
//!
//! Everything here was true in the chain of one tip. If that tip is still in the best chain, it is true now. Whoever
//! tells the followers that a transaction is in no block any more must forget all of this first, on disk: the chain may
//! turn back, and then it would look as if they had never been told so. See docs/decisions, "Fewer questions".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bitcoin::{BlockHash, OutPoint, ScriptBuf, Txid};
use pilotlight_store::Store;
use serde::{Deserialize, Serialize};

use crate::chain::source::{Depth, Tip};
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::error::Result;
use crate::lock::lock;
use crate::rows::{self, Kind};

const ROW: &str = "seen";

/// The row's shape. A row of another version is as good as none.
const VERSION: u8 = 1;

/// What was seen up to one tip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    version: u8,
    /// The server. Another one may see it otherwise.
    endpoint: String,
    /// The tip's hash.
    pub hash: BlockHash,
    /// Its height, in blocks.
    pub height: u32,
    /// Blocks of its chain that hold something of ours, with their heights.
    pub blocks: BTreeMap<BlockHash, u32>,
    /// Transactions that every follower was told are confirmed, with their blocks (all of them in `blocks`).
    pub told: BTreeMap<Txid, BlockHash>,
    /// Watched transactions, by the scripts they were watched for.
    transactions: BTreeMap<Txid, BTreeSet<ScriptBuf>>,
    /// Watched outputs that nothing confirmed spends.
    unspent: BTreeSet<OutPoint>,
    /// Watched outputs that a transaction in `told` spends.
    spent: BTreeMap<OutPoint, Txid>,
    /// Whether LDK has heard of a transaction since the on-chain wallet last looked: it may pay to the wallet.
    pub news: bool,
}

/// How much of what was seen holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// All: the tip is the same.
    Whole,
    /// What is in blocks: the tip is another one, on the same chain.
    Blocks,
}

impl Seen {
    /// Nothing yet, at this tip.
    pub fn at(endpoint: &str, tip: &Tip) -> Self {
        Self {
            version: VERSION,
            endpoint: endpoint.to_owned(),
            hash: tip.hash,
            height: tip.height,
            blocks: BTreeMap::new(),
            told: BTreeMap::new(),
            transactions: BTreeMap::new(),
            unspent: BTreeSet::new(),
            spent: BTreeMap::new(),
            news: false,
        }
    }

    /// Whether there is nothing to ask about this transaction.
    pub fn settles_transaction(&self, watched: &WatchedTransaction, holds: Holds) -> bool {
        // A second channel in the same funding registers another script, and has not been told.
        let known = self.transactions.get(&watched.txid);
        let same = known.is_some_and(|scripts| watched.scripts.is_subset(scripts));
        same && (holds == Holds::Whole || self.told.contains_key(&watched.txid))
    }

    /// Whether there is nothing to ask about this output.
    pub fn settles_output(&self, watched: &WatchedCoin, holds: Holds) -> bool {
        if self.unspent.contains(&watched.outpoint) {
            return holds == Holds::Whole;
        }
        // The sweeper may have been told and not have written it down.
        self.spent.contains_key(&watched.outpoint) && !watched.sweeper
    }

    /// Notes what was found of a transaction.
    pub fn note_transaction(&mut self, watched: &WatchedTransaction) {
        self.transactions.insert(watched.txid, watched.scripts.clone());
    }

    /// Notes what was found of an output: what spends it, if something confirmed does.
    pub fn note_output(&mut self, outpoint: OutPoint, spender: Option<Txid>) {
        match spender {
            Some(txid) => {
                self.spent.insert(outpoint, txid);
                self.unspent.remove(&outpoint);
            }
            None => {
                self.unspent.insert(outpoint);
            }
        }
    }

    /// Takes over what an earlier round has settled of a watched transaction.
    pub fn keep_transaction(&mut self, watched: &WatchedTransaction, earlier: &Self) {
        self.note_transaction(watched);
        self.keep_telling(watched.txid, earlier);
    }

    /// Takes over what an earlier round has settled of a watched output.
    pub fn keep_output(&mut self, outpoint: OutPoint, earlier: &Self) {
        let spender = earlier.spent.get(&outpoint).copied();
        self.note_output(outpoint, spender);
        if let Some(txid) = spender {
            self.keep_telling(txid, earlier);
        }
    }

    fn keep_telling(&mut self, txid: Txid, earlier: &Self) {
        if let Some(block) = earlier.told.get(&txid)
            && let Some(height) = earlier.blocks.get(block)
        {
            self.told.insert(txid, *block);
            self.blocks.insert(*block, *height);
        }
    }
}

/// Where it is kept: in memory, and on disk between processes.
pub struct Memory {
    store: Option<Arc<Store>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read: bool,
    seen: Option<Arc<Seen>>,
    /// Registrations that the round behind `seen` knew of; `None` if that was in an earlier process.
    registrations: Option<u64>,
    /// Whether a round of this process has asked everything, and what was seen since then rests on that.
    asked_everything: bool,
}

/// What is remembered.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// What was seen.
    pub seen: Arc<Seen>,
    /// Whatever was registered later than this is to be asked, whether it was seen or not; `None` if what was seen is from
    /// an earlier process, when everything that there was is registered anew.
    pub registrations: Option<u64>,
}

impl Memory {
    /// A memory that keeps its row in this store; without one, it lasts as long as the process.
    pub fn new(store: Option<Arc<Store>>) -> Self {
        Self {
            store,
            state: Mutex::default(),
        }
    }

    /// What this server has shown before. A deep round believes only what this process has asked for itself.
    pub fn recall(&self, endpoint: &str, depth: Depth) -> Option<Remembered> {
        let mut state = lock(&self.state);
        if depth == Depth::Deep && !state.asked_everything {
            return None;
        }
        if !state.read {
            state.read = true;
            state.seen = self.read().map(Arc::new);
        }
        // Several servers may share this memory; each finds its own only.
        let own = state.seen.as_ref().filter(|seen| seen.endpoint == endpoint);
        let seen = Arc::clone(own?);
        let registrations = state.registrations;
        Some(Remembered { seen, registrations })
    }

    fn read(&self) -> Option<Seen> {
        let row = rows::read::<Seen>(self.store.as_ref()?, Kind::Chain, ROW);
        match row {
            Ok(seen) => seen.filter(|seen| seen.version == VERSION),
            Err(error) => {
                // Asking everything again is all that it costs.
                tracing::warn!(
                    detail = error.detail(),
                    "what the chain server has shown is not readable"
                );
                None
            }
        }
    }

    /// Remembers, durably. Only after the persist barrier of the round that saw it.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub fn keep(&self, seen: Seen, registrations: u64, depth: Depth) -> Result<()> {
        let mut state = lock(&self.state);
        // What this process has asked another server says nothing of this one.
        let same = state
            .seen
            .as_ref()
            .is_some_and(|before| before.endpoint == seen.endpoint);
        let asked_everything = (state.asked_everything && same) || depth == Depth::Deep;
        if state.seen.as_deref() != Some(&seen)
            && let Some(store) = &self.store
        {
            rows::write(store, Kind::Chain, ROW, &seen)?;
        }
        *state = State {
            read: true,
            seen: Some(Arc::new(seen)),
            registrations: Some(registrations),
            asked_everything,
        };
        Ok(())
    }

    /// Says that the on-chain wallet has looked.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub fn no_more_news(&self) -> Result<()> {
        let mut state = lock(&self.state);
        let Some(seen) = state.seen.as_ref().filter(|seen| seen.news) else {
            return Ok(());
        };
        let seen = Seen {
            news: false,
            ..Seen::clone(seen)
        };
        if let Some(store) = &self.store {
            rows::write(store, Kind::Chain, ROW, &seen)?;
        }
        state.seen = Some(Arc::new(seen));
        Ok(())
    }

    /// Forgets everything, durably. Before anybody is told that a transaction is in no block any more.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub fn forget(&self) -> Result<()> {
        let mut state = lock(&self.state);
        if let Some(store) = &self.store {
            rows::remove(store, Kind::Chain, ROW)?;
        }
        *state = State {
            read: true,
            ..State::default()
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Holds::{Blocks, Whole};
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    fn tip() -> Tip {
        let header = genesis_block(Network::Regtest).header;
        Tip {
            hash: header.block_hash(),
            height: 0,
            header,
        }
    }

    fn txid(n: u8) -> Txid {
        Txid::from_byte_array([n; 32])
    }

    fn transaction(n: u8, scripts: &[u8]) -> WatchedTransaction {
        WatchedTransaction {
            txid: txid(n),
            scripts: scripts.iter().map(|s| ScriptBuf::from_bytes(vec![*s])).collect(),
            registered: 1,
        }
    }

    fn coin(n: u8, sweeper: bool) -> WatchedCoin {
        WatchedCoin {
            outpoint: OutPoint::new(txid(n), 0),
            script: ScriptBuf::new(),
            registered: 1,
            sweeper,
        }
    }

    #[test]
    fn only_what_was_told_outlives_a_new_block() {
        let mut seen = Seen::at("s", &tip());
        let block = tip().hash;
        seen.blocks.insert(block, 0);
        seen.told.insert(txid(1), block);
        seen.note_transaction(&transaction(1, &[1]));
        seen.note_transaction(&transaction(2, &[1]));
        seen.note_output(coin(1, false).outpoint, Some(txid(1)));
        seen.note_output(coin(2, false).outpoint, None);
        // (item, what it is, settled at the same tip, settled at a later one)
        let transactions = [
            (transaction(1, &[1]), "told", true, true),
            (
                transaction(1, &[1, 2]),
                "told, but not to the second channel",
                false,
                false,
            ),
            (transaction(2, &[1]), "unconfirmed", true, false),
            (transaction(3, &[1]), "never asked", false, false),
        ];
        for (item, what, same, later) in transactions {
            assert_eq!(seen.settles_transaction(&item, Whole), same, "{what}");
            assert_eq!(seen.settles_transaction(&item, Blocks), later, "{what}");
        }
        let outputs = [
            (coin(1, false), "spent and told", true, true),
            (
                coin(1, true),
                "spent and told, but perhaps not kept by the sweeper",
                false,
                false,
            ),
            (coin(2, false), "unspent", true, false),
            (coin(2, true), "unspent, the sweeper's", true, false),
            (coin(3, false), "never asked", false, false),
        ];
        for (item, what, same, later) in outputs {
            assert_eq!(seen.settles_output(&item, Whole), same, "{what}");
            assert_eq!(seen.settles_output(&item, Blocks), later, "{what}");
        }
        let mut next = Seen::at("s", &tip());
        next.keep_output(coin(1, false).outpoint, &seen);
        assert!(next.settles_output(&coin(1, false), Blocks));
        assert_eq!(
            (next.told, next.blocks),
            (seen.told, seen.blocks),
            "the telling goes with it"
        );
    }

    #[test]
    fn memory_is_of_one_server_and_is_gone_once_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path().join("store")).unwrap());
        let memory = || Memory::new(Some(Arc::clone(&store)));
        assert!(memory().recall("a", Depth::Quick).is_none());
        let mut seen = Seen::at("a", &tip());
        seen.news = true;
        let first = memory();
        first.keep(seen.clone(), 7, Depth::Quick).unwrap();
        assert_eq!(first.recall("a", Depth::Quick).unwrap().registrations, Some(7));
        let next = memory();
        let recalled = next.recall("a", Depth::Quick).unwrap();
        assert_eq!((&*recalled.seen, recalled.registrations), (&seen, None));
        assert!(
            next.recall("a", Depth::Deep).is_none(),
            "nothing was asked in this process"
        );
        assert!(memory().recall("b", Depth::Quick).is_none());
        next.no_more_news().unwrap();
        assert!(!memory().recall("a", Depth::Quick).unwrap().seen.news);
        // Another server with the same memory: neither believes what the other noted.
        assert!(next.recall("b", Depth::Quick).is_none());
        next.keep(Seen::at("b", &tip()), 9, Depth::Deep).unwrap();
        assert!(next.recall("a", Depth::Quick).is_none() && next.recall("b", Depth::Deep).is_some());
        next.keep(Seen::at("a", &tip()), 9, Depth::Quick).unwrap();
        assert!(
            next.recall("a", Depth::Deep).is_none(),
            "it was the other that was asked everything"
        );
        next.forget().unwrap();
        assert!(next.recall("a", Depth::Quick).is_none() && memory().recall("a", Depth::Quick).is_none());
    }
}
