//! Ways through the chain: from nothing, from far behind, through reorganisations, cut off at any moment.

use std::time::Duration;

use lightning::chain::WatchedOutput;
use lightning::chain::transaction::OutPoint;

use super::faces::Face;
use super::scene::Scene;
use crate::chain::Source;
use crate::chain::filters::pass::CHUNK_BLOCKS;
use crate::chain::filters::trail;

/// A number that looks random, from a seed (SplitMix64).
pub fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_found_from_any_distance_and_only_their_blocks_are_fetched() {
    let scene = Scene::new().await;
    let face = Face::honest(scene.devnet.p2p_address()).await;
    let scene = scene.restart(&[face.address], 1);
    let first = scene.pay_in(10_000).await;
    scene.devnet.mine(1).await.unwrap();
    scene.sync().await.unwrap();
    scene.assert_at_tip(&[&first]).await;
    assert_eq!(scene.confirmed_sat(), 10_000);
    assert!(scene.process.wallet.scanned(), "every block was read");
    assert!(face.asked("getdata") <= 2);

    // Nothing new: one question, no filter.
    let requests = scene.process.source.requests();
    let filters = face.asked("getcfilters");
    scene.sync().await.unwrap();
    assert_eq!(scene.process.source.requests(), requests + 1);
    assert_eq!(face.asked("getcfilters"), filters);

    let mut all = vec![first];
    for behind in [1u32, 144, 2_000] {
        let asked = face.asked("getdata");
        let near = scene.pay_in(1_000).await;
        scene.devnet.mine(1).await.unwrap();
        all.push(near);
        let mut expected = 1;
        if behind > 1 {
            scene.blocks(behind / 2 - 2).await;
            all.push(scene.pay_in(1_000).await);
            scene.blocks(behind / 2 - 2).await;
            all.push(scene.pay_in(1_000).await);
            scene.devnet.mine(1).await.unwrap();
            expected += 2;
        }
        scene.sync().await.unwrap();
        scene.assert_at_tip(&all.iter().collect::<Vec<_>>()).await;
        assert_eq!(scene.confirmed_sat(), 10_000 + 1_000 * (all.len() as u64 - 1));
        // Once in a few thousand blocks a filter of such scripts says yes for nothing.
        let fetched = face.asked("getdata") - asked;
        assert!(
            (expected..=expected + 2).contains(&fetched),
            "{fetched} for {expected}, {behind} blocks behind"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_block_makes_us_watch_is_found_in_the_same_block_and_in_the_next() {
    let scene = Scene::new().await;
    scene.pay_in(500_000).await;
    scene.devnet.mine(1).await.unwrap();
    scene.sync().await.unwrap();
    // Three transactions, each spending the one before; the ear is told of the first, and learns of each next one only
    // from the one before it.
    let one = scene.to_self().await;
    let two = scene.to_self().await;
    scene.watch(&one);
    let output = |of: &bitcoin::Transaction| WatchedOutput {
        block_hash: None,
        outpoint: OutPoint {
            txid: of.compute_txid(),
            index: 0,
        },
        script_pubkey: of.output[0].script_pubkey.clone(),
    };
    scene.ear.on(one.compute_txid(), output(&one));
    scene.ear.on(two.compute_txid(), output(&two));
    let height = scene.devnet.mine(1).await.unwrap();
    let three = scene.to_self().await;
    scene.devnet.mine(1).await.unwrap();
    scene.ear.told.lock().unwrap().clear();
    scene.sync().await.unwrap();
    assert_eq!(
        *scene.ear.told.lock().unwrap(),
        [
            (one.compute_txid(), height),
            (two.compute_txid(), height),
            (three.compute_txid(), height + 1)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reorganisations_are_followed_there_and_back() {
    let scene = Scene::new().await;
    let early = scene.pay_in(7_000).await;
    scene.devnet.mine(30).await.unwrap();
    scene.sync().await.unwrap();
    let mut all = vec![early];
    // The last is deeper than what is kept of the way: the wallet's own blocks show where the chains part.
    for depth in [1u32, 3, 10, u32::try_from(trail::LENGTH).unwrap() + 3] {
        let sat = scene.confirmed_sat();
        let payment = scene.pay_in(1_000).await;
        scene.devnet.mine(depth).await.unwrap();
        scene.sync().await.unwrap();
        let without: Vec<_> = all.iter().collect();
        let with: Vec<_> = all.iter().chain([&payment]).collect();
        scene.assert_at_tip(&with).await;
        assert_eq!(scene.confirmed_sat(), sat + 1_000);
        // Other blocks, with the same transactions as far as Bitcoin Core puts them back: not those of a block that is
        // more than ten deep.
        scene.devnet.reorg(depth).await.unwrap();
        scene.sync().await.unwrap();
        let (there, now) = if depth > 10 {
            (&without, sat)
        } else {
            (&with, sat + 1_000)
        };
        scene.assert_at_tip(there).await;
        assert_eq!(scene.confirmed_sat(), now, "{depth} blocks");
        // Other blocks without them.
        scene.devnet.reorg_empty(depth + 1).await.unwrap();
        scene.sync().await.unwrap();
        scene.assert_at_tip(&without).await;
        assert_eq!(scene.confirmed_sat(), sat, "{depth} blocks, empty");
        // It may be in the mempool again already.
        let _ = scene.devnet.broadcast(&payment).await;
        scene.devnet.mine(1).await.unwrap();
        scene.sync().await.unwrap();
        scene.assert_at_tip(&with).await;
        assert_eq!(scene.confirmed_sat(), sat + 1_000);
        all.push(payment);
    }
}

/// How often a round is cut off. The large figure is run by hand: `FILTERS_CUTS=100`, with several cuts each.
fn cuts() -> u64 {
    std::env::var("FILTERS_CUTS").map_or(3, |cuts| cuts.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_any_moment_it_resumes_without_redoing_more_than_a_chunk() {
    let mut scene = Scene::new().await;
    let mut all = Vec::new();
    let mut cut = 0;
    for seed in 0..cuts() {
        // Blocks that are made quickly run ahead of the clock, and Bitcoin Core allows two hours.
        if seed > 0 && seed.is_multiple_of(20) {
            scene = Scene::new().await;
            all.clear();
        }
        let peer = scene.devnet.p2p_address();
        scene.sync().await.unwrap();
        // A thousand blocks behind, with news all over them.
        for part in 0..4 {
            all.push(scene.pay_in(1_000).await);
            scene.blocks(if part == 3 { 246 } else { 247 }).await;
        }
        scene.devnet.mine(1).await.unwrap();
        let before = scene.height_made_true();
        let mut read = 0;
        let mut rounds = 0u64;
        loop {
            scene.done.lock().unwrap().clear();
            // From before the first connection to some way up; later rounds get more, so that there is an end.
            let patience = Duration::from_millis(random(seed * 1_000 + rounds) % (60 + 60 * rounds));
            let ended = tokio::time::timeout(patience, scene.sync()).await;
            let done = scene.done.lock().unwrap().last().map_or(0, |(done, _)| *done);
            read += done;
            rounds += 1;
            cut += u64::from(ended.is_err());
            // Every other time the process is gone, too.
            if ended.is_err() && rounds.is_multiple_of(2) {
                scene = scene.restart(&[peer], 1);
            }
            if let Ok(ended) = ended {
                ended.unwrap();
                break;
            }
        }
        let gap = scene.devnet.height().await.unwrap() - before;
        // What was made true is not read again. What was read and is not true yet is less than a chunk.
        assert_eq!(read, gap, "seed {seed}: blocks were made true twice, or never");
        assert!(scene.steps().iter().all(|step| *step <= CHUNK_BLOCKS));
        scene.assert_at_tip(&all.iter().collect::<Vec<_>>()).await;
        assert_eq!(scene.confirmed_sat(), 1_000 * all.len() as u64);
    }
    tracing::info!(cut, "rounds cut off");
}
