//! Lies about what is the on-chain wallet's: the histories of its scripts.

use bitcoin::{ScriptBuf, Transaction};
use pilotlight_node::Depth::{Deep, Quick};
use serde_json::{Value, json};

use super::{CAUGHT, Lie, Must};
use crate::facts::{out_of_nowhere, script_behind, tx_json};
use crate::middle::{Answer, Asked, Said};
use crate::world::Moment::{Early, Late};

const FIRST: &str = "/scripthash/*/txs";
const ALL: &str = "/scripthash/**";

fn is_history(asked: &Asked) -> bool {
    asked.is(FIRST) || asked.is("/scripthash/*/txs/chain/*")
}

fn history(asked: &Asked, truth: Answer, change: impl FnOnce(&mut Vec<Value>)) -> Said {
    if !is_history(asked) {
        return truth.into();
    }
    let mut items = truth.json().as_array().cloned().unwrap();
    change(&mut items);
    Answer::new(200, json!(items).to_string()).into()
}

/// Changes each transaction of each history.
fn each(asked: &Asked, truth: Answer, change: impl Fn(&mut Value)) -> Said {
    history(asked, truth, |items| items.iter_mut().for_each(change))
}

/// In a real block: twenty under the tip.
fn confirmed(asked: &Asked) -> Value {
    let height = asked.facts.height() - 20;
    let header = &asked.facts.headers[height as usize];
    json!({"confirmed": true, "block_height": height, "block_hash": header.block_hash(),
        "block_time": header.time})
}

/// A further transaction in the history of each script that has one already: its script is known from there.
fn further(asked: &Asked, truth: Answer, status: &Value, make: impl Fn(ScriptBuf) -> Transaction) -> Said {
    let script = script_behind(asked.segment(1), &truth.json());
    history(asked, truth, |items| {
        if let Some(script) = script {
            items.push(tx_json(&make(script), status));
        }
    })
}

/// Transactions that have nothing to do with anybody, all different.
fn strangers(asked: &Asked, count: usize, status: &Value) -> Vec<Value> {
    let numbers = (0..count).map(|n| u64::try_from(asked.count * 1_000_000 + n).unwrap());
    numbers
        .map(|n| {
            tx_json(
                &out_of_nowhere(ScriptBuf::from_bytes(vec![0x51]), 1_000 + n, 3),
                status,
            )
        })
        .collect()
}

