//! A wallet that is used as a person at a terminal would use it: by its program, on a devnet.

#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its own part; a failed unwrap is a failed test.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bitcoin::{Amount, Transaction, Txid};
use pilotlight_devnet::{Devnet, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Generous: these tests share two cores with compilers.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Wallet {
    pub devnet: Devnet,
    pub dir: tempfile::TempDir,
    /// The Esplora server that it asks: the devnet's, unless a test puts another one there.
    pub esplora: String,
}

impl Wallet {
    /// A devnet with an LSP, and a folder for a wallet that is not there yet.
    pub async fn new() -> Self {
        let devnet = Devnet::start(Options {
            peers: 1,
            ..Options::default()
        })
        .await
        .unwrap();
        Self {
            esplora: devnet.esplora_url(),
            devnet,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Pays to the wallet, in a block.
    pub async fn fund(&self, sat: u64) -> Txid {
        let address = self.ask(&["address"]).await["address"]
            .as_str()
            .unwrap()
            .to_owned();
        let address: bitcoin::Address<_> = address.parse().unwrap();
        let txid = self
            .devnet
            .fund(&address.assume_checked(), Amount::from_sat(sat))
            .await
            .unwrap();
        self.devnet.mine(1).await.unwrap();
        txid
    }

    /// Opens a channel with the LSP and gives its id.
    pub async fn open(&self, sat: u64) -> String {
        let uri = self.devnet.lsp().unwrap().info().uri();
        let opened = self.ask(&["open", &uri, &sat.to_string()]).await;
        self.devnet.mine(6).await.unwrap();
        opened["channel_id"].as_str().unwrap().to_owned()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_in(self.dir.path(), args)
    }

    /// The same for a wallet in another folder.
    fn command_in(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight-cli"));
        command
            .args(["--network", "regtest", "--json", "--esplora", &self.esplora])
            .args(["--lsp", &self.devnet.lsp().unwrap().info().uri(), "--data-dir"])
            .arg(dir)
            .args(args)
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end and gives the last line of what it says.
    pub async fn ask(&self, args: &[&str]) -> Value {
        self.ask_in(self.dir.path(), args).await
    }

    /// The same for a wallet in another folder.
    pub async fn ask_in(&self, dir: &Path, args: &[&str]) -> Value {
        let output = output(self.command_in(dir, args)).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {:?}: {errors}", output.status);
        last_line(&String::from_utf8(output.stdout).unwrap())
    }

    /// The same for a wallet in another folder, whether it succeeds or not.
    pub async fn try_in(&self, dir: &Path, args: &[&str]) -> Value {
        let output = output(self.command_in(dir, args)).await;
        last_line(&String::from_utf8(output.stdout).unwrap())
    }

    /// Runs a command that must fail and gives its exit code and what it says on stderr.
    pub async fn fail(&self, args: &[&str]) -> (i32, String) {
        let output = output(self.command(args)).await;
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Starts a command and reads its first line.
    pub async fn begin(&self, args: &[&str]) -> (Child, Value) {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        // Keep reading, or the child would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, serde_json::from_str(&line).unwrap())
    }

    pub async fn pay_lsp(&self, sat: u64) -> Value {
        let invoice = self
            .devnet
            .lsp()
            .unwrap()
            .invoice(Some(sat * 1_000), "tea")
            .await
            .unwrap();
        let payment = self.ask(&["pay", &invoice]).await;
        assert_eq!(payment["status"], "succeeded", "{payment}");
        payment
    }

    pub async fn balance(&self, field: &str) -> u64 {
        self.ask(&["balance"]).await[field].as_u64().unwrap()
    }

    pub async fn transaction(&self, txid: Txid) -> Transaction {
        let hex: String = self
            .devnet
            .rpc()
            .call("getrawtransaction", json!([txid]))
            .await
            .unwrap();
        bitcoin::consensus::encode::deserialize_hex(&hex).unwrap()
    }

    pub async fn fee_sat(&self, transaction: &Transaction) -> u64 {
        let mut coming_in = 0;
        for input in &transaction.input {
            let from = self.transaction(input.previous_output.txid).await;
            coming_in += from.output[input.previous_output.vout as usize].value.to_sat();
        }
        coming_in
            - transaction
                .output
                .iter()
                .map(|output| output.value.to_sat())
                .sum::<u64>()
    }
}

/// Runs a command to its end, within the limit.
async fn output(mut command: Command) -> Output {
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    output.unwrap().unwrap()
}

/// A number of a record.
pub fn number(record: &Value, field: &str) -> u64 {
    // 64-bit numbers are strings in JSON.
    let value = &record[field];
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{field}: {record:#}"))
}

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Waits for something that others bring about.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
