//! The safe-until moment of a real wallet: real channels, a real payment that hangs, a real chain.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::Duration;

use common::{Stage, grant, until};
use pilotlight_node::{GrantKind, NodeEvent, SafeUntilReason, WakeOutcome, warn_at};

/// Two weeks of blocks that a cheating peer must wait, less the day in which it is punished.
const OLD_BALANCE: u32 = 2016 - 144;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_channel_nothing_can_be_lost_and_with_one_there_are_two_weeks() {
    let stage = Stage::new().await;
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!((record.safe_until_ms, record.safe_until_reason), (None, None));
    assert_eq!(warn_at(&stage.lifecycle().safety()), None);

    let stage = Stage::with_channel().await;
    stage.devnet.mine(3).await.unwrap();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        record.safe_until_reason,
        Some(SafeUntilReason::OldBalance),
        "{record:#?}"
    );
    let left = record.safe_until_ms.unwrap() - record.last_sync.unwrap();
    assert!((9 * DAY_MS..13 * DAY_MS).contains(&left), "{left} ms");

    // A process that never opens the node knows it too.
    let asleep = stage.lifecycle();
    let safety = asleep.safety();
    let moment = safety.safe_until.unwrap();
    assert_eq!(moment.height, stage.devnet.height().await.unwrap() + OLD_BALANCE);
    assert_eq!(Some(moment.at_ms), record.safe_until_ms);
    assert_eq!(safety.checked_at_ms, record.last_sync);
    assert_eq!(asleep.overview().await.safe_until, Some(moment));
    assert_eq!(warn_at(&safety).unwrap(), record.last_sync.unwrap() + 2 * DAY_MS);

    // A wake that cannot look does not move it, and says what was known.
    stage.devnet.mine(3).await.unwrap();
    let short = stage.wake(GrantKind::Refresh, 4).await;
    assert_eq!(short.outcome, WakeOutcome::Failed);
    assert_eq!(short.safe_until_ms, record.safe_until_ms);
    // One that does, does.
    let again = stage.wake(GrantKind::Refresh, 30).await;
    assert!(again.safe_until_ms > record.safe_until_ms, "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_under_way_brings_it_near_in_the_channel_and_after_a_force_close() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let mut events = lifecycle.events();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let invoice = lsp.held_invoice(100_000_000, [7; 32]).await.unwrap();
    node.pay(&invoice, None).await.unwrap();
    until("the payment to arrive", || lsp.holds([7; 32])).await;

    // Closing the app is enough: it need not have looked at the chain since the payment.
    lifecycle.enter_background().await.unwrap();
    let moment = lifecycle.safety().safe_until.unwrap();
    assert_eq!(moment.reason, SafeUntilReason::OutgoingPayment);
    let height = stage.devnet.height().await.unwrap();
    // LDK ends a payment to the peer itself in a day of blocks, give or take; far ahead of the two weeks.
    assert!(
        (height + 1..height + 400).contains(&moment.height),
        "{moment:?} at {height}"
    );
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let NodeEvent::SafeUntilChanged { safe_until } = event {
            told.push(safe_until);
        }
    }
    assert_eq!(told.last(), Some(&Some(moment)));

    // Later the same payment ends at the same height, and the next wake is asked for sooner.
    lsp.stop().await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        wake.safe_until_reason,
        Some(SafeUntilReason::OutgoingPayment),
        "{wake:#?}"
    );
    let blocks = moment.height - 12 - stage.devnet.height().await.unwrap();
    stage.devnet.mine(blocks).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        stage.lifecycle().safety().safe_until.unwrap().height,
        moment.height
    );
    let (finished, next) = (wake.finished_at_ms.unwrap(), wake.next_at_ms.unwrap());
    assert!(next - finished < 20 * 60 * 1000, "12 blocks are left: {wake:#?}");

    // Closed alone, and not in a block: it must be looked after.
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, true).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    // A node that stops first would send it in the next wake only.
    wait_for_mempool(&stage).await;
    lifecycle.enter_background().await.unwrap();
    let tip = stage.devnet.height().await.unwrap();
    let closing = lifecycle.safety().safe_until.unwrap();
    // The payment ends sooner than a closing transaction may take.
    assert_eq!(
        (closing.height, closing.reason),
        (moment.height, SafeUntilReason::OutgoingPayment),
        "{tip}"
    );

    // Once it is, what is left at risk is the payment, at its own height still.
    stage.devnet.mine(1).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    let on_chain = stage.lifecycle().safety().safe_until.unwrap();
    assert_eq!(
        (on_chain.height, on_chain.reason),
        (moment.height, SafeUntilReason::OutgoingPayment),
        "{wake:#?}"
    );
    assert_eq!(wake.safe_until_reason, Some(SafeUntilReason::OutgoingPayment));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_close_is_urgent_until_it_is_in_a_block_and_then_nothing_can_be_lost() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, true).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    lifecycle.enter_background().await.unwrap();
    let tip = stage.devnet.height().await.unwrap();
    let moment = lifecycle.safety().safe_until.unwrap();
    assert_eq!(
        (moment.height, moment.reason),
        (tip + 18, SafeUntilReason::Closing)
    );

    wait_for_mempool(&stage).await;
    stage.devnet.mine(1).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        wake.safe_until_ms, None,
        "what is left only waits for its time: {wake:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_closed_together_is_no_emergency() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, false).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    wait_for_mempool(&stage).await;
    node.sync().await.unwrap();
    let tip = stage.devnet.height().await.unwrap();
    let moment = node.safety().safe_until.unwrap();
    // In no block yet: the peer could still try an older balance.
    assert_eq!(
        (moment.height, moment.reason),
        (tip + OLD_BALANCE, SafeUntilReason::OldBalance)
    );
    stage.devnet.mine(1).await.unwrap();
    let joined = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert_eq!(joined.safe_until_ms, None, "{joined:#?}");
    lifecycle.enter_background().await.unwrap();
}

/// Waits until a transaction waits for a block.
async fn wait_for_mempool(stage: &Stage) {
    for _ in 0..400 {
        let waiting: Vec<String> = stage
            .devnet
            .rpc()
            .call("getrawmempool", serde_json::json!([]))
            .await
            .unwrap();
        if !waiting.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no transaction was sent");
}
