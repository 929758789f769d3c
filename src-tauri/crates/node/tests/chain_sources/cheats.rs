//! A revoked commitment: every source shows it, and its punishment, wherever the blocks end up.

use bitcoin::Txid;
use serde_json::{Value, json};

use crate::common::Stage;
use crate::common::cheat::{Betrayed, betrayed, penalty};
use crate::contest::{Contest, Scout};

/// A wallet, closed, and the revoked commitment in the mempool.
async fn cheated() -> (Stage, Txid) {
    let stage = Stage::with_channel().await;
    let Betrayed { old, node_id, .. } = betrayed(&stage).await;
    let cheat = old.force_close(node_id).await.unwrap();
    (stage, cheat)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_is_seen_wherever_its_block_ends_up() {
    let (stage, cheat) = cheated().await;
    let contest = Contest::new(&stage).await;
    contest.look("the cheat is in the mempool").await;
    contest.mine(1).await;
    let seen = contest.look("the cheat is confirmed").await;
    assert!(
        seen.spends.iter().any(|outpoint| outpoint.txid == cheat),
        "{seen:#?}"
    );
    contest.turns("the cheat").await;
    contest.mine(6).await;
    contest.look("for good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_is_kept_through_reorganisations() {
    let (stage, cheat) = cheated().await;
    let contest = Contest::new(&stage).await;
    contest.mine(1).await;
    contest.look("the cheat is confirmed").await;
    contest.mine(1).await;
    contest.look("punished").await;
    assert!(penalty(&stage, cheat).await.height.is_some());
    contest.turns("the penalty").await;
    contest.mine(6).await;
    contest.look("for good").await;
    contest.mine(6).await;
    contest.look("swept").await;
}

/// What spends an output that its block made LDK watch: in that block itself, and in the next, read in one look.
#[tokio::test(flavor = "multi_thread")]
async fn a_spend_of_what_its_own_block_made_us_watch_is_seen() {
    let (stage, cheat) = cheated().await;
    let one_block = Contest::new(&stage).await;
    let two_blocks = one_block.afresh();
    // Another wallet with the same keys sees the cheat first, and punishes it.
    let scout = Scout::of(&one_block);
    stage.devnet.mine(1).await.unwrap();
    scout.look().await;
    let penalty = penalty(&stage, cheat).await.transaction;
    let punishment = penalty.compute_txid();
    let height = async |txid: &Txid| stage.devnet.transaction(txid).await.unwrap().unwrap().height;

    // A reorganisation throws the penalty out of the mempool: its lock time is the height at which it was made.
    stage.devnet.reorg_empty(1).await.unwrap();
    stage.devnet.broadcast(&penalty).await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    assert!(height(&cheat).await.is_some());
    assert_eq!(height(&cheat).await, height(&punishment).await);
    let seen = one_block.look("both in one block").await;
    assert!(
        seen.spends.iter().all(|outpoint| outpoint.txid != cheat),
        "it is punished: {seen:#?}"
    );
    one_block.mine(9).await;
    one_block.look("both in one block, ten deep").await;

    stage.devnet.reorg_empty(10).await.unwrap();
    let nobody = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk";
    let _: Value = stage
        .devnet
        .rpc()
        .call("generateblock", json!([nobody, [cheat]]))
        .await
        .unwrap();
    let _ = stage.devnet.broadcast(&penalty).await;
    stage.devnet.mine(1).await.unwrap();
    assert_eq!(
        height(&cheat).await.map(|height| height + 1),
        height(&punishment).await
    );
    two_blocks.look("one after the other").await;
    one_block.look("one after the other, after all").await;
}
