//! What is true of the stage's chain, for those who lie about it, and the tools of their trade.

use bitcoin::block::{Header, Version};
use bitcoin::consensus::Params;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::{
    Amount, BlockHash, CompactTarget, MerkleBlock, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, absolute, transaction,
};
use pilotlight_devnet::Devnet;
use serde_json::{Value, json};

/// The chain, and what in it is the wallet's.
pub struct Facts {
    /// By height.
    pub headers: Vec<Header>,
    /// What stood at the top before the reorganisation.
    pub stale: BlockHash,
    /// The funding of the channel that stays open.
    pub funding: Txid,
    /// The closing of the other one, in a block.
    pub closing: Txid,
    /// A proof of a transaction that concerns nobody, in hex.
    pub other_proof: String,
    /// That transaction, and its block.
    pub other: (Transaction, u32),
}

impl Facts {
    pub async fn of(devnet: &Devnet, stale: BlockHash, funding: Txid, closing: Txid) -> Self {
        let height = devnet.height().await.unwrap();
        let mut headers = Vec::new();
        for height in 0..=height {
            headers.push(devnet.header(height).await.unwrap());
        }
        // The reward of a block that is neither new nor old.
        let at = height - 20;
        let header: &Header = &headers[at as usize];
        let block: String = devnet
            .rpc()
            .call("getblock", json!([header.block_hash(), 0]))
            .await
            .unwrap();
        let block: bitcoin::Block = deserialize_hex(&block).unwrap();
        let other = block.txdata[0].clone();
        let txid = other.compute_txid();
        let proof = MerkleBlock::from_block_with_predicate(&block, |found| *found == txid);
        Self {
            headers,
            stale,
            funding,
            closing,
            other_proof: serialize_hex(&proof),
            other: (other, at),
        }
    }

    pub fn height(&self) -> u32 {
        u32::try_from(self.headers.len()).unwrap() - 1
    }

    pub fn tip(&self) -> Header {
        *self.headers.last().unwrap()
    }

    /// The height of a block of the best chain, by its hash in hex.
    pub fn height_of(&self, hash: &str) -> Option<u32> {
        let at = self
            .headers
            .iter()
            .position(|header| header.block_hash().to_string() == hash)?;
        u32::try_from(at).ok()
    }

    /// `/blocks` below this height, as long as wanted.
    pub fn blocks(&self, below: u32, count: usize) -> Vec<Value> {
        let heights = (0..=below).rev().take(count);
        heights
            .map(|height| as_json(&self.headers[height as usize], height))
            .collect()
    }
}

/// A header as `/blocks` shows it.
pub fn as_json(header: &Header, height: u32) -> Value {
    json!({
        "id": header.block_hash(),
        "height": height,
        "version": header.version.to_consensus(),
        "timestamp": header.time,
        "tx_count": 1,
        "size": 285,
        "weight": 1032,
        "merkle_root": header.merkle_root,
        "previousblockhash": header.prev_blockhash,
        "mediantime": header.time,
        "nonce": header.nonce,
        "bits": header.bits.to_consensus(),
        "difficulty": 0.0,
    })
}

/// The header of the other direction.
pub fn header_of(block: &Value) -> Header {
    let number = |name: &str| u32::try_from(block[name].as_u64().unwrap()).unwrap();
    Header {
        version: Version::from_consensus(i32::try_from(block["version"].as_i64().unwrap()).unwrap()),
        prev_blockhash: block["previousblockhash"].as_str().unwrap().parse().unwrap(),
        merkle_root: block["merkle_root"].as_str().unwrap().parse().unwrap(),
        time: number("timestamp"),
        bits: CompactTarget::from_consensus(number("bits")),
        nonce: number("nonce"),
    }
}

/// A made-up block on top of another, with regtest's least work.
pub fn mine(prev_blockhash: BlockHash, merkle_root: TxMerkleNode, time: u32) -> Header {
    let bits = Params::new(Network::Regtest)
        .max_attainable_target
        .to_compact_lossy();
    work(Header {
        version: Version::TWO,
        prev_blockhash,
        merkle_root,
        time,
        bits,
        nonce: 0,
    })
}

/// The same header with whatever nonce its own target asks for.
pub fn work(mut header: Header) -> Header {
    while header.validate_pow(header.target()).is_err() {
        header.nonce = header.nonce.wrapping_add(1);
    }
    header
}

/// A block that holds these transactions and nothing else, on top of another; its header, and a proof of the first one.
pub fn made_up(prev: BlockHash, txids: &[Txid], time: u32) -> (Header, MerkleBlock) {
    let leaves = txids.iter().map(|txid| txid.to_raw_hash());
    let root = bitcoin::merkle_tree::calculate_root(leaves).unwrap();
    let header = mine(prev, TxMerkleNode::from_raw_hash(root), time);
    let proof = MerkleBlock::from_header_txids_with_predicate(&header, txids, |txid| *txid == txids[0]);
    (header, proof)
}

/// A transaction out of nowhere that pays so much to a script.
pub fn out_of_nowhere(script: ScriptBuf, sat: u64, from: u8) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([from; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[1u8; 71]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(sat),
            script_pubkey: script,
        }],
    }
}

/// A transaction as Esplora shows it, with this status.
pub fn tx_json(transaction: &Transaction, status: &Value) -> Value {
    let input = transaction.input.iter().map(|input| {
        let witness: Vec<String> = input.witness.iter().map(hex).collect();
        json!({
            "txid": input.previous_output.txid, "vout": input.previous_output.vout,
            "prevout": null, "scriptsig": input.script_sig.to_hex_string(), "scriptsig_asm": "",
            "witness": witness, "is_coinbase": false, "sequence": input.sequence.0,
        })
    });
    let output = transaction.output.iter().map(|output| {
        json!({ "scriptpubkey": output.script_pubkey.to_hex_string(), "value": output.value.to_sat() })
    });
    json!({
        "txid": transaction.compute_txid(),
        "version": transaction.version.0,
        "locktime": transaction.lock_time.to_consensus_u32(),
        "vin": input.collect::<Vec<_>>(),
        "vout": output.collect::<Vec<_>>(),
        "size": transaction.total_size(), "weight": transaction.weight().to_wu(), "fee": 0,
        "status": status,
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(bytes)
}

/// The script behind a script hash, if one of these transactions (in Esplora's JSON) pays to it.
pub fn script_behind(hash: &str, transactions: &Value) -> Option<ScriptBuf> {
    let all = transactions.as_array()?.iter();
    let outputs = all.flat_map(|tx| tx["vout"].as_array().cloned().unwrap_or_default());
    let scripts = outputs.filter_map(|output| {
        let bytes = Vec::from_hex(output["scriptpubkey"].as_str()?).ok()?;
        Some(ScriptBuf::from_bytes(bytes))
    });
    let mut ours =
        scripts.filter(|script| bitcoin::hashes::sha256::Hash::hash(script.as_bytes()).to_string() == hash);
    ours.next()
}

/// Adds so much to every height in an answer.
pub fn shift(value: &mut Value, by: i64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_i64() {
                    Some(height) if matches!(name.as_str(), "height" | "block_height") => {
                        *field = json!(height + by);
                    }
                    _ => shift(field, by),
                }
            }
        }
        _ => {}
    }
}
