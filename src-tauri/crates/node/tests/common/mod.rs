//! A wallet on a devnet, for the tests of the whole node.

#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its own part; a failed unwrap is a failed test.

pub mod cheat;
pub mod faces;
pub mod hanging;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, Network};
use pilotlight_devnet::{Devnet, Options};
use pilotlight_node::{
    Conditions, Config, Grant, GrantKind, Lifecycle, Node, PaymentStatus, PeerAddress, WakeReason,
    WakeRecord, WordCount,
};
use tokio_util::sync::CancellationToken;

/// Generous: these tests share two cores with compilers.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Stage {
    pub devnet: Devnet,
    pub config: Config,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// A devnet with an LSP, and a wallet made but never opened.
    pub async fn new() -> Self {
        // Quiet unless asked with RUST_LOG. A second test in this process finds it set up already.
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let devnet = Devnet::start(Options {
            peers: 1,
            ..Options::default()
        })
        .await
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path(), Network::Regtest, devnet.esplora_url());
        config.lsp = Some(peer(&devnet));
        Lifecycle::new(config.clone())
            .create_wallet(WordCount::Twelve, None)
            .await
            .unwrap();
        Self {
            devnet,
            config,
            _dir: dir,
        }
    }

    /// The same with 1,000,000 sat, half of it in a channel with the LSP, and the node stopped.
    pub async fn with_channel() -> Self {
        let stage = Self::new().await;
        let lifecycle = stage.lifecycle();
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.fund(&node, 1_000_000).await;
        node.open_channel(&peer(&stage.devnet), 500_000).await.unwrap();
        stage.devnet.mine(6).await.unwrap();
        stage.usable(&node).await;
        lifecycle.enter_background().await.unwrap();
        stage
    }

    /// A new owner, as a new process would have.
    pub fn lifecycle(&self) -> Arc<Lifecycle> {
        Lifecycle::new(self.config.clone())
    }

    /// Pays to the wallet, in a block, and lets it see that.
    pub async fn fund(&self, node: &Node, sat: u64) {
        let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
        self.devnet
            .fund(&address.assume_checked(), Amount::from_sat(sat))
            .await
            .unwrap();
        self.devnet.mine(1).await.unwrap();
        node.sync().await.unwrap();
        assert_eq!(node.balances().onchain_confirmed_sat, sat);
    }

    /// Pays so many coins to the wallet, each of 100,000 sat, and lets it see that: fees of several claims at once.
    pub async fn fund_coins(&self, node: &Node, coins: u32) {
        if coins == 0 {
            return;
        }
        for _ in 0..coins {
            let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
            self.devnet
                .fund(&address.assume_checked(), Amount::from_sat(100_000))
                .await
                .unwrap();
        }
        self.devnet.mine(1).await.unwrap();
        node.sync().await.unwrap();
    }

    /// Waits until the wallet's channel can be used.
    pub async fn usable(&self, node: &Node) {
        node.sync().await.unwrap();
        node.connect_peers().await;
        until("a usable channel", || {
            node.channels().iter().any(|channel| channel.usable)
        })
        .await;
    }

    /// A channel's whole life with money in it: opened, paid over, closed by us alone, swept home. `mine` brings blocks and lets
    /// the wallet's own server have them.
    pub async fn open_pay_close_and_sweep(&self, node: &Node, mine: impl AsyncFn(u32)) {
        node.open_channel(&peer(&self.devnet), 500_000).await.unwrap();
        mine(6).await;
        self.usable(node).await;

        let lsp = self.devnet.lsp().unwrap();
        let bolt11 = lsp.invoice(Some(100_000_000), "cake").await.unwrap();
        let sent = node.pay(&bolt11, None).await.unwrap();
        lsp.wait_payment(&sent.id, LIMIT).await.unwrap();
        for _ in 0..400 {
            if node.payment(&sent.id).await.unwrap().unwrap().status == PaymentStatus::Succeeded {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }

        let channel = node.channels().remove(0).channel_id;
        node.close_channel(&channel, true).await.unwrap();
        until("the channel to be gone", || node.channels().is_empty()).await;
        // Our own force-close: the money comes back after the delay that the peer asked for.
        for _ in 0..60 {
            mine(20).await;
            node.sync().await.unwrap();
            node.sweep().await;
            let balances = node.balances();
            if balances.closing_sat == 0 && balances.onchain_pending_sat == 0 {
                break;
            }
        }
        let balances = node.balances();
        assert!(balances.onchain_confirmed_sat > 850_000, "{balances:?}");
        assert_eq!(balances.total_sat, balances.onchain_confirmed_sat, "{balances:?}");
        assert_eq!(
            self.devnet.traffic().requests,
            0,
            "nobody asked the Esplora server"
        );
    }

    /// One wake in a process of its own, as far as the node can tell.
    pub async fn wake(&self, kind: GrantKind, seconds: u64) -> WakeRecord {
        self.lifecycle().wake(grant(kind, seconds)).await
    }
}

pub fn grant(kind: GrantKind, seconds: u64) -> Grant {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    Grant {
        kind,
        reason: WakeReason::Test,
        deadline,
        cancel: CancellationToken::new(),
        progress: None,
        conditions: Conditions::default(),
    }
}

pub fn peer(devnet: &Devnet) -> PeerAddress {
    devnet.lsp().unwrap().info().uri().parse().unwrap()
}

/// Waits for something that others bring about.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
