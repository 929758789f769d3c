//! A wallet that cannot run: its monitors look at the chain all the same, punish, claim, and never close a channel.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::path::PathBuf;

use bitcoin::{OutPoint, Txid};
use common::cheat::{Betrayed, be_paid, betrayed, pay, penalty, quiet};
use common::{Stage, grant, until};
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY as KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE as PRIMARY,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE as SECONDARY, KVStoreSync,
};
use pilotlight_devnet::{Fault, FaultKind, copy_folder};
use pilotlight_node::{
    CapsuleSlot, ErrorCode, GrantKind, PaymentStatus, SafeUntilReason, StageEnd, StageName, WakeOutcome,
    WakeRecord,
};
use pilotlight_store::Store;

/// What the manager's row holds when it is damaged.
const NONSENSE: [u8; 40] = [0x5a; 40];

fn store_dir(stage: &Stage) -> PathBuf {
    stage.config.data_dir.join("store")
}

fn manager(stage: &Stage) -> Vec<u8> {
    let store = Store::open(store_dir(stage)).unwrap();
    let row = KVStoreSync::read(&store, PRIMARY, SECONDARY, KEY).unwrap();
    store.close().unwrap();
    row
}

/// Makes the channel manager unreadable, and nothing else.
fn damage_manager(stage: &Stage) {
    let store = Store::open(store_dir(stage)).unwrap();
    KVStoreSync::write(&store, PRIMARY, SECONDARY, KEY, NONSENSE.to_vec()).unwrap();
    store.close().unwrap();
}

async fn capsules(stage: &Stage) -> Vec<CapsuleSlot> {
    stage.lifecycle().inspect_capsules().await.unwrap()
}

