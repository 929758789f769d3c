//! A chain server that hangs, lies, limits or drops: each wake ends in time, with the right error, and loses nothing.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::{Duration, Instant};

use common::Stage;
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::{ErrorCode, GrantKind, WakeOutcome};

/// Leaves seven seconds for work: more than one request may take, less than two.
const GRANT_SECS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_typed_in_time_and_harmless() {
    use ErrorCode::{ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout};
    let limit = FaultKind::Status {
        code: 429,
        retry_after_secs: Some(1),
    };
    let broken = FaultKind::Status {
        code: 503,
        retry_after_secs: None,
    };
    let cases = [
        ("/", FaultKind::Hang, SyncTimeout),
        ("/tx", FaultKind::Hang, SyncTimeout),
        ("/", FaultKind::Garbage, ChainSyncFailed),
        ("/tx", FaultKind::Garbage, ChainSyncFailed),
        ("/blocks", FaultKind::WrongHeader, ChainSyncFailed),
        ("/", limit.clone(), RateLimited),
        ("/tx", limit, RateLimited),
        ("/", broken, NetworkUnavailable),
        (
            "/",
            FaultKind::DropConnection { mid_body: false },
            NetworkUnavailable,
        ),
        (
            "/",
            FaultKind::DropConnection { mid_body: true },
            NetworkUnavailable,
        ),
        (
            "/scripthash",
            FaultKind::DropConnection { mid_body: false },
            NetworkUnavailable,
        ),
    ];
    let stage = Stage::with_channel().await;
    let mut last_sync = None;
    for (path, kind, expected) in cases {
        let case = format!("{path} {kind:?}");
        stage.devnet.mine(2).await.unwrap();
        stage.devnet.faults().set(Fault::new(path, kind));
        let started = Instant::now();
        let record = stage.wake(GrantKind::Refresh, GRANT_SECS).await;
        assert!(
            started.elapsed() < Duration::from_secs(GRANT_SECS),
            "{case}: {:?}",
            started.elapsed()
        );
        // The on-chain wallet's questions come last; by then the channels are safe.
        let onchain_only = path == "/scripthash";
        let outcome = if onchain_only {
            WakeOutcome::Partial
        } else {
            WakeOutcome::Failed
        };
        assert_eq!(record.outcome, outcome, "{case}: {record:#?}");
        assert_eq!(
            record.error.as_ref().unwrap().code,
            expected,
            "{case}: {record:#?}"
        );
        assert!(
            onchain_only || last_sync.is_none() || record.last_sync == last_sync,
            "{case}: a failed sync is no sync"
        );

        stage.devnet.faults().clear();
        if expected == RateLimited {
            // As long as it asked for; sooner, nobody asks it anything.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let record = stage.wake(GrantKind::Refresh, 30).await;
        assert_eq!(
            record.outcome,
            WakeOutcome::Completed,
            "after {case}: {record:#?}"
        );
        // What LDK was told before the on-chain scan failed is kept, and was on disk before.
        let left = if path == "/scripthash" { 0 } else { 2 };
        assert_eq!(record.blocks_synced, left, "after {case}: {record:#?}");
        assert_eq!(
            record.channels_updated, 1,
            "after {case}: the channel is there and came up"
        );
        last_sync = record.last_sync;
    }
}

/// A wake believes what an earlier look proved; an open app asks for every proof again.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_something_else_is_found_by_the_look_that_asks_for_it() {
    let stage = Stage::with_channel().await;
    stage.devnet.mine(1).await.unwrap();
    stage
        .devnet
        .faults()
        .set(Fault::new("/tx", FaultKind::WrongMerkle));
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let error = node.sync().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ChainSyncFailed, "{}", error.detail());
    stage.devnet.faults().clear();
    node.sync().await.unwrap();
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_and_no_name_are_the_network_and_payments_wait_for_the_chain() {
    let mut stage = Stage::new().await;
    let good = stage.config.esplora_url.clone();
    for url in ["http://127.0.0.1:1", "https://no-such-server.invalid"] {
        stage.config.esplora_url = url.to_owned();
        let record = stage.wake(GrantKind::Refresh, 30).await;
        assert_eq!(
            record.error.as_ref().unwrap().code,
            ErrorCode::NetworkUnavailable,
            "{url}: {record:#?}"
        );
        let lifecycle = stage.lifecycle();
        let node = lifecycle.enter_foreground().await.unwrap();
        let early = node
            .send_onchain("bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk", Some(1_000))
            .await;
        assert_eq!(early.unwrap_err().code(), ErrorCode::NotSynced);
        lifecycle.enter_background().await.unwrap();
    }
    stage.config.esplora_url = "http://example.com".to_owned();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.error.as_ref().unwrap().code, ErrorCode::Misconfigured);
    stage.config.esplora_url = good;
    assert_eq!(
        stage.wake(GrantKind::Refresh, 30).await.outcome,
        WakeOutcome::Completed
    );
}
