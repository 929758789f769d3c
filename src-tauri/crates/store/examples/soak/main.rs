//! Hurts a store for as long as you like and counts what was lost. Prints JSON; exits with 1 if anything was.
//!
//! ```text
//! cargo run --release -p pilotlight-store --example soak -- --kills 500 --json
//! cargo run --release -p pilotlight-store --example soak -- --faults 1000 --json
//! ```

mod faults;
mod kills;
mod load;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;

/// Hurts a store and counts what was lost.
#[derive(Parser)]
struct Args {
    /// Kill a writing process so many times.
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// Damage the files of a store in so many ways.
    #[arg(long, default_value_t = 0)]
    faults: u64,
    /// The first case; every case is made from its number alone.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Where to work; a temporary directory if not given. Not removed.
    #[arg(long)]
    directory: Option<PathBuf>,
    #[arg(long, hide = true)]
    write_until_killed: bool,
    #[arg(long, hide = true)]
    judge_faults: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let temporary = tempfile::tempdir().expect("a temporary directory can be made");
    let directory = args.directory.as_deref().unwrap_or(temporary.path());
    if args.write_until_killed {
        kills::write_until_killed(directory);
    }
    if args.judge_faults {
        faults::judge(directory, args.seed, args.faults);
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let mut report = serde_json::Map::new();
    let mut whole = true;
    if args.kills > 0 || args.faults == 0 {
        let child = || {
            let mut command = Command::new(&program);
            command
                .arg("--write-until-killed")
                .arg("--directory")
                .arg(directory);
            command
        };
        let kills = if args.kills == 0 { 500 } else { args.kills };
        let count = kills::run(directory, kills, args.seed, &child);
        whole &= count.is_whole();
        report.extend(count.to_json());
    }
    if args.faults > 0 {
        let child = |first: u64, cases: u64| {
            let mut command = Command::new(&program);
            command
                .args([
                    "--judge-faults",
                    "--seed",
                    &first.to_string(),
                    "--faults",
                    &cases.to_string(),
                ])
                .arg("--directory")
                .arg(directory);
            command
        };
        let count = faults::run(args.seed, args.faults, &child);
        whole &= count.is_whole();
        report.insert("faults".to_owned(), count.to_json());
    }
    let report = serde_json::Value::Object(report);
    if args.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
