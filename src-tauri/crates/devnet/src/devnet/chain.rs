//! The devnet's chain in a test's hands: mining, paying, undoing.

use bitcoin::{Address, Amount, BlockHash, Transaction, Txid};
use serde_json::{Value, json};

use super::Devnet;
use crate::Error;
use crate::mining::{Reorg, broadcast, output};

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
