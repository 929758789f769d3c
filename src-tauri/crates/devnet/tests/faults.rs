//! Each fault, seen from the client's side; and that the next request is answered as ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use esplora_client::{AsyncClient, Builder, Error};
use pilotlight_devnet::{Devnet, Fault, FaultKind, Options};

fn client(url: &str) -> AsyncClient {
    Builder::new(url).timeout(1).max_retries(0).build_async().unwrap()
}

#[tokio::test]
async fn every_fault_strikes_and_passes() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let (height, tip) = devnet.tip().await.unwrap();
    let once = |path: &str, kind: FaultKind| devnet.faults().set(Fault::new(path, kind).times(1));

    once("/blocks/tip", FaultKind::Hang);
    let begun = Instant::now();
    match face.get_height().await {
        Err(Error::Reqwest(e)) => assert!(e.is_timeout(), "{e}"),
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!(face.get_height().await.unwrap(), height);

    once(
        "/blocks/tip",
        FaultKind::Status {
            code: 429,
            retry_after_secs: Some(7),
        },
    );
    let response = reqwest::get(format!("{}/blocks/tip/height", devnet.esplora_url()))
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    once(
        "/blocks/tip",
        FaultKind::Status {
            code: 500,
            retry_after_secs: None,
        },
    );
    assert!(matches!(
        face.get_height().await,
        Err(Error::HttpResponse { status: 500, .. })
    ));
    assert_eq!(face.get_height().await.unwrap(), height);

    once("/block/*/header", FaultKind::Garbage);
    assert!(face.get_header_by_hash(&tip).await.is_err());
    assert_eq!(face.get_header_by_hash(&tip).await.unwrap().block_hash(), tip);

    for mid_body in [false, true] {
        once("/blocks", FaultKind::DropConnection { mid_body });
        match face.get_block_infos(None).await {
            Err(Error::Reqwest(e)) => assert!(!e.is_timeout() && !e.is_status(), "{e:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(face.get_block_infos(None).await.unwrap().len(), 10);
    }

    once("/", FaultKind::WrongHeader);
    assert_eq!(
        face.get_height().await.unwrap(),
        height,
        "nothing to lie about here"
    );
    let header = face.get_header_by_hash(&tip).await.unwrap();
    assert_ne!(header.block_hash(), tip);
    assert!(
        face.get_block_status(&header.block_hash())
            .await
            .unwrap()
            .in_best_chain,
        "a real one, though"
    );
    assert_eq!(face.get_header_by_hash(&tip).await.unwrap().block_hash(), tip);

    let txid = face.get_txid_at_block_index(&tip, 0).await.unwrap().unwrap();
    once("/", FaultKind::WrongMerkle);
    let proof = face.get_merkle_block(&txid).await.unwrap().unwrap();
    let (mut matches, mut indexes) = (Vec::new(), Vec::new());
    assert_eq!(
        proof.extract_matches(&mut matches, &mut indexes),
        Ok(()),
        "valid in itself"
    );
    assert_ne!(matches, [txid], "and of another transaction");

    let stale = devnet
        .faults()
        .set(Fault::new("/", FaultKind::StaleTip { behind: 3 }));
    assert_eq!(face.get_height().await.unwrap(), height - 3);
    assert_eq!(
        face.get_tip_hash().await.unwrap(),
        face.get_block_hash(height - 3).await.unwrap()
    );
    assert_eq!(face.get_block_infos(None).await.unwrap()[0].height, height - 3);
    assert_eq!(devnet.faults().remove(stale), Some(3));
    assert_eq!(face.get_tip_hash().await.unwrap(), tip);

    once("/blocks/tip", FaultKind::Delay { ms: 300 });
    let begun = Instant::now();
    assert_eq!(face.get_height().await.unwrap(), height);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_plain_listener_is_spared() {
    let devnet = Devnet::start(Options {
        rtt: Duration::from_millis(200),
        ..Options::default()
    })
    .await
    .unwrap();
    let (slow, plain) = (client(&devnet.esplora_url()), client(&devnet.plain_esplora_url()));
    plain.get_height().await.unwrap();
    let begun = Instant::now();
    slow.get_height().await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    devnet
        .faults()
        .set(Fault::new("/", FaultKind::DropConnection { mid_body: false }));
    assert!(slow.get_height().await.is_err());
    plain.get_height().await.unwrap();
    devnet.faults().clear();
    devnet.set_rtt(Duration::ZERO);
    slow.get_height().await.unwrap();
    assert!(
        devnet
            .traffic()
            .endpoints
            .keys()
            .all(|name| name == "GET /blocks/tip/height")
    );
    assert_eq!(
        devnet.traffic().requests,
        3,
        "the plain listener's are not counted"
    );
}