#[allow(clippy::too_many_lines)] // A table.
pub fn lies() -> Vec<Lie> {
    vec![
        Lie {
            name: "a payment that is not there, in a real block",
            of: FIRST,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                further(asked, truth, &status, |script| {
                    out_of_nowhere(script, 5_000_000, 1)
                })
            },
        },
        Lie {
            name: "a payment that is not there, to an open app",
            of: FIRST,
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                further(asked, truth, &status, |script| {
                    out_of_nowhere(script, 5_000_000, 1)
                })
            },
        },
        Lie {
            name: "a payment that is not there, in no block yet",
            of: FIRST,
            at: (Late, Deep),
            must: Must::Pass,
            tell: |asked, truth| {
                further(asked, truth, &json!({"confirmed": false}), |script| {
                    out_of_nowhere(script, 5_000_000, 2)
                })
            },
        },
        Lie {
            name: "a payment of more than all money",
            of: FIRST,
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                further(asked, truth, &json!({"confirmed": false}), |script| {
                    let mut made = out_of_nowhere(script, u64::MAX, 4);
                    made.output.push(made.output[0].clone());
                    made
                })
            },
        },
        Lie {
            name: "a payment of more than all money, in a block",
            of: FIRST,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                further(asked, truth, &status, |script| {
                    let mut made = out_of_nowhere(script, u64::MAX, 4);
                    made.output.push(made.output[0].clone());
                    made
                })
            },
        },
        Lie {
            name: "a transaction under another's id",
            of: FIRST,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| each(asked, truth, |tx| tx["vout"][0]["value"] = json!(4_000_000)),
        },
        Lie {
            name: "coins of another worth than they were",
            of: FIRST,
            at: (Early, Deep),
            must: Must::Succeed,
            tell: |asked, truth| {
                each(asked, truth, |tx| {
                    for input in tx["vin"].as_array_mut().unwrap() {
                        if !input["prevout"].is_null() {
                            input["prevout"]["value"] = json!(u64::MAX);
                        }
                    }
                })
            },
        },
        Lie {
            name: "payments in another real block than they are",
            of: FIRST,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                each(asked, truth, |tx| {
                    if tx["status"]["confirmed"] == json!(true) {
                        tx["status"] = confirmed(asked);
                    }
                })
            },
        },
        Lie {
            name: "payments at another height than they are",
            of: FIRST,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                each(asked, truth, |tx| {
                    if let Some(height) = tx["status"]["block_height"].as_u64() {
                        tx["status"]["block_height"] = json!(height - 1);
                    }
                })
            },
        },
        Lie {
            name: "payments in blocks that are in no chain",
            of: FIRST,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                each(asked, truth, |tx| {
                    if tx["status"]["confirmed"] == json!(true) {
                        tx["status"]["block_hash"] = json!(asked.facts.stale);
                    }
                })
            },
        },
        Lie {
            name: "payments in blocks of another time",
            of: FIRST,
            at: (Early, Quick),
            must: Must::Succeed,
            tell: |asked, truth| {
                each(asked, truth, |tx| {
                    if tx["status"]["confirmed"] == json!(true) {
                        tx["status"]["block_time"] = json!(u64::MAX);
                    }
                })
            },
        },
        Lie {
            name: "payments in a block, without saying in which",
            of: FIRST,
            at: (Early, Quick),
            must: Must::Pass,
            tell: |asked, truth| each(asked, truth, |tx| tx["status"] = json!({"confirmed": true})),
        },
        Lie {
            name: "payments in no block",
            of: FIRST,
            at: (Early, Deep),
            must: Must::Pass,
            tell: |asked, truth| each(asked, truth, |tx| tx["status"] = json!({"confirmed": false})),
        },
        Lie {
            name: "payments that were there, in no block any more",
            of: FIRST,
            at: (Late, Deep),
            must: Must::Pass,
            tell: |asked, truth| each(asked, truth, |tx| tx["status"] = json!({"confirmed": false})),
        },
        Lie {
            name: "no history",
            of: ALL,
            at: (Early, Deep),
            must: Must::Pass,
            tell: |asked, truth| history(asked, truth, Vec::clear),
        },
        Lie {
            name: "no history any more",
            of: ALL,
            at: (Late, Deep),
            must: Must::Pass,
            tell: |asked, truth| history(asked, truth, Vec::clear),
        },
        Lie {
            name: "histories of others",
            of: FIRST,
            at: (Early, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                history(asked, truth, |items| {
                    items.push(tx_json(&asked.facts.other.0, &status));
                })
            },
        },
        Lie {
            name: "a history that never ends",
            of: ALL,
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                history(asked, truth, |items| *items = strangers(asked, 25, &status))
            },
        },
        Lie {
            name: "a history that never ends, of large transactions",
            of: ALL,
            at: (Late, Deep),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                history(asked, truth, |items| {
                    *items = strangers(asked, 25, &status);
                    for item in items {
                        item["padding"] = json!("x".repeat(250_000));
                    }
                })
            },
        },
        Lie {
            name: "a history that repeats itself",
            of: ALL,
            at: (Early, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                let same = Asked { count: 1, ..*asked };
                history(asked, truth, |items| *items = strangers(&same, 25, &status))
            },
        },
        Lie {
            name: "a history of hundreds that wait",
            of: FIRST,
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = json!({"confirmed": false});
                history(asked, truth, |items| *items = strangers(asked, 300, &status))
            },
        },
        Lie {
            name: "the same transaction in a block and in none",
            of: FIRST,
            at: (Early, Quick),
            must: Must::Pass,
            tell: |asked, truth| {
                history(asked, truth, |items| {
                    let mut again = items.clone();
                    for tx in &mut again {
                        tx["status"] = json!({"confirmed": false});
                    }
                    items.extend(again);
                })
            },
        },
        Lie {
            name: "a transaction with no inputs and no outputs",
            of: FIRST,
            at: (Late, Quick),
            must: CAUGHT,
            tell: |asked, truth| {
                let status = confirmed(asked);
                history(asked, truth, |items| {
                    let mut made = out_of_nowhere(ScriptBuf::new(), 0, 0);
                    made.input.clear();
                    made.output.clear();
                    items.push(tx_json(&made, &status));
                })
            },
        },
    ]
}
