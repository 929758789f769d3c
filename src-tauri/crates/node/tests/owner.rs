//! The one owner of the node: whoever comes, goes, or is cut off, there is one node, and nobody waits for long.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Stage, grant, until};
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::{Depth, ErrorCode, Grace, GrantKind, PaymentStatus, WakeOutcome, WalletState};

/// Longest that a look at the wallet may take; it takes microseconds, on a machine that is shared with compilers.
const LOOK_LIMIT: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_is_cut_off_while_the_node_opens_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    // No wake is through the chain stage before it is cut off.
    stage.devnet.set_rtt(Duration::from_millis(300));
    for (round, ms) in [0, 1, 3, 10, 20, 40, 60, 90, 130].into_iter().enumerate() {
        let delay = Duration::from_millis(ms);
        if round % 2 == 0 {
            let grant = grant(GrantKind::Refresh, 30);
            let cancel = grant.cancel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                cancel.cancel();
            });
            let record = lifecycle.wake(grant).await;
            assert_eq!(record.outcome, WakeOutcome::Expired, "after {ms} ms: {record:#?}");
        } else {
            let cut = tokio::time::timeout(delay, lifecycle.wake(grant(GrantKind::Refresh, 30))).await;
            assert!(cut.is_err(), "{cut:#?}");
        }
        // At once, and by somebody else: the first open must neither be in the way nor be in vain.
        let node = lifecycle.enter_foreground().await.unwrap();
        assert_eq!(lifecycle.overview().await.state, WalletState::Running);
        drop(node);
        lifecycle.enter_background().await.unwrap();
        assert_eq!(lifecycle.overview().await.state, WalletState::Stopped);
    }
    stage.devnet.set_rtt(Duration::ZERO);
    // A wake that was dropped is found, and said, by the next one.
    let record = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    let records = lifecycle.history().await.unwrap();
    let count = |outcome| records.iter().filter(|record| record.outcome == outcome).count();
    assert_eq!(
        (count(WakeOutcome::InProgress), count(WakeOutcome::CutOff)),
        (0, 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_wallet_never_waits_for_a_node_that_opens_or_stops() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let looking = tokio::spawn({
        let lifecycle = Arc::clone(&lifecycle);
        async move {
            let (mut longest, mut seen) = (Duration::ZERO, Vec::new());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                let asked = Instant::now();
                let wallet = lifecycle.overview().await.state;
                longest = longest.max(asked.elapsed());
                if seen.last() != Some(&wallet) {
                    seen.push(wallet);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (longest, seen)
        }
    });
    for _ in 0..4 {
        lifecycle.enter_foreground().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        lifecycle.enter_background().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let (longest, seen) = looking.await.unwrap();
    assert!(longest < LOOK_LIMIT, "{longest:?}");
    assert!(seen.len() >= 8, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_under_way_ends_in_the_grace_and_whoever_comes_back_finds_the_same_node() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let invoice = lsp.invoice(Some(5_000_000), "just before I go").await.unwrap();
    let payment = node.pay(&invoice, None).await.unwrap();
    assert!(lifecycle.wanted_grace() >= Duration::from_secs(30));
    let grace = Grace::until(Instant::now() + Duration::from_secs(5));
    let left = Instant::now();
    lifecycle.enter_background_within(&grace).await.unwrap();
    assert!(Instant::now() < grace.deadline, "the grace was not enough");
    assert!(left.elapsed() > Duration::from_secs(2), "it did not linger");
    assert_eq!(
        lifecycle.node().await.map(drop).unwrap_err().code(),
        ErrorCode::Cancelled
    );
    let node = lifecycle.enter_foreground().await.unwrap();
    let paid = node.payment(&payment.id).await.unwrap().unwrap();
    assert_eq!(paid.status, PaymentStatus::Succeeded);

    // Back within the grace, again and again: the same node all the time.
    for _ in 0..3 {
        let leaving = tokio::spawn({
            let lifecycle = Arc::clone(&lifecycle);
            async move {
                let grace = Grace::until(Instant::now() + Duration::from_secs(60));
                lifecycle.enter_background_within(&grace).await
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!leaving.is_finished());
        let again = lifecycle.enter_foreground().await.unwrap();
        assert!(Arc::ptr_eq(&node, &again));
        leaving.await.unwrap().unwrap();
    }

    // The system wants its time back, or the one who waits is gone: the node stops at once.
    for dropped in [false, true] {
        let grace = Grace::until(Instant::now() + Duration::from_secs(60));
        let cancel = grace.cancel.clone();
        let leaving = tokio::spawn({
            let lifecycle = Arc::clone(&lifecycle);
            async move { lifecycle.enter_background_within(&grace).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let called = Instant::now();
        if dropped {
            leaving.abort();
        } else {
            cancel.cancel();
            leaving.await.unwrap().unwrap();
        }
        while lifecycle.overview().await.state == WalletState::Running {
            assert!(called.elapsed() < Duration::from_millis(1_500));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lifecycle.enter_foreground().await.unwrap();
    }
    // A wake that is at work when the app goes keeps the node until it has ended.
    lifecycle.enter_background().await.unwrap();
    stage.devnet.set_rtt(Duration::from_millis(200));
    let waking = tokio::spawn({
        let lifecycle = Arc::clone(&lifecycle);
        async move { lifecycle.wake(grant(GrantKind::Refresh, 40)).await }
    });
    let node = loop {
        if let Ok(node) = lifecycle.node().await {
            break node;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    lifecycle.enter_foreground().await.unwrap();
    lifecycle.enter_background().await.unwrap();
    assert!(Arc::ptr_eq(&node, &lifecycle.node().await.unwrap()));
    stage.devnet.set_rtt(Duration::ZERO);
    let record = waking.await.unwrap();
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert!(lifecycle.node().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_does_nothing_any_more_whoever_still_holds_it() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let ours = node.node_id().parse().unwrap();
    let invoice = lsp.invoice(Some(1_000_000), "too late").await.unwrap();
    // A connection that is being made when the node stops: to a port where nobody says a word.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let somebody = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let address = format!("{somebody}@{}", mute.local_addr().unwrap());
    let connecting = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.connect(&address.parse().unwrap()).await }
    });
    let _call = mute.accept().await.unwrap();
    lifecycle.enter_background().await.unwrap();
    assert_eq!(
        connecting.await.unwrap().unwrap_err().code(),
        ErrorCode::Cancelled
    );
    until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;

    assert_eq!(node.connect_peers().await, 1);
    for refused in [
        node.sync().await,
        node.pay(&invoice, None).await.map(drop),
        node.connect(&common::peer(&stage.devnet)).await,
        node.open_channel(&common::peer(&stage.devnet), 100_000)
            .await
            .map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), ErrorCode::Cancelled);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!lsp.is_connected_to(ours), "a stopped node came back to its peer");
    // And it is in nobody's way.
    let again = lifecycle.enter_foreground().await.unwrap();
    assert!(!Arc::ptr_eq(&node, &again));
    stage.usable(&again).await;
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_joins_a_sync_that_is_under_way_and_asks_nothing_twice() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let quick = async || node.sync_lightning(Depth::Quick, |_, _| {}).await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    stage.devnet.reset_traffic();
    node.sync().await.unwrap();
    let alone = stage.devnet.traffic().requests;

    stage.devnet.set_rtt(Duration::from_millis(100));
    let tip = stage.devnet.mine(1).await.unwrap();
    stage.devnet.reset_traffic();
    let later = async {
        while !node.syncing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        quick().await
    };
    let (synced, joined) = tokio::join!(node.sync(), later);
    synced.unwrap();
    assert_eq!(joined.height, tip);
    let together = stage.devnet.traffic().requests;
    assert!(
        together <= alone + 1,
        "{alone} requests alone, {together} together"
    );

    // One that fails is no news: whoever waited for it looks itself.
    let tip = stage.devnet.mine(1).await.unwrap();
    stage
        .devnet
        .faults()
        .set(Fault::new("/blocks/tip", FaultKind::Garbage).times(1));
    let (failed, looked) = tokio::join!(node.sync(), async {
        while !node.syncing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        quick().await
    });
    assert!(failed.is_err());
    assert_eq!(looked.height, tip);
    stage.devnet.set_rtt(Duration::ZERO);
    lifecycle.enter_background().await.unwrap();
}
