//! Several chain servers as one: whatever the first does, the second brings the wallet to the tip in the same wake.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::{Duration, Instant};

use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use common::{Stage, grant, until};
use pilotlight_devnet::{Fault, FaultKind, copy_folder};
use pilotlight_node::backoff::{Backoffs, Endpoint, Standing};
use pilotlight_node::chain::Server;
use pilotlight_node::oracle::{AtRest, Engine};
use pilotlight_node::{
    ChainChoice, Config, Depth, ErrorCode, Grant, GrantKind, StageEnd, StageName, WakeOutcome, WakeReason,
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

/// The tip that is hidden is found by the open app, which looks at a second server; a wake has no time to.
#[tokio::test(flavor = "multi_thread")]
async fn the_open_app_finds_a_server_that_hides_the_newest_blocks() {
    let mut stage = Stage::with_channel().await;
    let (first, second) = (stage.devnet.esplora_url(), stage.devnet.plain_esplora_url());
    ask(&mut stage, &[&first, &second]);
    let before = stage.devnet.height().await.unwrap();
    stage.devnet.mine(2).await.unwrap();
    // Two blocks may be on their way still.
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::StaleTip { behind: 2 }));
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.checkpoint().unwrap().height, before);
    assert_eq!(standing(&stage, &first), None);
    lifecycle.enter_background().await.unwrap();

    stage.devnet.mine(3).await.unwrap();
    stage.devnet.faults().clear();
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::StaleTip { behind: 5 }));
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    until("the tip", || node.checkpoint().unwrap().height == before + 5).await;
    assert_eq!(standing(&stage, &first).unwrap().code, ErrorCode::ChainSyncFailed);
    lifecycle.enter_background().await.unwrap();
}

/// A server that does everything but pass transactions on.
async fn swallower(behind: String) -> (String, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let behind = behind.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                let (head, body) = loop {
                    let mut some = [0; 4096];
                    let n = stream.read(&mut some).await.unwrap_or(0);
                    read.extend_from_slice(&some[..n]);
                    let text = String::from_utf8_lossy(&read).into_owned();
                    let length = text.lines().find_map(|line| {
                        let (name, value) = line.split_once(':')?;
                        let length = name.eq_ignore_ascii_case("content-length");
                        length.then(|| value.trim().parse::<usize>().unwrap())
                    });
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && body.len() >= length.unwrap_or(0)
                    {
                        break (head.to_owned(), body.to_owned());
                    }
                    if n == 0 {
                        return;
                    }
                };
                let mut line = head.split_whitespace();
                let (method, path) = (line.next().unwrap(), line.next().unwrap());
                let (status, answer) = if method == "POST" {
                    let transaction: Transaction = deserialize_hex(&body).unwrap();
                    (200, transaction.compute_txid().to_string().into_bytes())
                } else {
                    let answer = reqwest::get(format!("{behind}{path}")).await.unwrap();
                    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
                };
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    answer.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), &answer].concat()).await;
            });
        }
    };
    (url, tokio::spawn(serve))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_reaches_the_network_when_the_first_server_swallows_it() {
    let mut stage = Stage::new().await;
    let plain = stage.devnet.plain_esplora_url();
    let (first, serving) = swallower(plain.clone()).await;
    ask(&mut stage, &[&first, &plain]);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    let to = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk";
    let payment = node.send_onchain(to, Some(50_000)).await.unwrap();
    let seen = stage
        .devnet
        .transaction(&payment.id.parse().unwrap())
        .await
        .unwrap();
    assert!(seen.is_some(), "the second passed it on");
    assert_eq!(standing(&stage, &first), None, "nothing is held against it");
    lifecycle.enter_background().await.unwrap();

    // With nobody else to pass it on, it is lost: the test can tell.
    ask(&mut stage, &[&first]);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    let payment = node.send_onchain(to, Some(60_000)).await.unwrap();
    let seen = stage
        .devnet
        .transaction(&payment.id.parse().unwrap())
        .await
        .unwrap();
    assert!(seen.is_none());
    lifecycle.enter_background().await.unwrap();
    serving.abort();
}

