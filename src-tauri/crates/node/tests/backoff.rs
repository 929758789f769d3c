//! A server that cannot, or will not, answer: how long it is left alone, and that this outlives the process.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::{Duration, Instant};

use common::{Stage, grant};
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::backoff::{Backoffs, Endpoint, Standing};
use pilotlight_node::{
    Conditions, Degraded, ErrorCode, Grant, GrantKind, Network, StageEnd, StageName, WakeOutcome, WakeReason,
    WakeRecord,
};

/// Leaves seven seconds for work.
const GRANT_SECS: u64 = 12;

/// How the chain server stands on disk.
fn standing(stage: &Stage) -> Option<Standing> {
    let server = Endpoint::Chain(stage.config.esplora_url.clone());
    Backoffs::new(&stage.config.data_dir).standing(&server)
}

/// A wake as another process would have it, asked for by somebody.
async fn wake(stage: &Stage, reason: WakeReason) -> WakeRecord {
    let grant = Grant {
        reason,
        ..grant(GrantKind::Refresh, GRANT_SECS)
    };
    let started = Instant::now();
    let record = stage.lifecycle().wake(grant).await;
    assert!(started.elapsed() < Duration::from_secs(GRANT_SECS), "in time");
    record
}

fn failed_with(record: &WakeRecord, code: ErrorCode) {
    assert_eq!(record.outcome, WakeOutcome::Failed, "{record:#?}");
    assert_eq!(record.error.as_ref().unwrap().code, code, "{record:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_limits_then_lies_then_hangs_is_left_alone_for_longer_each_time_and_forgiven_at_once() {
    let stage = Stage::with_channel().await;
    let faults = stage.devnet.faults();
    let limit = |retry_after_secs| FaultKind::Status {
        code: 429,
        retry_after_secs,
    };
    assert_eq!(standing(&stage), None);
    let steps = [
        (limit(None), ErrorCode::RateLimited),
        (FaultKind::Garbage, ErrorCode::ChainSyncFailed),
        (FaultKind::Hang, ErrorCode::SyncTimeout),
    ];
    for (n, (kind, code)) in steps.into_iter().enumerate() {
        stage.devnet.mine(1).await.unwrap();
        faults.clear();
        faults.set(Fault::new("/", kind));
        // The person waits for no caution of ours.
        let record = wake(&stage, WakeReason::Person).await;
        failed_with(&record, code);
        let now = standing(&stage).unwrap();
        assert_eq!((now.failures, now.code), (u32::try_from(n).unwrap() + 1, code));

        // The phone does: nothing is asked, and the record says why.
        stage.devnet.reset_traffic();
        let held = wake(&stage, WakeReason::System).await;
        failed_with(&held, code);
        assert_eq!(held.stages[0].end, StageEnd::Skipped, "{held:#?}");
        assert_eq!(
            (held.requests, stage.devnet.traffic().requests),
            (0, 0),
            "not an attempt"
        );
        assert_eq!(standing(&stage).unwrap(), now, "what was not tried did not fail");
        let wait = held.next_at_ms.unwrap() - held.finished_at_ms.unwrap();
        let left = (now.failed_at_ms + now.wait_ms).saturating_sub(held.finished_at_ms.unwrap());
        assert!(
            wait >= left,
            "the next wake comes when it may ask: {wait} ms, {left} ms"
        );
    }
    // Each kind of failure begins with its own wait, and doubles it with each failure in a row, whatever their kinds.
    let minutes = standing(&stage).unwrap().wait_ms / 60_000;
    assert!(
        (4..=5).contains(&minutes),
        "{minutes} min after the third in a row"
    );

    faults.clear();
    faults.set(Fault::new("/", limit(Some(2))));
    let record = wake(&stage, WakeReason::Person).await;
    failed_with(&record, ErrorCode::RateLimited);
    let now = standing(&stage).unwrap();
    assert_eq!((now.failures, now.asked_ms), (4, 2_000));
    faults.clear();
    let too_soon = wake(&stage, WakeReason::Person).await;
    failed_with(&too_soon, ErrorCode::RateLimited);
    assert_eq!(too_soon.requests, 0, "it asked for two seconds");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let good = wake(&stage, WakeReason::Person).await;
    assert_eq!(good.outcome, WakeOutcome::Completed, "{good:#?}");
    assert_eq!(good.blocks_synced, 3, "nothing was lost");
    assert_eq!(standing(&stage), None, "forgiven");
    let by_itself = wake(&stage, WakeReason::System).await;
    assert_eq!(by_itself.outcome, WakeOutcome::Completed, "{by_itself:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_nothing_is_tried_and_short_of_memory_the_map_is_left() {
    let stage = Stage::with_channel().await;
    stage.devnet.reset_traffic();
    let at = |conditions| Grant {
        conditions,
        ..grant(GrantKind::Refresh, 30)
    };
    let offline = Conditions {
        network: Some(Network::Offline),
        ..Conditions::default()
    };
    let record = stage.lifecycle().wake(at(offline)).await;
    failed_with(&record, ErrorCode::NetworkUnavailable);
    assert_eq!(record.degraded, [Degraded::Offline]);
    assert_eq!(stage.devnet.traffic().requests, 0);
    assert_eq!(standing(&stage), None, "it is not the server's fault");

    let small = Conditions {
        available_memory: Some(8 << 20),
        ..Conditions::default()
    };
    let record = stage.lifecycle().wake(at(small)).await;
    assert_eq!(record.outcome, WakeOutcome::Partial, "{record:#?}");
    assert_eq!(record.degraded, [Degraded::Memory]);
    let gossip = record.stage(StageName::Gossip).unwrap();
    assert_eq!(gossip.end, StageEnd::Skipped);
    assert_eq!(gossip.error.as_ref().unwrap().code, ErrorCode::LowMemory);
    assert_eq!(
        record.stage(StageName::Sweep).unwrap().end,
        StageEnd::Done,
        "money first"
    );
    assert!(record.wants_processing);

    let frugal = Conditions {
        low_power: Some(true),
        ..Conditions::default()
    };
    let record = stage.lifecycle().wake(at(frugal)).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.degraded, [Degraded::LowPower]);
    assert!(record.stage(StageName::Gossip).is_none(), "{record:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_is_cut_off_after_the_chain_makes_the_next_one_cheaper() {
    let stage = Stage::with_channel().await;
    stage.devnet.mine(5).await.unwrap();
    let lifecycle = stage.lifecycle();
    stage.devnet.reset_traffic();
    let cut = tokio::time::timeout(Duration::from_secs(60), async {
        let waking = lifecycle.wake(grant(GrantKind::Refresh, 30));
        tokio::pin!(waking);
        loop {
            tokio::select! {
                record = &mut waking => panic!("it was not cut off: {record:#?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            let journal = std::fs::read_to_string(stage.config.data_dir.join("journal.json"));
            if journal.is_ok_and(|journal| journal.contains("\"stage\":\"chain\"")) {
                return;
            }
        }
    });
    cut.await.unwrap();
    let first = stage.devnet.traffic().requests;
    lifecycle.enter_background().await.unwrap();

    stage.devnet.reset_traffic();
    let next = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(next.outcome, WakeOutcome::Completed, "{next:#?}");
    assert_eq!(next.stage(StageName::Chain).unwrap().end, StageEnd::StillHolds);
    let chain_only = stage.devnet.traffic().endpoints;
    let asked_again = chain_only.keys().filter(|path| path.contains("/tx/")).count();
    assert_eq!(asked_again, 0, "{chain_only:#?}");
    assert!(stage.devnet.traffic().requests < first, "{first} before");
    // The record of the one that was cut off says so.
    let history = stage.lifecycle().history().await.unwrap();
    assert_eq!(history[1].outcome, WakeOutcome::CutOff);
}
