//! Lies about what LDK watches: transactions, their places, and what spends their outputs.

use bitcoin::consensus::encode::{deserialize_hex, serialize, serialize_hex};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, MerkleBlock, Transaction, TxMerkleNode, Txid};
use pilotlight_node::Depth::{Deep, Quick};
use serde_json::{Value, json};

use super::{CAUGHT, Lie, Must};
use crate::facts::{header_of, made_up, mine};
use crate::middle::{Answer, Asked, Said};
use crate::world::Moment::{Early, Late};

const PROOF: &str = "/tx/*/merkleblock-proof";
const RAW: &str = "/tx/*/raw";

fn proof(asked: &Asked, truth: Answer, change: impl FnOnce(&mut MerkleBlock)) -> Said {
    if !asked.is(PROOF) || truth.status != 200 {
        return truth.into();
    }
    let mut proof: MerkleBlock = deserialize_hex(&truth.text()).unwrap();
    change(&mut proof);
    Answer::new(200, serialize_hex(&proof)).into()
}

fn raw(asked: &Asked, truth: Answer, change: impl FnOnce(&mut Transaction)) -> Said {
    if !asked.is(RAW) || truth.status != 200 {
        return truth.into();
    }
    let mut transaction: Transaction = bitcoin::consensus::deserialize(&truth.body).unwrap();
    change(&mut transaction);
    Answer::new(200, serialize(&transaction)).into()
}

/// Changes what is said of each output: whether it is spent, and by what.
fn spend(asked: &Asked, truth: Answer, change: impl Fn(&mut Value)) -> Said {
    if asked.is("/tx/*/outspend/*") {
        let mut spend = truth.json();
        change(&mut spend);
        return Answer::new(200, spend.to_string()).into();
    }
    if asked.is("/tx/*/outspends") && truth.status == 200 {
        let mut spends = truth.json();
        spends.as_array_mut().unwrap().iter_mut().for_each(change);
        return Answer::new(200, spends.to_string()).into();
    }
    truth.into()
}

fn asked_txid(asked: &Asked) -> Txid {
    asked.segment(1).parse().unwrap()
}

/// Another block for whatever was asked about, made up, on top of the real one below this height.
fn in_a_made_up_block(asked: &Asked, truth: Answer, height: u32) -> Said {
    let prev = asked.facts.headers[height as usize - 1].block_hash();
    let txid = |asked: &Asked| asked_txid(asked);
    if asked.is(PROOF) {
        let (_, proof) = made_up(prev, &[txid(asked)], asked.facts.tip().time);
        return Answer::new(200, serialize_hex(&proof)).into();
    }
    if asked.is("/block/*/status") && asked.facts.height_of(asked.segment(1)).is_none() {
        let said = json!({"in_best_chain": true, "height": height, "next_best": null});
        return Answer::new(200, said.to_string()).into();
    }
    truth.into()
}

