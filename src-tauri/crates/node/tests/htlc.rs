//! Payments that hang in a channel whose partner is away: they are claimed, or taken back, on chain and in time.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use bitcoin::{OutPoint, Txid};
use common::cheat::ended;
use common::hanging::{looked, reached};
use common::{Stage, until};
use pilotlight_devnet::Seen;
use pilotlight_node::{GrantKind, PaymentStatus, SafeUntilReason, warn_at};

/// LDK goes on chain so many blocks before an incoming payment runs out (its `CLTV_CLAIM_BUFFER`).
const CLAIM_BUFFER: u32 = 36;

/// LDK waits so many blocks after an outgoing payment ran out (its `LATENCY_GRACE_PERIOD_BLOCKS`).
const GRACE: u32 = 3;

const HOUR_MS: u64 = 60 * 60 * 1000;

async fn spender(stage: &Stage, output: &OutPoint) -> Option<Seen> {
    stage.devnet.spender(output).await.unwrap()
}

/// The transaction that spends the HTLC of so many sat, if there is one.
async fn taken(stage: &Stage, commitment: &Seen, sat: u64) -> Option<Seen> {
    let outputs = commitment.transaction.output.iter();
    let vout = outputs
        .clone()
        .position(|output| output.value.to_sat() == sat)
        .unwrap();
    let htlc = OutPoint::new(
        commitment.transaction.compute_txid(),
        u32::try_from(vout).unwrap(),
    );
    spender(stage, &htlc).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_lsp_never_heard_was_claimed_is_claimed_on_chain_in_time() {
    let (stage, funding, hash) = reached(0).await;

    // The wake claims it; nobody hears of it.
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    looked(&wake);
    let lifecycle = stage.lifecycle();
    let safety = lifecycle.safety();
    let moment = safety.safe_until.unwrap();
    assert_eq!(moment.reason, SafeUntilReason::IncomingPayment, "{wake:#?}");
    let expiry = moment.height + CLAIM_BUFFER;
    let height = stage.devnet.height().await.unwrap();
    assert!(
        (height + 140..height + 400).contains(&expiry),
        "{expiry} at {height}"
    );
    // The person is warned long before LDK must act: within half the time that is left, blocks counted as fast ones.
    let warned = warn_at(&safety).unwrap() - safety.checked_at_ms.unwrap();
    let left_ms = u64::from(moment.height - height) * 8 * 60 * 1000;
    assert!(
        warned >= HOUR_MS && warned <= left_ms / 2,
        "{warned} of {left_ms}"
    );

    // One block before it must, nothing is closed: the LSP may come back.
    stage.devnet.mine(moment.height - height - 1).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    assert_eq!(spender(&stage, &funding).await, None);
    stage.devnet.mine(1).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    looked(&wake);
    let closing = spender(&stage, &funding).await.expect("the channel is closed");
    assert_eq!(closing.height, None);
    // The closing must be looked after soon enough to leave time for the claim.
    assert_eq!(
        wake.safe_until_reason,
        Some(SafeUntilReason::Closing),
        "{wake:#?}"
    );
    let closing_by = stage.lifecycle().safety().safe_until.unwrap().height;
    assert_eq!(closing_by, expiry - CLAIM_BUFFER / 2);

    // In the next block the channel is closed, and the wake after it claims.
    stage.devnet.mine(1).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    let claim = taken(&stage, &closing, 100_000)
        .await
        .expect("the payment is claimed");
    assert_eq!(claim.height, None);
    stage.devnet.mine(1).await.unwrap();
    let claimed = taken(&stage, &closing, 100_000).await.unwrap().height.unwrap();
    assert!(claimed < expiry, "claimed at {claimed}, lost at {expiry}");
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(wake.safe_until_ms, None, "{wake:#?}");

    // Nothing of it is lost but fees: 1,000,000 less the 220,000 that were paid, and the 100,000 that came.
    stage.devnet.mine(150).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    stage.devnet.mine(7).await.unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    ended(&node, &hash, PaymentStatus::Succeeded).await;
    let balances = node.balances();
    assert_eq!(balances.total_sat, balances.onchain_confirmed_sat, "{balances:?}");
    assert!((865_000..880_000).contains(&balances.total_sat), "{balances:?}");
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_hangs_until_it_runs_out_is_taken_back() {
    let stage = Stage::with_channel().await;
    let lsp = stage.devnet.lsp().unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let invoice = lsp.held_invoice(100_000_000, [7; 32]).await.unwrap();
    let hash = node.pay(&invoice, None).await.unwrap().id;
    until("the payment to arrive", || lsp.holds([7; 32])).await;
    let funding = lsp.channels()[0].funding.unwrap();
    lifecycle.enter_background().await.unwrap();
    let moment = lifecycle.safety().safe_until.unwrap();
    assert_eq!(moment.reason, SafeUntilReason::OutgoingPayment);
    lsp.stop().await.unwrap();

    // Until it runs out, and a little longer: the LSP may come back and say that it failed.
    let height = stage.devnet.height().await.unwrap();
    stage
        .devnet
        .mine(moment.height + GRACE - 1 - height)
        .await
        .unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    assert_eq!(spender(&stage, &funding).await, None);
    stage.devnet.mine(1).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    let closing = spender(&stage, &funding).await.expect("the channel is closed");
    stage.devnet.mine(1).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    let back = taken(&stage, &closing, 100_000)
        .await
        .expect("the payment is taken back");
    assert_eq!(back.height, None);
    stage.devnet.mine(1).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(wake.safe_until_ms, None, "{wake:#?}");

    stage.devnet.mine(150).await.unwrap();
    looked(&stage.wake(GrantKind::Refresh, 30).await);
    stage.devnet.mine(7).await.unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    ended(&node, &hash, PaymentStatus::Failed).await;
    let balances = node.balances();
    assert_eq!(balances.total_sat, balances.onchain_confirmed_sat, "{balances:?}");
    assert!((985_000..1_000_000).contains(&balances.total_sat), "{balances:?}");
    assert_eq!(stage.devnet.mempool().await.unwrap(), [] as [Txid; 0]);
    lifecycle.enter_background().await.unwrap();
}
