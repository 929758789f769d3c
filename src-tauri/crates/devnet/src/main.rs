//! `pilotlight-devnet`: starts a devnet and keeps it, or tells a running one what to do. JSON on stdout, words for
//! people on stderr.

mod cli;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pilotlight_devnet::{Command, Control, ControlError, Error, ensure_bitcoind};
use serde_json::{Value, json};

use cli::{Action, Cli};

/// After this, somebody at a terminal wants to be told that it goes on.
const PATIENCE: Duration = Duration::from_secs(2);
const REMINDER: Duration = Duration::from_secs(5);

/// Why we end, as an exit code. 2 is clap's, for a command line that makes no sense.
enum Failure {
    /// 1: it was tried, and failed or was refused.
    Failed(String),
    /// 3: there is no devnet to talk to.
    NoDevnet(String),
    /// 4: there is no `bitcoind`, and none can be built.
    NoBitcoind(String),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e {
            Error::NoBitcoind(_) => Self::NoBitcoind(e.to_string()),
            e => Self::Failed(e.to_string()),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(e: ControlError) -> Self {
        match e {
            ControlError::Refused(words) => Self::Failed(words),
            e => Self::NoDevnet(e.to_string()),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Asked for before anything is started: a parent that dies from now on is noticed.
    let parent = up::parent();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&Failure::Failed(e.to_string())),
    };
    match runtime.block_on(run(cli, parent)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let (code, words) = match failure {
        Failure::Failed(words) => (1, words),
        Failure::NoDevnet(words) => (3, words),
        Failure::NoBitcoind(words) => (4, words),
    };
    eprintln!("pilotlight-devnet: {words}");
    ExitCode::from(code)
}

async fn run(cli: Cli, parent: u32) -> Result<(), Failure> {
    match cli.action {
        Action::Bitcoind => {
            print(&json!(ensure_bitcoind()?));
            Ok(())
        }
        Action::Up(options) => up::up(options, cli.dir, parent).await,
        Action::Told(told) => {
            let control = match cli.control {
                Some(url) => Control::at(&url),
                None => Control::in_folder(&cli.dir.unwrap_or_else(cli::default_dir))?,
            };
            let command = told.command().map_err(Failure::Failed)?;
            print(&patiently(&control, &command).await?);
            Ok(())
        }
    }
}

async fn patiently(control: &Control, command: &Command) -> Result<Value, ControlError> {
    let done = control.run(command);
    tokio::pin!(done);
    let mut wait = PATIENCE;
    loop {
        match tokio::time::timeout(wait, &mut done).await {
            Ok(result) => return result,
            Err(_) => eprintln!("pilotlight-devnet: at it ..."),
        }
        wait = REMINDER;
    }
}

/// One line on stdout. A reader that has gone away is no error of ours.
fn print(value: &Value) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{value}");
}
