//! The wallet that ours is measured against: one of ldk-node, as `wake-bench` (an example of the devnet) makes it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

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

    /// Builds, starts, syncs and stops it. Without its peer, for whom nobody waits: `sync_ms` is of the chain alone.
    pub async fn sync(&self, dir: &Path, chain: &Chain) -> Value {
        self.ask(dir, chain, &["wake"]).await
    }

    async fn ask(&self, dir: &Path, (kind, url): &Chain, what: &[&str]) -> Value {
        let output = Command::new(&self.program)
            .args(["theirs", "--dir"])
            .arg(dir)
            .args([kind, url.as_str()])
            .args(what)
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{what:?}: {:?}", output.status);
        let said = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }
}
