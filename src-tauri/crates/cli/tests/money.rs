//! A wallet's whole life on the command line, to the satoshi: fund, open, pay, receive, be killed, pay again, force-close,
//! sweep.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use bitcoin::Txid;
use bitcoin::secp256k1::PublicKey;
use common::{LIMIT, Wallet, until};
use pilotlight_devnet::PaymentState;
use serde_json::json;

const FUNDED_SAT: u64 = 1_000_000;
const CHANNEL_SAT: u64 = 500_000;
/// Value of an anchor output, in sat (BOLT 3).
const ANCHOR_SAT: u64 = 330;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallets_life_adds_up_to_the_satoshi() {
    let wallet = Wallet::new().await;
    let devnet = wallet.devnet.clone();
    let lsp = devnet.lsp().unwrap();

    // Create; a second time is refused.
    let words = wallet.ask(&["init"]).await;
    assert_eq!(words["mnemonic"].as_str().unwrap().split(' ').count(), 12);
    let (code, words) = wallet.fail(&["init"]).await;
    assert_eq!(code, 3);
    assert!(words.contains("already a wallet"), "{words}");

    // Fund, open.
    let faucet = wallet.fund(FUNDED_SAT).await;
    assert_eq!(wallet.balance("onchain_confirmed_sat").await, FUNDED_SAT);
    let channel_id = wallet.open(CHANNEL_SAT).await;
    let channels = wallet.ask(&["channels"]).await;
    assert_eq!(channels[0]["usable"], true, "{channels}");
    assert_eq!(channels[0]["capacity_sat"], CHANNEL_SAT);
    let funding: Txid = channels[0]["funding_txid"].as_str().unwrap().parse().unwrap();

    // Pay and be paid.
    wallet.pay_lsp(100_000).await;
    let (mut receiving, invoice) = wallet.begin(&["invoice", "40000000", "--wait", "60"]).await;
    let hash = lsp.pay(invoice["bolt11"].as_str().unwrap(), None).await.unwrap();
    assert_eq!(
        lsp.wait_payment(&hash, LIMIT).await.unwrap().state,
        PaymentState::Succeeded
    );
    assert!(
        tokio::time::timeout(LIMIT, receiving.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
    let mut paid_sat = 100_000;

    // Killed while it is up, and again in the middle of a payment; what it was paid for must come out right.
    let (mut up, running) = wallet.begin(&["run"]).await;
    let ours: PublicKey = running["node_id"].as_str().unwrap().parse().unwrap();
    until("the wallet to connect", || lsp.is_connected_to(ours)).await;
    up.kill().await.unwrap();
    until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;
    paid_sat += paid_while_killed(&wallet, ours).await;

    // Close alone, wait, sweep.
    wallet.ask(&["close", &channel_id, "--force"]).await;
    devnet.mine(1).await.unwrap();
    assert!(wallet.balance("closing_sat").await > 0, "the money is on its way");
    let started = Instant::now();
    loop {
        // Past the delay that the peer asked for, in steps, as days would pass.
        devnet.mine(50).await.unwrap();
        let record = wallet
            .ask(&["wake", "--kind", "refresh", "--budget-secs", "30"])
            .await;
        assert_eq!(record["outcome"], "completed", "{record}");
        let balance = wallet.ask(&["balance"]).await;
        if balance["closing_sat"] == 0 && balance["onchain_pending_sat"] == 0 {
            break;
        }
        assert!(started.elapsed() < LIMIT, "never swept: {balance}");
    }

    // Every satoshi: what came, less what was paid on Lightning, less every fee, less the anchors that were left behind.
    let Costs {
        fees_sat,
        anchors_left,
    } = costs(&wallet, funding, faucet).await;
    let balance = wallet.ask(&["balance"]).await;
    let expected = FUNDED_SAT + 40_000 - paid_sat - fees_sat - anchors_left * ANCHOR_SAT;
    let story = format!("{balance}, fees {fees_sat}, anchors left {anchors_left}");
    assert_eq!(balance["onchain_confirmed_sat"], expected, "{story}");
    assert_eq!(balance["total_sat"], expected, "{story}");
    assert_eq!(wallet.ask(&["channels"]).await, json!([]));
    eprintln!("adds up: {story}");
}

/// Pays and is killed on the way, at different moments; gives what arrived, in sat, the payment that ends it included.
async fn paid_while_killed(wallet: &Wallet, ours: PublicKey) -> u64 {
    let lsp = wallet.devnet.lsp().unwrap();
    let mut killed = Vec::new();
    for delay_ms in [0, 10, 20, 40, 80] {
        let amount_msat = 7_000_000 + delay_ms * 1_000;
        let invoice = lsp.invoice(Some(amount_msat), "killed").await.unwrap();
        let mut paying = wallet
            .command(&["pay", &invoice])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the payment to be on its way", || lsp.is_connected_to(ours)).await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        paying.kill().await.unwrap();
        until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;
        killed.push(amount_msat);
    }
    wallet.pay_lsp(50_000).await;
    let mut paid_sat = 50_000;
    let activity = wallet.ask(&["payments"]).await;
    for amount_msat in killed {
        let mut at_payee = lsp
            .payments()
            .into_iter()
            .filter(|payment| payment.amount_msat == Some(amount_msat));
        let arrived = at_payee.any(|payment| payment.state == PaymentState::Succeeded);
        let on_the_wire = amount_msat.to_string();
        let mut activity = activity.as_array().unwrap().iter();
        let ours = activity.find(|payment| payment["amount_msat"] == on_the_wire.as_str());
        eprintln!(
            "killed {amount_msat}: arrived {arrived}, ours {:?}",
            ours.map(|payment| &payment["status"])
        );
        if arrived {
            assert_eq!(
                ours.unwrap()["status"],
                "succeeded",
                "the payee has it, so we must know"
            );
            paid_sat += amount_msat / 1_000;
        } else if let Some(ours) = ours {
            assert_ne!(ours["status"], "succeeded", "the payee does not have it");
        }
    }
    paid_sat
}

/// What the channel cost on-chain.
struct Costs {
    fees_sat: u64,
    anchors_left: u64,
}

/// Adds up the fees of every transaction of ours, from what is in the blocks.
async fn costs(wallet: &Wallet, funding: Txid, faucet: Txid) -> Costs {
    let activity = wallet.ask(&["payments"]).await;
    let onchain = activity
        .as_array()
        .unwrap()
        .iter()
        .filter(|payment| payment["kind"] != "lightning");
    let mut ours = Vec::new();
    for payment in onchain {
        let txid: Txid = payment["id"].as_str().unwrap().parse().unwrap();
        if txid != faucet {
            ours.push(wallet.transaction(txid).await);
        }
    }
    let mut commitment = None;
    let mut anchors_left = 2;
    for input in ours.iter().flat_map(|transaction| &transaction.input) {
        let parent = wallet.transaction(input.previous_output.txid).await;
        if parent
            .input
            .iter()
            .any(|input| input.previous_output.txid == funding)
        {
            let spent = &parent.output[input.previous_output.vout as usize];
            anchors_left -= u64::from(spent.value.to_sat() == ANCHOR_SAT);
            commitment = Some(parent);
        }
    }
    let mut fees_sat = wallet
        .fee_sat(&commitment.expect("the commitment's output was swept"))
        .await;
    for transaction in &ours {
        fees_sat += wallet.fee_sat(transaction).await;
    }
    Costs {
        fees_sat,
        anchors_left,
    }
}
