//! So far behind: a block, a day, two weeks; and a wallet that comes back from its words and knows nothing.

use crate::common::Stage;
use crate::contest::Contest;

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_a_few_blocks_and_two_weeks_behind() {
    let stage = Stage::with_channel().await;
    let contest = Contest::new(&stage).await;
    contest.look("at the tip").await;
    contest.look("again, nothing has happened").await;
    contest.mine(1).await;
    contest.look("a block").await;
    contest.mine(144).await;
    contest.look("a day").await;
    contest.mine(1_855).await;
    let last = contest.look("two weeks").await;
    assert_eq!(last.channels.len(), 1, "{last:#?}");
    assert!(last.spends.is_empty(), "{last:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_from_its_words_finds_its_coins_and_what_a_channel_paid_out() {
    let stage = Stage::with_channel().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    // Coins at several addresses, one of them spent, and a channel that ended well.
    stage.fund_coins(&node, 3).await;
    let channel = node.channels().remove(0);
    node.close_channel(&channel.channel_id, false).await.unwrap();
    crate::common::until("the channel to be gone", || node.channels().is_empty()).await;
    stage.devnet.mine(3).await.unwrap();
    node.sync().await.unwrap();
    let before = node.balances();
    lifecycle.enter_background().await.unwrap();
    stage.devnet.lsp().unwrap().stop().await.unwrap();

    let contest = Contest::of_the_words(&stage).await;
    let found = contest.look("from the words").await;
    assert_eq!(
        found.in_blocks[0],
        format!("{} sat", before.onchain_confirmed_sat)
    );
    contest.mine(1).await;
    contest.look("a block later").await;
    stage.devnet.reorg(3).await.unwrap();
    contest.look("reorganised").await;
}
