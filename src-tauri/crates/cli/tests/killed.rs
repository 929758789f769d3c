//! A wallet that is killed while it pays, again and again: no channel may be lost to it, and no payment may be in doubt.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::process::Stdio;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use common::{Wallet, until};
use pilotlight_devnet::PaymentState;

const KILLS: u64 = 25;
/// From the peer's connection to the end of a payment takes some 40 ms here; the kills are spread over that.
const SPREAD_MS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_costs_a_channel_or_leaves_a_payment_in_doubt() {
    let wallet = Wallet::new().await;
    let lsp = wallet.devnet.lsp().unwrap();
    wallet.ask(&["init"]).await;
    wallet.fund(1_000_000).await;
    let channel_id = wallet.open(800_000).await;
    let ours: PublicKey = wallet.ask(&["node-id"]).await["node_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    wallet.ask(&["channels"]).await;
    until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;

    let mut amounts = Vec::new();
    for kill in 0..KILLS {
        let amount_msat = 1_000_000 + kill * 1_000;
        let invoice = lsp.invoice(Some(amount_msat), "killed").await.unwrap();
        let mut paying = wallet
            .command(&["pay", &invoice])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the wallet to connect", || lsp.is_connected_to(ours)).await;
        // Spread evenly, but not in order.
        let delay = kill * 7 % KILLS * SPREAD_MS / KILLS;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        paying.kill().await.unwrap();
        until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;
        amounts.push(amount_msat);
    }

    // One quiet start settles whatever hangs.
    let channels = wallet.ask(&["channels"]).await;
    assert_eq!(channels.as_array().unwrap().len(), 1, "{channels}");
    assert_eq!(channels[0]["channel_id"], channel_id.as_str());
    assert_eq!(channels[0]["usable"], true, "{channels}");
    wallet.pay_lsp(10_000).await;
    let activity = wallet.ask(&["payments"]).await;
    let at_payee = lsp.payments();
    let mut arrived_count = 0;
    for amount_msat in amounts {
        let on_the_wire = amount_msat.to_string();
        let arrived = at_payee
            .iter()
            .any(|p| p.amount_msat == Some(amount_msat) && p.state == PaymentState::Succeeded);
        arrived_count += usize::from(arrived);
        let ours = activity
            .as_array()
            .unwrap()
            .iter()
            .find(|payment| payment["amount_msat"] == on_the_wire.as_str());
        let succeeded = ours.is_some_and(|payment| payment["status"] == "succeeded");
        assert_eq!(succeeded, arrived, "{amount_msat} msat: {ours:?}");
    }
    eprintln!("{KILLS} kills, {arrived_count} payments arrived");
}
