//! A node that dies while it is needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Network;
use pilotlight_devnet::{Devnet, Options};

use super::Lifecycle;
use crate::{Config, ErrorCode, Node, WalletState, WordCount};

async fn another_than(lifecycle: &Lifecycle, dead: &Arc<Node>) -> Option<Arc<Node>> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        match lifecycle.node().await {
            Ok(node) if !Arc::ptr_eq(&node, dead) => return Some(node),
            // Down for good, and said to be so.
            Err(_) if lifecycle.overview().await.sync_error.is_some() => return None,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("neither back nor given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_made_anew_and_one_that_keeps_dying_stays_down_until_asked_for() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), Network::Regtest, devnet.esplora_url());
    let lifecycle = Lifecycle::new(config);
    lifecycle.create_wallet(WordCount::Twelve, None).await.unwrap();
    let mut node = lifecycle.enter_foreground().await.unwrap();
    for _ in 0..3 {
        node.strike_down();
        node = another_than(&lifecycle, &node).await.unwrap();
        // And it works: the foreground's rounds began anew with it.
        node.sync().await.unwrap();
        assert_eq!(lifecycle.overview().await.state, WalletState::Running);
    }
    node.strike_down();
    assert!(another_than(&lifecycle, &node).await.is_none());
    let overview = lifecycle.overview().await;
    assert_eq!(overview.state, WalletState::Stopped);
    assert_eq!(overview.sync_error.unwrap().code, ErrorCode::Internal);
    lifecycle.enter_foreground().await.unwrap().sync().await.unwrap();
    lifecycle.enter_background().await.unwrap();
}
