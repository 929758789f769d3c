//! The whole wallet on compact block filters, against a real Bitcoin peer.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{BlockHash, Txid};
use common::Stage;
use common::cheat::{Betrayed, betrayed, penalty};
use common::faces::Face;
use pilotlight_devnet::{Fault, FaultKind};
use pilotlight_node::oracle::{AtRest, Engine};
use pilotlight_node::{
    ChainChoice, Depth, ErrorCode, GrantKind, Lifecycle, StageEnd, StageName, WakeOutcome, WakeRecord,
};

/// The wallet hears the chain from these peers alone.
fn on_filters(stage: &mut Stage, peers: &[std::net::SocketAddr], required: usize) {
    stage.config.chain = ChainChoice::Filters {
        peers: peers.iter().map(|peer| (*peer).into()).collect(),
        required,
        proxy: None,
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_funds_opens_pays_force_closes_and_sweeps_on_filters_alone() {
    let mut stage = Stage::new().await;
    let second = Face::honest(stage.devnet.p2p_address()).await;
    let peers = [stage.devnet.p2p_address(), second.address];
    on_filters(&mut stage, &peers, 2);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    let mine = async |blocks| {
        stage.devnet.mine(blocks).await.unwrap();
    };
    stage.open_pay_close_and_sweep(&node, mine).await;
    lifecycle.enter_background().await.unwrap();
}

/// A wallet on filters that slept while a revoked commitment was put in a block, which has some blocks above it.
struct Cheated {
    stage: Stage,
    cheat: Txid,
    /// The block with the cheat.
    height: u32,
    block: BlockHash,
    /// The block before it.
    before: BlockHash,
}

async fn cheated(blocks_above: u32) -> Cheated {
    let stage = Stage::with_channel().await;
    let Betrayed { old, node_id, .. } = betrayed(&stage).await;
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    stage.devnet.mine(20).await.unwrap();
    let (_, before) = stage.devnet.tip().await.unwrap();
    let cheat = old.force_close(node_id).await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    let (height, block) = stage.devnet.tip().await.unwrap();
    stage.devnet.mine(blocks_above).await.unwrap();
    Cheated {
        stage,
        cheat,
        height,
        block,
        before,
    }
}

impl Cheated {
    /// One wake with these peers. The cheat is found and punished, and the liar is on record.
    async fn is_punished(&mut self, peers: &[SocketAddr], liar: &Face, words: &str) -> WakeRecord {
        on_filters(&mut self.stage, peers, 2);
        let wake = self.stage.wake(GrantKind::Refresh, 30).await;
        assert_eq!(
            wake.stage(StageName::Chain).unwrap().end,
            StageEnd::Done,
            "{wake:#?}"
        );
        assert_eq!(wake.breaches, 1, "{wake:#?}");
        assert_eq!(penalty(&self.stage, self.cheat).await.height, None, "sent");
        let name = liar.address.to_string();
        assert!(
            wake.reports
                .iter()
                .any(|report| report.contains(&name) && report.contains(words)),
            "{wake:#?}"
        );
        wake
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_behind_a_false_filter_is_punished_and_the_liar_is_on_record() {
    let mut cheated = cheated(20).await;
    let real = cheated.stage.devnet.p2p_address();
    let liar = Face::hiding(real, cheated.block, cheated.height).await;
    let wake = cheated
        .is_punished(&[liar.address, real], &liar, "is not asked again")
        .await;
    assert_eq!(wake.reports.len(), 1, "{wake:#?}");
    // What was said once is not said again; that one peer is too few, is said by name.
    cheated.stage.devnet.mine(1).await.unwrap();
    let wake = cheated.stage.wake(GrantKind::Refresh, 30).await;
    let error = wake.error.as_ref().unwrap();
    assert_eq!(
        (wake.outcome, error.code),
        (WakeOutcome::Failed, ErrorCode::ChainSyncFailed)
    );
    assert!(error.detail.contains(&liar.address.to_string()), "{wake:#?}");
    assert_eq!(wake.breaches, 1, "what was known is not forgotten");
    // With another peer in its place all goes on.
    let third = Face::honest(real).await;
    on_filters(&mut cheated.stage, &[liar.address, real, third.address], 2);
    let wake = cheated.stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        wake.stage(StageName::Chain).unwrap().end,
        StageEnd::Done,
        "{wake:#?}"
    );
    assert!(wake.reports.is_empty(), "{wake:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_whose_block_is_withheld_is_punished_and_who_withholds_it_is_on_record() {
    let mut cheated = cheated(20).await;
    let (real, hidden) = (cheated.stage.devnet.p2p_address(), cheated.block);
    let liar = Face::changing(real, move |message, _| match message {
        NetworkMessage::Block(block) if block.block_hash() == hidden => None,
        other => Some(other),
    })
    .await;
    let words = format!("did not give block {}", cheated.height);
    let wake = cheated.is_punished(&[liar.address, real], &liar, &words).await;
    let chain = wake.stage(StageName::Chain).unwrap();
    assert!(chain.duration_ms < 12_000, "half a wake is too much: {wake:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_above_the_tip_that_a_peer_shows_is_punished_and_the_peer_is_on_record() {
    // A few blocks are read whole; for many, another peer takes its place.
    for (above, with_third) in [(4, false), (30, true)] {
        let mut cheated = cheated(above).await;
        let real = cheated.stage.devnet.p2p_address();
        let hidden = Mutex::new(HashSet::from([cheated.before]));
        let liar = Face::changing(real, move |message, _| {
            Some(match message {
                NetworkMessage::Headers(mut headers) => {
                    let mut hidden = hidden.lock().unwrap();
                    headers.retain(|header| {
                        let hide = hidden.contains(&header.prev_blockhash);
                        if hide {
                            hidden.insert(header.block_hash());
                        }
                        !hide
                    });
                    NetworkMessage::Headers(headers)
                }
                other => other,
            })
        })
        .await;
        let third = Face::honest(real).await;
        let mut peers = vec![liar.address, real];
        peers.extend(with_third.then_some(third.address));
        let words = format!("does not show the newest {} blocks", above + 1);
        cheated.is_punished(&peers, &liar, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_among_silent_peers_ends_in_time_and_says_why() {
    let mut stage = Stage::with_channel().await;
    let (one, two) = (Face::silent().await, Face::silent().await);
    on_filters(&mut stage, &[one.address, two.address], 2);
    let begun = Instant::now();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(wake.outcome, WakeOutcome::Failed, "{wake:#?}");
    let chain = wake.stage(StageName::Chain).unwrap();
    assert_eq!(
        chain.error.as_ref().unwrap().code,
        ErrorCode::SyncTimeout,
        "{wake:#?}"
    );
    assert!(wake.safe_until_ms.is_some(), "what was known is not forgotten");
}

/// A peer that counts the filters it hands out.
async fn counting(upstream: SocketAddr) -> (Face, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let face = Face::changing(upstream, move |message, _| {
        if matches!(message, NetworkMessage::CFilter(_)) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Some(message)
    })
    .await;
    (face, count)
}

/// A wallet that was never opened, on filters alone, on a chain of more than 2,000 blocks.
async fn late() -> (Stage, [(Face, Arc<AtomicUsize>); 2]) {
    let mut stage = Stage::new().await;
    stage.devnet.lsp().unwrap().stop().await.unwrap();
    stage.devnet.mine(2_000).await.unwrap();
    let real = stage.devnet.p2p_address();
    let faces = [counting(real).await, counting(real).await];
    on_filters(&mut stage, &[faces[0].0.address, faces[1].0.address], 2);
    (stage, faces)
}

fn filters(faces: &[(Face, Arc<AtomicUsize>)]) -> usize {
    faces.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_wallet_asks_for_no_filters_below_its_beginning() {
    let (stage, faces) = late().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(
        node.checkpoint().unwrap().height,
        stage.devnet.height().await.unwrap()
    );
    assert_eq!(filters(&faces), 0);

    // A payment is found, also after its block was reorganised together with those in which the wallet began.
    stage.fund(&node, 70_000).await;
    stage.devnet.reorg(5).await.unwrap();
    node.sync().await.unwrap();
    stage.devnet.mine(1).await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_confirmed_sat, 70_000);
    assert!(filters(&faces) < 30, "{}", filters(&faces));
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_paid_a_new_wallet_before_it_saw_the_chain_is_found() {
    let (stage, _faces) = late().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
    // The node may have begun to look by itself; either it began above and the payment is above that, or it did not.
    let amount = bitcoin::Amount::from_sat(70_000);
    stage
        .devnet
        .fund(&address.assume_checked(), amount)
        .await
        .unwrap();
    stage.devnet.mine(10).await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(node.balances().onchain_confirmed_sat, 70_000);
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_from_its_words_is_read_from_the_height_that_is_given() {
    let (stage, faces) = late().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    node.sync().await.unwrap();
    stage.fund(&node, 70_000).await;
    let paid = stage.devnet.height().await.unwrap();
    let words = lifecycle.reveal_words().await.unwrap();
    lifecycle.enter_background().await.unwrap();
    stage.devnet.mine(20).await.unwrap();

    // From below the payment, from its very block, and from nowhere: from the first block.
    for (since, found, most) in [
        (Some(paid - 10), 70_000, 40),
        (Some(paid), 0, 25),
        (None, 70_000, 3_000),
    ] {
        let before = filters(&faces);
        let dir = tempfile::tempdir().unwrap();
        let mut config = stage.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        let lifecycle = Lifecycle::new(config);
        lifecycle.restore_wallet_since(&words, None, since).await.unwrap();
        let node = lifecycle.enter_foreground().await.unwrap();
        node.sync().await.unwrap();
        assert_eq!(node.balances().onchain_confirmed_sat, found, "{since:?}");
        let asked = filters(&faces) - before;
        assert!(asked < most, "{asked} filters, {since:?}");
        assert!(since.is_some() || asked > 2_000, "{asked} filters");
        lifecycle.enter_background().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_named_for_its_rates_is_asked_for_nothing_else_and_need_not_answer() {
    let mut stage = Stage::new().await;
    let peer = stage.devnet.p2p_address();
    on_filters(&mut stage, &[peer], 1);
    stage.config.fees_from = Some(stage.devnet.esplora_url());
    let says = |kind| {
        stage.devnet.faults().clear();
        stage.devnet.faults().set(Fault::new("/fee-estimates", kind));
    };
    stage.devnet.reset_traffic();
    let wallet = AtRest::open(&stage.config, Engine::Filters).unwrap();
    let look = async || {
        wallet.sync(Depth::Quick).await.unwrap();
        wallet.take_fees().await.unwrap();
        wallet.rate()
    };
    for sat_per_vb in [7, 40] {
        says(FaultKind::Fees { sat_per_vb });
        assert_eq!(look().await, u64::from(sat_per_vb) * 250);
    }
    for silence in [
        FaultKind::Garbage,
        FaultKind::Status {
            code: 500,
            retry_after_secs: None,
        },
    ] {
        says(silence);
        assert_eq!(look().await, 40 * 250, "the last known rates hold");
    }
    wallet.close().await.unwrap();

    says(FaultKind::Hang);
    stage.devnet.mine(3).await.unwrap();
    let wake = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(wake.outcome, WakeOutcome::Completed, "{wake:#?}");
    assert_eq!(wake.blocks_synced, 3, "{wake:#?}");
    let asked: Vec<String> = stage.devnet.traffic().endpoints.into_keys().collect();
    assert_eq!(asked, ["GET /fee-estimates"]);
}
