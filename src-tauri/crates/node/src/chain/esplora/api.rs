//! Esplora's questions, and whatever can be proved of an answer by itself: a header by its hash and work, a
//! transaction by its id, its place by a merkle proof. What is left to the caller is whether answers fit together.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bdk_wallet::chain::{BlockId, ConfirmationBlockTime};
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::consensus::{Decodable, deserialize};
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::{
    Amount, BlockHash, CompactTarget, MerkleBlock, Network, OutPoint, Script, ScriptBuf, Sequence,
    Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness, absolute, transaction,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{Http, Posted};
use crate::chain::engine::proof::{has_it, must_be, must_be_height, must_carry_work};
use crate::chain::engine::{HistoryItem, Recent, garbled, lie, quote};
use crate::chain::fees::Estimates;
use crate::chain::source::Sent;
use crate::config::PARALLEL_REQUESTS;
use crate::error::{Error, ErrorCode, Result};
use crate::onchain::OnchainWallet;

/// A hash, a status, a spend: some hundred bytes.
const SMALL: usize = 16 * 1024;

/// Ten blocks of a few hundred bytes each; some servers add much of their own.
const BLOCKS: usize = 512 * 1024;

/// A proof in hex: a header and some twenty hashes.
const PROOF: usize = 64 * 1024;

/// A transaction: a block weighs 4 million units, and a unit is at most a byte.
const TRANSACTION: usize = 4_000_000;

/// The spends of all outputs of a transaction. A commitment has at most 966 HTLCs (BOLT 3), a spend some 200 bytes.
const SPENDS: usize = 1024 * 1024;

/// A script's history, all pages: thousands of transactions of some 2 kB of JSON each as a rule.
const HISTORY: usize = 8 * 1024 * 1024;

/// Most blocks of one answer that are looked at. Esplora gives ten.
const MOST_BLOCKS: usize = 16;

/// Esplora's page of confirmed transactions.
const PAGE: usize = 25;

/// Most pages of one script's history: a thousand payments to one address. A server could go on for ever.
const PAGES: usize = 40;

/// One Esplora server.
pub struct Api {
    http: Http,
    network: Network,
}

/// Whether a block is in the best chain, and where.
#[derive(Debug, Clone, Deserialize)]
pub struct BlockStatus {
    /// Whether it is.
    pub in_best_chain: bool,
    /// At which height.
    pub height: Option<u32>,
}

/// Where a transaction is.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Whether it is in a block.
    pub confirmed: bool,
    /// At which height.
    pub block_height: Option<u32>,
    /// In which block.
    pub block_hash: Option<BlockHash>,
    /// The block's time, Unix time in s.
    pub block_time: Option<u64>,
}

impl Status {
    /// The place, if it is in a block and all is said of it.
    fn place(&self) -> Option<ConfirmationBlockTime> {
        let (true, Some(height), Some(hash), Some(confirmation_time)) = (
            self.confirmed,
            self.block_height,
            self.block_hash,
            self.block_time,
        ) else {
            return None;
        };
        Some(ConfirmationBlockTime {
            block_id: BlockId { height, hash },
            confirmation_time,
        })
    }
}

/// Whether an output is spent.
#[derive(Debug, Clone, Deserialize)]
pub struct Spend {
    /// Whether it is.
    pub spent: bool,
    /// By which transaction.
    pub txid: Option<Txid>,
    /// Where that is.
    pub status: Option<Status>,
}

/// The proved place of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The block's header, with its work.
    pub header: Header,
    /// The transaction's position in the block.
    pub position: usize,
}

impl Api {
    /// A server that is not connected yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`].
    pub fn new(url: &str, network: Network) -> Result<Self> {
        let http = Http::new(url)?;
        Ok(Self { http, network })
    }

    /// A server in memory.
    #[cfg(test)]
    pub fn from_memory(
        url: &str,
        client: reqwest::Client,
        memory: super::http::FromMemory,
        network: Network,
    ) -> Self {
        let http = Http::from_memory(url, client, memory);
        Self { http, network }
    }

