//! Whole wakes against a real chain and a real peer.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::{Duration, Instant};

use common::{Stage, grant, until};
use pilotlight_node::{ErrorCode, GrantKind, StageEnd, StageName, WakeOutcome};

const IN_ORDER: [StageName; 8] = [
    StageName::Open,
    StageName::Chain,
    StageName::Peers,
    StageName::Events,
    StageName::Sweep,
    StageName::Onchain,
    StageName::Gossip,
    StageName::Report,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_sees_new_blocks_brings_the_channel_up_and_writes_it_all_down() {
    let stage = Stage::with_channel().await;
    stage.devnet.mine(7).await.unwrap();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.blocks_synced, 7);
    assert_eq!(record.channels_updated, 1);
    assert_eq!(record.tip_height, Some(stage.devnet.height().await.unwrap()));
    assert!(record.last_sync.unwrap() >= record.started_at_ms);
    assert!(record.sync_duration > 0 && record.finished_at_ms.is_some());
    assert!(record.bytes_in > 1_000 && record.bytes_out > 1_000, "{record:#?}");
    assert!(record.peak_memory > 1_000_000);
    let names: Vec<_> = record.stages.iter().map(|stage| stage.name).collect();
    assert_eq!(names, IN_ORDER);

    let chain = record.stage(StageName::Chain).unwrap();
    assert!(chain.checkpoint && chain.blocks == Some(7), "{record:#?}");
    assert!(record.requests > 5, "{record:#?}");

    let again = stage.wake(GrantKind::Processing, 120).await;
    assert_eq!((again.outcome, again.blocks_synced), (WakeOutcome::Completed, 0));
    // No block came meanwhile: there is little to ask.
    for name in [StageName::Chain, StageName::Sweep, StageName::Onchain] {
        assert_eq!(again.stage(name).unwrap().end, StageEnd::StillHolds, "{again:#?}");
    }
    assert!(again.requests < record.requests, "{again:#?}");
    let history = stage.lifecycle().history().await.unwrap();
    assert_eq!(history[0], again);
    assert_eq!(history[1], record);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_seconds_are_not_an_attempt_and_a_called_wake_ends_at_once() {
    let stage = Stage::new().await;
    let short = stage.wake(GrantKind::Refresh, 4).await;
    assert_eq!(short.outcome, WakeOutcome::Failed);
    assert_eq!(short.error.as_ref().unwrap().code, ErrorCode::InsufficientTime);
    assert_eq!(stage.devnet.traffic().requests, 0, "nothing was tried");

    // Slow enough that the time is called in the middle of the chain stage.
    stage.devnet.set_rtt(Duration::from_secs(2));
    let grant = grant(GrantKind::Refresh, 30);
    let cancel = grant.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cancel.cancel();
    });
    let started = Instant::now();
    let called = stage.lifecycle().wake(grant).await;
    assert_eq!(called.outcome, WakeOutcome::Expired, "{called:#?}");
    assert_eq!(called.stage(StageName::Chain).unwrap().end, StageEnd::Cancelled);
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );

    stage.devnet.set_rtt(Duration::ZERO);
    assert_eq!(
        stage.wake(GrantKind::Refresh, 30).await.outcome,
        WakeOutcome::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_joins_an_open_app_and_an_opened_app_takes_a_wake_over() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let joined = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert!(
        joined.joined && joined.outcome == WakeOutcome::Completed,
        "{joined:#?}"
    );
    assert_eq!(node.channels().len(), 1, "the node is still up");
    lifecycle.enter_background().await.unwrap();
    assert!(lifecycle.node().await.is_err());

    stage.devnet.set_rtt(Duration::from_millis(300));
    let waking = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.wake(grant(GrantKind::Refresh, 40)).await }
    });
    let started = Instant::now();
    let during = loop {
        if let Ok(node) = lifecycle.node().await {
            break node;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let taken = lifecycle.enter_foreground().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&during, &taken), "one node at a time");
    stage.devnet.set_rtt(Duration::ZERO);
    let record = waking.await.unwrap();
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    until("the app's node still works", || {
        taken.channels().iter().any(|channel| channel.usable)
    })
    .await;
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_makes_a_wake_partial_and_loses_nothing() {
    let stage = Stage::with_channel().await;
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.outcome, WakeOutcome::Partial, "{record:#?}");
    assert_eq!(record.error.as_ref().unwrap().code, ErrorCode::PeerUnreachable);
    assert_eq!(record.stage(StageName::Chain).unwrap().end, StageEnd::Done);
    stage.devnet.lsp().unwrap().start().await.unwrap();
    assert_eq!(
        stage.wake(GrantKind::Refresh, 30).await.outcome,
        WakeOutcome::Completed
    );
}
