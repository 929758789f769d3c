//! A devnet in a library's hands: how it lives and ends, and what its daemon offers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use pilotlight_devnet::{Devnet, Error, Options};
use serde_json::{Value, json};

fn answers(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).is_ok()
}

fn wait_until(mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn dropping_it_ends_everything() {
    let devnet = Devnet::start(Options {
        peers: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let rpc = devnet.rpc().access().url.clone();
    let (dir, lsp, face) = (
        devnet.dir().to_owned(),
        devnet.lsp().unwrap().address(),
        devnet.esplora_url(),
    );
    assert!(answers(&rpc) && answers(&face) && TcpStream::connect(lsp).is_ok() && dir.exists());
    let clone = devnet.clone();
    drop(devnet);
    clone.mine(1).await.unwrap();
    drop(clone);
    // At once, whatever its own tasks are doing.
    assert!(!answers(&rpc) && !dir.exists());
    wait_until(|| !answers(&face) && TcpStream::connect(lsp).is_err());
}

/// Tests often share one devnet although each of them has a runtime of its own.
#[test]
fn it_outlives_the_runtime_it_was_started_in() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let devnet = runtime()
        .block_on(Devnet::start(Options {
            peers: 1,
            ..Options::default()
        }))
        .unwrap();
    let height = runtime().block_on(devnet.height()).unwrap();
    assert_eq!(runtime().block_on(devnet.mine(1)).unwrap(), height + 1);
    runtime()
        .block_on(devnet.lsp().unwrap().invoice(Some(1_000), "x"))
        .unwrap();
    // Outside of any runtime.
    drop(devnet);
}

/// Giving up waiting for the start must not leave anything behind, nor panic.
#[tokio::test]
async fn a_start_can_be_called_off() {
    for patience in [5, 50, 150, 300] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("devnet");
        let options = Options {
            peers: 1,
            dir: Some(place.clone()),
            ..Options::default()
        };
        let _ = tokio::time::timeout(Duration::from_millis(patience), Devnet::start(options)).await;
        // Its lock is free when everything has ended.
        let begun = Instant::now();
        loop {
            match Devnet::start(Options {
                dir: Some(place.clone()),
                ..Options::default()
            })
            .await
            {
                Ok(_) => break,
                Err(Error::Occupied(_)) => assert!(begun.elapsed() < Duration::from_secs(20)),
                Err(e) => panic!("{e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn several_live_side_by_side() {
    let starts = (0..4).map(|_| Devnet::start(Options::default()));
    let devnets = futures::future::try_join_all(starts).await.unwrap();
    let mut places = std::collections::HashSet::new();
    for devnet in &devnets {
        assert!(places.insert(devnet.p2p_address()) && places.insert(devnet.esplora_url().parse_address()));
        devnet.mine(1).await.unwrap();
    }
    let tips = futures::future::try_join_all(devnets.iter().map(Devnet::tip))
        .await
        .unwrap();
    assert!(
        tips.windows(2).all(|pair| pair[0].1 != pair[1].1),
        "each has a chain of its own"
    );
}

trait ParseAddress {
    fn parse_address(&self) -> std::net::SocketAddr;
}

impl ParseAddress for String {
    fn parse_address(&self) -> std::net::SocketAddr {
        self.trim_start_matches("http://").parse().unwrap()
    }
}

#[tokio::test]
async fn its_daemon_serves_filters_and_has_every_index() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let network: Value = devnet.rpc().call("getnetworkinfo", json!([])).await.unwrap();
    let services = network["localservicesnames"].as_array().unwrap();
    assert!(services.iter().any(|s| s == "COMPACT_FILTERS"), "{services:?}");
    assert!(TcpStream::connect(devnet.p2p_address()).is_ok());
    for count in [1, 30] {
        let height = devnet.mine(count).await.unwrap();
        let indexes: Value = devnet.rpc().call("getindexinfo", json!([])).await.unwrap();
        for name in ["txindex", "basic block filter index"] {
            assert_eq!(
                indexes[name]["best_block_height"], height,
                "{name} is complete when mine() returns"
            );
        }
    }
}

#[tokio::test]
async fn blocks_come_by_themselves_when_asked_for() {
    let auto_mine = Some(Duration::from_millis(100));
    let devnet = Devnet::start(Options {
        auto_mine,
        ..Options::default()
    })
    .await
    .unwrap();
    let begun = Instant::now();
    let height = devnet.height().await.unwrap();
    while devnet.height().await.unwrap() < height + 3 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
