//! A node that dies while it is needed, and an owner whose place another takes.

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

async fn nothing_is_up_and_another_owner_opens(retired: &Lifecycle, config: &Config) {
    assert_eq!(retired.overview().await.state, WalletState::Stopped);
    assert_eq!(retired.node().await.err().unwrap().code(), ErrorCode::Cancelled);
    for _ in 0..2 {
        let refused = retired.enter_foreground().await.err().unwrap();
        assert_eq!(refused.code(), ErrorCode::Cancelled);
    }
    let refused = retired.restore_capsule(None).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::Cancelled);
    // The store is closed, or this would find it in use.
    let other = Lifecycle::new(config.clone());
    other.enter_foreground().await.unwrap();
    other.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_owner_never_opens_its_node_again_whatever_was_under_way() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), Network::Regtest, devnet.esplora_url());
    let owner = || Lifecycle::new(config.clone());
    owner().create_wallet(WordCount::Twelve, None).await.unwrap();

    // It is down.
    let lifecycle = owner();
    lifecycle.retire().await.unwrap();
    nothing_is_up_and_another_owner_opens(&lifecycle, &config).await;
    // It is up, and somebody holds the node.
    let lifecycle = owner();
    let node = lifecycle.enter_foreground().await.unwrap();
    lifecycle.retire().await.unwrap();
    nothing_is_up_and_another_owner_opens(&lifecycle, &config).await;
    drop(node);
    // It dies, and would be made anew.
    let lifecycle = owner();
    lifecycle.enter_foreground().await.unwrap().strike_down();
    lifecycle.retire().await.unwrap();
    nothing_is_up_and_another_owner_opens(&lifecycle, &config).await;
    // It is being opened.
    for after_ms in [0, 1, 3, 10, 30] {
        let lifecycle = owner();
        let opening = {
            let lifecycle = Arc::clone(&lifecycle);
            tokio::spawn(async move { lifecycle.enter_foreground().await.map(drop) })
        };
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        lifecycle.retire().await.unwrap();
        // Opened in time or refused: both are fine, and both are over.
        let _ = opening.await.unwrap();
        nothing_is_up_and_another_owner_opens(&lifecycle, &config).await;
    }
}
