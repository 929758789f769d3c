//! A partner that keeps an old state, and the payments that make it worth cheating with.

use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use pilotlight_devnet::{OldState, Seen};
use pilotlight_node::{Node, PaymentStatus, SafeUntilReason};

use super::{Stage, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// The wallet pays the LSP.
pub async fn pay(stage: &Stage, node: &Node, sat: u64) {
    let invoice = stage
        .devnet
        .lsp()
        .unwrap()
        .invoice(Some(sat * 1000), "")
        .await
        .unwrap();
    let id = node.pay(&invoice, None).await.unwrap().id;
    settled(node, &id).await;
}

/// The LSP pays the wallet.
pub async fn be_paid(stage: &Stage, node: &Node, sat: u64) {
    let invoice = node.create_invoice(Some(sat * 1000), "").await.unwrap();
    let lsp = stage.devnet.lsp().unwrap();
    let hash = lsp.pay(&invoice.bolt11, None).await.unwrap();
    lsp.wait_payment(&hash, PATIENCE).await.unwrap();
    settled(node, &invoice.payment_hash).await;
}

pub async fn settled(node: &Node, hash: &str) {
    ended(node, hash, PaymentStatus::Succeeded).await;
}

/// Waits until a payment ended so.
pub async fn ended(node: &Node, hash: &str, status: PaymentStatus) {
    for _ in 0..600 {
        let payment = node.payment(hash).await.unwrap();
        if payment.is_some_and(|payment| payment.status == status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("payment {hash} did not end so: {status:?}");
}

pub struct Betrayed {
    pub old: OldState,
    pub funding: OutPoint,
    pub node_id: PublicKey,
}

/// A wallet whose LSP has kept a state in which it had 200,000 sat of the channel. Since then it has paid most of it.
pub async fn betrayed(stage: &Stage) -> Betrayed {
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
    calm(&node).await;
    let betrayed = Betrayed {
        old,
        funding: lsp.channels()[0].funding.unwrap(),
        node_id: node.node_id().parse().unwrap(),
    };
    lifecycle.enter_background().await.unwrap();
    betrayed
}

/// Waits until the LSP has so much of the channel, to the end of the last HTLC's removal.
pub async fn quiet(stage: &Stage, sat: u64) {
    let lsp = stage.devnet.lsp().unwrap();
    let reserve = 500_000 / 100;
    until("the LSP's balance", || {
        lsp.channels()[0].outbound_msat / 1000 == sat - reserve
    })
    .await;
}

/// The same at the wallet's end.
pub async fn calm(node: &Node) {
    until("no payment under way", || {
        let moment = node.safety().safe_until;
        moment.is_some_and(|moment| moment.reason == SafeUntilReason::OldBalance)
    })
    .await;
}

/// The transaction that takes the cheat's balance, once there is one.
pub async fn penalty(stage: &Stage, cheat: Txid) -> Seen {
    let commitment = stage
        .devnet
        .transaction(&cheat)
        .await
        .unwrap()
        .unwrap()
        .transaction;
    for vout in 0..u32::try_from(commitment.output.len()).unwrap() {
        let spender = stage.devnet.spender(&OutPoint::new(cheat, vout)).await.unwrap();
        let takes = |seen: &Seen| {
            let mut inputs = seen.transaction.input.iter();
            inputs.any(|input| {
                input.previous_output == OutPoint::new(cheat, vout) && input.witness.nth(1) == Some(&[1])
            })
        };
        if let Some(seen) = spender.filter(takes) {
            return seen;
        }
    }
    panic!("nothing takes the cheat's balance");
}
