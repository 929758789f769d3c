//! What an Electrum server may say instead of the truth, and what kind of failure it is.

use std::sync::Arc;

use pilotlight_node::ErrorCode::{self, ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout};
use serde_json::{Value, json};

use super::liar::{Lie, Said};

const TOP: &str = "blockchain.headers.subscribe";
const HEADER: &str = "blockchain.block.header";
const HEADERS: &str = "blockchain.block.headers";
const HISTORY: &str = "blockchain.scripthash.get_history";
const TRANSACTION: &str = "blockchain.transaction.get";
const MERKLE: &str = "blockchain.transaction.get_merkle";

/// A lie: what it is, what is done to answers, and which failure it must end in.
pub type Case = (&'static str, Arc<Lie>, ErrorCode);

/// All of them.
pub fn all() -> Vec<Case> {
    [of_the_chain(), of_proofs(), of_histories(), on_the_line()].concat()
}

/// About the tip and the headers under it.
fn of_the_chain() -> Vec<Case> {
    let stale = |by: u64| {
        result_of(
            TOP,
            move |_, top| json!({"height": top["height"].as_u64().unwrap() - by, "hex": top["hex"]}),
        )
    };
    vec![
        (
            "a tip whose header was changed",
            result_of(
                TOP,
                |_, top| json!({"height": top["height"], "hex": bit_of(&top["hex"], 76)}),
            ),
            ChainSyncFailed,
        ),
        (
            "a tip without height",
            result_of(TOP, |_, top| json!({"hex": top["hex"]})),
            ChainSyncFailed,
        ),
        (
            "a tip without header",
            result_of(TOP, |_, top| json!({"height": top["height"], "hex": ""})),
            ChainSyncFailed,
        ),
        (
            "a tip that is higher than its chain",
            result_of(
                TOP,
                |_, top| json!({"height": top["height"].as_u64().unwrap() + 7, "hex": top["hex"]}),
            ),
            ChainSyncFailed,
        ),
        ("a tip that is lower than its chain", stale(3), ChainSyncFailed),
        (
            "a tip at a height beyond all numbers",
            result_of(TOP, |_, top| json!({"height": u64::MAX, "hex": top["hex"]})),
            ChainSyncFailed,
        ),
        ("no tip", result_of(TOP, |_, _| Value::Null), ChainSyncFailed),
        (
            "headers of which one was changed",
            result_of(
                HEADERS,
                |_, some| json!({"count": some["count"], "max": 2016, "hex": bit_of(&some["hex"], 80 * 3 + 40)}),
            ),
            ChainSyncFailed,
        ),
        (
            "headers cut off in the middle",
            result_of(
                HEADERS,
                |_, some| json!({"hex": some["hex"].as_str().unwrap()[..170]}),
            ),
            ChainSyncFailed,
        ),
        (
            "headers that are no hex",
            result_of(HEADERS, |_, _| json!({"hex": "zz"})),
            ChainSyncFailed,
        ),
        (
            "no headers at all",
            result_of(HEADERS, |_, _| json!({"hex": ""})),
            ChainSyncFailed,
        ),
        (
            "headers in a list, as garbage",
            result_of(HEADERS, |_, _| json!({"headers": ["00", "11"]})),
            ChainSyncFailed,
        ),
        ("headers refused", refusal_of(HEADERS, 1, "no"), ChainSyncFailed),
        (
            "headers of another place",
            result_of(
                HEADERS,
                |_, some| json!({"hex": &some["hex"].as_str().unwrap()[160..]}),
            ),
            ChainSyncFailed,
        ),
    ]
}

/// About transactions and their places.
fn of_proofs() -> Vec<Case> {
    vec![
        (
            "another block's header under the tip",
            result_of(HEADER, |_, hex| bit_of(&hex, 70)),
            ChainSyncFailed,
        ),
        (
            "a proof at the next position",
            result_of(
                MERKLE,
                |_, proof| json!({"pos": proof["pos"].as_u64().unwrap() ^ 1, "merkle": proof["merkle"]}),
            ),
            ChainSyncFailed,
        ),
        (
            "a proof at a position beyond the block",
            result_of(
                MERKLE,
                |_, proof| json!({"pos": u64::MAX, "merkle": proof["merkle"]}),
            ),
            ChainSyncFailed,
        ),
        (
            "a proof with a hash too few",
            result_of(MERKLE, |_, proof| {
                let list = proof["merkle"].as_array().unwrap();
                json!({"pos": proof["pos"], "merkle": list[1..]})
            }),
            ChainSyncFailed,
        ),
        (
            "a proof with a hash too many",
            result_of(MERKLE, |_, proof| {
                let mut list = proof["merkle"].as_array().unwrap().clone();
                list.push(list[0].clone());
                json!({"pos": proof["pos"], "merkle": list})
            }),
            ChainSyncFailed,
        ),
        (
            "a proof with hashes changed",
            result_of(
                MERKLE,
                |_, proof| json!({"pos": proof["pos"], "merkle": each(&proof["merkle"], |hash| *hash = bit_of(hash, 5))}),
            ),
            ChainSyncFailed,
        ),
        (
            "a proof of a thousand levels",
            result_of(
                MERKLE,
                |_, proof| json!({"pos": 0, "merkle": vec![proof["merkle"][0].clone(); 200]}),
            ),
            ChainSyncFailed,
        ),
        ("no proof", refusal_of(MERKLE, 1, "missing"), ChainSyncFailed),
        (
            "a proof with a negative position",
            result_of(MERKLE, |_, proof| json!({"pos": -1, "merkle": proof["merkle"]})),
            ChainSyncFailed,
        ),
        (
            "another transaction",
            result_of(TRANSACTION, |_, hex| bit_of(&hex, 44)),
            ChainSyncFailed,
        ),
        (
            "half a transaction",
            result_of(TRANSACTION, |_, hex| json!(hex.as_str().unwrap()[..40])),
            ChainSyncFailed,
        ),
        (
            "a transaction with something after it",
            result_of(TRANSACTION, |_, hex| {
                json!(format!("{}00", hex.as_str().unwrap()))
            }),
            ChainSyncFailed,
        ),
        (
            "a transaction that is there and not there",
            refusal_of(TRANSACTION, 2, "No such mempool or blockchain transaction"),
            ChainSyncFailed,
        ),
        (
            "a transaction with other witnesses is none with another id",
            result_of(TRANSACTION, |_, _| json!("02000000000101")),
            ChainSyncFailed,
        ),
    ]
}

/// About which transactions there are.
fn of_histories() -> Vec<Case> {
    vec![
        (
            "everything a block later",
            result_of(HISTORY, |_, list| {
                each(&list, |item| {
                    item["height"] = json!(item["height"].as_i64().unwrap() + 1);
                })
            }),
            ChainSyncFailed,
        ),
        (
            "everything at the first block",
            result_of(HISTORY, |_, list| each(&list, |item| item["height"] = json!(1))),
            ChainSyncFailed,
        ),
        (
            "everything above the tip",
            result_of(HISTORY, |_, list| {
                each(&list, |item| item["height"] = json!(4_000_000))
            }),
            ChainSyncFailed,
        ),
        (
            "heights beyond all numbers",
            result_of(HISTORY, |_, list| {
                each(&list, |item| item["height"] = json!(i64::MAX))
            }),
            ChainSyncFailed,
        ),
        (
            "transactions that do not exist",
            result_of(HISTORY, |_, list| {
                each(&list, |item| item["tx_hash"] = bit_of(&item["tx_hash"], 3))
            }),
            ChainSyncFailed,
        ),
        (
            "ids that are none",
            result_of(HISTORY, |_, list| {
                each(&list, |item| item["tx_hash"] = json!("xyz"))
            }),
            ChainSyncFailed,
        ),
        (
            "a history that does not end",
            result_of(HISTORY, |_, list| {
                let item = list
                    .get(0)
                    .cloned()
                    .unwrap_or(json!({"tx_hash": "00".repeat(32), "height": 5}));
                Value::Array(vec![item; 1_001])
            }),
            ChainSyncFailed,
        ),
        (
            "a history as a word",
            result_of(HISTORY, |_, _| json!("history")),
            ChainSyncFailed,
        ),
        (
            "a history too large for the server",
            refusal_of(HISTORY, 1, "history too large"),
            ChainSyncFailed,
        ),
    ]
}

/// Refusals, limits, silence and noise.
fn on_the_line() -> Vec<Case> {
    vec![
        (
            "an index that is not ready",
            refusal_of(HISTORY, -32603, "unavailable index"),
            NetworkUnavailable,
        ),
        (
            "a node that is down",
            refusal_of(HISTORY, 2, "daemon error"),
            NetworkUnavailable,
        ),
        (
            "a limit",
            refusal_of(HISTORY, -101, "excessive resource usage"),
            RateLimited,
        ),
        (
            "a limit in words",
            refusal_of(TOP, 1, "Too many requests, slow down"),
            RateLimited,
        ),
        (
            "a version that is refused",
            refusal_of("server.version", 1, "unsupported protocol version"),
            ChainSyncFailed,
        ),
        (
            "a hang-up at every history",
            said_of(HISTORY, || Said::HangUp),
            NetworkUnavailable,
        ),
        (
            "a hang-up at the handshake",
            said_of("server.version", || Said::HangUp),
            NetworkUnavailable,
        ),
        (
            "silence at proofs",
            said_of(MERKLE, || Said::Silence),
            SyncTimeout,
        ),
        (
            "garbage",
            said_of(HISTORY, || Said::Raw(b"<html>\n".to_vec())),
            ChainSyncFailed,
        ),
        (
            "an answer to no question",
            said_of(HISTORY, || {
                Said::Raw(b"{\"id\":123456789,\"result\":[]}\n".to_vec())
            }),
            ChainSyncFailed,
        ),
        (
            "an endless line",
            said_of(TRANSACTION, || Said::Raw(vec![b'a'; 9_000_000])),
            ChainSyncFailed,
        ),
        (
            "an endless history",
            said_of(HISTORY, || Said::Raw(vec![b'['; 2_000_000])),
            ChainSyncFailed,
        ),
        (
            "news without end",
            said_of(HISTORY, || {
                Said::Raw("{\"method\":\"x\",\"params\":[]}\n".repeat(2_000).into_bytes())
            }),
            ChainSyncFailed,
        ),
    ]
}

/// Changes the result of one method.
fn result_of(of: &'static str, change: impl Fn(&Value, Value) -> Value + Send + Sync + 'static) -> Arc<Lie> {
    Arc::new(move |method, params, mut answer| {
        if method == of {
            answer["result"] = change(params, answer["result"].take());
        }
        Said::Answer(answer)
    })
}

fn refusal_of(of: &'static str, code: i64, words: &'static str) -> Arc<Lie> {
    Arc::new(move |method, _, mut answer| {
        if method == of {
            answer["result"].take();
            answer["error"] = json!({"code": code, "message": words});
        }
        Said::Answer(answer)
    })
}

fn said_of(of: &'static str, what: fn() -> Said) -> Arc<Lie> {
    Arc::new(move |method, _, answer| {
        if method == of {
            what()
        } else {
            Said::Answer(answer)
        }
    })
}

/// Turns one bit of a hex string.
fn bit_of(hex: &Value, byte: usize) -> Value {
    let mut text = hex.as_str().unwrap_or_default().as_bytes().to_vec();
    if let Some(digit) = text.get_mut(byte * 2) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    json!(String::from_utf8(text).unwrap())
}

fn each(list: &Value, change: impl Fn(&mut Value)) -> Value {
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.iter_mut().for_each(change);
    Value::Array(list)
}
