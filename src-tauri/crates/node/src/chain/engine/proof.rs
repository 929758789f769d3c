//! What can be proved of an answer by itself: a header by its work, a transaction by its id. And the error for a server whose
//! word cannot be true.

use bitcoin::block::Header;
use bitcoin::consensus::Params;
use bitcoin::hashes::{Hash, hash160, sha256};
use bitcoin::{Amount, Network, Script, Transaction, Txid, Witness, absolute};

use crate::error::{Error, ErrorCode, Result};

/// The least difficulty that is believed of a block of mainnet. It has been above this since 2018 and was some fifteen times as
/// high in 2026. A header names its own target, so without a floor anybody could make blocks on a laptop; with it, ten blocks
/// cost more than a phone's wallet holds.
const MAINNET_DIFFICULTY: f64 = 5e12;

/// Heights end here: a lock time from here on is a moment, not a height (BIP 65).
const HEIGHTS: u32 = absolute::LOCK_TIME_THRESHOLD;

/// Longest piece of a server's own words that is kept in an error.
const QUOTE_LIMIT: usize = 160;

/// Bitcoin Core's words for "I have it" (in the mempool, or in a block).
const KNOWN: [&str; 6] = [
    "already in mempool",
    "already-in-mempool",
    "already known",
    "already-known",
    "already in utxo",
    "already in block chain",
];

/// Whether a header's hash meets its target, and the target is one that the network could have today.
///
/// # Errors
/// [`ErrorCode::ChainSyncFailed`] if not.
pub fn must_carry_work(network: Network, header: &Header) -> Result<()> {
    let target = header.target();
    let worked = header.validate_pow(target).is_ok();
    let enough = match network {
        Network::Bitcoin => target.difficulty_float() >= MAINNET_DIFFICULTY,
        other => target <= Params::new(other).max_attainable_target,
    };
    if worked && enough {
        Ok(())
    } else {
        let hash = header.block_hash();
        Err(lie(&format!("block {hash} has no proof of work worth the name")))
    }
}

/// Whether there can be a block at this height.
///
/// # Errors
/// [`ErrorCode::ChainSyncFailed`] if not.
pub fn must_be_height(height: u32) -> Result<()> {
    if height < HEIGHTS {
        Ok(())
    } else {
        Err(lie(&format!("no block can be at height {height}")))
    }
}

/// Whether a witness opens what this script locks, as far as can be told without the signatures: a transaction's id does not
/// prove its witnesses, and LDK takes preimages from them.
///
/// # Errors
/// [`ErrorCode::ChainSyncFailed`] if not.
pub fn must_open(script: &Script, witness: &Witness) -> Result<()> {
    let bytes = script.as_bytes();
    let opens = if script.is_p2wsh() {
        witness.last().is_some_and(|inner| {
            // In Lightning's scripts (BOLT 3), 32 bytes before the script are the preimage of a payment, and the script has
            // RIPEMD160 of the payment's hash.
            let preimage = witness.second_to_last().filter(|item| item.len() == 32);
            let hashed = preimage.map(|preimage| hash160::Hash::hash(preimage).to_byte_array());
            sha256::Hash::hash(inner).as_byte_array() == &bytes[2..]
                && hashed.is_none_or(|hash| inner.windows(hash.len()).any(|piece| piece == hash))
        })
    } else if script.is_p2wpkh() {
        let key = witness.last();
        key.is_some_and(|key| hash160::Hash::hash(key).as_byte_array() == &bytes[2..])
    } else if script.is_p2tr() {
        !witness.is_empty()
    } else {
        true
    };
    if opens {
        Ok(())
    } else {
        Err(lie("it shows a transaction with other witnesses than it has"))
    }
}

/// Whether this is the transaction that was asked for, and one that can be.
///
/// # Errors
/// [`ErrorCode::ChainSyncFailed`] if not.
pub fn must_be(txid: &Txid, transaction: &Transaction) -> Result<()> {
    let got = transaction.compute_txid();
    if got != *txid {
        return Err(lie(&format!("asked for transaction {txid}, got {got}")));
    }
    // A merkle tree cannot tell a transaction of 64 bytes (without its witness) from two hashes, so its place cannot be proved
    // (CVE-2017-12842).
    if transaction.base_size() == 64 {
        return Err(lie(&format!("transaction {txid} has 64 bytes")));
    }
    // LDK and BDK take it for granted that no transaction makes money, and panic over one that does.
    let mut sum = Amount::ZERO;
    for output in &transaction.output {
        sum = match sum.checked_add(output.value) {
            Some(sum) if output.value <= Amount::MAX_MONEY && sum <= Amount::MAX_MONEY => sum,
            _ => return Err(lie(&format!("transaction {txid} is worth more than there is"))),
        };
    }
    if transaction.input.is_empty() || transaction.output.is_empty() {
        return Err(lie(&format!(
            "transaction {txid} comes from nowhere or goes nowhere"
        )));
    }
    Ok(())
}

/// Whether a server that refused a transaction said that it has it already.
pub fn has_it(words: &str) -> bool {
    let words = words.to_lowercase();
    KNOWN.iter().any(|known| words.contains(known))
}

/// A server's words as they may stand in an error: short, on one line.
pub fn quote(words: &str) -> String {
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(QUOTE_LIMIT)
        .collect()
}

/// The error for an answer that cannot be read.
pub fn garbled(what: &str, error: &dyn std::fmt::Display) -> Error {
    lie(&format!("a garbled {what}: {}", quote(&error.to_string())))
}

/// The error for a server whose word cannot be true.
pub fn lie(what: &str) -> Error {
    Error::new(ErrorCode::ChainSyncFailed, format!("chain server: {what}"))
}