/// Requests after which the first server fails; `PILOTLIGHT_FAILOVER_CUTS` asks for more of them.
fn cuts() -> Vec<u32> {
    let most = std::env::var("PILOTLIGHT_FAILOVER_CUTS").ok();
    let most: Option<u32> = most.and_then(|n| n.parse().ok());
    most.map_or_else(|| vec![1, 4, 7, 11], |most| (0..most).collect())
}

/// The first server tells a part of what happened, a close and then a reorganisation that takes it back, and fails; the second
/// goes on. What comes of it is what comes of asking one server alone, at once and when
/// the first is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_told_before_it_failed_is_carried_on_by_the_next_through_reorganisations() {
    let mut stage = Stage::with_channel().await;
    let (first, second) = (stage.devnet.esplora_url(), stage.devnet.plain_esplora_url());
    ask(&mut stage, &[&first, &second]);
    let reference = tempfile::tempdir().unwrap();
    copy_folder(&stage.config.data_dir, reference.path()).unwrap();
    let alone = Config {
        data_dir: reference.path().to_owned(),
        ..Config::new("", stage.config.network, &second)
    };
    let wallets: Vec<(u32, tempfile::TempDir, Config)> = cuts()
        .into_iter()
        .map(|cut| {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(&stage.config.data_dir, dir.path()).unwrap();
            let mut config = stage.config.clone();
            dir.path().clone_into(&mut config.data_dir);
            (cut, dir, config)
        })
        .collect();
    // A force-close of ours, and what follows.
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, true).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    stage.devnet.mine(1).await.unwrap();
    lifecycle.enter_background().await.unwrap();

    for (step, what) in ["closed", "taken back", "closed again", "deep"]
        .into_iter()
        .enumerate()
    {
        match step {
            1 => {
                stage.devnet.reorg_empty(3).await.unwrap();
            }
            2 => {
                stage.devnet.mine(2).await.unwrap();
            }
            3 => {
                stage.devnet.mine(7).await.unwrap();
            }
            _ => {}
        }
        stage.devnet.faults().clear();
        let wallet = AtRest::open(&alone, Engine::Ours).unwrap();
        wallet.sync(Depth::Quick).await.unwrap();
        wallet.handle_events().await;
        let expected = wallet.digest();
        wallet.close().await.unwrap();
        for (cut, _, config) in &wallets {
            let _ = std::fs::remove_file(config.data_dir.join("endpoints.json"));
            stage.devnet.faults().clear();
            let failing = FaultKind::DropConnection { mid_body: true };
            stage.devnet.faults().set(Fault::new("/", failing).after(*cut));
            let wallet = AtRest::open(config, Engine::Several).unwrap();
            wallet.sync(Depth::Quick).await.unwrap();
            wallet.handle_events().await;
            let differences = wallet.digest().differences(&expected);
            assert!(
                differences.is_empty(),
                "{what}, cut after {cut}: {differences:#?}"
            );
            wallet.close().await.unwrap();
            // The first is back in the next process, and must not believe what it noted before.
            stage.devnet.faults().clear();
            let _ = std::fs::remove_file(config.data_dir.join("endpoints.json"));
            let wallet = AtRest::open(config, Engine::Several).unwrap();
            wallet.sync(Depth::Quick).await.unwrap();
            wallet.handle_events().await;
            let mut differences = wallet.digest().differences(&expected);
            // Each was told once, and handled then; and what was sent is not offered again at the same height.
            let once = ["lacks event", "lacks spends"];
            differences.retain(|line| !once.iter().any(|once| line.starts_with(once)));
            assert!(
                differences.is_empty(),
                "{what}, back after {cut}: {differences:#?}"
            );
            wallet.close().await.unwrap();
        }
    }
}
