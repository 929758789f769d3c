//! Who of two peers that contradict each other lies: found out with the block itself.
//!
//! Nothing that we know of the chain depends on this: a block over which there is a dispute is read whole. This only
//! finds the name for the report, and never accuses without proof. A filter must contain every script that its block
//! pays to, and every script that it spends from. Of the latter we know those of outputs made in the same block, and
//! those that we watch, which is where a lie would hurt.

use std::collections::HashMap;

use bitcoin::bip158::FilterHash;
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, Script, ScriptBuf};

use super::gcs;

/// What a filter turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing was found wrong with it.
    Sound,
    /// It does not contain what the block certainly has, or cannot be read.
    Lie(String),
}

/// Looks at one peer's filter of a block. `watched` are outputs whose scripts we know.
pub fn judge(
    block: &Block,
    filter: &[u8],
    claimed: FilterHash,
    watched: &HashMap<OutPoint, ScriptBuf>,
) -> Finding {
    if FilterHash::hash(filter) != claimed {
        return Finding::Lie("its filter is not the one that its filter header names".into());
    }
    let certain = certain(block, watched);
    let scripts: Vec<&[u8]> = certain.iter().map(|script| script.as_bytes()).collect();
    match gcs::missing(filter, &block.block_hash(), &scripts) {
        Ok(missing) if missing.is_empty() => Finding::Sound,
        Ok(missing) => {
            let script = certain[missing[0]].to_hex_string();
            let many = missing.len();
            Finding::Lie(format!(
                "its filter hides {many} scripts of the block, {script} for one"
            ))
        }
        Err(gcs::Damaged) => Finding::Lie("its filter cannot be read".into()),
    }
}

/// Scripts that every true filter of this block contains (BIP158: outputs but for `OP_RETURN`, and spent outputs).
fn certain<'a>(block: &'a Block, watched: &'a HashMap<OutPoint, ScriptBuf>) -> Vec<&'a Script> {
    let mut here: HashMap<OutPoint, &Script> = HashMap::new();
    let mut certain = Vec::new();
    for transaction in &block.txdata {
        for input in &transaction.input {
            let spent = here.get(&input.previous_output).copied();
            certain.extend(spent.or_else(|| watched.get(&input.previous_output).map(ScriptBuf::as_script)));
        }
        let txid = transaction.compute_txid();
        for (output, index) in transaction.output.iter().zip(0u32..) {
            here.insert(OutPoint::new(txid, index), &output.script_pubkey);
            if !output.script_pubkey.is_op_return() {
                certain.push(&output.script_pubkey);
            }
        }
    }
    certain.retain(|script| !script.is_empty());
    certain.sort_unstable();
    certain.dedup();
    certain
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::bip158::BlockFilter;
    use bitcoin::{Amount, Transaction, TxIn, TxOut, Txid, absolute, transaction};

    fn script(n: u8) -> ScriptBuf {
        ScriptBuf::from_bytes(vec![0x51, n])
    }

    fn spend(from: OutPoint, to: &[u8]) -> Transaction {
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: from,
                ..TxIn::default()
            }],
            output: to
                .iter()
                .map(|n| TxOut {
                    value: Amount::from_sat(1_000),
                    script_pubkey: script(*n),
                })
                .collect(),
        }
    }

    #[test]
    fn a_filter_that_hides_what_is_certain_is_a_lie_and_no_other_is() {
        let funding = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
        let stranger = OutPoint::new(Txid::from_byte_array([8; 32]), 0);
        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let close = spend(funding, &[1, 2]);
        block
            .txdata
            .push(spend(OutPoint::new(close.compute_txid(), 0), &[3]));
        block.txdata.insert(1, close);
        block.txdata.push(spend(stranger, &[4]));
        let watched = HashMap::from([(funding, script(9))]);

        // What Bitcoin Core would make: every output and every spent script.
        let prevouts = |hide: Option<OutPoint>| {
            let block = block.clone();
            move |output: &OutPoint| {
                let here = block.txdata.iter().find(|tx| tx.compute_txid() == output.txid);
                Ok::<_, bitcoin::bip158::Error>(match here {
                    _ if Some(*output) == hide => ScriptBuf::from_bytes(vec![0x52]),
                    Some(tx) => tx.output[output.vout as usize].script_pubkey.clone(),
                    None if *output == funding => script(9),
                    None => script(10),
                })
            }
        };
        let make = |hide| {
            BlockFilter::new_script_filter(&block, prevouts(hide))
                .unwrap()
                .content
        };
        let verdict = |filter: &[u8]| judge(&block, filter, FilterHash::hash(filter), &watched);
        assert_eq!(verdict(&make(None)), Finding::Sound);
        // Whose script we cannot know, we cannot accuse anybody of.
        assert_eq!(verdict(&make(Some(stranger))), Finding::Sound);
        assert!(matches!(verdict(&make(Some(funding))), Finding::Lie(_)));
        assert!(matches!(verdict(&[]), Finding::Lie(_)));
        assert!(matches!(verdict(&[5, 1]), Finding::Lie(_)));
        let whole = make(None);
        assert!(matches!(
            judge(&block, &whole, FilterHash::hash(b"another"), &watched),
            Finding::Lie(_)
        ));
    }
}
