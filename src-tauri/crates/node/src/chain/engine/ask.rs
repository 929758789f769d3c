//! The questions of one round, many at a time, and whether the answers fit together.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::block::Header;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::heights::Heights;
use super::proof::{lie, must_open};
use super::server::{Chain, Server};
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::error::Error;

/// The deepest reorganisation that is followed, in blocks. Bitcoin itself makes coins wait for so many before they may be spent,
/// because nobody has ever seen a deeper one.
pub const DEEPEST_REORG: u32 = 100;

/// Why an attempt came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// A request failed, or an answer cannot be true.
    Failed(Error),
    /// Answers do not fit together: perhaps a block was found between them.
    Unclear(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The result of a question within a round.
pub type Answer<T> = std::result::Result<T, Trouble>;

/// A confirmed transaction, its place proved.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub txid: Txid,
    /// The transaction.
    pub transaction: Transaction,
    /// Its block's header.
    pub header: Header,
    /// Its position in the block.
    pub position: usize,
    /// The block's height.
    pub height: u32,
}

/// What was found of what was asked.
#[derive(Debug, Default)]
pub struct Findings {
    /// Confirmed transactions, each once.
    pub confirmed: Vec<Found>,
    /// What spends each output that was asked about, if something confirmed does.
    pub spenders: BTreeMap<OutPoint, Option<Txid>>,
}

/// One round's questions to one server, all about the chain of one tip.
pub struct Ask<'a> {
    /// The server.
    pub server: &'a dyn Server,
    /// The heights that were proved.
    pub heights: &'a Heights,
    /// The chain.
    pub chain: Chain<'a>,
}

impl Ask<'_> {
    /// Which of these blocks (with the heights that the followers have for them) are in the best chain.
    pub async fn standing(&self, blocks: BTreeSet<(BlockHash, u32)>) -> Answer<BTreeMap<BlockHash, u32>> {
        let answers = stream::iter(blocks.clone()).map(|(hash, height)| async move {
            if let Some(stands) = self.stands(&hash, height) {
                return Ok::<_, Trouble>(stands.then_some((hash, height)));
            }
            match self.server.height_of(&hash, height).await? {
                Some(said) if said == height => Ok(Some((hash, height))),
                Some(said) => {
                    Err(lie(&format!("block {hash} was at height {height} and is at {said}")).into())
                }
                None => Ok(None),
            }
        });
        let answers = answers.buffer_unordered(self.server.parallel());
        let standing: Vec<Option<(BlockHash, u32)>> = answers.try_collect::<Vec<_>>().await?;
        let standing: BTreeMap<BlockHash, u32> = standing.into_iter().flatten().collect();
        let gone = blocks
            .into_iter()
            .filter(|(hash, _)| !standing.contains_key(hash));
        self.must_be_replaced(gone.collect()).await?;
        Ok(standing)
    }

    /// That a block is gone is not taken on the server's word: LDK closes a channel whose funding is in no block any more. It
    /// has to show the blocks in their places, down to the lowest.
    async fn must_be_replaced(&self, gone: Vec<(BlockHash, u32)>) -> Answer<()> {
        let tip = self.chain.recent.tip.height;
        let Some(lowest) = gone
            .iter()
            .map(|(_, height)| *height)
            .min()
            .filter(|lowest| *lowest <= tip)
        else {
            return Ok(());
        };
        if tip - lowest > DEEPEST_REORG {
            return Err(lie(&format!(
                "it calls a block at height {lowest} gone, under a tip of {tip}"
            ))
            .into());
        }
        let recent = self.server.extended(self.chain.recent, lowest).await?;
        for (hash, height) in gone {
            if recent.at(height) == Some(hash) {
                return Err(lie(&format!("it calls block {hash} gone, and its chain holds it")).into());
            }
        }
        Ok(())
    }

    /// What is known of a block without asking: that it is in the best chain, or that another one is in its place.
    pub fn stands(&self, hash: &BlockHash, height: u32) -> Option<bool> {
        if let Some(in_place) = self.chain.recent.at(height) {
            return Some(in_place == *hash);
        }
        if height > self.chain.recent.tip.height {
            return Some(false);
        }
        (self.chain.known.get(hash) == Some(&height)).then_some(true)
    }

    /// Looks for these transactions and for what spends these outputs.
    pub async fn look(
        &self,
        transactions: &[WatchedTransaction],
        outputs: &[WatchedCoin],
    ) -> Answer<Findings> {
        let mut findings = self.server.look(self.chain, transactions, outputs).await?;
        findings
            .confirmed
            .sort_unstable_by_key(|found| (found.height, found.position));
        self.check(&findings, outputs)?;
        let places = findings
            .confirmed
            .iter()
            .map(|found| (found.header.block_hash(), found.height));
        self.heights.prove(self.server, self.chain.unseen(places)).await?;
        Ok(findings)
    }

    /// Whether heights and blocks fit together and every spender spends.
    fn check(&self, findings: &Findings, outputs: &[WatchedCoin]) -> Answer<()> {
        let mut heights: BTreeMap<u32, BlockHash> = self
            .chain
            .known
            .iter()
            .map(|(hash, height)| (*height, *hash))
            .collect();
        for found in &findings.confirmed {
            let (hash, height) = (found.header.block_hash(), found.height);
            if height > self.chain.recent.tip.height {
                return Err(Trouble::Unclear(format!("block {hash} is above the tip")));
            }
            let in_place = self.chain.recent.at(height).or(heights.insert(height, hash));
            if in_place.is_some_and(|in_place| in_place != hash) {
                return Err(Trouble::Unclear(format!("two blocks at height {height}")));
            }
            if self.chain.recent.height_of(&hash).is_some_and(|at| at != height) {
                return Err(lie(&format!("block {hash} is not at height {height}")).into());
            }
        }
        for (outpoint, spender) in &findings.spenders {
            let Some(txid) = spender else { continue };
            let found = findings.confirmed.iter().find(|found| found.txid == *txid);
            let mut inputs = found.iter().flat_map(|found| &found.transaction.input);
            let Some(input) = inputs.find(|input| input.previous_output == *outpoint) else {
                return Err(lie(&format!("transaction {txid} does not spend {outpoint}")).into());
            };
            if let Some(coin) = outputs.iter().find(|coin| coin.outpoint == *outpoint) {
                must_open(&coin.script, &input.witness)?;
            }
        }
        Ok(())
    }
}
