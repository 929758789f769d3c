//! What bringing a wallet to the tip costs: our own chain engine beside `lightning-transaction-sync` and `bdk_esplora`, on
//! the same chain, from copies of the same wallet, one after the other.
//!
//! `chain-bench run [--channels 5,20] [--blocks 6,144,1008] [--rtt 0,100] [--runs 5]` measures and prints one line of
//! JSON. Each look is a process of its own (`chain-bench once`), so that memory and connections are those of a cold wake.

#![allow(clippy::unwrap_used)] // It measures on this machine, for a person: it may die with the reason.

mod wallet;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bitcoin::Network;
use pilotlight_devnet::{Devnet, Options};
use pilotlight_node::oracle::{AtRest, Engine};
use pilotlight_node::{Config, Depth};
use serde_json::{Value, json};

/// What is compared: a name, what looks, how closely.
const CONTESTANTS: [(&str, Engine, Depth); 3] = [
    ("serial", Engine::Serial, Depth::Deep),
    ("quick", Engine::Ours, Depth::Quick),
    ("deep", Engine::Ours, Depth::Deep),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1))
            .map_or(default, String::as_str)
            .to_owned()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match args.first().map(String::as_str) {
        Some("once") => {
            let outcome = runtime.block_on(once(
                &option("--dir", ""),
                &option("--esplora", ""),
                &option("--with", ""),
            ));
            println!("{outcome}");
        }
        Some("run") => {
            let numbers = |name: &str, default: &str| -> Vec<u32> {
                let text = option(name, default);
                text.split(',').map(|number| number.parse().unwrap()).collect()
            };
            let (channels, blocks) = (numbers("--channels", "5,20"), numbers("--blocks", "6,144,1008"));
            let (rtts, runs) = (numbers("--rtt", "0,100"), numbers("--runs", "5")[0]);
            println!("{}", runtime.block_on(run(&channels, &blocks, &rtts, runs)));
        }
        _ => {
            eprintln!("chain-bench run [--channels 5,20] [--blocks 6,144,1008] [--rtt 0,100] [--runs 5]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Opens a wallet and brings it to the tip; what is measured is from the first request to the persisted checkpoint.
async fn once(dir: &str, esplora: &str, with: &str) -> Value {
    let (_, engine, depth) = CONTESTANTS.iter().find(|(name, ..)| *name == with).unwrap();
    let config = Config::new(dir, Network::Regtest, esplora);
    let wallet = AtRest::open(&config, *engine).unwrap();
    let begun = Instant::now();
    let checkpoint = wallet.sync(*depth).await.unwrap();
    let wall = begun.elapsed();
    wallet.close().await.unwrap();
    json!({ "wall_ms": wall.as_secs_f64() * 1_000.0, "height": checkpoint.height, "rss_kib": peak_rss_kib() })
}

/// Of this program alone: `getrusage` counts what the parent held when it started it (Linux).
fn peak_rss_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

async fn run(channels: &[u32], blocks: &[u32], rtts: &[u32], runs: u32) -> Value {
    let devnet = Devnet::start(Options {
        peers: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let mut cells = Vec::new();
    for &channels in channels {
        let home = tempfile::tempdir().unwrap();
        wallet::make(&devnet, home.path(), channels).await;
        let mut mined = 0;
        for &blocks in blocks {
            devnet.mine(blocks - mined).await.unwrap();
            mined = blocks;
            for &rtt in rtts {
                eprintln!("{channels} channels, {blocks} blocks, {rtt} ms");
                devnet.set_rtt(Duration::from_millis(rtt.into()));
                let mut results: Vec<Vec<Value>> = vec![Vec::new(); CONTESTANTS.len()];
                // The first round warms the machine and does not count.
                for round in 0..=runs {
                    for at in 0..CONTESTANTS.len() {
                        // Each goes first every so often.
                        let at = (at + round as usize) % CONTESTANTS.len();
                        let result = look(&devnet, home.path(), CONTESTANTS[at].0).await;
                        if round > 0 {
                            results[at].push(result);
                        }
                    }
                }
                cells.push(cell((channels, blocks, rtt), &results));
            }
        }
        devnet.set_rtt(Duration::ZERO);
    }
    json!({ "runs": runs, "cells": cells })
}

/// One look in a process of its own, at a copy of the wallet.
async fn look(devnet: &Devnet, home: &Path, with: &str) -> Value {
    let copy = tempfile::tempdir().unwrap();
    wallet::copy(home, copy.path());
    devnet.reset_traffic();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "once",
            "--with",
            with,
            "--esplora",
            &devnet.esplora_url(),
            "--dir",
        ])
        .arg(copy.path())
        .stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let mut result: Value = serde_json::from_slice(&output.stdout).expect("a look prints what it measured");
    assert_eq!(
        result["height"],
        devnet.height().await.unwrap(),
        "{with} is at the tip"
    );
    let traffic = devnet.traffic();
    result["requests"] = json!(traffic.requests);
    result["connections"] = json!(traffic.connections);
    result["bytes"] = json!(traffic.bytes_in + traffic.bytes_out);
    result["endpoints"] = json!(
        traffic
            .endpoints
            .iter()
            .map(|(name, e)| (name.clone(), e.requests))
            .collect::<std::collections::BTreeMap<_, _>>()
    );
    result
}

fn cell((channels, blocks, rtt): (u32, u32, u32), results: &[Vec<Value>]) -> Value {
    let mut cell = json!({ "channels": channels, "blocks": blocks, "rtt_ms": rtt });
    for ((name, ..), results) in CONTESTANTS.iter().zip(results) {
        let mut medians = serde_json::Map::new();
        for measure in ["wall_ms", "requests", "connections", "bytes", "rss_kib"] {
            medians.insert(measure.to_owned(), json!(median(results, measure)));
        }
        medians.insert("endpoints".to_owned(), results[0]["endpoints"].clone());
        cell[*name] = medians.into();
    }
    for name in ["quick", "deep"] {
        let ratio = |measure: &str| {
            let (ours, theirs) = (
                cell[name][measure].as_f64().unwrap(),
                cell["serial"][measure].as_f64().unwrap(),
            );
            (ours / theirs * 1_000.0).round() / 1_000.0
        };
        cell[format!("{name}_ratio")] = json!({
            "wall_ms": ratio("wall_ms"),
            "requests": ratio("requests"),
            "bytes": ratio("bytes"),
            "rss_kib": ratio("rss_kib"),
        });
    }
    cell
}

fn median(results: &[Value], measure: &str) -> f64 {
    let mut values: Vec<f64> = results
        .iter()
        .map(|result| result[measure].as_f64().unwrap_or_default())
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let middle = if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    };
    (middle * 10.0).round() / 10.0
}
