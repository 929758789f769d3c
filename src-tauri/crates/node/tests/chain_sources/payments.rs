//! Payments that hang in a channel that closes: taken back when their time is over, claimed by us, claimed by the peer.

use std::time::Duration;

use bitcoin::OutPoint;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;

use crate::common::hanging::reached;
use crate::common::{Stage, until};
use crate::contest::Contest;

/// The payments that hang, in sat.
const SAT: u64 = 50_000;

/// A channel with a payment of ours that the LSP holds. The wallet is closed; the LSP runs.
async fn holding(hash: [u8; 32]) -> (Stage, PublicKey) {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let invoice = lsp.held_invoice(SAT * 1_000, hash).await.unwrap();
    node.pay(&invoice, None).await.unwrap();
    until("the LSP to hold the payment", || lsp.holds(hash)).await;
    lifecycle.enter_background().await.unwrap();
    let ours = node.node_id().parse().unwrap();
    (stage, ours)
}

/// The LSP closes the channel alone. Gives the outputs of its commitment, which is in the mempool then.
async fn closed_by_the_peer(stage: &Stage, ours: PublicKey) -> Vec<(OutPoint, u64)> {
    let lsp = stage.devnet.lsp().unwrap();
    let channel = lsp.channels().remove(0);
    let funding = channel.funding.unwrap();
    lsp.force_close_channel(&channel.user_channel_id, ours)
        .await
        .unwrap();
    let commitment = spender(stage, &funding).await;
    let (txid, outputs) = (commitment.compute_txid(), commitment.output.into_iter().zip(0..));
    outputs
        .map(|(output, vout)| (OutPoint::new(txid, vout), output.value.to_sat()))
        .collect()
}

/// The transaction that spends an output, waited for.
async fn spender(stage: &Stage, output: &OutPoint) -> bitcoin::Transaction {
    for _ in 0..1_200 {
        if let Some(seen) = stage.devnet.spender(output).await.unwrap() {
            return seen.transaction;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing spends {output}");
}

/// A channel that its peer closed alone while a payment of ours hangs in it. The commitment is in the mempool, the peer gone.
pub async fn left_alone() -> Stage {
    let (stage, ours) = holding([7; 32]).await;
    closed_by_the_peer(&stage, ours).await;
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_close_with_reorganisations() {
    let stage = left_alone().await;
    let contest = Contest::new(&stage).await;
    contest.look("the commitment is in the mempool").await;
    contest.mine(1).await;
    let closed = contest.look("the commitment is confirmed").await;
    assert!(!closed.claimable.is_empty(), "{closed:#?}");
    contest.turns("the commitment").await;
    contest.mine(1).await;
    contest.look("a block later").await;
}

/// Our claim of the payment waits for its time-out; what the commitment makes LDK watch is spent in blocks that are read in
/// the same look.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_times_out_is_taken_back() {
    let stage = left_alone().await;
    let contest = Contest::new(&stage).await;
    contest.mine(1).await;
    contest.look("the commitment is confirmed").await;
    contest.mine(300).await;
    let late = contest.look("the payment has timed out").await;
    assert!(!late.spends.is_empty(), "it is taken back: {late:#?}");
    contest.mine(1).await;
    contest.look("it is ours").await;
    contest.turns("the time-out").await;
    contest.mine(300).await;
    contest.look("swept").await;
}

/// The peer never heard that its payment was claimed: the channel is closed by us, and the payment claimed on chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_to_us_is_claimed_on_chain_with_its_preimage() {
    let (stage, funding, _) = reached(3).await;
    let contest = Contest::new(&stage).await;
    let claimed = contest.look("claimed, and nobody heard of it").await;
    assert!(
        claimed.events.iter().any(|event| event.contains("PaymentClaim")),
        "{claimed:#?}"
    );
    // LDK closes the channel when the payment is about to run out.
    let mut closing = claimed;
    for _ in 0..30 {
        if closing.spends.contains(&funding) {
            break;
        }
        contest.mine(12).await;
        closing = contest.look("before the payment runs out").await;
    }
    assert!(closing.spends.contains(&funding), "{closing:#?}");
    contest.mine(1).await;
    let claiming = contest.look("closed").await;
    assert!(!claiming.spends.is_empty(), "the claim goes out: {claiming:#?}");
    contest.mine(1).await;
    contest.look("the claim is confirmed").await;
    contest.turns("the claim").await;
    contest.mine(150).await;
    contest.look("our money may be swept").await;
    contest.mine(7).await;
    let last = contest.look("swept").await;
    assert!(last.channels.is_empty() && last.claimable.is_empty(), "{last:#?}");
}

/// The peer claims our payment on chain, and the claim gives us the preimage: proof that we have paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_ours_that_the_peer_claims_on_chain_gives_us_its_preimage() {
    let preimage = [9; 32];
    let (stage, ours) = holding(sha256::Hash::hash(&preimage).to_byte_array()).await;
    let lsp = stage.devnet.lsp().unwrap();
    lsp.claim_held(SAT * 1_000, preimage).await.unwrap();
    let outputs = closed_by_the_peer(&stage, ours).await;
    let contest = Contest::new(&stage).await;
    contest.look("the commitment is in the mempool").await;
    contest.mine(1).await;
    let (payment, _) = outputs.iter().find(|(_, sat)| *sat == SAT).unwrap();
    spender(&stage, payment).await;
    lsp.stop().await.unwrap();
    contest.look("the claim is in the mempool").await;
    contest.mine(1).await;
    let seen = contest.look("the claim is confirmed").await;
    let sent = |events: &[String]| events.iter().any(|event| event.starts_with("PaymentSent"));
    assert!(sent(&seen.events), "{seen:#?}");
    // Whoever has slept through it all sees the commitment, and what spends from it, in one look.
    let all_at_once = contest.afresh().look("all of it at once").await;
    assert!(sent(&all_at_once.events), "{all_at_once:#?}");
    contest.turns("the peer's claim").await;
}
