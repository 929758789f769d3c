//! The chain as the Esplora face knows it: blocks, transactions, who touched which script, who spent which output.
//!
//! Pure state. It is told of blocks connected and disconnected and of mempool changes, in any order that a chain can
//! produce; it fetches nothing (see `follow`).

use std::collections::{HashMap, HashSet};

use bitcoin::block::Header;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, BlockHash, OutPoint, Script, Transaction, TxOut, Txid};

/// What Esplora calls a script's hash: SHA-256 of the script, in byte order.
pub(crate) type ScriptHash = sha256::Hash;

/// Hash of a script as the index's key.
pub(crate) fn script_hash(script: &Script) -> ScriptHash {
    sha256::Hash::hash(script.as_bytes())
}

/// Facts of a block in the best chain.
pub(crate) struct BlockEntry {
    pub(crate) hash: BlockHash,
    pub(crate) header: Header,
    pub(crate) txids: Vec<Txid>,
    pub(crate) size: usize,
    pub(crate) weight: u64,
    pub(crate) median_time: u32,
}

/// Where a confirmed transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) height: u32,
    pub(crate) position: u32,
}

/// A transaction, confirmed or in the mempool.
pub(crate) struct TxEntry {
    pub(crate) tx: Transaction,
    pub(crate) place: Option<Place>,
    /// Order of first sight, for "newest first" among the unconfirmed.
    pub(crate) seen: u64,
    /// Kept because the previous outputs, which say it, may be gone when this entry is to be removed.
    scripts: HashSet<ScriptHash>,
}

/// An input that spends an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spend {
    pub(crate) txid: Txid,
    pub(crate) vin: u32,
}

/// The whole state. `Default` is the empty chain, without even the genesis block.
#[derive(Default)]
pub(crate) struct Chain {
    blocks: Vec<BlockEntry>,
    heights: HashMap<BlockHash, u32>,
    stale: HashMap<BlockHash, Header>,
    txs: HashMap<Txid, TxEntry>,
    touched: HashMap<ScriptHash, HashSet<Txid>>,
    spends: HashMap<OutPoint, Spend>,
    mempool: HashSet<Txid>,
    counter: u64,
}

impl Chain {
    /// Height of the best block; `None` before genesis.
    pub(crate) fn height(&self) -> Option<u32> {
        u32::try_from(self.blocks.len()).ok()?.checked_sub(1)
    }

    pub(crate) fn tip(&self) -> Option<&BlockEntry> {
        self.blocks.last()
    }

    pub(crate) fn block_at(&self, height: u32) -> Option<&BlockEntry> {
        self.blocks.get(height as usize)
    }

    /// A block of the best chain with its height.
    pub(crate) fn block(&self, hash: &BlockHash) -> Option<(u32, &BlockEntry)> {
        let height = *self.heights.get(hash)?;
        Some((height, self.block_at(height)?))
    }

    /// The header of any block ever seen, also of those that a reorganisation left behind.
    pub(crate) fn header(&self, hash: &BlockHash) -> Option<Header> {
        self.block(hash)
            .map(|(_, block)| block.header)
            .or_else(|| self.stale.get(hash).copied())
    }

    pub(crate) fn tx(&self, txid: &Txid) -> Option<&TxEntry> {
        self.txs.get(txid)
    }

