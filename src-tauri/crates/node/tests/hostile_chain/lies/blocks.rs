//! Lies about the chain itself: headers, tips, heights, and which blocks are in it.

use bitcoin::block::Version;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Network, TxMerkleNode, Txid};
use pilotlight_node::Depth::{Deep, Quick};
use serde_json::{Value, json};

use super::{CAUGHT, Lie, Must};
use crate::facts::{as_json, header_of, made_up, mine, shift, work};
use crate::middle::{Answer, Asked, Said};
use crate::world::Moment::{Early, Forked, Late};

/// Changes the newest blocks.
fn newest(asked: &Asked, truth: Answer, change: impl FnOnce(&mut Vec<Value>)) -> Said {
    if !asked.is("/blocks") {
        return truth.into();
    }
    let mut blocks = truth.json().as_array().cloned().unwrap();
    change(&mut blocks);
    Answer::new(200, json!(blocks).to_string()).into()
}

/// Puts blocks of one's own on top of the real chain; the lowest is given first. The tip's hash goes with them.
fn on_top(asked: &Asked, truth: Answer, made: &[Value]) -> Said {
    let tip = made.last().unwrap()["id"].as_str().unwrap();
    let mut blocks: Vec<Value> = made.iter().rev().cloned().collect();
    blocks.extend(asked.facts.blocks(asked.facts.height(), 10));
    blocks.truncate(10);
    match asked.path {
        "/blocks" => Answer::new(200, json!(blocks).to_string()).into(),
        "/blocks/tip/hash" => Answer::new(200, tip).into(),
        "/blocks/tip/height" => Answer::new(200, made.last().unwrap()["height"].to_string()).into(),
        _ => truth.into(),
    }
}

/// The same chain, as it was so many blocks ago.
fn earlier(asked: &Asked, truth: Answer, blocks: u32) -> Said {
    let height = asked.facts.height() - blocks;
    match asked.path {
        "/blocks" => Answer::new(200, json!(asked.facts.blocks(height, 10)).to_string()).into(),
        "/blocks/tip/hash" => {
            let header = &asked.facts.headers[height as usize];
            Answer::new(200, header.block_hash().to_string()).into()
        }
        _ => truth.into(),
    }
}

/// The true chain under false heights, wherever one is given or asked for.
fn elsewhere(asked: &Asked, truth: Answer, by: i64) -> Said {
    if asked.is("/block-height/*") {
        let wanted: i64 = asked.segment(1).parse().unwrap();
        let at = usize::try_from(wanted - by).ok();
        let header = at.and_then(|at| asked.facts.headers.get(at));
        return match header {
            Some(header) => Answer::new(200, header.block_hash().to_string()).into(),
            None => Answer::new(404, "Block not found").into(),
        };
    }
    if let Some(below) = asked
        .path
        .strip_prefix("/blocks/")
        .and_then(|at| at.parse::<i64>().ok())
    {
        let below = u32::try_from(below - by).unwrap_or(0);
        let mut blocks = json!(asked.facts.blocks(below, 10));
        shift(&mut blocks, by);
        return Answer::new(200, blocks.to_string()).into();
    }
    match serde_json::from_slice::<Value>(&truth.body) {
        Ok(mut value) if value.is_array() || value.is_object() => {
            shift(&mut value, by);
            Answer::new(truth.status, value.to_string()).into()
        }
        _ => truth.into(),
    }
}

/// Changes what is said of one block's place in the chain.
fn status(asked: &Asked, truth: Answer, hash: BlockHash, said: &Value) -> Said {
    if asked.path == format!("/block/{hash}/status") {
        return Answer::new(200, said.to_string()).into();
    }
    truth.into()
}

/// The block that the open channel's funding is in is some forty deep; the closing's, twenty-five.
fn every_status(asked: &Asked, truth: Answer, said: impl FnOnce(Value) -> Value) -> Said {
    if asked.is("/block/*/status") {
        return Answer::new(200, said(truth.json()).to_string()).into();
    }
    truth.into()
}

