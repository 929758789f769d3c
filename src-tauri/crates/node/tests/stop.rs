//! The way out is short, from wherever the node is when the time is called.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Stage, grant, until};
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::{GrantKind, StageEnd, StageName, WakeOutcome};

/// iOS gives a few seconds after it called the time; this is what we promise.
const LIMIT: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_called_wake_is_over_in_time_wherever_it_is() {
    let stage = Stage::with_channel().await;
    let rounds = std::env::var("PILOTLIGHT_STOPS").map_or(2, |n| n.parse().unwrap());
    stage.devnet.set_rtt(Duration::from_millis(100));
    let mut took = Vec::new();
    for round in 0..rounds {
        for (path, after) in [
            ("", 0),
            ("/blocks/tip", 0),
            ("/fee-estimates", 0),
            ("/tx", 0),
            ("/tx", 3),
            ("/scripthash", 0),
            ("/scripthash", 5),
        ] {
            stage.devnet.mine(1).await.unwrap();
            if !path.is_empty() {
                stage
                    .devnet
                    .faults()
                    .set(Fault::new(path, FaultKind::Hang).after(after));
            }
            // Spread over a wake's length without a fault, some 2 s at this round trip; the same in each run.
            let delay = Duration::from_millis((round * 7 + u64::from(after)) * 311 % 2_300);
            let grant = grant(GrantKind::Refresh, 30);
            let cancel = grant.cancel.clone();
            let calling = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                cancel.cancel();
                Instant::now()
            });
            let record = stage.lifecycle().wake(grant).await;
            let ended = Instant::now();
            stage.devnet.faults().clear();
            if record.outcome == WakeOutcome::Completed {
                continue;
            }
            let waited = ended - calling.await.unwrap();
            took.push(waited);
            let report = record.stage(StageName::Report).unwrap();
            assert!(
                waited < LIMIT && report.end == StageEnd::Done,
                "{path} +{after}, called after {delay:?}: {waited:?} {record:#?}"
            );
        }
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    eprintln!(
        "{} stops: p50 {:?}, p99 {:?}, longest {:?}",
        took.len(),
        at(50),
        at(99),
        took[took.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_closes_is_gone_in_time_whatever_is_under_way() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let lsp = stage.devnet.lsp().unwrap();
    for case in [
        "payment",
        "held payment",
        "mute peer",
        "hanging server",
        "closing",
    ] {
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.usable(&node).await;
        // What a person began and still waits for when the app closes.
        let mut mute = None;
        let under_way = match case {
            "payment" => {
                let invoice = lsp.invoice(Some(1_000_000), "tea").await.unwrap();
                node.pay(&invoice, None).await.unwrap();
                None
            }
            "held payment" => {
                let invoice = lsp.held_invoice(1_000_000, [9; 32]).await.unwrap();
                node.pay(&invoice, None).await.unwrap();
                until("the payment to arrive", || lsp.holds([9; 32])).await;
                None
            }
            "mute peer" => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let somebody = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
                let address = format!("{somebody}@{}", listener.local_addr().unwrap());
                let node = Arc::clone(&node);
                let connecting = tokio::spawn(async move {
                    let peer = address.parse().unwrap();
                    node.open_channel(&peer, 100_000).await.map(drop)
                });
                mute = Some(listener.accept().await.unwrap());
                Some(connecting)
            }
            "hanging server" => {
                stage.devnet.faults().set(Fault::new("/", FaultKind::Hang));
                let node = Arc::clone(&node);
                Some(tokio::spawn(async move { node.sync().await }))
            }
            _ => {
                stage.devnet.faults().clear();
                let channel = node.channels().remove(0).channel_id;
                node.close_channel(&channel, true).await.unwrap();
                let node = Arc::clone(&node);
                Some(tokio::spawn(async move {
                    node.sweep().await;
                    Ok(())
                }))
            }
        };
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(node);
        let closing = Instant::now();
        lifecycle.enter_background().await.unwrap();
        assert!(closing.elapsed() < LIMIT, "{case}: {:?}", closing.elapsed());
        eprintln!("{case}: {:?}", closing.elapsed());
        if let Some(under_way) = under_way {
            let ended = tokio::time::timeout(LIMIT, under_way).await;
            assert!(ended.is_ok(), "{case}: somebody still waits for a stopped node");
        }
        drop(mute);
        stage.devnet.faults().clear();
    }
}
