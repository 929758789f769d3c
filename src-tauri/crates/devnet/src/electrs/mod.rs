//! A real Electrum server beside the devnet's `bitcoind`: `electrs`, behind a line that can be slowed and counts.

mod find;
mod talk;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{BlockHash, Script};
use serde_json::{Value, json};

use self::talk::Talk;
use crate::child::{Kept, free_port, tail};
use crate::{BitcoindInfo, Devnet, Error, Line};

/// A free port may be taken by somebody else between our choice and the server's bind; then another is chosen.
const TRIES: usize = 4;
/// An idle machine needs 0.3 s for the first answer, and little more for a few hundred blocks.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait until it has what `bitcoind` has. It looks once a second by itself, and is asked to.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A running `electrs`. Dropping it kills the process; until then the devnet lives.
pub struct Electrs {
    devnet: Devnet,
    at: SocketAddr,
    line: Line,
    child: Kept,
}

impl Electrs {
    /// Whether tests on a real Electrum server are wanted on this machine: unless `PILOTLIGHT_WITHOUT_ELECTRS` is set. Says on
    /// stderr what is left out.
    pub fn wanted(what: &str) -> bool {
        let without = std::env::var_os("PILOTLIGHT_WITHOUT_ELECTRS").is_some_and(|value| !value.is_empty());
        if without {
            crate::progress(&format!("skipped, PILOTLIGHT_WITHOUT_ELECTRS is set: {what}"));
        }
        !without
    }

    /// Starts one on the devnet's chain, and waits until it has all of it.
    ///
    /// # Errors
    /// [`Error::NoElectrs`] if there is none on this machine; [`Error::Electrs`] if it does not start.
    pub async fn start(devnet: &Devnet) -> Result<Self, Error> {
        let program = find::find()?;
        let bitcoind = devnet.info().await?.bitcoind;
        let mut last = Error::Electrs("it was not tried".into());
        for _ in 0..TRIES {
            let port = free_port()?.1;
            let dir = devnet.dir().join(format!("electrs-{port}"));
            std::fs::create_dir_all(&dir).map_err(Error::io("making electrs's folder"))?;
            match Self::launch(devnet, &program, &bitcoind, port, &dir).await {
                Ok(electrs) => return Ok(electrs),
                Err(error) => {
                    let words = tail(&dir.join("stderr.log"), 2_000);
                    last = Error::Electrs(format!("{error}; it said: {}", words.trim()));
                }
            }
        }
        Err(last)
    }

    async fn launch(
        devnet: &Devnet,
        program: &Path,
        bitcoind: &BitcoindInfo,
        port: u16,
        dir: &Path,
    ) -> Result<Self, Error> {
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let daemon = bitcoind
            .rpc
            .url
            .trim_start_matches("http://")
            .trim_end_matches('/');
        let arguments = [
            "--skip-default-conf-files".to_owned(),
            "--network=regtest".to_owned(),
            format!("--electrum-rpc-addr={at}"),
            format!("--daemon-rpc-addr={daemon}"),
            format!("--cookie-file={}", bitcoind.cookie_file.display()),
            format!("--db-dir={}", dir.join("db").display()),
            // How often it looks at the chain when nobody asks it anything. Whenever somebody does, it looks right after.
            "--wait-duration-secs=1".to_owned(),
            // A regtest's blocks may be old.
            "--skip-block-download-wait".to_owned(),
            "--log-filters=WARN".to_owned(),
        ];
        let electrs = Self {
            devnet: devnet.clone(),
            at,
            line: Line::to(at).await?,
            child: Kept::start(program, &arguments, &dir.join("stderr.log"))?,
        };
        let begun = Instant::now();
        while Talk::to(at).await.is_err() {
            if electrs.child.has_ended() {
                return Err(Error::Electrs("it stopped at once".into()));
            }
            if begun.elapsed() > START_LIMIT {
                return Err(Error::Timeout {
                    what: "electrs's first answer".into(),
                    waited: START_LIMIT,
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        electrs.settle().await?;
        Ok(electrs)
    }

    /// The wallet's Electrum URL, by way of [`Self::line`].
    pub fn url(&self) -> String {
        format!("tcp://{}", self.line.address())
    }

    /// The wallet's way to the server: it can be slowed, and counts.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Where the server itself listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// Waits until it has the best block and the mempool that `bitcoind` has now.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Electrs`], [`Error::Transport`].
    pub async fn settle(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut talk = Talk::to(self.at).await?;
        while !self.has_all(&mut talk).await? {
            if begun.elapsed() > SETTLE_LIMIT {
                return Err(Error::Timeout {
                    what: "electrs to follow".into(),
                    waited: SETTLE_LIMIT,
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    async fn has_all(&self, talk: &mut Talk) -> Result<bool, Error> {
        let tip: BlockHash = self.devnet.rpc().call("getbestblockhash", json!([])).await?;
        let top = talk.ask("blockchain.headers.subscribe", &json!([])).await?;
        let header = top["hex"]
            .as_str()
            .and_then(|hex| deserialize_hex::<Header>(hex).ok());
        if header.map(|header| header.block_hash()) != Some(tip) {
            return Ok(false);
        }
        for txid in self.devnet.mempool().await? {
            let Some(seen) = self.devnet.transaction(&txid).await? else {
                return Ok(false);
            };
            let outputs = seen.transaction.output.iter();
            let scripts = outputs.map(|output| &output.script_pubkey);
            let Some(script) = scripts.into_iter().find(|script| !script.is_op_return()) else {
                continue;
            };
            let history = talk
                .ask("blockchain.scripthash.get_history", &json!([script_hash(script)]))
                .await?;
            let id = json!(txid);
            let there = |items: &Vec<Value>| items.iter().any(|item| item["tx_hash"] == id);
            if !history.as_array().is_some_and(there) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How Electrum names a script: the SHA-256 of its bytes, written backwards.
fn script_hash(script: &Script) -> String {
    let mut hash = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    hash.reverse();
    sha256::Hash::from_byte_array(hash).to_string()
}