    pub(crate) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.txs
            .get(&outpoint.txid)?
            .tx
            .output
            .get(outpoint.vout as usize)
    }

    pub(crate) fn spend(&self, outpoint: &OutPoint) -> Option<Spend> {
        self.spends.get(outpoint).copied()
    }

    pub(crate) fn mempool(&self) -> &HashSet<Txid> {
        &self.mempool
    }

    /// Fee in satoshis; zero for a coinbase.
    pub(crate) fn fee(&self, tx: &Transaction) -> u64 {
        if tx.is_coinbase() {
            return 0;
        }
        let paid_in: u64 = tx
            .input
            .iter()
            .filter_map(|input| self.output(&input.previous_output))
            .map(|out| out.value.to_sat())
            .sum();
        let paid_out: u64 = tx.output.iter().map(|out| out.value.to_sat()).sum();
        paid_in.saturating_sub(paid_out)
    }

    /// Transactions touching a script: the unconfirmed ones, newest first, and the confirmed ones, newest first.
    pub(crate) fn history(&self, script: &ScriptHash) -> (Vec<Txid>, Vec<Txid>) {
        let mut unconfirmed = Vec::new();
        let mut confirmed = Vec::new();
        for txid in self.touched.get(script).into_iter().flatten() {
            let Some(entry) = self.txs.get(txid) else { continue };
            match entry.place {
                Some(place) => confirmed.push((place, *txid)),
                None => unconfirmed.push((entry.seen, *txid)),
            }
        }
        unconfirmed.sort_unstable_by(|a, b| b.cmp(a));
        confirmed.sort_unstable_by(|a, b| b.cmp(a));
        let bare = |list: Vec<(u64, Txid)>| list.into_iter().map(|(_, txid)| txid).collect();
        (
            bare(unconfirmed),
            confirmed.into_iter().map(|(_, txid)| txid).collect(),
        )
    }

    /// Outputs paying a script that nothing spends, not even in the mempool.
    pub(crate) fn unspent(&self, script: &ScriptHash) -> Vec<(OutPoint, &TxOut, Option<Place>)> {
        let mut coins = Vec::new();
        for txid in self.touched.get(script).into_iter().flatten() {
            let Some(entry) = self.txs.get(txid) else { continue };
            for (vout, output) in (0u32..).zip(&entry.tx.output) {
                let outpoint = OutPoint { txid: *txid, vout };
                if !self.spends.contains_key(&outpoint) && script_hash(&output.script_pubkey) == *script {
                    coins.push((outpoint, output, entry.place));
                }
            }
        }
        coins.sort_unstable_by_key(|(outpoint, _, place)| (place.is_none(), *place, *outpoint));
        coins
    }

    /// Adds the next block of the best chain. Returns whether it fits onto the tip; if not, nothing has changed.
    pub(crate) fn connect(&mut self, block: Block) -> bool {
        if self
            .tip()
            .is_some_and(|tip| tip.hash != block.header.prev_blockhash)
        {
            return false;
        }
        let hash = block.block_hash();
        let Ok(height) = u32::try_from(self.blocks.len()) else {
            return false;
        };
        let entry = BlockEntry {
            hash,
            header: block.header,
            txids: block.txdata.iter().map(Transaction::compute_txid).collect(),
            size: block.total_size(),
            weight: block.weight().to_wu(),
            median_time: self.median_time(block.header.time),
        };
        for ((position, tx), txid) in (0u32..).zip(block.txdata).zip(&entry.txids) {
            self.mempool.remove(txid);
            self.insert(*txid, tx, Some(Place { height, position }));
        }
        for txid in &entry.txids {
            self.link(*txid);
        }
        self.stale.remove(&hash);
        self.heights.insert(hash, height);
        self.blocks.push(entry);
        true
    }

    /// Takes the best block off again. Its transactions are forgotten until the mempool or another block brings them.
    pub(crate) fn disconnect(&mut self) {
        let Some(entry) = self.blocks.pop() else { return };
        for txid in entry.txids.iter().rev() {
            self.remove(txid);
        }
        self.heights.remove(&entry.hash);
        self.stale.insert(entry.hash, entry.header);
    }

    /// Brings the mempool up to date: `gone` are no longer in it, `new` are.
    pub(crate) fn update_mempool(&mut self, gone: &[Txid], new: Vec<Transaction>) {
        for txid in gone {
            if self.mempool.remove(txid) {
                self.remove(txid);
            }
        }
        let new: Vec<(Txid, Transaction)> = new.into_iter().map(|tx| (tx.compute_txid(), tx)).collect();
        let txids: Vec<Txid> = new.iter().map(|(txid, _)| *txid).collect();
        // All first, links afterwards: a child may come before its parent.
        for (txid, tx) in new {
            if self.txs.get(&txid).is_some_and(|entry| entry.place.is_some()) {
                continue;
            }
            self.mempool.insert(txid);
            self.insert(txid, tx, None);
        }
        for txid in txids {
            self.link(txid);
        }
    }

    fn insert(&mut self, txid: Txid, tx: Transaction, place: Option<Place>) {
        self.counter += 1;
        let seen = self.counter;
        self.txs
            .entry(txid)
            .and_modify(|entry| entry.place = place)
            .or_insert(TxEntry {
                tx,
                place,
                seen,
                scripts: HashSet::new(),
            });
    }

    fn link(&mut self, txid: Txid) {
        let Some(entry) = self.txs.get(&txid) else { return };
        let mut scripts: HashSet<ScriptHash> = entry
            .tx
            .output
            .iter()
            .map(|out| script_hash(&out.script_pubkey))
            .collect();
        if !entry.tx.is_coinbase() {
            let confirmed = entry.place.is_some();
            for (vin, input) in (0u32..).zip(&entry.tx.input) {
                if let Some(out) = self.output(&input.previous_output) {
                    scripts.insert(script_hash(&out.script_pubkey));
                }
                // A confirmed spend always wins over what the mempool said.
                let spend = Spend { txid, vin };
                if confirmed {
                    self.spends.insert(input.previous_output, spend);
                } else {
                    self.spends.entry(input.previous_output).or_insert(spend);
                }
            }
        }
        for script in &scripts {
            self.touched.entry(*script).or_default().insert(txid);
        }
        if let Some(entry) = self.txs.get_mut(&txid) {
            entry.scripts.extend(scripts);
        }
    }

    fn remove(&mut self, txid: &Txid) {
        let Some(entry) = self.txs.remove(txid) else {
            return;
        };
        for script in &entry.scripts {
            if let Some(set) = self.touched.get_mut(script) {
                set.remove(txid);
                if set.is_empty() {
                    self.touched.remove(script);
                }
            }
        }
        for input in &entry.tx.input {
            if self
                .spends
                .get(&input.previous_output)
                .is_some_and(|spend| spend.txid == *txid)
            {
                self.spends.remove(&input.previous_output);
            }
        }
    }

    fn median_time(&self, newest: u32) -> u32 {
        let mut times: Vec<u32> = self
            .blocks
            .iter()
            .rev()
            .take(10)
            .map(|b| b.header.time)
            .chain([newest])
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::block::Version;
    use bitcoin::{
        Amount, CompactTarget, ScriptBuf, Sequence, TxIn, TxMerkleNode, Witness, absolute, transaction,
    };

    use super::*;

    fn tx(inputs: &[OutPoint], outputs: &[(u64, &ScriptBuf)]) -> Transaction {
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: inputs
                .iter()
                .map(|previous_output| TxIn {
                    previous_output: *previous_output,
                    script_sig: ScriptBuf::new(),
                    sequence: Sequence::MAX,
                    witness: Witness::new(),
                })
                .collect(),
            output: outputs
                .iter()
                .map(|(sat, script)| TxOut {
                    value: Amount::from_sat(*sat),
                    script_pubkey: (*script).clone(),
                })
                .collect(),
        }
    }

    fn block(chain: &Chain, nonce: u32, txdata: Vec<Transaction>) -> Block {
        let prev_blockhash = chain.tip().map_or_else(BlockHash::all_zeros, |tip| tip.hash);
        let header = Header {
            version: Version::TWO,
            prev_blockhash,
            merkle_root: TxMerkleNode::all_zeros(),
            time: nonce,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce,
        };
        Block { header, txdata }
    }

    fn script(n: u8) -> ScriptBuf {
        ScriptBuf::from_bytes(vec![n])
    }

    fn at(tx: &Transaction, vout: u32) -> OutPoint {
        OutPoint {
            txid: tx.compute_txid(),
            vout,
        }
    }

    #[test]
    fn a_reorganisation_moves_history_and_spends_back() {
        let (a, b) = (script(1), script(2));
        let mut chain = Chain::default();
        let coin = tx(&[OutPoint::null()], &[(50, &a)]);
        assert!(chain.connect(block(&chain, 1, vec![coin.clone()])));
        let spend = tx(&[at(&coin, 0)], &[(49, &b)]);
        assert!(chain.connect(block(&chain, 2, vec![spend.clone()])));
        assert_eq!(chain.unspent(&script_hash(&a)).len(), 0);
        assert_eq!(chain.history(&script_hash(&b)).1, vec![spend.compute_txid()]);
        assert_eq!(chain.fee(&spend), 1);

        let left_behind = chain.tip().unwrap().hash;
        chain.disconnect();
        assert_eq!(chain.height(), Some(0));
        assert!(chain.header(&left_behind).is_some() && chain.block(&left_behind).is_none());
        assert!(chain.history(&script_hash(&b)).1.is_empty());
        assert_eq!(chain.unspent(&script_hash(&a)).len(), 1);

        chain.update_mempool(&[], vec![spend.clone()]);
        assert_eq!(chain.history(&script_hash(&b)).0, vec![spend.compute_txid()]);
        assert_eq!(chain.spend(&at(&coin, 0)).unwrap().txid, spend.compute_txid());
        assert!(chain.connect(block(&chain, 3, vec![spend.clone()])));
        assert!(chain.mempool().is_empty());
        assert_eq!(
            chain.tx(&spend.compute_txid()).unwrap().place,
            Some(Place {
                height: 1,
                position: 0
            })
        );
    }

    #[test]
    fn a_child_listed_before_its_parent_is_linked() {
        let (a, b) = (script(1), script(2));
        let mut chain = Chain::default();
        let parent = tx(
            &[OutPoint {
                txid: Txid::all_zeros(),
                vout: 7,
            }],
            &[(50, &a)],
        );
        let child = tx(&[at(&parent, 0)], &[(49, &b)]);
        chain.update_mempool(&[], vec![child.clone(), parent.clone()]);
        let (unconfirmed, _) = chain.history(&script_hash(&a));
        assert_eq!(
            unconfirmed.len(),
            2,
            "the parent pays it, the child spends from it"
        );
        chain.update_mempool(&[parent.compute_txid(), child.compute_txid()], vec![]);
        assert!(chain.history(&script_hash(&a)).0.is_empty());
        assert!(chain.touched.is_empty() && chain.spends.is_empty() && chain.txs.is_empty());
    }

    #[test]
    fn a_confirmed_conflict_wins_and_survives_the_losers_removal() {
        let a = script(1);
        let mut chain = Chain::default();
        let coin = tx(&[OutPoint::null()], &[(50, &a)]);
        assert!(chain.connect(block(&chain, 1, vec![coin.clone()])));
        let loser = tx(&[at(&coin, 0)], &[(40, &a)]);
        let winner = tx(&[at(&coin, 0)], &[(41, &a)]);
        chain.update_mempool(&[], vec![loser.clone()]);
        assert!(chain.connect(block(&chain, 2, vec![winner.clone()])));
        chain.update_mempool(&[loser.compute_txid()], vec![]);
        assert_eq!(chain.spend(&at(&coin, 0)).unwrap().txid, winner.compute_txid());
        assert!(chain.tx(&loser.compute_txid()).is_none());
    }

    #[test]
    fn a_block_that_does_not_fit_changes_nothing() {
        let mut chain = Chain::default();
        assert!(chain.connect(block(&chain, 1, vec![])));
        let mut wrong = block(&chain, 2, vec![]);
        wrong.header.prev_blockhash = BlockHash::all_zeros();
        assert!(!chain.connect(wrong));
        assert_eq!(chain.height(), Some(0));
    }
}