#[allow(clippy::too_many_lines)] // A table.
pub fn lies() -> Vec<Lie> {
    vec![
        Lie {
            name: "a tip without work",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    let mut header = header_of(&blocks[0]);
                    while header.validate_pow(header.target()).is_ok() {
                        header.nonce += 1;
                    }
                    blocks[0] = as_json(&header, asked.facts.height());
                })
            },
        },
        Lie {
            name: "another header under the tip's hash",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    blocks[0]["merkle_root"] = blocks[1]["merkle_root"].clone();
                })
            },
        },
        Lie {
            name: "another time under the tip's hash",
            of: "/blocks",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, |blocks| blocks[0]["timestamp"] = json!(u32::MAX)),
        },
        Lie {
            name: "another difficulty under the tip's hash",
            of: "/blocks",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, |blocks| blocks[0]["bits"] = json!(0x1d00_ffff)),
        },
        Lie {
            name: "a tip easier than the network allows",
            of: "/blocks, /blocks/tip/hash",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let tip = asked.facts.tip();
                let header = work(bitcoin::block::Header {
                    version: Version::TWO,
                    prev_blockhash: tip.block_hash(),
                    merkle_root: TxMerkleNode::all_zeros(),
                    time: tip.time + 1,
                    bits: CompactTarget::from_consensus(0x2100_ffff),
                    nonce: 0,
                });
                on_top(asked, truth, &[as_json(&header, asked.facts.height() + 1)])
            },
        },
        Lie {
            name: "a target of nothing, which no work meets",
            of: "/blocks, /blocks/tip/hash",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let tip = asked.facts.tip();
                let header = bitcoin::block::Header {
                    bits: CompactTarget::from_consensus(0),
                    ..tip
                };
                on_top(asked, truth, &[as_json(&header, asked.facts.height() + 1)])
            },
        },
        Lie {
            name: "a tip that is not on top of the block under it",
            of: "/blocks",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    let height = asked.facts.height();
                    let below = asked.facts.headers[height as usize - 5].block_hash();
                    let header = mine(below, TxMerkleNode::all_zeros(), asked.facts.tip().time);
                    blocks[0] = as_json(&header, height);
                })
            },
        },
        Lie {
            name: "made-up blocks on top of the real ones, a thousand higher",
            of: "/blocks, /blocks/tip/hash",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let mut made: Vec<Value> = Vec::new();
                let mut prev = asked.facts.tip().block_hash();
                for n in 0..10 {
                    let header = mine(prev, TxMerkleNode::all_zeros(), asked.facts.tip().time + 1);
                    prev = header.block_hash();
                    made.push(as_json(&header, asked.facts.height() + 1_000 + n));
                }
                on_top(asked, truth, &made)
            },
        },
        Lie {
            name: "one made-up block with nothing in it on top of the real ones",
            of: "/blocks, /blocks/tip/hash",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let tip = asked.facts.tip();
                let header = mine(tip.block_hash(), TxMerkleNode::all_zeros(), tip.time + 1);
                on_top(asked, truth, &[as_json(&header, asked.facts.height() + 1)])
            },
        },
        Lie {
            name: "a made-up block in the place of the tip's parent",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    let (tip, height) = (header_of(&blocks[0]), asked.facts.height());
                    let below = header_of(&blocks[2]).block_hash();
                    let made = mine(below, tip.merkle_root, tip.time);
                    blocks[1] = as_json(&made, height - 1);
                })
            },
        },
        Lie {
            name: "the highest of all heights",
            of: "/blocks",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    for (below, block) in blocks.iter_mut().enumerate() {
                        block["height"] = json!(u32::MAX - u32::try_from(below).unwrap());
                    }
                })
            },
        },
        Lie {
            name: "every height a thousand too high",
            of: "everything with a height",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| elsewhere(asked, truth, 1_000),
        },
        Lie {
            name: "every height one too high",
            of: "everything with a height",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| elsewhere(asked, truth, 1),
        },
        Lie {
            name: "every height one too low",
            of: "everything with a height",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| elsewhere(asked, truth, -1),
        },
        Lie {
            name: "heights with a hole",
            of: "/blocks",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, |blocks| drop(blocks.remove(3))),
        },
        Lie {
            name: "blocks out of order",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, |blocks| blocks.reverse()),
        },
        Lie {
            name: "the same block ten times",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, |blocks| *blocks = vec![blocks[0].clone(); 10]),
        },
        Lie {
            name: "no blocks at all",
            of: "/blocks",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| newest(asked, truth, Vec::clear),
        },
        Lie {
            name: "one block in the place of ten",
            of: "/blocks, /blocks/*",
            at: (Early, Quick),
            must: Must::Succeed,
            tell: |asked, truth| {
                if asked.path.starts_with("/blocks") && !asked.path.contains("tip") {
                    let blocks = truth.json();
                    return Answer::new(200, json!([blocks[0]]).to_string()).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "all blocks in the place of ten",
            of: "/blocks",
            at: (Early, Quick),
            must: Must::Succeed,
            tell: |asked, truth| {
                newest(asked, truth, |blocks| {
                    *blocks = asked.facts.blocks(asked.facts.height(), 100);
                })
            },
        },
        Lie {
            name: "a tip that we have passed",
            of: "/blocks, /blocks/tip/hash",
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| earlier(asked, truth, 8),
        },
        Lie {
            name: "a tip that we have passed, to an open app",
            of: "/blocks, /blocks/tip/hash",
            at: (Forked, Deep),
            must: CAUGHT,
            tell: |asked, truth| earlier(asked, truth, 9),
        },
        Lie {
            name: "a tip that is not the newest, and that we have not seen",
            of: "/blocks, /blocks/tip/hash",
            at: (Early, Quick),
            must: Must::Pass,
            tell: |asked, truth| earlier(asked, truth, 8),
        },
        Lie {
            name: "a tip that moves at each question",
            of: "/blocks/tip/hash",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.path == "/blocks/tip/hash" {
                    let at = asked.facts.headers.len() - 2 - asked.count % 5;
                    let other = asked.facts.headers[at].block_hash();
                    return Answer::new(200, other.to_string()).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "a tip that moves to and fro",
            of: "/blocks, /blocks/tip/hash",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                // The second of the two tips is told only to who asks whether the first still stands.
                if asked.path == "/blocks/tip/hash" {
                    return earlier(asked, truth, 1);
                }
                truth.into()
            },
        },
        Lie {
            name: "the chain of another network",
            of: "/blocks, /blocks/tip/hash, /block-height/*",
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let genesis = bitcoin::constants::genesis_block(Network::Bitcoin).header;
                let mut block = as_json(&genesis, 0);
                block["previousblockhash"] = Value::Null;
                match asked.path {
                    "/blocks" => Answer::new(200, json!([block]).to_string()).into(),
                    "/blocks/tip/hash" => Answer::new(200, genesis.block_hash().to_string()).into(),
                    _ if asked.is("/block-height/*") => {
                        Answer::new(200, genesis.block_hash().to_string()).into()
                    }
                    _ => truth.into(),
                }
            },
        },
        Lie {
            name: "other blocks under every height",
            of: "/block-height/*",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is("/block-height/*") {
                    let wanted: usize = asked.segment(1).parse().unwrap();
                    let other = asked.facts.headers[wanted.saturating_sub(7)].block_hash();
                    return Answer::new(200, other.to_string()).into();
                }
                truth.into()
            },
        },
        Lie {
            name: "no block under any height",
            of: "/block-height/*",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is("/block-height/*") {
                    return Answer::new(404, "Block not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "every block in no chain, to a wake",
            of: "/block/*/status",
            at: (Late, Quick),
            must: Must::Succeed,
            tell: |asked, truth| {
                every_status(
                    asked,
                    truth,
                    |_| json!({"in_best_chain": false, "height": null, "next_best": null}),
                )
            },
        },
        Lie {
            name: "every block in no chain, to an open app",
            of: "/block/*/status",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                every_status(
                    asked,
                    truth,
                    |_| json!({"in_best_chain": false, "height": null, "next_best": null}),
                )
            },
        },
        Lie {
            name: "no block known",
            of: "/block/*/status",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                if asked.is("/block/*/status") {
                    return Answer::new(404, "Block not found").into();
                }
                truth.into()
            },
        },
        Lie {
            name: "every block at another height",
            of: "/block/*/status",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                every_status(asked, truth, |mut status| {
                    if let Some(height) = status["height"].as_u64() {
                        status["height"] = json!(height + 1);
                    }
                    status
                })
            },
        },
        Lie {
            name: "blocks in the chain, at no height",
            of: "/block/*/status",
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                every_status(asked, truth, |_| json!({"in_best_chain": true, "height": null}))
            },
        },
        Lie {
            name: "a block that was left behind, still in the chain",
            of: "/block/*/status",
            at: (Forked, Quick),
            must: Must::Succeed,
            tell: |asked, truth| {
                let height = asked.facts.height() - 2;
                let said = json!({"in_best_chain": true, "height": height, "next_best": null});
                status(asked, truth, asked.facts.stale, &said)
            },
        },
        Lie {
            name: "a made-up chain in which the funding's block is another",
            of: "/blocks/*, /block/*/status",
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                // Under ten real blocks, ten made-up ones.
                if asked.is("/blocks/*") && !asked.path.contains("tip") {
                    let below: u32 = asked.segment(1).parse().unwrap();
                    let mut prev = asked.facts.headers[below as usize - 10].block_hash();
                    let mut made = Vec::new();
                    for height in below - 9..=below {
                        let (header, _) = made_up(prev, &[Txid::all_zeros()], asked.facts.tip().time);
                        prev = header.block_hash();
                        made.insert(0, as_json(&header, height));
                    }
                    return Answer::new(200, json!(made).to_string()).into();
                }
                every_status(
                    asked,
                    truth,
                    |_| json!({"in_best_chain": false, "height": null, "next_best": null}),
                )
            },
        },
    ]
}
