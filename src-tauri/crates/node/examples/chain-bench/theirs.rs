//! The wallet that ours is measured against: one of ldk-node, as `wake-bench` (an example of the devnet) makes it.

use std::path::{Path, PathBuf};

use bitcoin::{Address, Amount};
use pilotlight_devnet::Devnet;
use serde_json::Value;
use tokio::process::Command;

use crate::wallet::{CHANNEL_BLOCKS, CHANNEL_SAT, RESERVE_SAT, SPARE_SAT};

/// The program.
pub struct Theirs {
    pub program: PathBuf,
}

/// Its chain server: an option's name and the URL.
pub type Chain = (&'static str, String);

impl Theirs {
    /// Makes a wallet in this folder: `channels` channels with the LSP, all confirmed, and everything seen.
    pub async fn make(&self, devnet: &Devnet, dir: &Path, channels: u32) {
        let chain = ("--esplora", devnet.plain_esplora_url());
        let said = self.ask(dir, &chain, &["address"]).await;
        let address: Address<_> = said["address"].as_str().unwrap().parse().unwrap();
        let sat = SPARE_SAT + u64::from(channels) * (CHANNEL_SAT + RESERVE_SAT);
        devnet
            .fund(&address.assume_checked(), Amount::from_sat(sat))
            .await
            .unwrap();
        devnet.mine(1).await.unwrap();
        let uri = devnet.lsp().unwrap().info().uri();
        let (node_id, lsp) = uri.split_once('@').unwrap();
        for n in 1..=channels {
            eprintln!("theirs: channel {n} of {channels}");
            self.ask(dir, &chain, &["open", node_id, lsp, &CHANNEL_SAT.to_string()])
                .await;
            devnet.mine(1).await.unwrap();
        }
        devnet.mine(CHANNEL_BLOCKS).await.unwrap();
        self.ask(dir, &chain, &["await-channels", &channels.to_string()])
            .await;
    }

    /// Builds, starts, syncs and stops it. Without its peer, for whom nobody waits: `sync_ms` is of the chain alone. It gives
    /// a sync up after some time (10 s for LDK's part), and its reason is given then.
    pub async fn sync(&self, dir: &Path, chain: &Chain) -> Result<Value, String> {
        self.try_to(dir, chain, &["wake"]).await
    }

    async fn ask(&self, dir: &Path, chain: &Chain, what: &[&str]) -> Value {
        let said = self.try_to(dir, chain, what).await;
        said.unwrap_or_else(|why| panic!("{what:?}: {why}"))
    }

    async fn try_to(&self, dir: &Path, (kind, url): &Chain, what: &[&str]) -> Result<Value, String> {
        let output = Command::new(&self.program)
            .args(["theirs", "--dir"])
            .arg(dir)
            .args([kind, url.as_str()])
            .args(what)
            .output()
            .await
            .unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().last().unwrap_or_default().to_owned());
        }
        let said = String::from_utf8(output.stdout).unwrap();
        Ok(serde_json::from_str(said.lines().last().unwrap()).unwrap())
    }
}
