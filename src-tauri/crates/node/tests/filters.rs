//! The whole wallet on compact block filters, against a real Bitcoin peer.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::Duration;

use common::faces::Face;
use common::{Stage, until};
use pilotlight_node::{ChainChoice, PaymentStatus};

const LIMIT: Duration = Duration::from_secs(60);

/// The wallet hears the chain from these peers alone.
fn on_filters(stage: &mut Stage, peers: &[std::net::SocketAddr], required: usize) {
    stage.config.chain = ChainChoice::Filters {
        peers: peers.iter().map(|peer| (*peer).into()).collect(),
        required,
        proxy: None,
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_funds_opens_pays_force_closes_and_sweeps_on_filters_alone() {
    let mut stage = Stage::new().await;
    let second = Face::honest(stage.devnet.p2p_address()).await;
    let peers = [stage.devnet.p2p_address(), second.address];
    on_filters(&mut stage, &peers, 2);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    node.open_channel(&common::peer(&stage.devnet), 500_000)
        .await
        .unwrap();
    stage.devnet.mine(6).await.unwrap();
    stage.usable(&node).await;

    let lsp = stage.devnet.lsp().unwrap();
    let bolt11 = lsp.invoice(Some(100_000_000), "cake").await.unwrap();
    let sent = node.pay(&bolt11, None).await.unwrap();
    lsp.wait_payment(&sent.id, LIMIT).await.unwrap();
    for _ in 0..400 {
        if node.payment(&sent.id).await.unwrap().unwrap().status == PaymentStatus::Succeeded {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }

    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, true).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    // Our own force-close: the money comes back after the delay that the peer asked for.
    for _ in 0..60 {
        stage.devnet.mine(20).await.unwrap();
        node.sync().await.unwrap();
        node.sweep().await;
        let balances = node.balances();
        if balances.closing_sat == 0 && balances.onchain_pending_sat == 0 {
            break;
        }
    }
    let balances = node.balances();
    assert!(balances.onchain_confirmed_sat > 850_000, "{balances:?}");
    assert_eq!(balances.total_sat, balances.onchain_confirmed_sat, "{balances:?}");
    assert_eq!(stage.devnet.traffic().requests, 0, "nobody asked the server");
    lifecycle.enter_background().await.unwrap();
}
