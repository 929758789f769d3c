//! The LSP and the peers: payments, channels, closing, being away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bitcoin::Amount;
use pilotlight_devnet::{Devnet, Options, PaymentState};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn payments_go_through_the_lsp_both_ways() {
    let devnet = Devnet::start(Options {
        peers: 3,
        channels: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let (lsp, alice, bob) = (
        devnet.lsp().unwrap(),
        devnet.alice().unwrap(),
        devnet.bob().unwrap(),
    );
    assert_eq!(lsp.channels().len(), 2);
    assert!(
        lsp.channels()
            .iter()
            .all(|c| c.is_usable && c.is_announced && c.value_sat == 5_000_000)
    );

    for (from, to, fee) in [(&alice, &bob, true), (&bob, &alice, true), (&lsp, &alice, false)] {
        let invoice = to.invoice(Some(50_000_000), "bread").await.unwrap();
        let hash = from.pay(&invoice, None).await.unwrap();
        let sent = from.wait_payment(&hash, PATIENCE).await.unwrap();
        assert_eq!(sent.state, PaymentState::Succeeded, "{sent:?}");
        assert!(!sent.inbound);
        assert_eq!(
            sent.fee_msat.unwrap_or(0) > 0,
            fee,
            "only forwarding costs: {sent:?}"
        );
        let got = to.wait_payment(&hash, PATIENCE).await.unwrap();
        assert_eq!(
            (got.state, got.inbound, got.amount_msat),
            (PaymentState::Succeeded, true, Some(50_000_000))
        );
    }
    // Without an amount.
    let invoice = bob.invoice(None, "whatever you like").await.unwrap();
    let hash = alice.pay(&invoice, Some(1_234_000)).await.unwrap();
    assert_eq!(
        alice.wait_payment(&hash, PATIENCE).await.unwrap().amount_msat,
        Some(1_234_000)
    );
    assert_eq!(
        bob.wait_payment(&hash, PATIENCE).await.unwrap().amount_msat,
        Some(1_234_000)
    );
    // More than there is.
    let invoice = bob.invoice(Some(4_000_000_000), "a house").await.unwrap();
    match alice.pay(&invoice, None).await {
        Ok(hash) => {
            let failed = alice.wait_payment(&hash, PATIENCE).await.unwrap();
            assert_eq!(failed.state, PaymentState::Failed);
        }
        Err(e) => assert!(e.to_string().starts_with("alice: paying failed"), "{e}"),
    }
    assert!(alice.pay("lnbc1nonsense", None).await.is_err());
}

#[tokio::test]
async fn a_peer_can_be_away_and_come_back() {
    let devnet = Devnet::start(Options {
        peers: 2,
        channels: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let (lsp, alice) = (devnet.lsp().unwrap(), devnet.alice().unwrap());
    lsp.stop().await.unwrap();
    assert!(!lsp.is_running());
    assert!(
        std::net::TcpStream::connect(lsp.address()).is_err(),
        "its port is closed"
    );
    let height = devnet.mine(3).await.unwrap();
    assert_eq!(alice.height(), height);

    lsp.start().await.unwrap();
    assert_eq!(lsp.height(), height);
    alice.connect(lsp.node_id(), lsp.address()).await.unwrap();
    lsp.wait_usable(alice.node_id(), PATIENCE).await.unwrap();
    let invoice = lsp.invoice(Some(1_000_000), "welcome back").await.unwrap();
    let hash = alice.pay(&invoice, None).await.unwrap();
    assert_eq!(
        alice.wait_payment(&hash, PATIENCE).await.unwrap().state,
        PaymentState::Succeeded
    );
}

#[tokio::test]
async fn closing_returns_the_money() {
    let devnet = Devnet::start(Options {
        peers: 3,
        channels: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let (lsp, alice, bob) = (
        devnet.lsp().unwrap(),
        devnet.alice().unwrap(),
        devnet.bob().unwrap(),
    );
    let before = alice.balances().await.unwrap();
    let channel = &alice.channels()[0];
    alice
        .close_channel(&channel.user_channel_id, lsp.node_id())
        .await
        .unwrap();
    let channel = &bob.channels()[0];
    bob.force_close_channel(&channel.user_channel_id, lsp.node_id())
        .await
        .unwrap();
    // Closing transactions reach the mempool a moment later; sweeps follow their confirmations and delays.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        devnet.mine(6).await.unwrap();
        let (a, b) = (alice.balances().await.unwrap(), bob.balances().await.unwrap());
        if lsp.channels().is_empty() && a.lightning_sat == 0 && b.onchain_total_sat > 1_002_400_000 {
            break;
        }
    }
    assert!(lsp.channels().is_empty() && alice.channels().is_empty() && bob.channels().is_empty());
    let (a, b) = (alice.balances().await.unwrap(), bob.balances().await.unwrap());
    assert_eq!(a.lightning_sat, 0);
    let gained = a.onchain_total_sat - before.onchain_total_sat;
    assert!((2_490_000..=2_500_000).contains(&gained), "{gained}");
    assert!(b.onchain_total_sat > 1_002_400_000, "{b:?}");
}

#[tokio::test]
async fn peers_can_be_added_and_follow_reorganisations() {
    let devnet = Devnet::start(Options {
        peers: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    assert!(devnet.alice().is_err());
    let alice = devnet.ensure_peer("alice").await.unwrap();
    assert!(devnet.ensure_peer("carol").await.is_err());
    assert_eq!(
        devnet.ensure_peer("alice").await.unwrap().node_id(),
        alice.node_id()
    );
    assert_eq!(
        alice.balances().await.unwrap().onchain_spendable_sat,
        1_000_000_000
    );

    let address = alice.new_address().await.unwrap();
    devnet.fund(&address, Amount::from_sat(700_000)).await.unwrap();
    devnet.mine(2).await.unwrap();
    assert_eq!(
        alice.balances().await.unwrap().onchain_spendable_sat,
        1_000_700_000
    );
    devnet.reorg_empty(2).await.unwrap();
    assert_eq!(alice.height(), devnet.height().await.unwrap());
    assert_eq!(
        alice.balances().await.unwrap().onchain_spendable_sat,
        1_000_000_000
    );
    let (_, tip) = devnet.tip().await.unwrap();
    devnet.mine(1).await.unwrap();
    assert_eq!(
        alice.balances().await.unwrap().onchain_spendable_sat,
        1_000_700_000
    );

    let height = devnet.height().await.unwrap();
    devnet.invalidate(tip).await.unwrap();
    assert!(devnet.height().await.unwrap() < height);
    devnet.reconsider(tip).await.unwrap();
    assert_eq!(devnet.height().await.unwrap(), height);
    assert_eq!(alice.height(), height);
}

/// Somebody else may use `bitcoind`'s RPC: the peers notice by themselves.
#[tokio::test]
async fn peers_notice_blocks_made_by_others() {
    let devnet = Devnet::start(Options {
        peers: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let lsp = devnet.lsp().unwrap();
    let address = lsp.new_address().await.unwrap();
    let height = devnet.height().await.unwrap() + 2;
    let made = serde_json::json!([2, address]);
    devnet
        .rpc()
        .call::<serde_json::Value>("generatetoaddress", made)
        .await
        .unwrap();
    let begun = std::time::Instant::now();
    while lsp.height() != height {
        assert!(
            begun.elapsed() < PATIENCE,
            "at {} instead of {height}",
            lsp.height()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
