//! The devnet's chain in a test's hands: mining, paying, undoing.

use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Address, Amount, BlockHash, OutPoint, Transaction, Txid};
use serde_json::{Value, json};

use super::Devnet;
use crate::Error;
use crate::mining::{Reorg, broadcast, output};

/// A transaction as the chain or the mempool has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The whole of it.
    pub transaction: Transaction,
    /// The block it is in, by height; `None` while it waits in the mempool.
    pub height: Option<u32>,
    /// What it pays, in sat.
    pub fee_sat: u64,
}

impl Seen {
    /// What it pays, in sat/vB.
    #[allow(clippy::cast_precision_loss, reason = "fees of a regtest are small numbers")]
    pub fn fee_rate(&self) -> f64 {
        self.fee_sat as f64 / self.transaction.vsize() as f64
    }
}

impl Devnet {
    /// Height of the best block.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn height(&self) -> Result<u32, Error> {
        Ok(self.tip().await?.0)
    }

    /// Height and hash of the best block.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn tip(&self) -> Result<(u32, BlockHash), Error> {
        let chain = self.follower().fresh().await?;
        match (chain.height(), chain.tip()) {
            (Some(height), Some(tip)) => Ok((height, tip.hash)),
            _ => Err(Error::Bitcoind("it has no chain".into())),
        }
    }

    /// Mines `count` blocks with everything the mempool has (and one transaction of the fee market each), and waits
    /// until all running peers have followed. Returns the new height.
    ///
    /// # Errors
    /// [`Error::Rpc`], [`Error::Transport`], [`Error::Timeout`] from the peers.
    pub async fn mine(&self, count: u32) -> Result<u32, Error> {
        self.inner.miner.mine(self.follower(), count).await?;
        self.settle().await?;
        self.height().await
    }

    /// Mines `count` blocks without anything that waits in the mempool, as if it all paid too little. Waits for the peers.
    ///
    /// # Errors
    /// [`Error::Rpc`], [`Error::Transport`], [`Error::Timeout`] from the peers.
    pub async fn mine_empty(&self, count: u32) -> Result<u32, Error> {
        self.inner.miner.mine_empty(self.follower(), count).await?;
        self.settle().await?;
        self.height().await
    }

    /// The transaction that spends an output, in a block or in the mempool.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn spender(&self, output: &OutPoint) -> Result<Option<Seen>, Error> {
        let chain = self.follower().fresh().await?;
        let spender = chain.spend(output).and_then(|spend| chain.tx(&spend.txid));
        Ok(spender.map(|entry| Seen {
            transaction: entry.tx.clone(),
            height: entry.place.map(|place| place.height),
            fee_sat: chain.fee(&entry.tx),
        }))
    }

    /// A transaction, in a block or in the mempool.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn transaction(&self, txid: &Txid) -> Result<Option<Seen>, Error> {
        let chain = self.follower().fresh().await?;
        Ok(chain.tx(txid).map(|entry| Seen {
            transaction: entry.tx.clone(),
            height: entry.place.map(|place| place.height),
            fee_sat: chain.fee(&entry.tx),
        }))
    }

    /// The header of the best chain's block at a height.
    ///
    /// # Errors
    /// [`Error::Rpc`] above the tip, [`Error::Transport`]
    pub async fn header(&self, height: u32) -> Result<Header, Error> {
        let rpc = self.rpc();
        let hash: BlockHash = rpc.call("getblockhash", json!([height])).await?;
        let header: String = rpc.call("getblockheader", json!([hash, false])).await?;
        deserialize_hex(&header).map_err(|e| Error::Bitcoind(format!("a header that is none: {e}")))
    }

    /// Everything in the mempool.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        Ok(self.follower().fresh().await?.mempool().iter().copied().collect())
    }

    /// Pays `amount` to `address`. Unconfirmed until the next block.
    ///
    /// # Errors
    /// [`Error::Faucet`] when it has not so much, [`Error::Rpc`] when the mempool refuses (dust, for one).
    pub async fn fund(&self, address: &Address, amount: Amount) -> Result<Txid, Error> {
        self.inner
            .miner
            .fund(self.follower(), &[output(address, amount)])
            .await
    }

    /// Gives a transaction to the mempool.
    ///
    /// # Errors
    /// [`Error::Rpc`] when it is refused.
    pub async fn broadcast(&self, tx: &Transaction) -> Result<Txid, Error> {
        broadcast(self.follower(), tx).await
    }

    /// Leaves the best `depth` blocks behind for `depth + 1` others, which contain the same transactions. Waits for
    /// the peers.
    ///
    /// # Errors
    /// [`Error::Input`] for a depth that is not there.
    pub async fn reorg(&self, depth: u32) -> Result<Reorg, Error> {
        let reorg = self.inner.miner.reorg(self.follower(), depth, false).await?;
        self.settle().await?;
        Ok(reorg)
    }

    /// The same, but the new blocks are empty: transactions of the old ones go back to the mempool.
    ///
    /// # Errors
    /// [`Error::Input`] for a depth that is not there.
    pub async fn reorg_empty(&self, depth: u32) -> Result<Reorg, Error> {
        let reorg = self.inner.miner.reorg(self.follower(), depth, true).await?;
        self.settle().await?;
        Ok(reorg)
    }

    /// Makes `bitcoind` call a block, and all above it, invalid.
    ///
    /// # Errors
    /// [`Error::Rpc`] for an unknown block.
    pub async fn invalidate(&self, block: BlockHash) -> Result<(), Error> {
        self.rpc()
            .call::<Value>("invalidateblock", json!([block]))
            .await?;
        self.settle().await
    }

    /// Takes [`Devnet::invalidate`] back.
    ///
    /// # Errors
    /// [`Error::Rpc`] for an unknown block.
    pub async fn reconsider(&self, block: BlockHash) -> Result<(), Error> {
        self.rpc()
            .call::<Value>("reconsiderblock", json!([block]))
            .await?;
        self.settle().await
    }
}
