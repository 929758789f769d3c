//! Channels that begin and end in peace, and what reorganisations do to that.

use crate::common::{Stage, peer, until};
use crate::contest::Contest;

#[tokio::test(flavor = "multi_thread")]
async fn a_funding_is_confirmed_and_reorganised() {
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    node.open_channel(&peer(&stage.devnet), 500_000).await.unwrap();
    until("the funding in the mempool", || {
        node.channels()
            .iter()
            .any(|channel| channel.funding_txid.is_some())
    })
    .await;
    node.sync().await.unwrap();
    lifecycle.enter_background().await.unwrap();
    stage.devnet.lsp().unwrap().stop().await.unwrap();

    let contest = Contest::new(&stage).await;
    let open = contest.look("in the mempool").await;
    assert_eq!(open.channels.len(), 1, "{open:#?}");
    contest.mine(1).await;
    contest.look("confirmed once").await;
    stage.devnet.reorg(1).await.unwrap();
    contest.look("in another block").await;
    stage.devnet.reorg_empty(2).await.unwrap();
    let back = contest.look("back in the mempool").await;
    assert_eq!(
        back.channels.len(),
        1,
        "never ready, so nothing was lost: {back:#?}"
    );
    contest.mine(6).await;
    contest.look("confirmed").await;
    stage.devnet.reorg(3).await.unwrap();
    contest.look("reorganised above it").await;
    stage.devnet.reorg(10).await.unwrap();
    // LDK gives a channel up whose funding it once called deep enough, even if the funding is in another block by then.
    let last = contest.look("reorganised with it").await;
    assert!(last.channels.is_empty(), "{last:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_close_with_reorganisations() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let channel = node.channels().remove(0);
    node.close_channel(&channel.channel_id, false).await.unwrap();
    until("the channel to be gone", || node.channels().is_empty()).await;
    lifecycle.enter_background().await.unwrap();
    stage.devnet.lsp().unwrap().stop().await.unwrap();

    let contest = Contest::new(&stage).await;
    contest.look("in the mempool").await;
    contest.mine(1).await;
    contest.look("confirmed").await;
    for depth in [1, 3] {
        stage.devnet.reorg(depth).await.unwrap();
        contest.look("reorganised").await;
    }
    contest.mine(8).await;
    contest.look("final").await;
    stage.devnet.reorg(10).await.unwrap();
    contest.look("reorganised deeply").await;
    contest.mine(6).await;
    let last = contest.look("final again").await;
    assert!(last.channels.is_empty() && last.claimable.is_empty(), "{last:#?}");
}
