//! Commits that are given up half way, as every stage of a wake may be.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Stage;
use pilotlight_node::PaymentStatus;

const PAYMENTS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_waits_for_any_more_is_neither_lost_nor_forgotten() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let lsp = stage.devnet.lsp().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let giving_up = tokio::spawn({
        let (node, done) = (Arc::clone(&node), Arc::clone(&done));
        async move {
            let mut given_up = 0_u32;
            while !done.load(Ordering::SeqCst) {
                // A write takes some milliseconds: it is ordered, and its end is not waited for.
                let waited = tokio::time::timeout(Duration::from_millis(1), node.persist()).await;
                given_up += u32::from(waited.is_err());
            }
            given_up
        }
    });
    for amount in 0..PAYMENTS {
        let invoice = lsp.invoice(Some(1_000_000 + amount), "").await.unwrap();
        let payment = node.pay(&invoice, None).await.unwrap();
        let begun = Instant::now();
        while node.payment(&payment.id).await.unwrap().unwrap().status != PaymentStatus::Succeeded {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "payment {amount} hangs: LDK was never told that an update is on disk"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    done.store(true, Ordering::SeqCst);
    let given_up = giving_up.await.unwrap();
    assert!(given_up > 20, "only {given_up} were given up");
    lifecycle.enter_background().await.unwrap();
    // What is on disk opens, and is live.
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    lifecycle.enter_background().await.unwrap();
}
