//! A wallet's seed, its channels both ways, and its return from the words alone.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::time::Duration;

use bitcoin::Network;
use common::{Stage, peer, until};
use pilotlight_node::{Config, Destination, Direction, ErrorCode, Lifecycle, PaymentStatus, WalletState};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_words_are_the_same_wallet_in_ldk_node() {
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let stage = Stage::new().await;
    let dir = tempfile::tempdir().unwrap();
    let ours = Lifecycle::new(Config::new(
        dir.path(),
        Network::Regtest,
        stage.devnet.esplora_url(),
    ));
    assert_eq!(ours.overview().await.state, WalletState::None);
    ours.restore_wallet(words, Some("pass")).await.unwrap();
    let node = ours.enter_foreground().await.unwrap();

    let theirs_dir = tempfile::tempdir().unwrap();
    let mut builder = ldk_node::Builder::new();
    builder
        .set_network(Network::Regtest)
        .set_storage_dir_path(theirs_dir.path().to_str().unwrap().to_owned())
        .set_chain_source_esplora(stage.devnet.esplora_url(), None)
        .set_entropy_bip39_mnemonic(words.parse().unwrap(), Some("pass".to_owned()));
    let (their_id, their_address) = tokio::task::spawn_blocking(move || {
        let theirs = builder.build().unwrap();
        (
            theirs.node_id().to_string(),
            theirs.onchain_payment().new_address().unwrap().to_string(),
        )
    })
    .await
    .unwrap();
    assert_eq!(node.node_id(), their_id);
    assert_eq!(node.new_address().await.unwrap(), their_address);
    ours.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_opens_to_us_we_receive_and_spend_and_both_close() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let lsp = stage.devnet.lsp().unwrap();
    let ours = node.node_id().parse().unwrap();
    until("the LSP to be connected", || lsp.is_connected_to(ours)).await;
    // We do not listen, so the LSP opens over our connection; the address it would dial otherwise is never used.
    lsp.open_channel(ours, "127.0.0.1:9".parse().unwrap(), 300_000, 0, false)
        .await
        .unwrap();
    stage.devnet.mine(6).await.unwrap();
    stage.usable(&node).await;
    assert!(node.balances().receivable_sat > 250_000 && node.balances().lightning_sat == 0);

    let invoice = node
        .create_invoice(Some(120_000_000), "for the cake")
        .await
        .unwrap();
    let Destination::Bolt11 {
        amount_msat,
        description,
        ..
    } = node.parse(&invoice.bolt11).unwrap()
    else {
        panic!("an invoice was expected");
    };
    assert_eq!(
        (amount_msat, description.as_str()),
        (Some(120_000_000), "for the cake")
    );
    assert_eq!(
        node.pay(&invoice.bolt11, None).await.unwrap_err().code(),
        ErrorCode::InsufficientFunds
    );
    let hash = lsp.pay(&invoice.bolt11, None).await.unwrap();
    lsp.wait_payment(&hash, LIMIT).await.unwrap();
    until("the payment to be ours", || {
        node.balances().lightning_sat > 100_000
    })
    .await;
    let received = node.payment(&hash).await.unwrap().unwrap();
    assert_eq!(
        (received.status, received.direction),
        (PaymentStatus::Succeeded, Direction::Received)
    );
    let own = node
        .pay(&node.create_invoice(Some(1_000), "").await.unwrap().bolt11, None)
        .await;
    assert_eq!(own.unwrap_err().code(), ErrorCode::InvalidInput);

    let bolt11 = lsp.invoice(Some(20_000_000), "back").await.unwrap();
    let sent = node.pay(&bolt11, None).await.unwrap();
    assert_eq!(
        node.pay(&bolt11, None).await.unwrap_err().code(),
        ErrorCode::AlreadyPaid
    );
    let mut paid = None;
    for _ in 0..400 {
        paid = node.payment(&sent.id).await.unwrap();
        if paid.as_ref().unwrap().status == PaymentStatus::Succeeded {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(paid.unwrap().status, PaymentStatus::Succeeded);

    // Together: 100,000 sat less nothing come home, because the opener pays the closing fee.
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, false).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    stage.devnet.mine(6).await.unwrap();
    node.sync().await.unwrap();
    let balances = node.balances();
    assert_eq!(
        (balances.onchain_confirmed_sat, balances.total_sat),
        (100_000, 100_000),
        "{balances:?}"
    );
    assert_eq!(
        node.close_channel(&channel, false).await.unwrap_err().code(),
        ErrorCode::ChannelNotFound
    );
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_alone_bring_the_onchain_money_back() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    assert_eq!(
        node.open_channel(&peer(&stage.devnet), 470_000)
            .await
            .unwrap_err()
            .code(),
        ErrorCode::InsufficientFunds,
        "the reserve for two channels stays"
    );
    let to = stage
        .devnet
        .lsp()
        .unwrap()
        .new_address()
        .await
        .unwrap()
        .to_string();
    let sent = node.send_onchain(&to, Some(50_000)).await.unwrap();
    assert_eq!(
        (sent.status, sent.amount_msat),
        (PaymentStatus::Pending, Some(50_000_000))
    );
    let channel = node.channels().remove(0).channel_id;
    node.close_channel(&channel, false).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    stage.devnet.mine(6).await.unwrap();
    node.sync().await.unwrap();
    let balances = node.balances();
    assert_eq!(balances.total_sat, balances.onchain_confirmed_sat);
    let words = lifecycle.reveal_words().await.unwrap();
    lifecycle.enter_background().await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), Network::Regtest, stage.devnet.esplora_url());
    let restored = Lifecycle::new(config);
    restored.restore_wallet(&words, None).await.unwrap();
    let again = restored.enter_foreground().await.unwrap();
    again.sync().await.unwrap();
    assert_eq!(
        again.balances().onchain_confirmed_sat,
        balances.onchain_confirmed_sat
    );
    restored.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_give_us_is_understood_or_refused_in_types() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let address = node.new_address().await.unwrap();
    let invoice = node.create_invoice(Some(5_000), "x").await.unwrap().bolt11;
    let onchain = |amount_sat| Destination::Onchain {
        address: address.clone(),
        amount_sat,
    };
    assert_eq!(node.parse(&address).unwrap(), onchain(None));
    assert_eq!(
        node.parse(&format!("  BITCOIN:{address}?amount=0.00012345 "))
            .unwrap(),
        onchain(Some(12_345))
    );
    assert!(matches!(
        node.parse(&format!("lightning:{invoice}")).unwrap(),
        Destination::Bolt11 { .. }
    ));
    assert!(matches!(
        node.parse(&invoice.to_uppercase()).unwrap(),
        Destination::Bolt11 { .. }
    ));
    let both = format!("bitcoin:{address}?lightning={invoice}&amount=0.1");
    assert!(matches!(node.parse(&both).unwrap(), Destination::Bolt11 { .. }));
    let broken = format!("bitcoin:{address}?lightning=lnbcrt1nonsense");
    assert_eq!(node.parse(&broken).unwrap(), onchain(None));

    let mainnet_invoice = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";
    let long = "a".repeat(10_000);
    let table = [
        ("", ErrorCode::InvalidInput),
        ("lnbcrt1", ErrorCode::InvalidInput),
        ("bitcoin:", ErrorCode::InvalidInput),
        ("bitcoin:?req-x=1", ErrorCode::InvalidInput),
        ("https://example.com", ErrorCode::InvalidInput),
        ("ünïcödé:\u{202e}", ErrorCode::InvalidInput),
        (
            "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
            ErrorCode::WrongNetwork,
        ),
        (mainnet_invoice, ErrorCode::WrongNetwork),
        (&long, ErrorCode::InvalidInput),
    ];
    for (text, code) in table {
        assert_eq!(node.parse(text).unwrap_err().code(), code, "{text}");
    }
    for amount in ["-1", "1e3", "99999999999999999999", "0.000000001", "NaN"] {
        let text = format!("bitcoin:{address}?amount={amount}");
        assert_eq!(
            node.parse(&text).unwrap_err().code(),
            ErrorCode::InvalidInput,
            "{text}"
        );
    }
    lifecycle.enter_background().await.unwrap();
}
