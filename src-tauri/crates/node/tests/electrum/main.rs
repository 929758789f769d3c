//! The whole wallet on a real Electrum server.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

#[path = "../common/mod.rs"]
mod common;
mod liar;
mod lies;
mod mutations;
mod scene;
mod speed;
mod table;

use common::Stage;
use pilotlight_devnet::Electrs;
use pilotlight_node::config::ChainServer;
use pilotlight_node::{ChainChoice, ErrorCode, GrantKind, Lifecycle, WakeOutcome};

/// A stage whose wallet hears the chain from an Electrum server alone; `None` where there shall be none.
async fn on_electrum(what: &str) -> Option<(Stage, Electrs)> {
    if !Electrs::wanted(what) {
        return None;
    }
    let mut stage = Stage::new().await;
    let electrs = Electrs::start(&stage.devnet).await.unwrap();
    hear(&mut stage, electrs.url());
    Some((stage, electrs))
}

fn hear(stage: &mut Stage, url: String) {
    stage.config.chain = ChainChoice::Electrum { url, proxy: None };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_funds_opens_pays_force_closes_and_sweeps_on_electrum_alone() {
    let Some((stage, electrs)) = on_electrum("a wallet on Electrum").await else {
        return;
    };
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
    let amount = bitcoin::Amount::from_sat(1_000_000);
    stage
        .devnet
        .fund(&address.assume_checked(), amount)
        .await
        .unwrap();
    electrs.settle().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(
        node.balances().onchain_pending_sat,
        1_000_000,
        "seen in the mempool"
    );
    stage.devnet.mine(1).await.unwrap();
    electrs.settle().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_confirmed_sat, 1_000_000);

    let mine = async |blocks| {
        stage.devnet.mine(blocks).await.unwrap();
        electrs.settle().await.unwrap();
    };
    stage.open_pay_close_and_sweep(&node, mine).await;
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_goes_over_electrum_and_a_wallet_is_restored_from_its_words() {
    let Some((mut stage, electrs)) = on_electrum("wakes and a restored wallet on Electrum").await else {
        return;
    };
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    for _ in 0..3 {
        let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
        let amount = bitcoin::Amount::from_sat(50_000);
        stage
            .devnet
            .fund(&address.assume_checked(), amount)
            .await
            .unwrap();
        stage.devnet.mine(1).await.unwrap();
    }
    electrs.settle().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_confirmed_sat, 150_000);
    node.open_channel(&common::peer(&stage.devnet), 100_000)
        .await
        .unwrap();
    stage.devnet.mine(6).await.unwrap();
    electrs.settle().await.unwrap();
    stage.usable(&node).await;
    drop(node);
    lifecycle.enter_background().await.unwrap();

    stage.devnet.mine(144).await.unwrap();
    electrs.settle().await.unwrap();
    electrs.line().take_carried();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.blocks_synced, 144, "{record:#?}");
    let carried = electrs.line().take_carried();
    assert_eq!(carried.connections, 1, "{carried:?}");
    assert!(carried.lines < 40, "{carried:?}");

    // The same words in another place: the whole history is looked for.
    let words = stage.lifecycle().reveal_words().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    dir.path().clone_into(&mut stage.config.data_dir);
    let restored = Lifecycle::new(stage.config.clone());
    restored.restore_wallet(&words, None).await.unwrap();
    let node = restored.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    let spent = node.balances().onchain_confirmed_sat;
    assert!(
        (1..50_000).contains(&spent),
        "what the channel left over: {spent}"
    );
    restored.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_typed_and_one_in_the_clear_is_refused() {
    let mut stage = Stage::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", closed.local_addr().unwrap());
    drop(closed);
    hear(&mut stage, url);
    let node = stage.lifecycle().enter_foreground().await.unwrap();
    let error = node.sync().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkUnavailable, "{}", error.detail());
    drop(node);

    hear(&mut stage, "tcp://electrum.example.com:50001".to_owned());
    let error = stage.lifecycle().enter_foreground().await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Misconfigured, "{}", error.detail());
}

/// A server of the list is dead, and the next one is of another kind.
#[tokio::test(flavor = "multi_thread")]
async fn an_electrum_server_stands_in_for_an_esplora_server_that_is_down() {
    let Some((mut stage, electrs)) = on_electrum("failing over to Electrum").await else {
        return;
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    stage.config.chain = ChainChoice::Automatic {
        servers: vec![
            ChainServer::esplora(dead),
            ChainServer::electrum(electrs.url(), None),
        ],
    };
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
    let amount = bitcoin::Amount::from_sat(50_000);
    let address = address.assume_checked();
    stage.devnet.fund(&address, amount).await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    electrs.settle().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_confirmed_sat, 50_000);
    lifecycle.enter_background().await.unwrap();
}
