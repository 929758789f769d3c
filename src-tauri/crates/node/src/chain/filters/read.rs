//! Reading blocks: which concern us, and telling everybody who follows the chain what is in them.
//!
//! Knows nothing of peers. Blocks are read in height order; a block is read again as long as what is in it makes LDK or
//! the wallet watch for more. LDK hears through `Confirm`, which lets blocks that do not concern us be left out.

use std::collections::{BTreeSet, HashSet};

use bdk_wallet::chain::{BlockId, CheckPoint};
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, OutPoint, ScriptBuf, Transaction, Txid};
use lightning::chain::Confirm;

use super::Place;
use super::gcs::{self, Damaged};
use super::jury::Branch;
use crate::chain::gate::Closed;
use crate::chain::source::GatedFollower;
use crate::chain::{Round, Tip};
use crate::error::{Error, ErrorCode, Result};

/// How often one block may be read again because of what it taught us. Every reading but the last finds something new
/// in the block, which only a block full of our own closings could keep up.
const READINGS: usize = 100;

/// One pass over the chain, for everybody in a round.
pub struct Reading<'r, 'a> {
    round: &'r Round<'a>,
    followers: Vec<GatedFollower>,
    /// What filters are asked for.
    scripts: Vec<ScriptBuf>,
    /// The wallet's outputs, spent or not.
    coins: BTreeSet<OutPoint>,
    generation: u64,
}

impl<'r, 'a> Reading<'r, 'a> {
    /// Gets ready to read for this round.
    pub fn new(round: &'r Round<'a>) -> Self {
        let mut reading = Self {
            round,
            followers: round.followers(),
            scripts: Vec::new(),
            coins: BTreeSet::new(),
            generation: 0,
        };
        reading.look_again();
        reading
    }

    /// Whether a block's filter may hold something of ours.
    ///
    /// # Errors
    /// [`Damaged`] if the filter cannot be read.
    pub fn concerns_us(&mut self, filter: &[u8], block: &BlockHash) -> std::result::Result<bool, Damaged> {
        // A channel may have been opened while we read.
        if self.round.watch.generation() != self.generation {
            self.look_again();
        }
        gcs::contains_any(filter, block, self.scripts.iter().map(|script| script.as_bytes()))
    }

    /// Tells everybody what is in a block that concerns us.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if it does not connect to the wallet's chain.
    pub fn read(&mut self, block: &Block, height: u32) -> Result<()> {
        let transactions: Vec<(usize, Txid, &Transaction)> = block
            .txdata
            .iter()
            .enumerate()
            .map(|(position, transaction)| (position, transaction.compute_txid(), transaction))
            .collect();
        let mut told: HashSet<Txid> = HashSet::new();
        for _ in 0..READINGS {
            let before = self.round.watch.generation();
            let news: Vec<(usize, &Transaction)> = transactions
                .iter()
                .filter(|(_, txid, transaction)| {
                    !told.contains(txid) && self.round.watch.wants(txid, transaction)
                })
                .map(|(position, _, transaction)| (*position, *transaction))
                .collect();
            if news.is_empty() {
                break;
            }
            for follower in &self.followers {
                follower.transactions_confirmed(&block.header, &news, height);
            }
            told.extend(news.iter().map(|(_, transaction)| transaction.compute_txid()));
            if self.round.watch.generation() == before {
                break;
            }
        }
        self.read_for_wallet(block, height, &transactions)?;
        self.look_again();
        self.open()
    }

