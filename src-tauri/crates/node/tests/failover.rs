//! Several chain servers as one: whatever the first does, the second brings the wallet to the tip in the same wake.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::{Duration, Instant};

use common::{Stage, grant};
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::backoff::{Backoffs, Endpoint, Standing};
use pilotlight_node::chain::Server;
use pilotlight_node::{
    ChainChoice, ErrorCode, Grant, GrantKind, StageEnd, StageName, WakeOutcome, WakeReason,
};

/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:1";

/// The servers of a wallet, in order.
fn ask(stage: &mut Stage, urls: &[&str]) {
    let servers = urls.iter().map(|url| Server::esplora(*url)).collect();
    stage.config.chain = ChainChoice::Automatic { servers };
}

/// How a server stands on disk.
fn standing(stage: &Stage, url: &str) -> Option<Standing> {
    let server = Endpoint::Chain(Server::esplora(url).name());
    Backoffs::new(&stage.config.data_dir).standing(&server)
}

/// As if no server had ever failed.
fn forgive(stage: &Stage) {
    let _ = std::fs::remove_file(stage.config.data_dir.join("endpoints.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_first_server_does_the_second_brings_the_wallet_to_the_tip_in_the_same_wake() {
    use ErrorCode::{ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout};
    let mut stage = Stage::with_channel().await;
    let (first, second) = (stage.devnet.esplora_url(), stage.devnet.plain_esplora_url());
    let limit = |retry_after_secs| FaultKind::Status {
        code: 429,
        retry_after_secs,
    };
    // What is wrong, from which request on, and what it is called.
    let cases = [
        ("/", 0, Some(limit(None)), RateLimited),
        ("/", 0, Some(limit(Some(600))), RateLimited),
        ("/", 0, Some(FaultKind::Garbage), ChainSyncFailed),
        ("/", 0, Some(FaultKind::Hang), SyncTimeout),
        ("/tx", 1, Some(FaultKind::Hang), SyncTimeout),
        (
            "/tx",
            1,
            Some(FaultKind::DropConnection { mid_body: true }),
            NetworkUnavailable,
        ),
        ("/", 0, Some(FaultKind::StaleTip { behind: 5 }), ChainSyncFailed),
        ("/", 0, None, NetworkUnavailable),
    ];
    for (path, after, fault, code) in cases {
        let case = format!("{path} {fault:?} after {after}");
        stage.devnet.mine(2).await.unwrap();
        stage.devnet.faults().clear();
        forgive(&stage);
        let broken = if let Some(fault) = fault {
            stage.devnet.faults().set(Fault::new(path, fault).after(after));
            first.as_str()
        } else {
            DEAD
        };
        ask(&mut stage, &[broken, &second]);
        let started = Instant::now();
        let record = stage.wake(GrantKind::Refresh, 30).await;
        assert_eq!(record.outcome, WakeOutcome::Completed, "{case}: {record:#?}");
        assert_eq!(record.blocks_synced, 2, "{case}: {record:#?}");
        assert_eq!(record.channels_updated, 1, "{case}: {record:#?}");
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{case}: {:?}",
            started.elapsed()
        );
        let stands = standing(&stage, broken).unwrap();
        assert_eq!((stands.failures, stands.code), (1, code), "{case}");
        assert_eq!(standing(&stage, &second), None, "{case}");

        // It is left alone then, and the second is asked at once.
        stage.devnet.mine(1).await.unwrap();
        stage.devnet.reset_traffic();
        let record = stage.wake(GrantKind::Refresh, 30).await;
        assert_eq!(record.outcome, WakeOutcome::Completed, "{case}: {record:#?}");
        assert_eq!(stage.devnet.traffic().requests, 0, "{case}: it was asked");
        assert_eq!(standing(&stage, broken), Some(stands), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_server_fails_the_error_is_typed_and_no_wake_asks_until_one_may_be_asked() {
    let mut stage = Stage::with_channel().await;
    let first = stage.devnet.esplora_url();
    ask(&mut stage, &[DEAD, &first]);
    let limit = FaultKind::Status {
        code: 429,
        retry_after_secs: None,
    };
    stage.devnet.faults().set(Fault::new("/", limit));
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(record.outcome, WakeOutcome::Failed, "{record:#?}");
    let error = record.error.unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited, "{error:?}");
    assert!(
        error.detail.contains(DEAD) && error.detail.contains(&first),
        "{error:?}"
    );

    let by_itself = || Grant {
        reason: WakeReason::System,
        ..grant(GrantKind::Refresh, 30)
    };
    stage.devnet.reset_traffic();
    let held = stage.lifecycle().wake(by_itself()).await;
    assert_eq!(held.stages[0].end, StageEnd::Skipped, "{held:#?}");
    assert_eq!(stage.devnet.traffic().requests, 0);

    // One of several that may be asked is enough.
    stage.devnet.faults().clear();
    stage.devnet.mine(1).await.unwrap();
    let (second, dead) = (stage.devnet.plain_esplora_url(), standing(&stage, DEAD).unwrap());
    ask(&mut stage, &[DEAD, &first, &second]);
    let record = stage.lifecycle().wake(by_itself()).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.stage(StageName::Chain).unwrap().blocks, Some(1));
    assert_eq!(
        stage.devnet.traffic().requests,
        0,
        "the one that limits is left alone"
    );
    assert_eq!(standing(&stage, DEAD), Some(dead));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_app_goes_on_with_another_server_and_its_money_reaches_the_network() {
    let mut stage = Stage::new().await;
    let (first, second) = (stage.devnet.esplora_url(), stage.devnet.plain_esplora_url());
    ask(&mut stage, &[&first, &second]);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    assert!(stage.devnet.traffic().requests > 0);

    // The first takes transactions and never answers.
    stage.devnet.faults().set(Fault::new("/tx", FaultKind::Hang));
    let to = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk";
    let started = Instant::now();
    let payment = node.send_onchain(to, Some(50_000)).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    let txid = payment.id.parse().unwrap();
    assert!(
        stage.devnet.transaction(&txid).await.unwrap().is_some(),
        "it is in the mempool"
    );

    stage.devnet.faults().clear();
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::DropConnection { mid_body: false }));
    stage.devnet.mine(1).await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_pending_sat, 0, "{:?}", node.balances());
    assert_eq!(
        standing(&stage, &first).unwrap().code,
        ErrorCode::NetworkUnavailable
    );
    lifecycle.enter_background().await.unwrap();
}
