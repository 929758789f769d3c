//! The questions of one round, many at a time, and whether the answers fit together.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::block::Header;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::api::{Api, Recent, Spend, lie};
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::config::PARALLEL_REQUESTS;
use crate::error::Error;

/// The deepest reorganisation that is followed, in blocks. Bitcoin itself makes coins wait for so many before they may be spent,
/// because nobody has ever seen a deeper one.
const DEEPEST_REORG: u32 = 100;

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
    /// Confirmed transactions, each once, by height and position.
    pub confirmed: Vec<Found>,
    /// What spends each output that was asked about, if something confirmed does.
    pub spenders: BTreeMap<OutPoint, Option<Txid>>,
}

/// One round's questions to one server, all about the chain of one tip.
pub struct Ask<'a> {
    /// The server.
    pub api: &'a Api,
    /// The tip and the blocks under it.
    pub recent: &'a Recent,
    /// Blocks that are in the chain of the tip, with their heights; those of earlier rounds.
    pub known: &'a BTreeMap<BlockHash, u32>,
}

impl Ask<'_> {
    /// Which of these blocks (with the heights that the followers have for them) are in the best chain.
    pub async fn standing(&self, blocks: BTreeSet<(BlockHash, u32)>) -> Answer<BTreeMap<BlockHash, u32>> {
        let answers = stream::iter(blocks.clone()).map(|(hash, height)| async move {
            if let Some(stands) = self.stands(&hash, height) {
                return Ok::<_, Trouble>(stands.then_some((hash, height)));
            }
            let status = self.api.block_status(&hash).await?;
            match status.height {
                Some(said) if status.in_best_chain && said == height => Ok(Some((hash, height))),
                Some(said) if status.in_best_chain => {
                    Err(lie(&format!("block {hash} was at height {height} and is at {said}")).into())
                }
                _ => Ok(None),
            }
        });
        let answers = answers.buffer_unordered(PARALLEL_REQUESTS);
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
        let tip = self.recent.tip.height;
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
        let recent = self.api.extended(self.recent, lowest).await?;
        for (hash, height) in gone {
            if recent.at(height) == Some(hash) {
                return Err(lie(&format!("it calls block {hash} gone, and its chain holds it")).into());
            }
        }
        Ok(())
    }

    /// What is known of a block without asking: that it is in the best chain, or that another one is in its place.
    pub fn stands(&self, hash: &BlockHash, height: u32) -> Option<bool> {
        if let Some(in_place) = self.recent.at(height) {
            return Some(in_place == *hash);
        }
        if height > self.recent.tip.height {
            return Some(false);
        }
        (self.known.get(hash) == Some(&height)).then_some(true)
    }

    /// Looks for these transactions and for what spends these outputs.
    pub async fn look(
        &self,
        transactions: &[WatchedTransaction],
        outputs: &[WatchedCoin],
    ) -> Answer<Findings> {
        let ids: Vec<Txid> = transactions.iter().map(|watched| watched.txid).collect();
        let watched = stream::iter(ids)
            .map(|txid| self.find(txid))
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_collect::<Vec<_>>();
        let (mut found, spends) = tokio::try_join!(watched, self.spends(outputs))?;

        let mut findings = Findings::default();
        let known: BTreeSet<Txid> = found.iter().flatten().map(|found| found.txid).collect();
        let mut spenders = BTreeMap::new();
        for (outpoint, spend) in spends {
            if spend
                .as_ref()
                .is_some_and(|spend| spend.spent && spend.txid.is_none())
            {
                return Err(lie(&format!("{outpoint} is spent by nobody")).into());
            }
            let place = spend.filter(|spend| spend.spent).and_then(|spend| {
                let status = spend.status.filter(|status| status.confirmed)?;
                Some((spend.txid?, status.block_hash?, status.block_height?))
            });
            findings.spenders.insert(outpoint, place.map(|(txid, ..)| txid));
            if let Some((txid, block, height)) = place {
                let before = spenders.insert(txid, (block, height));
                if before.is_some_and(|before| before != (block, height)) {
                    return Err(Trouble::Unclear(format!("transaction {txid} is in two places")));
                }
            }
        }
        // Those that are watched themselves are in both.
        spenders.retain(|txid, _| !known.contains(txid));
        let spenders = stream::iter(spenders)
            .map(|(txid, (block, height))| self.find_in(txid, block, height))
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_collect::<Vec<_>>()
            .await?;
        found.extend(spenders.into_iter().map(Some));

        findings.confirmed = found.into_iter().flatten().collect();
        findings
            .confirmed
            .sort_unstable_by_key(|found| (found.height, found.position));
        self.check(&findings)?;
        Ok(findings)
    }

    /// Whether and by what each output is spent. Outputs of one transaction are asked about together.
    async fn spends(&self, outputs: &[WatchedCoin]) -> Answer<Vec<(OutPoint, Option<Spend>)>> {
        let mut by_transaction: BTreeMap<Txid, Vec<u32>> = BTreeMap::new();
        for output in outputs {
            let OutPoint { txid, vout } = output.outpoint;
            by_transaction.entry(txid).or_default().push(vout);
        }
        let answers = stream::iter(by_transaction).map(|(txid, vouts)| async move {
            if let [vout] = vouts[..] {
                let outpoint = OutPoint { txid, vout };
                return Ok::<_, Trouble>(vec![(outpoint, self.api.spend(&outpoint).await?)]);
            }
            let all = self.api.spends(&txid).await?;
            let Some(all) = all else {
                return Ok(vouts
                    .into_iter()
                    .map(|vout| (OutPoint { txid, vout }, None))
                    .collect());
            };
            let mut spends = Vec::new();
            for vout in vouts {
                let spend = usize::try_from(vout).ok().and_then(|at| all.get(at));
                let Some(spend) = spend else {
                    return Err(lie(&format!(
                        "transaction {txid} lacks the output {vout} that we watch"
                    ))
                    .into());
                };
                spends.push((OutPoint { txid, vout }, Some(spend.clone())));
            }
            Ok(spends)
        });
        let answers = answers.buffer_unordered(PARALLEL_REQUESTS);
        let spends: Vec<Vec<_>> = answers.try_collect().await?;
        Ok(spends.into_iter().flatten().collect())
    }

    /// A watched transaction, if it is in a block of the best chain.
    async fn find(&self, txid: Txid) -> Answer<Option<Found>> {
        let Some(place) = self.api.place(&txid).await? else {
            return Ok(None);
        };
        let block = place.header.block_hash();
        let height = async {
            if let Some(height) = self.known.get(&block).copied().or(self.recent.height_of(&block)) {
                return Ok(height);
            }
            let status = self.api.block_status(&block).await?;
            let height = status.height.filter(|_| status.in_best_chain);
            height
                .ok_or_else(|| Trouble::Unclear(format!("{txid} is in block {block}, which is in no chain")))
        };
        let transaction = async { Ok::<_, Trouble>(self.api.transaction(&txid).await?) };
        let (transaction, height) = tokio::try_join!(transaction, height)?;
        let transaction = transaction
            .ok_or_else(|| Trouble::Unclear(format!("transaction {txid} is confirmed and not there")))?;
        Ok(Some(Found {
            txid,
            transaction,
            header: place.header,
            position: place.position,
            height,
        }))
    }

    /// A transaction that is said to be in this block, at this height.
    async fn find_in(&self, txid: Txid, block: BlockHash, height: u32) -> Answer<Found> {
        let (place, transaction) = tokio::try_join!(self.api.place(&txid), self.api.transaction(&txid))?;
        let (Some(place), Some(transaction)) = (place, transaction) else {
            return Err(Trouble::Unclear(format!(
                "transaction {txid} is confirmed and not there"
            )));
        };
        if place.header.block_hash() != block {
            return Err(Trouble::Unclear(format!("transaction {txid} is in two blocks")));
        }
        Ok(Found {
            txid,
            transaction,
            header: place.header,
            position: place.position,
            height,
        })
    }

    /// Whether heights and blocks fit together and every spender spends.
    fn check(&self, findings: &Findings) -> Answer<()> {
        let mut heights: BTreeMap<u32, BlockHash> =
            self.known.iter().map(|(hash, height)| (*height, *hash)).collect();
        for found in &findings.confirmed {
            let (hash, height) = (found.header.block_hash(), found.height);
            if height > self.recent.tip.height {
                return Err(Trouble::Unclear(format!("block {hash} is above the tip")));
            }
            let in_place = self.recent.at(height).or(heights.insert(height, hash));
            if in_place.is_some_and(|in_place| in_place != hash) {
                return Err(Trouble::Unclear(format!("two blocks at height {height}")));
            }
            if self.recent.height_of(&hash).is_some_and(|at| at != height) {
                return Err(lie(&format!("block {hash} is not at height {height}")).into());
            }
        }
        for (outpoint, spender) in &findings.spenders {
            let Some(txid) = spender else { continue };
            let spends = findings.confirmed.iter().any(|found| {
                let mut inputs = found.transaction.input.iter();
                found.txid == *txid && inputs.any(|input| input.previous_output == *outpoint)
            });
            if !spends {
                return Err(lie(&format!("transaction {txid} does not spend {outpoint}")).into());
            }
        }
        Ok(())
    }
}
