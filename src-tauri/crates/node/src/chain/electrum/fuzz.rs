//! Every question, with honest answers changed at random: what comes of them has a type, or is what was asked for.
//!
//! `PILOTLIGHT_ELECTRUM_ANSWERS` says how many; by hand, 100,000 and more.

use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, CompactTarget, Network, ScriptBuf, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};

use super::api::Api;
use super::client::Client;
use super::line::Line;
use crate::chain::source::Sent;
use crate::error::{Error, ErrorCode};

/// A few real blocks on each other.
fn headers(first: &Header) -> Vec<Header> {
    let mut all = vec![*first];
    for time in 1..12 {
        let mut header = Header {
            prev_blockhash: all[all.len() - 1].block_hash(),
            time: first.time + time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
            ..*first
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        all.push(header);
    }
    all
}

/// What an honest server answers.
fn honest(method: &str, block: &Block, headers: &[Header]) -> Value {
    let txid = block.txdata[0].compute_txid();
    let hex: String = headers.iter().map(serialize_hex).collect();
    match method {
        "blockchain.headers.subscribe" => json!({"height": 11, "hex": serialize_hex(&headers[11])}),
        "blockchain.block.header" => json!(serialize_hex(&headers[3])),
        "blockchain.block.headers" => json!({"count": 12, "hex": hex, "max": 2016}),
        "blockchain.scripthash.get_history" => {
            json!([{"tx_hash": txid, "height": 7}, {"tx_hash": block.block_hash(), "height": -1, "fee": 200}])
        }
        "blockchain.transaction.get" => json!(serialize_hex(&block.txdata[0])),
        "blockchain.transaction.get_merkle" => {
            json!({"block_height": 7, "pos": 1, "merkle": [block.block_hash(), txid]})
        }
        "blockchain.transaction.broadcast" => json!(txid),
        "blockchain.transaction.broadcast_package" => {
            json!({"success": true, "errors": [{"error": "x", "txid": txid}]})
        }
        _ => json!(0.000_012_34),
    }
}

/// One question of a kind. What is believed is checked here; what is not is given back.
async fn ask(api: &Api, kind: u32, block: &Block, headers: &[Header]) -> Result<(), Error> {
    let script = ScriptBuf::from_bytes(vec![1, 2, 3]);
    let transaction = &block.txdata[0];
    let txid: Txid = transaction.compute_txid();
    let works = |header: &Header| header.validate_pow(header.target()).is_ok();
    match kind {
        0 => {
            let top = api.top().await?;
            assert!(works(&top.header) && top.hash == top.header.block_hash());
        }
        1 => assert!(api.header(3).await?.is_none_or(|header| works(&header))),
        2 => {
            let some = api.headers(0, u32::try_from(headers.len()).unwrap()).await?;
            assert!(some.len() <= headers.len() && some.iter().all(works));
            assert!(
                some.windows(2)
                    .all(|pair| pair[1].prev_blockhash == pair[0].block_hash())
            );
        }
        3 => assert!(api.history(&script).await?.len() <= 1_000),
        4 => assert!(
            api.transaction(&txid)
                .await?
                .is_none_or(|read| read.compute_txid() == txid)
        ),
        5 => drop(api.branch(&txid, 7).await?),
        6 => drop(api.fees().await?),
        7 => drop(api.floor().await?),
        8 => drop(api.send(transaction).await?),
        _ => assert!(
            api.send_package(std::slice::from_ref(transaction))
                .await?
                .is_none_or(|sent| matches!(sent, Sent::Accepted | Sent::Refused(_)))
        ),
    }
    Ok(())
}

/// A line with something changed.
fn mutated(line: &str, chance: &mut StdRng) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    let numbers = [
        "-1",
        "0",
        "1e308",
        "-0.0",
        "18446744073709551616",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"00\"",
    ];
    for _ in 0..chance.gen_range(1..4) {
        let at = chance.gen_range(0..bytes.len().max(1)).min(bytes.len());
        match chance.gen_range(0..8) {
            0 if at < bytes.len() => bytes[at] = chance.r#gen(),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << chance.gen_range(0..8),
            4 => {
                let digit = b"0123456789abcdef"[chance.gen_range(0..16)];
                if let Some(byte) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_hexdigit()) {
                    *byte = digit;
                }
            }
            5 => {
                // Another value in the place of one.
                let word = numbers[chance.gen_range(0..numbers.len())];
                if let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') {
                    let from = at + colon + 1;
                    let length = bytes[from..]
                        .iter()
                        .position(|byte| b",}]".contains(byte))
                        .unwrap_or(0);
                    bytes.splice(from..from + length, word.bytes());
                }
            }
            6 => {
                let to = chance.gen_range(at..=bytes.len());
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let to = chance.gen_range(at..=bytes.len());
                bytes.drain(at..to);
            }
        }
    }
    bytes.push(b'\n');
    bytes
}

#[test]
fn answers_changed_at_random_have_a_type_or_are_what_was_asked_for() {
    let cases: u64 = std::env::var("PILOTLIGHT_ELECTRUM_ANSWERS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(5_000);
    let block = genesis_block(Network::Regtest);
    let headers = headers(&block.header);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut refused = 0u64;
    for seed in 0..cases {
        let mut chance = StdRng::seed_from_u64(seed);
        let kind = chance.gen_range(0..10);
        runtime.block_on(async {
            let (ours, theirs) = duplex(1024 * 1024);
            let client = Client::over(Line::new(Box::new(ours)));
            let api = Api::new(client, Network::Regtest);
            let server = async {
                let (read, mut write) = tokio::io::split(theirs);
                let mut lines = BufReader::new(read).lines();
                let question = lines.next_line().await.unwrap().unwrap();
                let question: Value = serde_json::from_str(&question).unwrap();
                let result = honest(question["method"].as_str().unwrap(), &block, &headers);
                let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
                let _ = write.write_all(&mutated(&answer.to_string(), &mut chance)).await;
                // It hangs up: what is left waiting learns so at once.
            };
            let (asked, ()) = tokio::join!(ask(&api, kind, &block, &headers), server);
            if let Err(error) = asked {
                refused += 1;
                let code = error.code();
                assert!(
                    [
                        ErrorCode::ChainSyncFailed,
                        ErrorCode::NetworkUnavailable,
                        ErrorCode::RateLimited
                    ]
                    .contains(&code),
                    "{seed}: {code:?}: {}",
                    error.detail()
                );
            }
        });
    }
    assert!(refused > cases / 4, "{refused} of {cases}");
    println!("{cases} answers, {refused} refused");
}
