//! Making blocks: mining, paying out, undoing. Each mined block carries one small transaction of the fee market.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, BlockHash, Transaction, TxOut, Txid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::Error;
use crate::esplora::follow::Follower;
use crate::faucet::Faucet;

/// First rewards to be ripe at the start: enough for the market and for funding three peers.
const FIRST_BLOCKS: u32 = 125;
/// Blocks of the first fee history. `estimatesmartfee` speaks after about a dozen blocks with transactions.
const HISTORY_BLOCKS: u32 = 20;
/// Blocks asked for in one request.
const AT_ONCE: u32 = 50;
/// No test needs more, and a typing error must not mine for hours.
const MOST_BLOCKS: u32 = 20_000;

/// What a reorganisation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reorg {
    /// The height above which everything changed.
    pub fork_height: u32,
    /// Blocks that are no longer in the chain, lowest first.
    pub left_behind: Vec<BlockHash>,
    /// Blocks that took their place, lowest first: one more than before.
    pub instead: Vec<BlockHash>,
}

/// The miner and its purse.
pub(crate) struct Miner {
    faucet: Mutex<Faucet>,
}

impl Miner {
    pub(crate) fn new() -> Self {
        Self {
            faucet: Mutex::new(Faucet::new()),
        }
    }

    /// Makes a chain with ripe rewards and a fee history.
    pub(crate) async fn found(&self, follower: &Follower) -> Result<(), Error> {
        let address = self.faucet.lock().await.address();
        follower
            .rpc()
            .call::<Value>("generatetoaddress", json!([FIRST_BLOCKS, address]))
            .await?;
        self.mine(follower, HISTORY_BLOCKS).await
    }

    /// Mines `count` blocks with everything the mempool has.
    pub(crate) async fn mine(&self, follower: &Follower, count: u32) -> Result<(), Error> {
        if count > MOST_BLOCKS {
            return Err(Error::Input(format!(
                "{count} blocks are too many (at most {MOST_BLOCKS} at once)"
            )));
        }
        let mut faucet = self.faucet.lock().await;
        let address = faucet.address();
        let mut left = count;
        let mut reopened = false;
        while left > 0 {
            if faucet.market_is_empty() && !reopened {
                reopened = true;
                self.reopen_market(follower, &mut faucet).await?;
                // Its coins can be used after the next block.
                follower
                    .rpc()
                    .call::<Value>("generatetoaddress", json!([1, address]))
                    .await?;
                left -= 1;
                continue;
            }
            let now = left.min(AT_ONCE);
            let mut calls: Vec<(&str, Value)> = Vec::new();
            for _ in 0..now {
                if let Some(tx) = faucet.market_step() {
                    calls.push(("sendrawtransaction", json!([serialize_hex(&tx)])));
                }
                calls.push(("generatetoaddress", json!([1, address])));
            }
            let names: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
            let answers = follower.rpc().batch(calls).await?;
            let mut broken = false;
            for (name, answer) in names.into_iter().zip(answers) {
                match answer {
                    Err(Error::Rpc { .. }) if name == "sendrawtransaction" => broken = true,
                    answer => drop(answer?),
                }
            }
            if broken {
                // A reorganisation took its coins. It is opened anew with the next blocks.
                faucet.close_market();
            }
            left -= now;
        }
        drop(faucet);
        self.indexes_follow(follower).await
    }

    /// Mines `count` blocks with nothing in them.
    pub(crate) async fn mine_empty(&self, follower: &Follower, count: u32) -> Result<(), Error> {
        if count > MOST_BLOCKS {
            return Err(Error::Input(format!(
                "{count} blocks are too many (at most {MOST_BLOCKS} at once)"
            )));
        }
        let address = self.faucet.lock().await.address();
        let calls = (0..count)
            .map(|_| ("generateblock", json!([address, []])))
            .collect();
        for answer in follower.rpc().batch(calls).await? {
            answer?;
        }
        self.indexes_follow(follower).await
    }

    /// Sends `amount` to `address`. Unconfirmed until the next block.
    pub(crate) async fn fund(&self, follower: &Follower, outputs: &[TxOut]) -> Result<Txid, Error> {
        // Held until the transaction is in the mempool, so that two payments cannot choose the same coin.
        let faucet = self.faucet.lock().await;
        let tx = faucet.payment(&*follower.fresh().await?, outputs)?;
        broadcast(follower, &tx).await
    }

    /// Leaves the best `depth` blocks behind for `depth + 1` others. Transactions of the left ones are mined again,
    /// or, with `bare`, stay in the mempool.
    pub(crate) async fn reorg(&self, follower: &Follower, depth: u32, bare: bool) -> Result<Reorg, Error> {
        let _busy = self.faucet.lock().await;
        let rpc = follower.rpc();
        let tip: u32 = rpc.call("getblockcount", json!([])).await?;
        if depth == 0 || depth > tip {
            return Err(Error::Input(format!("the depth must be between 1 and {tip}")));
        }
        let fork_height = tip - depth;
        let asked = (fork_height + 1..=tip)
            .map(|height| ("getblockhash", json!([height])))
            .collect();
        let mut left_behind = Vec::new();
        for answer in rpc.batch(asked).await? {
            left_behind.push(block_hash(&answer?)?);
        }
        rpc.call::<Value>("invalidateblock", json!([left_behind[0]]))
            .await?;
        // Rewards go to nobody, so that the new blocks differ from those invalidated even within the same second.
        let nobody = Address::p2wsh(
            &bitcoin::script::Builder::new()
                .push_int(i64::from(rand::random::<u32>()))
                .into_script(),
            bitcoin::Network::Regtest,
        )
        .to_string();
        let mut instead = Vec::new();
        for _ in 0..=depth {
            instead.push(if bare {
                let made: Value = rpc.call("generateblock", json!([nobody, []])).await?;
                block_hash(&made["hash"])?
            } else {
                let made: Value = rpc.call("generatetoaddress", json!([1, nobody])).await?;
                block_hash(&made[0])?
            });
        }
        self.indexes_follow(follower).await?;
        Ok(Reorg {
            fork_height,
            left_behind,
            instead,
        })
    }

    async fn reopen_market(&self, follower: &Follower, faucet: &mut Faucet) -> Result<(), Error> {
        let opening = faucet.open_market(&*follower.fresh().await?);
        match opening {
            Ok(tx) => broadcast(follower, &tx).await.map(drop),
            // After some thousand blocks rewards have halved to nothing. Blocks can be mined all the same.
            Err(Error::Faucet(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Waits until the daemon's indexes (transactions, filters) contain the newest block: they lag behind a little,
    /// and a filter client that asks in between is not answered.
    async fn indexes_follow(&self, follower: &Follower) -> Result<(), Error> {
        follower
            .rpc()
            .call::<Value>("syncwithvalidationinterfacequeue", json!([]))
            .await
            .map(drop)
    }
}

/// Gives a transaction to the mempool.
pub(crate) async fn broadcast(follower: &Follower, tx: &Transaction) -> Result<Txid, Error> {
    follower
        .rpc()
        .call("sendrawtransaction", json!([serialize_hex(tx)]))
        .await
}

/// An output paying `amount` to `address`.
pub(crate) fn output(address: &Address, amount: Amount) -> TxOut {
    TxOut {
        value: amount,
        script_pubkey: address.script_pubkey(),
    }
}

fn block_hash(value: &Value) -> Result<BlockHash, Error> {
    serde_json::from_value(value.clone()).map_err(|e| Error::Transport {
        method: "mining".into(),
        reason: e.to_string(),
    })
}
