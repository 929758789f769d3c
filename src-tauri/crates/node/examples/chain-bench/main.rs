//! What bringing a wallet to the tip costs: every chain source of ours, the serial client that they are compared with, and
//! ldk-node, on the same chain, from copies of sleeping wallets, one after the other.
//!
//! `chain-bench run --theirs WAKE-BENCH [--channels 5,20] [--blocks 6,144,1008] [--rtt 0,100] [--runs 5]` measures and prints
//! one line of JSON. Each look is a process of its own (`chain-bench once`), so that memory and connections are those of a
//! cold wake.

#![allow(clippy::unwrap_used)] // It measures on this machine, for a person: it may die with the reason.

mod contestants;
mod figures;
mod theirs;
mod wallet;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bitcoin::Network;
use clap::{Parser, Subcommand};
use pilotlight_devnet::{Devnet, Options, peak_memory};
use pilotlight_node::oracle::AtRest;
use pilotlight_node::{ChainChoice, Config, HostPort};
use serde_json::{Value, json};

use self::contestants::{CONTESTANTS, Servers, named};
use self::figures::cell;
use self::theirs::Theirs;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measure everything.
    Run {
        /// The program `wake-bench`, which has the wallet made of ldk-node.
        #[arg(long)]
        theirs: PathBuf,
        #[arg(long, value_delimiter = ',', default_value = "5,20")]
        channels: Vec<u32>,
        #[arg(long, value_delimiter = ',', default_value = "6,144,1008")]
        blocks: Vec<u32>,
        #[arg(long, value_delimiter = ',', default_value = "0,100")]
        rtt: Vec<u64>,
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
    /// One look of ours.
    Once {
        #[arg(long)]
        with: String,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        esplora: String,
        #[arg(long)]
        electrum: Option<String>,
        #[arg(long, value_delimiter = ',')]
        peers: Vec<HostPort>,
    },
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = match Cli::parse().what {
        What::Run {
            theirs,
            channels,
            blocks,
            rtt,
            runs,
        } => runtime.block_on(run(&Theirs { program: theirs }, &channels, &blocks, &rtt, runs)),
        What::Once {
            with,
            dir,
            esplora,
            electrum,
            peers,
        } => {
            let mut config = Config::new(dir, Network::Regtest, esplora);
            if let Some(url) = electrum {
                config.chain = ChainChoice::Electrum { url, proxy: None };
            }
            if !peers.is_empty() {
                config.chain = ChainChoice::Filters {
                    required: peers.len(),
                    peers,
                    proxy: None,
                };
            }
            runtime.block_on(once(&config, &with))
        }
    };
    println!("{said}");
    ExitCode::SUCCESS
}

/// Opens a wallet and brings it to the tip; what is measured is from the first request to the persisted checkpoint.
async fn once(config: &Config, with: &str) -> Value {
    let (engine, depth) = named(with).ours().unwrap();
    let wallet = AtRest::open(config, engine).unwrap();
    let begun = Instant::now();
    let checkpoint = wallet.sync(depth).await.unwrap();
    let wall = begun.elapsed();
    let requests = wallet.requests();
    wallet.close().await.unwrap();
    json!({
        "wall_ms": wall.as_secs_f64() * 1_000.0,
        "height": checkpoint.height,
        "requests": requests,
        "rss_kib": peak_memory().map(|bytes| bytes / 1024),
    })
}

async fn run(theirs: &Theirs, channels: &[u32], blocks: &[u32], rtts: &[u64], runs: u32) -> Value {
    let devnet = Devnet::start(Options {
        peers: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let servers = Servers::before(devnet, theirs).await;
    let mut cells = Vec::new();
    for &channels in channels {
        let homes = servers.homes(channels).await;
        let mut mined = 0;
        for &blocks in blocks {
            servers.mine(blocks - mined).await;
            mined = blocks;
            for &rtt in rtts {
                eprintln!("{channels} channels, {blocks} blocks, {rtt} ms");
                servers.set_rtt(Duration::from_millis(rtt));
                let mut results: Vec<Vec<Value>> = vec![Vec::new(); CONTESTANTS.len()];
                // The first round warms the machine and does not count.
                for round in 0..=runs {
                    for at in 0..CONTESTANTS.len() {
                        // Each goes first every so often.
                        let at = (at + round as usize) % CONTESTANTS.len();
                        let result = servers.look(&homes, &CONTESTANTS[at]).await;
                        if round > 0 {
                            results[at].push(result);
                        }
                    }
                }
                cells.push(cell((channels, blocks, rtt), &results));
            }
        }
        servers.set_rtt(Duration::ZERO);
    }
    json!({ "runs": runs, "cells": cells })
}
