//! A wallet to which much has happened while it slept, and an Electrum server that may lie to it.

use std::time::Duration;

use bitcoin::Amount;
use pilotlight_devnet::{Electrs, copy_folder};
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{ChainChoice, Config, Depth};

use super::common::Stage;
use super::liar::Liar;

/// A wallet to which much has happened while it slept: the peer has closed the channel, and somebody has paid on-chain.
pub struct Scene {
    stage: Stage,
    pub liar: Liar,
    _electrs: Electrs,
}

impl Scene {
    pub async fn new() -> Self {
        let stage = Stage::with_channel().await;
        let lifecycle = stage.lifecycle();
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.usable(&node).await;
        let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
        let ours: bitcoin::secp256k1::PublicKey = node.node_id().parse().unwrap();
        drop(node);
        lifecycle.enter_background().await.unwrap();
        let lsp = stage.devnet.lsp().unwrap();
        let channel = lsp.channels().remove(0);
        lsp.force_close_channel(&channel.user_channel_id, ours)
            .await
            .unwrap();
        for _ in 0..1_000 {
            if !stage.devnet.mempool().await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lsp.stop().await.unwrap();
        let amount = Amount::from_sat(70_000);
        stage
            .devnet
            .fund(&address.assume_checked(), amount)
            .await
            .unwrap();
        stage.devnet.mine(20).await.unwrap();
        let electrs = Electrs::start(&stage.devnet).await.unwrap();
        let liar = Liar::before(electrs.address()).await;
        Self {
            stage,
            liar,
            _electrs: electrs,
        }
    }

    /// A copy of the wallet, asleep.
    pub fn wallet(&self) -> (Config, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&self.stage.config.data_dir, dir.path()).unwrap();
        let mut config = self.stage.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        config.chain = ChainChoice::Electrum {
            url: self.liar.url(),
            proxy: None,
        };
        (config, dir)
    }

    /// One look, and what it has come to.
    pub async fn look(&self, config: &Config) -> (Result<(), pilotlight_node::Error>, Digest) {
        let wallet = AtRest::open(config, Engine::Electrum).unwrap();
        let done = wallet.sync(Depth::Deep).await.map(drop);
        if done.is_ok() {
            wallet.handle_events().await;
        }
        let digest = wallet.digest();
        wallet.close().await.unwrap();
        (done, digest)
    }
}

/// What a wallet holds that has not looked yet.
pub fn asleep(config: &Config) -> Digest {
    AtRest::open(config, Engine::Electrum).unwrap().digest()
}
