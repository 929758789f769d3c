//! Every chain source brings a wallet to the same state, whatever happened to the chain: real bitcoind, real channels, and
//! `lightning-transaction-sync` as the oracle.
//!
//! Each contestant has its own copy of the wallet and lives through everything that happens, closing and opening it at
//! each look as a wake does. Nothing is sent but what the test sends for all of them.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

#[path = "../common/mod.rs"]
mod common;

mod contest;

use std::time::Duration;

use common::{Stage, peer, until};
use contest::Contest;

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_a_few_blocks_and_two_weeks_behind() {
    let stage = Stage::with_channel().await;
    let contest = Contest::new(&stage).await;
    contest.look("at the tip").await;
    contest.look("again, nothing has happened").await;
    contest.mine(1).await;
    contest.look("a block").await;
    contest.mine(144).await;
    contest.look("a day").await;
    contest.mine(1_855).await;
    let last = contest.look("two weeks").await;
    assert_eq!(last.channels.len(), 1, "{last:#?}");
    assert!(last.spends.is_empty(), "{last:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funding_is_confirmed_and_reorganised() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    node.open_channel(&peer(&stage.devnet), 500_000).await.unwrap();
    until("the funding in the mempool", || {
        node.channels()
            .iter()
            .any(|channel| channel.funding_txid.is_some())
    })
    .await;
    node.sync().await.unwrap();
    lifecycle.enter_background().await.unwrap();
    stage.devnet.lsp().unwrap().stop().await.unwrap();

    let contest = Contest::new(&stage).await;
    let open = contest.look("in the mempool").await;
    assert_eq!(open.channels.len(), 1, "{open:#?}");
    contest.mine(1).await;
    contest.look("confirmed once").await;
    stage.devnet.reorg(1).await.unwrap();
    contest.look("in another block").await;
    stage.devnet.reorg_empty(2).await.unwrap();
    let back = contest.look("back in the mempool").await;
    assert_eq!(
        back.channels.len(),
        1,
        "never ready, so nothing was lost: {back:#?}"
    );
    contest.mine(6).await;
    contest.look("confirmed").await;
    stage.devnet.reorg(3).await.unwrap();
    contest.look("reorganised above it").await;
    stage.devnet.reorg(10).await.unwrap();
    // LDK gives a channel up whose funding it once called deep enough, even if the funding is in another block by then.
    let last = contest.look("reorganised with it").await;
    assert!(last.channels.is_empty(), "{last:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_close_with_reorganisations() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let channel = node.channels().remove(0);
    node.close_channel(&channel.channel_id, false).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    lifecycle.enter_background().await.unwrap();
    stage.devnet.lsp().unwrap().stop().await.unwrap();

    let contest = Contest::new(&stage).await;
    contest.look("in the mempool").await;
    contest.mine(1).await;
    contest.look("confirmed").await;
    for depth in [1, 3] {
        stage.devnet.reorg(depth).await.unwrap();
        contest.look("reorganised").await;
    }
    contest.mine(8).await;
    contest.look("final").await;
    stage.devnet.reorg(10).await.unwrap();
    contest.look("reorganised deeply").await;
    contest.mine(6).await;
    let last = contest.look("final again").await;
    assert!(last.channels.is_empty() && last.claimable.is_empty(), "{last:#?}");
}

/// The peer closes with its commitment while a payment of ours hangs: our claim of the HTLC waits for its time-out, and
/// what is registered by the commitment is spent in blocks that are read in the same look.
#[tokio::test(flavor = "multi_thread")]
async fn a_force_close_with_a_payment_that_times_out() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let hash = [7; 32];
    let invoice = lsp.held_invoice(50_000_000, hash).await.unwrap();
    node.pay(&invoice, None).await.unwrap();
    until("the LSP to hold the payment", || lsp.holds(hash)).await;
    lifecycle.enter_background().await.unwrap();
    let ours: bitcoin::secp256k1::PublicKey = node.node_id().parse().unwrap();
    drop(node);
    let channel = lsp.channels().remove(0);
    lsp.force_close_channel(&channel.user_channel_id, ours)
        .await
        .unwrap();
    let started = std::time::Instant::now();
    while stage.devnet.mempool().await.unwrap().is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "no commitment was sent"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lsp.stop().await.unwrap();

    let contest = Contest::new(&stage).await;
    contest.look("the commitment is in the mempool").await;
    contest.mine(1).await;
    let closed = contest.look("the commitment is confirmed").await;
    assert!(!closed.claimable.is_empty(), "{closed:#?}");
    stage.devnet.reorg(1).await.unwrap();
    contest.look("in another block").await;
    stage.devnet.reorg_empty(3).await.unwrap();
    contest.look("in none").await;
    contest.mine(10).await;
    contest.look("ten deep").await;
    stage.devnet.reorg(10).await.unwrap();
    contest.look("reorganised deeply").await;
    contest.mine(300).await;
    let late = contest.look("the payment has timed out").await;
    assert!(!late.spends.is_empty(), "the HTLC is taken back: {late:#?}");
    contest.mine(1).await;
    contest.look("the HTLC is ours").await;
    stage.devnet.reorg(3).await.unwrap();
    contest.look("reorganised").await;
    contest.mine(10).await;
    contest.look("final").await;
    contest.mine(300).await;
    contest.look("swept").await;
}
