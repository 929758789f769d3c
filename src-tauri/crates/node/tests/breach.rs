//! A partner that cheats: its revoked commitment goes on chain while the wallet sleeps, and the wallet takes everything.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use common::cheat::{Betrayed, betrayed, penalty};
use common::{Stage, grant};
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::{
    BreachStatus, Direction, GrantKind, NodeEvent, PaymentKind, SafeUntilReason, StageEnd, StageName,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_in_the_middle_of_two_weeks_asleep_is_punished_by_the_first_wake() {
    let stage = Stage::with_channel().await;
    let Betrayed {
        old,
        funding,
        node_id,
    } = betrayed(&stage).await;
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    stage.devnet.mine(1_000).await.unwrap();
    let cheat = old.force_close(node_id).await.unwrap();
    stage.devnet.mine(1_000).await.unwrap();
    let closed = stage.devnet.spender(&funding).await.unwrap().unwrap();
    assert_eq!(
        (closed.transaction.compute_txid(), closed.height.is_some()),
        (cheat, true)
    );

    let lifecycle = stage.lifecycle();
    let mut events = lifecycle.events();
    let wake = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert_eq!(
        wake.stage(StageName::Chain).unwrap().end,
        StageEnd::Done,
        "{wake:#?}"
    );
    assert_eq!(wake.blocks_synced, 2_000);
    assert_eq!(wake.breaches, 1);
    assert_eq!(wake.safe_until_reason, Some(SafeUntilReason::Breach));
    let taken = penalty(&stage, cheat).await;
    assert_eq!(taken.height, None, "sent, and not in a block yet");
    assert_eq!(lifecycle.safety().breaches, 1);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let NodeEvent::BreachChanged { breach } = event {
            told.push((breach.status, breach.at_stake_sat, breach.secured_sat));
        }
    }
    assert_eq!(told, [(BreachStatus::Securing, 200_000, 0)]);
    // The next wake is asked for soon: a whole channel is at stake.
    let (finished, next) = (wake.finished_at_ms.unwrap(), wake.next_at_ms.unwrap());
    assert!(next - finished <= 20 * 60 * 1000, "{wake:#?}");

    // In a block, and then for good.
    stage.devnet.mine(1).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!((wake.breaches, wake.safe_until_ms), (1, None), "{wake:#?}");
    stage.devnet.mine(6).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!((wake.breaches, wake.safe_until_ms), (0, None), "{wake:#?}");
    stage.devnet.mine(6).await.unwrap();

    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    let taken = penalty(&stage, cheat).await;
    let secured = taken.transaction.output[0].value.to_sat();
    let breach = lifecycle.overview().await.breaches.remove(0);
    assert_eq!(
        (breach.status, breach.at_stake_sat, breach.secured_sat),
        (BreachStatus::Secured, 200_000, secured)
    );
    let activity = node.payments().await.unwrap();
    let row = activity
        .iter()
        .find(|payment| payment.kind == PaymentKind::Penalty)
        .unwrap();
    assert_eq!(row.id, taken.transaction.compute_txid().to_string());
    assert_eq!(
        (row.direction, row.amount_msat),
        (Direction::Received, Some(secured * 1000))
    );
    // The whole channel came home: of a million, half of it in the channel, only fees are gone.
    let balances = node.balances();
    assert_eq!(balances.onchain_confirmed_sat, balances.total_sat, "{balances:?}");
    assert!((990_000..1_000_000).contains(&balances.total_sat), "{balances:?}");
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_that_pays_too_little_is_given_more_by_later_wakes() {
    let stage = Stage::with_channel().await;
    let Betrayed { old, node_id, .. } = betrayed(&stage).await;
    let cheat = old.force_close(node_id).await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    stage.wake(GrantKind::Refresh, 30).await;
    let first = penalty(&stage, cheat).await;
    assert!((4.0..8.0).contains(&first.fee_rate()), "{first:?}");

    // Fees rise, and blocks come without it.
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::Fees { sat_per_vb: 40 }));
    stage.devnet.mine_empty(3).await.unwrap();
    stage.wake(GrantKind::Refresh, 30).await;
    let second = penalty(&stage, cheat).await;
    assert!(
        second.fee_rate() >= 35.0,
        "{} after {}",
        second.fee_rate(),
        first.fee_rate()
    );
    assert_eq!(second.height, None);

    // A rise between two blocks is enough.
    stage.devnet.faults().clear();
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::Fees { sat_per_vb: 90 }));
    stage.wake(GrantKind::Refresh, 30).await;
    let third = penalty(&stage, cheat).await;
    assert!(
        third.fee_rate() >= 80.0,
        "{} after {}",
        third.fee_rate(),
        second.fee_rate()
    );

    stage.devnet.mine(7).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!((wake.breaches, wake.safe_until_ms), (0, None), "{wake:#?}");
    let taken = penalty(&stage, cheat).await;
    assert_eq!(taken.transaction, third.transaction);
}
