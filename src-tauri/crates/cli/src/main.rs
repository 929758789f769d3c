//! Pilotlight's node without a screen: the same node as the app's, for development, tests and measurements.
//!
//! `args` says what can be asked, `commands` does it, `output` prints it. Every command opens the wallet, does one thing and
//! closes it again; `run` stays up. Answers go to stdout (JSON with `--json`), errors in plain words to stderr.

mod args;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    // Quiet unless asked: RUST_LOG=info, or ldk=trace,pilotlight_node=debug. A filter costs memory even if it lets nothing
    // through, so there is none then.
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The program could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let json = args.json;
    let exit = match runtime.block_on(commands::perform(args)) {
        Ok(answer) => {
            answer.print(json);
            answer.exit
        }
        Err(error) => output::complain(&error),
    };
    // The node is put away. A name that is still being looked up, or a read of the terminal, is not waited for.
    runtime.shutdown_background();
    exit
}
