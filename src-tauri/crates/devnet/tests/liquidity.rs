//! The LSP's liquidity service (LSPS2): a client without any channel is paid, and has one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ldk_node::bitcoin::Network;
use ldk_node::config::{Config, EsploraSyncConfig};
use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};
use ldk_node::{Builder, Event};
use pilotlight_devnet::{Devnet, Options, PaymentState};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_channel_is_paid_and_has_one() {
    let devnet = Devnet::start(Options {
        peers: 2,
        channels: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let (lsp, alice) = (devnet.lsp().unwrap(), devnet.alice().unwrap());

    let dir = tempfile::tempdir().unwrap();
    let mut builder = Builder::from_config(Config {
        network: Network::Regtest,
        storage_dir_path: dir.path().display().to_string(),
        ..Config::default()
    });
    let by_hand = EsploraSyncConfig {
        background_sync_config: None,
    };
    builder
        .set_chain_source_esplora(devnet.esplora_url(), Some(by_hand))
        .set_gossip_source_p2p()
        .set_liquidity_source_lsps2(lsp.node_id(), lsp.address().into(), None);
    let client = Arc::new(builder.build_with_fs_store().unwrap());
    client.start().unwrap();
    client.sync_wallets().unwrap();

    let coffee = Bolt11InvoiceDescription::Direct(Description::new("coffee".into()).unwrap());
    let invoice = client
        .bolt11_payment()
        .receive_via_jit_channel(20_000_000, &coffee, 3_600, None)
        .unwrap();
    let hash = alice.pay(&invoice.to_string(), None).await.unwrap();
    let begun = Instant::now();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), client.next_event_async())
            .await
            .unwrap();
        client.event_handled().unwrap();
        if let Event::PaymentReceived { amount_msat, .. } = event {
            // One per cent, as the LSP's terms say.
            assert_eq!(amount_msat, 19_800_000);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let paid = alice.wait_payment(&hash, Duration::from_secs(30)).await.unwrap();
    assert_eq!(paid.state, PaymentState::Succeeded);
    let channels = client.list_channels();
    assert_eq!(channels.len(), 1);
    assert_eq!(channels[0].counterparty_node_id, lsp.node_id());
    assert!(!channels[0].is_announced);
    client.stop().unwrap();
}
