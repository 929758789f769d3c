//! A partner that cheats: its revoked commitment goes on chain while the wallet sleeps, and the wallet takes everything.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::Duration;

use bitcoin::{OutPoint, Txid};
use bitcoin::secp256k1::PublicKey;
use common::{Stage, until};
use pilotlight_devnet::OldState;
use pilotlight_node::{GrantKind, Node, PaymentStatus};

const PATIENCE: Duration = Duration::from_secs(30);

/// The wallet pays the LSP.
async fn pay(stage: &Stage, node: &Node, sat: u64) {
    let invoice = stage.devnet.lsp().unwrap().invoice(Some(sat * 1000), "").await.unwrap();
    let id = node.pay(&invoice, None).await.unwrap().id;
    settled(node, &id).await;
}

/// The LSP pays the wallet.
async fn be_paid(stage: &Stage, node: &Node, sat: u64) {
    let invoice = node.create_invoice(Some(sat * 1000), "").await.unwrap();
    let lsp = stage.devnet.lsp().unwrap();
    let hash = lsp.pay(&invoice.bolt11, None).await.unwrap();
    lsp.wait_payment(&hash, PATIENCE).await.unwrap();
    settled(node, &invoice.payment_hash).await;
}

async fn settled(node: &Node, hash: &str) {
    for _ in 0..600 {
        let payment = node.payment(hash).await.unwrap();
        if payment.is_some_and(|payment| payment.status == PaymentStatus::Succeeded) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("payment {hash} was not settled");
}

struct Betrayed {
    old: OldState,
    funding: OutPoint,
    node_id: PublicKey,
}

/// A wallet whose LSP has kept a state in which it had 200,000 sat of the channel. Since then it has paid most of it.
async fn betrayed(stage: &Stage) -> Betrayed {
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    pay(stage, &node, 200_000).await;
    // An HTLC that still hung would close the kept state's channel by itself.
    quiet(stage, 200_000).await;
    lifecycle.enter_background().await.unwrap();
    let lsp = stage.devnet.lsp().unwrap();
    let old = lsp.keep_state().await.unwrap();

    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    be_paid(stage, &node, 150_000).await;
    pay(stage, &node, 20_000).await;
    quiet(stage, 70_000).await;
    let betrayed = Betrayed {
        old,
        funding: lsp.channels()[0].funding.unwrap(),
        node_id: node.node_id().parse().unwrap(),
    };
    lifecycle.enter_background().await.unwrap();
    betrayed
}

/// Waits until the LSP has so much of the channel, to the end of the last HTLC's removal.
async fn quiet(stage: &Stage, sat: u64) {
    let lsp = stage.devnet.lsp().unwrap();
    let reserve = 500_000 / 100;
    until("the LSP's balance", || lsp.channels()[0].outbound_msat / 1000 == sat - reserve).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_in_the_middle_of_two_weeks_asleep_is_punished_by_the_first_wake() {
    let stage = Stage::with_channel().await;
    let Betrayed { old, funding, node_id } = betrayed(&stage).await;
    let t = std::time::Instant::now();
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    stage.devnet.mine(1_000).await.unwrap();
    eprintln!("mined {:?}", t.elapsed());
    let cheat: Txid = old.force_close(node_id).await.unwrap();
    eprintln!("cheated {:?}", t.elapsed());
    stage.devnet.mine(1_000).await.unwrap();
    eprintln!("mined {:?}", t.elapsed());
    assert_eq!(stage.devnet.spender(&funding).await.unwrap().unwrap().transaction.compute_txid(), cheat);
    let record = stage.wake(GrantKind::Refresh, 30).await;
    eprintln!("woke {:?} {record:#?}", t.elapsed());
    for txid in stage.devnet.mempool().await.unwrap() {
        eprintln!("{:?}", stage.devnet.transaction(&txid).await.unwrap());
    }

}