fn watched(wake: &WakeRecord) {
    assert_eq!(wake.outcome, WakeOutcome::Partial, "{wake:#?}");
    assert_eq!(wake.error.as_ref().unwrap().code, ErrorCode::StorageCorrupt);
    assert_eq!(wake.stage(StageName::Open).unwrap().end, StageEnd::Failed);
    assert_eq!(
        wake.stage(StageName::Chain).unwrap().end,
        StageEnd::Done,
        "{wake:#?}"
    );
    assert_eq!(
        wake.stage(StageName::Report).unwrap().end,
        StageEnd::Done,
        "{wake:#?}"
    );
    assert!(
        wake.stage(StageName::Peers).is_none(),
        "no peer must be met: {wake:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_whose_manager_is_unreadable_punishes_a_cheat_with_its_monitors_alone() {
    let stage = Stage::with_channel().await;
    let Betrayed { old, node_id, .. } = betrayed(&stage).await;
    damage_manager(&stage);
    let before = capsules(&stage).await;
    stage.devnet.mine(1_000).await.unwrap();
    let cheat = old.force_close(node_id).await.unwrap();
    stage.devnet.mine(1_000).await.unwrap();

    let lifecycle = stage.lifecycle();
    let wake = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    watched(&wake);
    assert_eq!((wake.breaches, wake.blocks_synced), (1, 2_000), "{wake:#?}");
    assert_eq!(wake.safe_until_reason, Some(SafeUntilReason::Breach));
    let first = penalty(&stage, cheat).await;
    assert_eq!(first.height, None);

    // A later wake gives it more when fees rise.
    stage
        .devnet
        .faults()
        .set(Fault::new("/", FaultKind::Fees { sat_per_vb: 60 }));
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    watched(&wake);
    assert_eq!(wake.blocks_synced, 0);
    let second = penalty(&stage, cheat).await;
    assert!(
        second.fee_rate() >= 50.0,
        "{} after {}",
        second.fee_rate(),
        first.fee_rate()
    );

    // To the end: what is ours in the channel is swept as well, by nobody but the monitors and the sweeper.
    stage.devnet.mine(7).await.unwrap();
    watched(&stage.wake(GrantKind::Refresh, 30).await);
    stage.devnet.mine(7).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    watched(&wake);
    assert_eq!((wake.breaches, wake.safe_until_ms), (0, None), "{wake:#?}");
    let commitment = stage
        .devnet
        .transaction(&cheat)
        .await
        .unwrap()
        .unwrap()
        .transaction;
    let mut home = 0;
    for vout in 0..u32::try_from(commitment.output.len()).unwrap() {
        if let Some(spender) = stage.devnet.spender(&OutPoint::new(cheat, vout)).await.unwrap()
            && spender.height.is_some()
        {
            home += spender.transaction.output[0].value.to_sat();
        }
    }
    assert!(
        (460_000..500_000).contains(&home),
        "{home} of the channel's 500,000 sat"
    );

    assert_eq!(manager(&stage), NONSENSE, "the manager is not written");
    assert_eq!(
        capsules(&stage).await,
        before,
        "a good capsule is not replaced by one of this state"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_may_be_old_watches_and_never_closes_by_itself() {
    let stage = Stage::with_channel().await;
    let lsp = stage.devnet.lsp().unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    pay(&stage, &node, 200_000).await;
    // A payment hangs when the capsule is made: when it runs out, LDK closes the channel with the state it has.
    let held = lsp.held_invoice(50_000_000, [7; 32]).await.unwrap();
    let hanging = node.pay(&held, None).await.unwrap().id;
    until("the payment to arrive", || lsp.holds([7; 32])).await;
    lifecycle.enter_background().await.unwrap();
    let kept = tempfile::tempdir().unwrap();
    let (capsules, kept) = (stage.config.data_dir.join("capsules"), kept.path());
    copy_folder(&capsules, kept).unwrap();

    // Then it comes back, and others are made: that state is revoked, and costs everything if it is ever published.
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    lsp.refuse_held([7; 32]).await.unwrap();
    common::cheat::ended(&node, &hanging, PaymentStatus::Failed).await;
    be_paid(&stage, &node, 150_000).await;
    quiet(&stage, 50_000).await;
    let funding = lsp.channels()[0].funding.unwrap();
    let channel = lsp.channels()[0].clone();
    let node_id = node.node_id().parse().unwrap();
    lifecycle.enter_background().await.unwrap();

    std::fs::remove_dir_all(&capsules).unwrap();
    copy_folder(kept, &capsules).unwrap();
    let restored = stage.lifecycle().restore_capsule(None).await.unwrap();
    assert!(!restored.live, "{restored:?}");
    assert_eq!(
        stage.lifecycle().enter_foreground().await.err().unwrap().code(),
        ErrorCode::StorageCorrupt
    );

    // The old state's payment runs out.
    lsp.stop().await.unwrap();
    stage.devnet.mine(600).await.unwrap();
    for _ in 0..2 {
        let wake = stage.wake(GrantKind::Refresh, 30).await;
        watched(&wake);
        assert_eq!(
            stage.devnet.spender(&funding).await.unwrap(),
            None,
            "the channel was closed"
        );
        assert_eq!(stage.devnet.mempool().await.unwrap(), [] as [Txid; 0]);
        stage.devnet.mine(3).await.unwrap();
    }

    // The peer closes it: with a state that ours has never seen. What is ours in it comes home.
    lsp.start().await.unwrap();
    lsp.force_close_channel(&channel.user_channel_id, node_id)
        .await
        .unwrap();
    let closed = 'closed: {
        for _ in 0..200 {
            if let Some(seen) = stage.devnet.spender(&funding).await.unwrap() {
                break 'closed seen.transaction;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the peer did not close");
    };
    stage.devnet.mine(7).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    watched(&wake);
    assert_eq!(wake.breaches, 0);
    stage.devnet.mine(1).await.unwrap();
    let ours = u32::try_from(
        closed
            .output
            .iter()
            .position(|out| out.value.to_sat() > 400_000)
            .unwrap(),
    )
    .unwrap();
    let swept = stage
        .devnet
        .spender(&OutPoint::new(closed.compute_txid(), ours))
        .await
        .unwrap()
        .unwrap();
    assert!(
        swept.height.is_some() && swept.transaction.output[0].value.to_sat() > 440_000,
        "{swept:?}"
    );
}