#[allow(clippy::too_many_lines)] // A table.
pub fn lies() -> Vec<Lie> {
    vec![
        Lie {
            name: "a proof of another transaction",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is(PROOF) {
                    return Answer::new(200, asked.facts.other_proof.clone()).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "a proof with a false hash in it",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is(PROOF) && truth.status == 200 {
                    let mut text = truth.text().into_bytes();
                    // In the first of the hashes, which follow the header (80 bytes), two counts (4 and 1).
                    let at = 2 * (80 + 4 + 1 + 7);
                    text[at] = if text[at] == b'0' { b'1' } else { b'0' };
                    return Answer::new(200, text).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "a proof under a header without work",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                proof(asked, truth, |proof| {
                    while proof.header.validate_pow(proof.header.target()).is_ok() {
                        proof.header.nonce += 1;
                    }
                })
            },
        },
        Lie {
            name: "a proof under the header of another block",
            of: PROOF,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| proof(asked, truth, |proof| proof.header = asked.facts.tip()),
        },
        Lie {
            name: "a proof of a node inside of the tree",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                // The tree cut off above its leaves, so that a node looks like a leaf (CVE-2017-12842).
                proof(asked, truth, |proof| {
                    let txids = [asked_txid(asked), asked.facts.funding, asked.facts.closing];
                    let leaves: Vec<_> = txids.iter().map(|txid| txid.to_raw_hash()).collect();
                    let pair = |a: usize, b: usize| {
                        let both = [leaves[a].to_byte_array(), leaves[b].to_byte_array()].concat();
                        Txid::from_raw_hash(bitcoin::hashes::sha256d::Hash::hash(&both))
                    };
                    let inner = [pair(0, 1), pair(2, 2)];
                    let root = bitcoin::merkle_tree::calculate_root(leaves.clone().into_iter()).unwrap();
                    let root = TxMerkleNode::from_raw_hash(root);
                    let header = mine(proof.header.prev_blockhash, root, proof.header.time);
                    *proof = MerkleBlock::from_header_txids_with_predicate(&header, &inner, |txid| {
                        *txid == inner[0]
                    });
                })
            },
        },
        Lie {
            name: "a proof of two transactions",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                proof(asked, truth, |proof| {
                    let txids = [asked_txid(asked), asked.facts.funding];
                    let (header, _) = made_up(proof.header.prev_blockhash, &txids, proof.header.time);
                    *proof = MerkleBlock::from_header_txids_with_predicate(&header, &txids, |_| true);
                })
            },
        },
        Lie {
            name: "a proof of nothing",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                proof(asked, truth, |proof| {
                    let txids = [asked_txid(asked), asked.facts.funding];
                    let (header, _) = made_up(proof.header.prev_blockhash, &txids, proof.header.time);
                    *proof = MerkleBlock::from_header_txids_with_predicate(&header, &txids, |_| false);
                })
            },
        },
        Lie {
            name: "everything in a made-up block, just under the tip",
            of: "/tx/*/merkleblock-proof, /block/*/status",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| in_a_made_up_block(asked, truth, asked.facts.height() - 3),
        },
        Lie {
            name: "everything in a made-up block, far under the tip",
            of: "/tx/*/merkleblock-proof, /block/*/status",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| in_a_made_up_block(asked, truth, asked.facts.height() - 15),
        },
        Lie {
            name: "everything in a made-up block above the tip",
            of: "/tx/*/merkleblock-proof, /block/*/status",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                let above = asked.facts.height() + 1;
                in_a_made_up_block(asked, truth, above)
            },
        },
        Lie {
            name: "another transaction under the id",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                raw(asked, truth, |transaction| {
                    *transaction = asked.facts.other.0.clone();
                })
            },
        },
        Lie {
            name: "outputs worth more than all money",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                raw(asked, truth, |transaction| {
                    transaction
                        .output
                        .iter_mut()
                        .for_each(|output| output.value = Amount::from_sat(u64::MAX));
                })
            },
        },
        Lie {
            name: "another lock time in a transaction",
            of: RAW,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                raw(asked, truth, |transaction| {
                    transaction.lock_time = bitcoin::absolute::LockTime::ZERO;
                    transaction.version = bitcoin::transaction::Version(9);
                })
            },
        },
        Lie {
            name: "transactions without their witnesses",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                raw(asked, truth, |transaction| {
                    transaction
                        .input
                        .iter_mut()
                        .for_each(|input| input.witness.clear());
                })
            },
        },
        Lie {
            name: "half a transaction",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, mut truth| {
                if asked.is(RAW) {
                    truth.body.truncate(truth.body.len() / 2);
                }
                truth.into()
            },
        },
        Lie {
            name: "a transaction with more behind it",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, mut truth| {
                if asked.is(RAW) && truth.status == 200 {
                    truth.body.push(0);
                }
                truth.into()
            },
        },
        Lie {
            name: "a transaction of ten million inputs, in ten bytes",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is(RAW) {
                    let body = [&[2, 0, 0, 0, 0xfe][..], &10_000_000u32.to_le_bytes(), &[0; 8]].concat();
                    return Answer::new(200, body).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "proofs of transactions that are not there",
            of: RAW,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is(RAW) {
                    return Answer::new(404, "Transaction not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "an output spent by a transaction that does not spend it",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let (other, height) = &asked.facts.other;
                let hash = asked.facts.headers[*height as usize].block_hash();
                // Its proof is the true one.
                spend(asked, truth, |spend| {
                    *spend = json!({"spent": true, "txid": other.compute_txid(), "vin": 0, "status":
                        {"confirmed": true, "block_height": height, "block_hash": hash, "block_time": 1}});
                })
            },
        },
        Lie {
            name: "an output spent by nobody",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| spend(asked, truth, |spend| *spend = json!({"spent": true})),
        },
        Lie {
            name: "an output spent in a block, by a transaction that is in none",
            of: "/tx/*/outspend*",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let tip = asked.facts.tip().block_hash();
                spend(asked, truth, |spend| {
                    *spend = json!({"spent": true, "txid": Txid::from_byte_array([9; 32]), "vin": 0, "status":
                        {"confirmed": true, "block_height": asked.facts.height(), "block_hash": tip, "block_time": 1}});
                })
            },
        },
        Lie {
            name: "spends in another block than the proof",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let tip = asked.facts.tip().block_hash();
                spend(asked, truth, |spend| {
                    if spend["spent"] == json!(true) {
                        spend["status"]["block_hash"] = json!(tip);
                    }
                })
            },
        },
        Lie {
            name: "spends at another height",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                spend(asked, truth, |spend| {
                    if spend["spent"] == json!(true) {
                        let height = spend["status"]["block_height"].as_u64().unwrap();
                        spend["status"]["block_height"] = json!(height - 2);
                    }
                })
            },
        },
        Lie {
            name: "spends in the first block of all",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                spend(asked, truth, |spend| {
                    if spend["spent"] == json!(true) {
                        spend["status"]["block_height"] = json!(0);
                    }
                })
            },
        },
        Lie {
            name: "spends above the tip",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                spend(asked, truth, |spend| {
                    if spend["spent"] == json!(true) {
                        spend["status"]["block_height"] = json!(u32::MAX);
                    }
                })
            },
        },
        Lie {
            name: "spends of no outputs",
            of: "/tx/*/outspends",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is("/tx/*/outspends") {
                    return Answer::new(200, "[]").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "nothing spent",
            of: "/tx/*/outspend*",
            at: (Early, Quick),
            must: Must::Pass,
            tell: |asked, truth| spend(asked, truth, |spend| *spend = json!({"spent": false})),
        },
        Lie {
            name: "everything spent, in no block yet",
            of: "/tx/*/outspend*",
            at: (Late, Quick),
            must: Must::Pass,
            tell: |asked, truth| {
                spend(asked, truth, |spend| {
                    *spend = json!({"spent": true, "txid": Txid::from_byte_array([9; 32]), "vin": 0,
                        "status": {"confirmed": false}});
                })
            },
        },
        Lie {
            name: "no transaction in a block",
            of: PROOF,
            at: (Early, Quick),
            must: Must::FailOneOf(&[pilotlight_node::ErrorCode::ChainSyncFailed]),
            tell: |asked, truth| {
                if asked.is(PROOF) {
                    return Answer::new(404, "Transaction not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "no transaction known",
            of: "/tx/**",
            at: (Early, Quick),
            must: Must::Pass,
            tell: |asked, truth| {
                if asked.is("/tx/**") {
                    return Answer::new(404, "Transaction not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "no transaction known any more",
            of: "/tx/**",
            at: (Late, Deep),
            must: Must::Pass,
            tell: |asked, truth| {
                if asked.is("/tx/**") {
                    return Answer::new(404, "Transaction not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "blocks with the proofs of their parents",
            of: PROOF,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let below = asked.facts.blocks(asked.facts.height() - 1, 1);
                proof(asked, truth, |proof| {
                    let parent = header_of(&below[0]);
                    proof.header.merkle_root = parent.merkle_root;
                })
            },
        },
    ]
}
