//! A payment that has reached the wallet and whose sender's node went away before it could hear so.

use bitcoin::OutPoint;
use lightning::util::persist::KVStoreSync;
use pilotlight_node::{GrantKind, SafeUntilReason, StageEnd, StageName, WakeRecord};
use pilotlight_store::Store;

use super::{Stage, cheat, grant, until};

/// Whether a wake saw the chain.
pub fn looked(wake: &WakeRecord) {
    assert_eq!(
        wake.stage(StageName::Chain).unwrap().end,
        StageEnd::Done,
        "{wake:#?}"
    );
}

/// Reads or writes a payment's row past the wallet, which must be closed.
fn row(stage: &Stage, hash: &str, put: Option<&[u8]>) -> Vec<u8> {
    let store = Store::open(stage.config.data_dir.join("store")).unwrap();
    let was = KVStoreSync::read(&store, "pilotlight", "payment", hash).unwrap();
    if let Some(bytes) = put {
        KVStoreSync::write(&store, "pilotlight", "payment", hash, bytes.to_vec()).unwrap();
    }
    store.close().unwrap();
    was
}

/// A wallet that a payment of 100,000 sat has reached, and whose LSP went away before it could hear the preimage. Besides
/// the channel it has one coin and so many more. Gives the channel's funding and the payment's hash.
pub async fn reached(coins: u32) -> (Stage, OutPoint, String) {
    let stage = Stage::with_channel().await;
    let lsp = stage.devnet.lsp().unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    stage.fund_coins(&node, coins).await;
    // The LSP must have something to pay with.
    cheat::pay(&stage, &node, 220_000).await;
    cheat::calm(&node).await;
    let invoice = node.create_invoice(Some(100_000_000), "rent").await.unwrap();
    let hash = invoice.payment_hash.clone();
    lifecycle.enter_background().await.unwrap();

    // While its row is damaged, the wallet does not claim it: LDK is told that the event could not be handled.
    let good = row(&stage, &hash, Some(b"damaged"));
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    lsp.pay(&invoice.bolt11, None).await.unwrap();
    until("the payment to arrive", || {
        let moment = node.safety().safe_until;
        moment.is_some_and(|moment| moment.reason == SafeUntilReason::IncomingPayment)
    })
    .await;
    let funding = lsp.channels()[0].funding.unwrap();
    // Both sides are bound to it when nothing of it moves any more, which is what a wake waits for.
    looked(&lifecycle.wake(grant(GrantKind::Refresh, 30)).await);
    lifecycle.enter_background().await.unwrap();
    lsp.stop().await.unwrap();
    row(&stage, &hash, Some(&good));
    (stage, funding, hash)
}
