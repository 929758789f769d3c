//! Esplora's JSON shapes, made from the chain.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::DisplayHex;
use bitcoin::{Address, Network, OutPoint, Script, TxOut, Txid};
use serde_json::{Value, json};

use super::chain::{Chain, Place, ScriptHash, script_hash};

/// A block as `/block/:hash` and `/blocks` show it.
pub(crate) fn block(chain: &Chain, height: u32) -> Option<Value> {
    let entry = chain.block_at(height)?;
    Some(json!({
        "id": entry.hash,
        "height": height,
        "version": entry.header.version.to_consensus(),
        "timestamp": entry.header.time,
        "tx_count": entry.txids.len(),
        "size": entry.size,
        "weight": entry.weight,
        "merkle_root": entry.header.merkle_root,
        "previousblockhash": (height > 0).then_some(entry.header.prev_blockhash),
        "mediantime": entry.median_time,
        "nonce": entry.header.nonce,
        "bits": entry.header.bits.to_consensus(),
        "difficulty": entry.header.difficulty_float(),
    }))
}

/// `status` of a transaction.
pub(crate) fn status(chain: &Chain, place: Option<Place>) -> Value {
    match place.and_then(|place| Some((place, chain.block_at(place.height)?))) {
        Some((place, block)) => json!({
            "confirmed": true,
            "block_height": place.height,
            "block_hash": block.hash,
            "block_time": block.header.time,
        }),
        None => json!({ "confirmed": false }),
    }
}

/// A transaction as `/tx/:txid` shows it.
pub(crate) fn tx(chain: &Chain, txid: &Txid) -> Option<Value> {
    let entry = chain.tx(txid)?;
    let tx = &entry.tx;
    let inputs: Vec<Value> = tx
        .input
        .iter()
        .map(|input| {
            let witness: Vec<String> = input
                .witness
                .iter()
                .map(DisplayHex::to_lower_hex_string)
                .collect();
            json!({
                "txid": input.previous_output.txid,
                "vout": input.previous_output.vout,
                "prevout": chain.output(&input.previous_output).map(output),
                "scriptsig": input.script_sig.to_hex_string(),
                "scriptsig_asm": input.script_sig.to_asm_string(),
                "witness": witness,
                "is_coinbase": tx.is_coinbase(),
                "sequence": input.sequence.to_consensus_u32(),
            })
        })
        .collect();
    Some(json!({
        "txid": txid,
        "version": tx.version.0,
        "locktime": tx.lock_time.to_consensus_u32(),
        "vin": inputs,
        "vout": tx.output.iter().map(output).collect::<Vec<_>>(),
        "size": tx.total_size(),
        "weight": tx.weight().to_wu(),
        "fee": chain.fee(tx),
        "status": status(chain, entry.place),
    }))
}

fn output(out: &TxOut) -> Value {
    json!({
        "scriptpubkey": out.script_pubkey.to_hex_string(),
        "scriptpubkey_asm": out.script_pubkey.to_asm_string(),
        "scriptpubkey_type": script_type(&out.script_pubkey),
        "scriptpubkey_address": Address::from_script(&out.script_pubkey, Network::Regtest).ok().map(|a| a.to_string()),
        "value": out.value.to_sat(),
    })
}

fn script_type(script: &Script) -> &'static str {
    if script.is_p2pkh() {
        "p2pkh"
    } else if script.is_p2sh() {
        "p2sh"
    } else if script.is_p2wpkh() {
        "v0_p2wpkh"
    } else if script.is_p2wsh() {
        "v0_p2wsh"
    } else if script.is_p2tr() {
        "v1_p2tr"
    } else if script.is_op_return() {
        "op_return"
    } else {
        "unknown"
    }
}

/// Whether and by whom an output is spent, as `/tx/:txid/outspend/:n` shows it.
pub(crate) fn outspend(chain: &Chain, outpoint: &OutPoint) -> Value {
    let spender = chain
        .spend(outpoint)
        .and_then(|spend| Some((spend, chain.tx(&spend.txid)?)));
    match spender {
        Some((spend, entry)) => json!({
            "spent": true,
            "txid": spend.txid,
            "vin": spend.vin,
            "status": status(chain, entry.place),
        }),
        None => json!({ "spent": false }),
    }
}

/// Unspent outputs of a script.
pub(crate) fn utxos(chain: &Chain, script: &ScriptHash) -> Value {
    chain
        .unspent(script)
        .into_iter()
        .map(|(outpoint, out, place)| {
            json!({
                "txid": outpoint.txid,
                "vout": outpoint.vout,
                "status": status(chain, place),
                "value": out.value.to_sat(),
            })
        })
        .collect()
}

/// Counts and sums of a script's transactions, confirmed and not.
pub(crate) fn script_stats(chain: &Chain, script: &ScriptHash) -> Value {
    let (unconfirmed, confirmed) = chain.history(script);
    let sums = |txids: &[Txid]| {
        let (mut funded, mut funded_sum, mut spent, mut spent_sum) = (0u32, 0u64, 0u32, 0u64);
        for entry in txids.iter().filter_map(|txid| chain.tx(txid)) {
            let mine = |out: &&TxOut| script_hash(&out.script_pubkey) == *script;
            for out in entry.tx.output.iter().filter(mine) {
                funded += 1;
                funded_sum += out.value.to_sat();
            }
            for out in entry
                .tx
                .input
                .iter()
                .filter_map(|input| chain.output(&input.previous_output))
                .filter(mine)
            {
                spent += 1;
                spent_sum += out.value.to_sat();
            }
        }
        json!({
            "funded_txo_count": funded,
            "funded_txo_sum": funded_sum,
            "spent_txo_count": spent,
            "spent_txo_sum": spent_sum,
            "tx_count": txids.len(),
        })
    };
    json!({ "chain_stats": sums(&confirmed), "mempool_stats": sums(&unconfirmed) })
}

/// `/tx/:txid/merkle-proof`: the sister hashes from the leaf up.
pub(crate) fn merkle_proof(chain: &Chain, place: Place) -> Option<Value> {
    let entry = chain.block_at(place.height)?;
    let mut layer: Vec<bitcoin::hashes::sha256d::Hash> =
        entry.txids.iter().map(|txid| txid.to_raw_hash()).collect();
    let mut index = place.position as usize;
    let mut sisters = Vec::new();
    while layer.len() > 1 {
        if layer.len() % 2 == 1 {
            layer.extend(layer.last().copied());
        }
        sisters.push(Txid::from_raw_hash(*layer.get(index ^ 1)?));
        layer = layer.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        index /= 2;
    }
    Some(json!({ "block_height": place.height, "merkle": sisters, "pos": place.position }))
}

fn parent(
    left: &bitcoin::hashes::sha256d::Hash,
    right: &bitcoin::hashes::sha256d::Hash,
) -> bitcoin::hashes::sha256d::Hash {
    use bitcoin::hashes::Hash;
    bitcoin::hashes::sha256d::Hash::hash(&[left.to_byte_array(), right.to_byte_array()].concat())
}

/// `/tx/:txid/merkleblock-proof`: a BIP37 merkle block in hex, as `gettxoutproof` makes it.
pub(crate) fn merkle_block(chain: &Chain, txid: &Txid, place: Place) -> Option<String> {
    let entry = chain.block_at(place.height)?;
    let proof = bitcoin::MerkleBlock::from_header_txids_with_predicate(&entry.header, &entry.txids, |leaf| {
        leaf == txid
    });
    Some(serialize_hex(&proof))
}
