//! Keeping the [`Chain`] in step with `bitcoind`: blocks forward and back, and the mempool. On demand: whoever is
//! about to answer a question asks for the present first, so that an answer is never older than its question.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::chain::Chain;
use crate::Error;
use crate::rpc::Rpc;

/// Blocks asked for in one request; regtest blocks are small.
const BLOCKS_AT_ONCE: u32 = 200;
/// The chain moved while it was being read this often in a row: something is wrong, give up.
const TRIES: usize = 20;

/// The chain and the means to renew it.
pub(crate) struct Follower {
    rpc: Rpc,
    chain: RwLock<Chain>,
    // What the last renewal saw: best block and the mempool's change counter.
    gate: tokio::sync::Mutex<Option<(BlockHash, u64)>>,
    begun: AtomicU64,
}

#[derive(Deserialize)]
struct RawMempool {
    txids: Vec<Txid>,
    mempool_sequence: u64,
}

impl Follower {
    pub(crate) fn new(rpc: Rpc) -> Self {
        Self {
            rpc,
            chain: RwLock::default(),
            gate: tokio::sync::Mutex::new(None),
            begun: AtomicU64::new(0),
        }
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The chain as of the last renewal. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.chain.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Chain> {
        self.chain.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the chain and hands it out.
    pub(crate) async fn fresh(&self) -> Result<RwLockReadGuard<'_, Chain>, Error> {
        self.renew().await?;
        Ok(self.read())
    }

    /// Brings the chain to what `bitcoind` knows now.
    pub(crate) async fn renew(&self) -> Result<(), Error> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = self.gate.lock().await;
        if self.begun.load(Ordering::SeqCst) > asked && last.is_some() {
            // Somebody's renewal began after we asked and has ended: it is as good as ours.
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        for _ in 0..TRIES {
            // The mempool first: a transaction that a block takes in between is then in both, never in neither.
            let mut answers = self
                .rpc
                .batch(vec![
                    ("getrawmempool", json!([false, true])),
                    ("getbestblockhash", json!([])),
                ])
                .await?
                .into_iter();
            let mempool: RawMempool = parse("getrawmempool", answers.next())?;
            let best: BlockHash = parse("getbestblockhash", answers.next())?;
            let state = (best, mempool.mempool_sequence);
            if *last == Some(state) {
                return Ok(());
            }
            if self.to_block(best).await? {
                self.to_mempool(mempool.txids).await?;
                *last = Some(state);
                return Ok(());
            }
            *last = None;
        }
        Err(Error::Bitcoind("the chain does not hold still".into()))
    }

    /// Moves the chain to end with `best`. `false` when `bitcoind`'s chain moved on meanwhile.
    async fn to_block(&self, best: BlockHash) -> Result<bool, Error> {
        if self.read().tip().is_some_and(|tip| tip.hash == best) {
            return Ok(true);
        }
        let header: Value = self.rpc.call("getblockheader", json!([best])).await?;
        let target = header["height"]
            .as_u64()
            .and_then(|height| u32::try_from(height).ok())
            .ok_or_else(|| Error::Bitcoind("a header without height".into()))?;

        // Step back to what we have in common.
        loop {
            let (height, hash) = {
                let chain = self.read();
                match (chain.height(), chain.tip()) {
                    (Some(height), Some(tip)) => (height, tip.hash),
                    _ => break,
                }
            };
            let theirs: Option<BlockHash> = if height > target {
                None
            } else {
                match self.rpc.call("getblockhash", json!([height])).await {
                    Ok(hash) => Some(hash),
                    Err(Error::Rpc { .. }) => None,
                    Err(e) => return Err(e),
                }
            };
            if theirs == Some(hash) {
                break;
            }
            self.write().disconnect();
        }

        let mut next = self.read().height().map_or(0, |height| height + 1);
        while next <= target {
            let end = target.min(next + BLOCKS_AT_ONCE - 1);
            let asked = (next..=end)
                .map(|height| ("getblockhash", json!([height])))
                .collect();
            let mut hashes: Vec<BlockHash> = Vec::new();
            for answer in self.rpc.batch(asked).await? {
                match answer {
                    Ok(value) => hashes.push(parse("getblockhash", Some(Ok(value)))?),
                    Err(Error::Rpc { .. }) => return Ok(false),
                    Err(e) => return Err(e),
                }
            }
            let asked = hashes.iter().map(|hash| ("getblock", json!([hash, 0]))).collect();
            for answer in self.rpc.batch(asked).await? {
                let block: Block = from_hex("getblock", &answer?)?;
                if !self.write().connect(block) {
                    return Ok(false);
                }
            }
            next = end + 1;
        }
        Ok(self.read().tip().is_some_and(|tip| tip.hash == best))
    }

    async fn to_mempool(&self, txids: Vec<Txid>) -> Result<(), Error> {
        let (gone, missing) = {
            let chain = self.read();
            let missing: Vec<Txid> = txids
                .iter()
                .filter(|txid| chain.tx(txid).is_none())
                .copied()
                .collect();
            let now: std::collections::HashSet<Txid> = txids.into_iter().collect();
            let gone: Vec<Txid> = chain
                .mempool()
                .iter()
                .filter(|txid| !now.contains(*txid))
                .copied()
                .collect();
            (gone, missing)
        };
        let asked = missing
            .iter()
            .map(|txid| ("getrawtransaction", json!([txid])))
            .collect();
        let mut new = Vec::new();
        for answer in self.rpc.batch(asked).await? {
            match answer {
                Ok(value) => new.push(from_hex::<Transaction>("getrawtransaction", &value)?),
                // It left the mempool meanwhile; the next renewal will know where to.
                Err(Error::Rpc { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        self.write().update_mempool(&gone, new);
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    method: &str,
    answer: Option<Result<Value, Error>>,
) -> Result<T, Error> {
    let value = answer.unwrap_or(Ok(Value::Null))?;
    serde_json::from_value(value).map_err(|e| Error::Transport {
        method: method.to_owned(),
        reason: e.to_string(),
    })
}

fn from_hex<T: bitcoin::consensus::Decodable>(method: &str, value: &Value) -> Result<T, Error> {
    deserialize_hex(value.as_str().unwrap_or_default()).map_err(|e| Error::Transport {
        method: method.to_owned(),
        reason: e.to_string(),
    })
}