    /// The client under it.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The best block's hash, nothing proved.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn tip_hash(&self) -> Result<BlockHash> {
        let bytes = self.must("/blocks/tip/hash", SMALL).await?;
        text(&bytes)?.trim().parse().map_err(|e| garbled("tip", &e))
    }

    /// The tip and the blocks under it. The tip's height is the server's word, everything else is proved.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the blocks are not a chain or carry no work.
    pub async fn recent(&self) -> Result<Recent> {
        let blocks = self.blocks("/blocks").await?;
        let height = blocks.first().map_or(0, |(height, _)| *height);
        Recent::new(height, &headers(&blocks))
    }

    /// The same chain, proved further down, to this height. Ten blocks a question.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the blocks below do not belong to it.
    pub async fn extended(&self, recent: &Recent, height: u32) -> Result<Recent> {
        let mut recent = recent.clone();
        while recent.at(height).is_none() {
            let next = recent.below()?;
            let blocks = self.blocks(&format!("/blocks/{next}")).await?;
            if blocks.first().is_none_or(|(height, _)| *height != next) {
                return Err(lie(&format!("it does not show its block at height {next}")));
            }
            recent.extend(&headers(&blocks))?;
        }
        Ok(recent)
    }

    /// Blocks by descending height, each with its work and under the one before it.
    async fn blocks(&self, path: &str) -> Result<Vec<(u32, Header)>> {
        #[derive(Deserialize)]
        struct Block {
            id: BlockHash,
            height: u32,
            version: i32,
            timestamp: u32,
            merkle_root: TxMerkleNode,
            previousblockhash: Option<BlockHash>,
            nonce: u32,
            bits: u32,
        }
        let blocks: Vec<Block> = json(&self.must(path, BLOCKS).await?)?;
        let mut chain: Vec<(u32, Header)> = Vec::new();
        for block in blocks.into_iter().take(MOST_BLOCKS) {
            let header = Header {
                version: Version::from_consensus(block.version),
                prev_blockhash: block.previousblockhash.unwrap_or(BlockHash::all_zeros()),
                merkle_root: block.merkle_root,
                time: block.timestamp,
                bits: CompactTarget::from_consensus(block.bits),
                nonce: block.nonce,
            };
            if header.block_hash() != block.id {
                return Err(lie(&format!("block {} is not what its hash says", block.id)));
            }
            must_carry_work(self.network, &header)?;
            must_be_height(block.height)?;
            if let Some((height, above)) = chain.last()
                && (above.prev_blockhash != block.id || *height != block.height.saturating_add(1))
            {
                return Err(lie(&format!("block {} is not under the one above it", block.id)));
            }
            chain.push((block.height, header));
        }
        Ok(chain)
    }

    /// Whether a block is in the best chain.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn block_status(&self, hash: &BlockHash) -> Result<BlockStatus> {
        let path = format!("/block/{hash}/status");
        match self.http.get(&path, SMALL).await? {
            Some(bytes) => json(&bytes),
            // Some servers know nothing of a block that is not in the best chain.
            None => Ok(BlockStatus {
                in_best_chain: false,
                height: None,
            }),
        }
    }

    /// The hash of the best chain's block at a height; `None` above the tip.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn block_at(&self, height: u32) -> Result<Option<BlockHash>> {
        match self.http.get(&format!("/block-height/{height}"), SMALL).await? {
            Some(bytes) => {
                let hash = text(&bytes)?.trim().parse();
                hash.map(Some).map_err(|e| garbled("block hash", &e))
            }
            None => Ok(None),
        }
    }

    /// Whether an output is spent. An output that the server does not know is not spent.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn spend(&self, outpoint: &OutPoint) -> Result<Option<Spend>> {
        let OutPoint { txid, vout } = outpoint;
        match self
            .http
            .get(&format!("/tx/{txid}/outspend/{vout}"), SMALL)
            .await?
        {
            Some(bytes) => json(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The same of all outputs of a transaction, in their order; `None` if the server does not know it.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn spends(&self, txid: &Txid) -> Result<Option<Vec<Spend>>> {
        match self.http.get(&format!("/tx/{txid}/outspends"), SPENDS).await? {
            Some(bytes) => json(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The proved place of a transaction; `None` if it is in no block.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the proof proves something else.
    pub async fn place(&self, txid: &Txid) -> Result<Option<Place>> {
        let Some(bytes) = self
            .http
            .get(&format!("/tx/{txid}/merkleblock-proof"), PROOF)
            .await?
        else {
            return Ok(None);
        };
        let proof: MerkleBlock = hex(&bytes)?;
        let (mut matches, mut indexes) = (Vec::new(), Vec::new());
        let root = proof.txn.extract_matches(&mut matches, &mut indexes);
        let (Ok(root), [found], [position]) = (root, &matches[..], &indexes[..]) else {
            return Err(lie(&format!("the proof for transaction {txid} is none")));
        };
        if root != proof.header.merkle_root || found != txid {
            return Err(lie(&format!(
                "the proof for transaction {txid} proves something else"
            )));
        }
        must_carry_work(self.network, &proof.header)?;
        let position = usize::try_from(*position).map_err(|e| garbled("position", &e))?;
        Ok(Some(Place {
            header: proof.header,
            position,
        }))
    }

    /// The first transaction of a block, its place proved.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the server does not show it, or another one.
    pub async fn first_transaction(&self, block: &BlockHash) -> Result<Transaction> {
        let not_shown = || {
            lie(&format!(
                "it does not show the first transaction of block {block}"
            ))
        };
        let named = self.http.get(&format!("/block/{block}/txid/0"), SMALL).await?;
        let txid: Txid = text(&named.ok_or_else(not_shown)?)?
            .trim()
            .parse()
            .map_err(|e| garbled("transaction id", &e))?;
        let (place, transaction) = tokio::try_join!(self.place(&txid), self.transaction(&txid))?;
        let (Some(place), Some(transaction)) = (place, transaction) else {
            return Err(not_shown());
        };
        if place.header.block_hash() != *block || place.position != 0 {
            return Err(not_shown());
        }
        Ok(transaction)
    }

    /// A transaction; `None` if the server does not know it.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if it is another one, or cannot be one.
    pub async fn transaction(&self, txid: &Txid) -> Result<Option<Transaction>> {
        let Some(bytes) = self.http.get(&format!("/tx/{txid}/raw"), TRANSACTION).await? else {
            return Ok(None);
        };
        let transaction: Transaction = deserialize(&bytes).map_err(|e| garbled("transaction", &e))?;
        must_be(txid, &transaction)?;
        Ok(Some(transaction))
    }

    /// A script's history. What the wallet does not know to be in the block that the server names is proved to be there.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if a transaction is not what its id says, or not where it is said to be, or
    /// if there is no end.
    pub async fn history(&self, script: &Script, wallet: &OnchainWallet) -> Result<Vec<HistoryItem>> {
        let items = self.whole_history(script).await?;
        let places = stream::iter(items).map(|mut item| async move {
            let Some(said) = &mut item.place else {
                return Ok(item);
            };
            if let Some(known) = wallet.place_of(&item.txid, &said.block_id) {
                *said = known;
                return Ok(item);
            }
            let proved = self.place(&item.txid).await?;
            let proved = proved.filter(|place| place.header.block_hash() == said.block_id.hash);
            let Some(place) = proved else {
                let (txid, block) = (item.txid, said.block_id.hash);
                return Err(lie(&format!("it does not prove that {txid} is in block {block}")));
            };
            said.confirmation_time = u64::from(place.header.time);
            Ok(item)
        });
        places.buffered(PARALLEL_REQUESTS).try_collect().await
    }

    async fn whole_history(&self, script: &Script) -> Result<Vec<HistoryItem>> {
        let mut left = HISTORY;
        let mut items: Vec<HistoryItem> = Vec::new();
        let mut there = BTreeSet::new();
        let mut last = None;
        for _ in 0..PAGES {
            let page = self.page(script, last.as_ref(), &mut left).await?;
            let confirmed: Vec<Txid> = page
                .iter()
                .filter(|(confirmed, _)| *confirmed)
                .map(|(_, item)| item.txid)
                .collect();
            let before = items.len();
            let new = page.into_iter().map(|(_, item)| item);
            items.extend(new.filter(|item| there.insert(item.txid)));
            if confirmed.len() < PAGE {
                return Ok(items);
            }
            if items.len() == before {
                return Err(lie("a script's history repeats itself"));
            }
            last = confirmed.last().copied();
        }
        Err(lie("a script's history does not end"))
    }

    /// A page of a script's history: unconfirmed and the newest confirmed ones, or the confirmed ones after `after`. Each with
    /// whether it is confirmed.
    async fn page(
        &self,
        script: &Script,
        after: Option<&Txid>,
        left: &mut usize,
    ) -> Result<Vec<(bool, HistoryItem)>> {
        let hash = script_hash(script);
        let path = match after {
            Some(txid) => format!("/scripthash/{hash}/txs/chain/{txid}"),
            None => format!("/scripthash/{hash}/txs"),
        };
        let answer = self.must(&path, *left).await?;
        *left -= answer.len();
        let items: Vec<JsonTransaction> = json(&answer)?;
        items
            .into_iter()
            .map(|item| Ok((item.status.confirmed, item.checked()?)))
            .collect()
    }

    /// Fee estimates: blocks to confirmation, sat/vB.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn fees(&self) -> Result<Estimates> {
        let estimates: HashMap<String, f64> = json(&self.must("/fee-estimates", SMALL).await?)?;
        let known = estimates.into_iter();
        Ok(known
            .filter_map(|(blocks, rate)| Some((blocks.parse().ok()?, rate)))
            .collect())
    }

    /// Sends a transaction.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether the server has it.
    pub async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        match self.http.post("/tx", serialize_hex(transaction), SMALL).await? {
            Posted::Answer(_) => Ok(Sent::Accepted),
            Posted::Refused(words) => {
                if has_it(&words) {
                    Ok(Sent::Accepted)
                } else {
                    Ok(Sent::Refused(words))
                }
            }
            Posted::Unknown => Err(lie("it takes no transactions")),
        }
    }

    /// Sends transactions as one package, parents first; `None` if the server takes no packages.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether the server has them.
    pub async fn send_package(&self, transactions: &[Transaction]) -> Result<Option<Sent>> {
        #[derive(Deserialize)]
        struct Answer {
            package_msg: String,
        }
        let hex: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let content = serde_json::to_string(&hex).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        match self.http.post("/txs/package", content, SPENDS).await? {
            Posted::Answer(bytes) => {
                let answer: Answer = json(&bytes)?;
                if answer.package_msg == "success" {
                    Ok(Some(Sent::Accepted))
                } else {
                    Ok(Some(Sent::Refused(quote(&answer.package_msg))))
                }
            }
            Posted::Refused(words) => Ok(Some(Sent::Refused(words))),
            Posted::Unknown => Ok(None),
        }
    }

    async fn must(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let found = self.http.get(path, limit).await?;
        found.ok_or_else(|| lie(&format!("it has no {path}")))
    }
}

/// A transaction in Esplora's JSON.
#[derive(Deserialize)]
struct JsonTransaction {
    txid: Txid,
    version: i32,
    locktime: u32,
    vin: Vec<JsonInput>,
    vout: Vec<JsonOutput>,
    status: Status,
}

#[derive(Deserialize)]
struct JsonInput {
    txid: Txid,
    vout: u32,
    scriptsig: ScriptBuf,
    #[serde(default)]
    witness: Vec<String>,
    sequence: u32,
    prevout: Option<JsonOutput>,
}

#[derive(Deserialize)]
struct JsonOutput {
    scriptpubkey: ScriptBuf,
    value: u64,
}

impl JsonOutput {
    fn output(self) -> TxOut {
        TxOut {
            value: Amount::from_sat(self.value),
            script_pubkey: self.scriptpubkey,
        }
    }
}

impl JsonTransaction {
    fn checked(self) -> Result<HistoryItem> {
        let (mut input, mut spent) = (Vec::new(), Vec::new());
        for vin in self.vin {
            let previous_output = OutPoint::new(vin.txid, vin.vout);
            let witness: std::result::Result<Vec<Vec<u8>>, _> =
                vin.witness.iter().map(|item| Vec::from_hex(item)).collect();
            input.push(TxIn {
                previous_output,
                script_sig: vin.scriptsig,
                sequence: Sequence(vin.sequence),
                witness: Witness::from_slice(&witness.map_err(|e| garbled("witness", &e))?),
            });
            if let Some(output) = vin.prevout {
                spent.push((previous_output, output.output()));
            }
        }
        let transaction = Transaction {
            version: transaction::Version(self.version),
            lock_time: absolute::LockTime::from_consensus(self.locktime),
            input,
            output: self.vout.into_iter().map(JsonOutput::output).collect(),
        };
        must_be(&self.txid, &transaction)?;
        Ok(HistoryItem {
            txid: self.txid,
            transaction: Arc::new(transaction),
            spent,
            place: self.status.place(),
        })
    }
}

/// The headers of blocks.
fn headers(blocks: &[(u32, Header)]) -> Vec<Header> {
    blocks.iter().map(|(_, header)| *header).collect()
}

/// How Esplora names a script: the SHA-256 of its bytes.
fn script_hash(script: &Script) -> bitcoin::hashes::sha256::Hash {
    Hash::hash(script.as_bytes())
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| garbled("answer", &e))
}

fn hex<T: Decodable>(bytes: &[u8]) -> Result<T> {
    let bytes = Vec::from_hex(text(bytes)?.trim()).map_err(|e| garbled("hex", &e))?;
    deserialize(&bytes).map_err(|e| garbled("answer", &e))
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| garbled("text", &e))
}
