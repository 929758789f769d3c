//! The program on an Electrum server alone.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use common::Wallet;
use pilotlight_devnet::Electrs;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_made_paid_and_woken_over_electrum() {
    if !Electrs::wanted("the program on an Electrum server") {
        return;
    }
    let wallet = Wallet::new().await;
    let electrs = Electrs::start(&wallet.devnet).await.unwrap();
    let url = electrs.url();
    let on = |args: &[&'static str]| [&["--electrum", &url], args].concat();
    wallet.ask(&on(&["init"])).await;
    let address = wallet.ask(&on(&["address"])).await;
    let address: bitcoin::Address<_> = address["address"].as_str().unwrap().parse().unwrap();
    let amount = bitcoin::Amount::from_sat(60_000);
    wallet
        .devnet
        .fund(&address.assume_checked(), amount)
        .await
        .unwrap();
    wallet.devnet.mine(2).await.unwrap();
    electrs.settle().await.unwrap();
    let record = wallet.ask(&on(&["wake"])).await;
    assert_eq!(record["outcome"], "completed", "{record:#}");
    let balance = wallet.ask(&on(&["balance"])).await;
    assert_eq!(balance["onchain_confirmed_sat"], 60_000, "{balance:#}");
    assert_eq!(
        wallet.devnet.traffic().requests,
        0,
        "nobody asked the Esplora server"
    );
}
