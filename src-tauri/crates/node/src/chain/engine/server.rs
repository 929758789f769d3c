//! Which questions a chain server must answer for the engine, and what of each answer it must prove.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bdk_wallet::chain::ConfirmationBlockTime;
use bitcoin::{BlockHash, OutPoint, Script, Transaction, TxOut, Txid};

use super::ask::{Answer, Findings};
use super::recent::Recent;
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::error::Result;
use crate::onchain::OnchainWallet;

/// The chain that questions are about.
#[derive(Clone, Copy)]
pub struct Chain<'a> {
    /// The tip and the blocks under it.
    pub recent: &'a Recent,
    /// Other blocks that are in the chain of the tip, with their heights; those of earlier rounds.
    pub known: &'a BTreeMap<BlockHash, u32>,
}

impl Chain<'_> {
    /// Those of these blocks that are not known to be in the chain at these heights.
    pub fn unseen(&self, blocks: impl Iterator<Item = (BlockHash, u32)>) -> BTreeSet<(BlockHash, u32)> {
        blocks
            .filter(|(block, height)| {
                self.recent.at(*height) != Some(*block) && self.known.get(block) != Some(height)
            })
            .collect()
    }
}

/// A transaction of a script's history, its id and its place proved.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    /// Its id.
    pub txid: Txid,
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// The outputs it spends, as far as the server shows them, on its word.
    pub spent: Vec<(OutPoint, TxOut)>,
    /// Where it is confirmed, if it is: in a block at this height on the server's word. The caller must see whether that is in the
    /// chain.
    pub place: Option<ConfirmationBlockTime>,
}

/// A chain server's answers. Everything in them is proved, unless it says otherwise; what is left to the caller is whether
/// answers fit together.
///
/// Every future may be dropped at every await, ends by itself, and fails with typed errors:
/// [`crate::ErrorCode::ChainSyncFailed`] for what cannot be true.
#[async_trait]
pub trait Server: Send + Sync {
    /// How the server is named; what was seen is remembered under this.
    fn endpoint(&self) -> &str;

    /// How many questions it is worth to have under way at a time.
    fn parallel(&self) -> usize;

    /// The best block's hash, nothing proved.
    async fn tip_hash(&self) -> Result<BlockHash>;

    /// The tip and at least the few blocks under it, all with their work. The tip's height is the server's word.
    async fn recent(&self) -> Result<Recent>;

    /// The same chain, proved further down, to this height.
    async fn extended(&self, recent: &Recent, height: u32) -> Result<Recent>;

    /// At which height of the best chain this block is, on the server's word; it was at this one when it was last seen. `None`
    /// if it is not there.
    async fn height_of(&self, block: &BlockHash, height: u32) -> Result<Option<u32>>;

    /// [`Self::recent`] and [`Self::height_of`] at once.
    async fn recent_and_height_of(&self, block: &BlockHash, height: u32) -> Result<(Recent, Option<u32>)> {
        tokio::try_join!(self.recent(), self.height_of(block, height))
    }

    /// The hash of the best chain's block at a height, on the server's word; `None` above the tip.
    async fn block_at(&self, height: u32) -> Result<Option<BlockHash>>;

    /// The first transaction of a block that is said to be at this height, its place proved: it says the height (BIP 34). `None`
    /// if this kind of server proves heights in another way.
    async fn first_transaction(&self, _block: &BlockHash, _height: u32) -> Result<Option<Transaction>> {
        Ok(None)
    }

    /// Looks for these transactions and for what spends these outputs, in blocks. Of what is confirmed, the transaction and its
    /// place in its block are proved; that nothing is there is the server's word.
    async fn look(
        &self,
        chain: Chain<'_>,
        transactions: &[WatchedTransaction],
        outputs: &[WatchedCoin],
    ) -> Answer<Findings>;

    /// The history of a script, each transaction once. What the wallet has already need not be asked for.
    async fn history(
        &self,
        chain: Chain<'_>,
        script: &Script,
        wallet: &OnchainWallet,
    ) -> Result<Vec<HistoryItem>>;
}
