//! What `npm run bench -- wake` needs besides `pilotlight-cli` and a devnet: the wallet that ours is measured against, the
//! one who measures, and a network graph of mainnet's size.
//!
//! `theirs` is a minimal wallet made of ldk-node, `measure` runs a program and says what it cost, `graph` makes the graph
//! and puts it where ldk-node looks for it. One line of JSON on stdout each. Order, copies and figures are the script's.

mod graph;
mod measure;
mod theirs;

use std::error::Error;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ldk_node::bitcoin::secp256k1::PublicKey;
use serde_json::Value;

/// Whatever goes wrong ends the program with its words.
type Outcome = Result<Value, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(name = "wake-bench")]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a program to its end; its stdout is passed through, and what it cost is the last line.
    Measure {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make a network graph and write it to a file.
    MakeGraph {
        file: PathBuf,
        #[arg(long, default_value_t = 17_000)]
        nodes: u32,
        #[arg(long, default_value_t = 48_000)]
        channels: u32,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Put such a file into an ldk-node wallet.
    InstallGraph { file: PathBuf, dir: PathBuf },
    /// The wallet made of ldk-node.
    Theirs {
        /// Its folder.
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        chain: Chain,
        #[command(subcommand)]
        what: Theirs,
    },
}

/// Its chain server.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Chain {
    /// One of Esplora's kind.
    #[arg(long)]
    esplora: Option<String>,
    /// One of Electrum's.
    #[arg(long)]
    electrum: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Theirs {
    /// Build, start, sync, stop: what is measured.
    Wake,
    /// A fresh on-chain address.
    Address,
    /// Open a channel, and stay until its funding transaction is on its way.
    Open {
        node_id: PublicKey,
        address: SocketAddr,
        sats: u64,
    },
    /// Stay until so many channels are usable, or fail.
    AwaitChannels { count: usize },
    /// Pay an invoice over a channel.
    Pay { bolt11: String },
    /// How large the network graph is that it has loaded.
    Graph,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().action {
        Action::Measure { command } => measure::measure(&command),
        Action::MakeGraph {
            file,
            nodes,
            channels,
            seed,
        } => graph::make(&file, nodes, channels, seed),
        Action::InstallGraph { file, dir } => graph::install(&file, dir),
        Action::Theirs { dir, chain, what } => theirs::perform(&dir, chain, what),
    };
    match outcome {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wake-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