    /// The wallet's share of a block.
    fn read_for_wallet(
        &mut self,
        block: &Block,
        height: u32,
        transactions: &[(usize, Txid, &Transaction)],
    ) -> Result<()> {
        let here = BlockId {
            height,
            hash: block.block_hash(),
        };
        for _ in 0..READINGS {
            let scripts: HashSet<ScriptBuf> = self.round.wallet.scripts().into_iter().collect();
            let ours = transactions.iter().any(|(_, _, transaction)| {
                let pays = transaction
                    .output
                    .iter()
                    .any(|output| scripts.contains(&output.script_pubkey));
                pays || transaction
                    .input
                    .iter()
                    .any(|input| self.coins.contains(&input.previous_output))
            });
            if !ours {
                return Ok(());
            }
            // Blocks in between hold nothing of ours, so the wallet's chain may be as sparse as it likes.
            self.round
                .wallet
                .apply_chain(self.round.wallet.checkpoint().insert(here))?;
            self.round.wallet.apply_block(block, height, here)?;
            self.coins = self.round.wallet.coins();
            // A payment far ahead among our addresses brings further ones into view.
            if self.round.wallet.scripts().len() == scripts.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells everybody that all blocks up to this one were read.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if the header does not carry its work.
    pub fn reached(&self, tip: &Tip) -> Result<()> {
        for follower in &self.followers {
            follower.best_block_updated(&tip.header, tip.height);
        }
        self.open()?;
        if tip.height > 0 {
            let here = BlockId {
                height: tip.height,
                hash: tip.hash,
            };
            let chain = self.round.wallet.checkpoint();
            // After a reorganisation it may know a later block of this chain already.
            if chain.height() < tip.height {
                self.round.wallet.apply_chain(chain.insert(here))?;
            }
        }
        Ok(())
    }

    /// Takes back what was told of blocks that are not in the best chain any more.
    ///
    /// Only what is contradicted: a block above all that the peers have is no reason to forget anything.
    pub fn unconfirm(&self, branch: &Branch) -> usize {
        let mut gone: Vec<Txid> = self
            .followers
            .iter()
            .flat_map(Confirm::get_relevant_txids)
            .filter(|(_, height, block)| {
                block.is_some_and(|hash| {
                    contradicts(
                        branch,
                        Place {
                            height: *height,
                            hash,
                        },
                    )
                })
            })
            .map(|(txid, ..)| txid)
            .collect();
        gone.sort_unstable();
        gone.dedup();
        for txid in &gone {
            for follower in &self.followers {
                follower.transaction_unconfirmed(txid);
            }
        }
        gone.len()
    }

    /// Puts the wallet's chain right where it contradicts the best one. Only when everybody else is known to be back at
    /// the fork on disk: the wallet may stand above it afterwards, on blocks that were not read yet.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if the chains do not connect.
    pub fn turn_wallet(&self, branch: &Branch) -> Result<()> {
        let chain = self.round.wallet.checkpoint();
        let stale = |block: &CheckPoint| contradicts(branch, place(block));
        // The lowest block that is wrong; everything above it goes with it.
        let above = chain
            .iter()
            .take_while(|block| block.height() > branch.fork.height);
        let Some(lowest) = above.filter(stale).last() else {
            return Ok(());
        };
        let header = header_at(branch, lowest.height());
        let Some(header) = header else { return Ok(()) };
        let right = BlockId {
            height: lowest.height(),
            hash: header.block_hash(),
        };
        self.round.wallet.apply_chain(chain.insert(right))
    }

    /// Takes in anew what there is to look for.
    fn look_again(&mut self) {
        // The generation first: what comes in between is then looked at twice, not never.
        self.generation = self.round.watch.generation();
        let mut scripts = self.round.watch.scripts();
        scripts.extend(self.round.wallet.scripts());
        self.coins = self.round.wallet.coins();
        scripts.retain(|script| !script.is_empty());
        self.scripts = scripts.into_iter().collect();
    }

    fn open(&self) -> Result<()> {
        match self.round.gate().closed() {
            None => Ok(()),
            Some(Closed::TipMoved) => Err(Error::new(ErrorCode::ChainSyncFailed, "filters: the tip moved")),
            Some(Closed::Lie(what)) => {
                Err(Error::new(ErrorCode::ChainSyncFailed, format!("filters: {what}")))
            }
        }
    }
}

/// Whether the branch has another block at this height.
pub fn contradicts(branch: &Branch, place: Place) -> bool {
    header_at(branch, place.height).is_some_and(|header| header.block_hash() != place.hash)
}

/// The branch's header at a height, if it is above the fork and not above the tip.
pub fn header_at(branch: &Branch, height: u32) -> Option<&Header> {
    let above = height.checked_sub(branch.fork.height)?.checked_sub(1)?;
    branch.headers.get(usize::try_from(above).ok()?)
}

/// A checkpoint of BDK as a place.
pub fn place(block: &CheckPoint) -> Place {
    Place {
        height: block.height(),
        hash: block.hash(),
    }
}
