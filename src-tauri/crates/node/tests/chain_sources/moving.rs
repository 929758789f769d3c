//! A chain that moves while it is read, and readers that are cut off. When it stands still, all agree.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pilotlight_node::ErrorCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::contest::{Contest, Contestant};
use crate::payments::left_alone;

/// Rounds of each test. The large figure is run by hand: `CHAIN_SOURCES_ROUNDS=50`.
fn rounds() -> u64 {
    std::env::var("CHAIN_SOURCES_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap())
}

/// What befalls the chain in one round. The serial oracles begin anew whenever it moves, and must come to an end.
const MOVES: usize = 6;

/// What happened to the chain so far.
#[derive(Default)]
struct Moves {
    blocks: AtomicU32,
    reorganisations: AtomicU32,
}

impl Moves {
    fn now(&self) -> (u32, u32) {
        let count = |counter: &AtomicU32| counter.load(Ordering::SeqCst);
        (count(&self.blocks), count(&self.reorganisations))
    }
}

/// Finds blocks, and turns the chain round, at moments that the seed gives, as long as anybody syncs.
async fn unrest(contest: &Contest<'_>, seed: u64, moves: &Moves, over: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(seed);
    let devnet = &contest.stage.devnet;
    // By turns, and the first one by the seed: every source meets both within a few rounds.
    for turn in (seed..).take(MOVES) {
        tokio::time::sleep(Duration::from_millis(random.gen_range(20..400))).await;
        if over.load(Ordering::SeqCst) {
            return;
        }
        let depth = random.gen_range(1..=3);
        if turn % 2 == 0 {
            devnet.mine(depth).await.unwrap();
            moves.blocks.fetch_add(1, Ordering::SeqCst);
        } else if random.gen_bool(0.7) {
            devnet.reorg(depth).await.unwrap();
            moves.reorganisations.fetch_add(1, Ordering::SeqCst);
        } else {
            devnet.reorg_empty(depth).await.unwrap();
            moves.reorganisations.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One sync amid all that. It may fail, but not without saying why in a word that is known.
async fn amid(contestant: &Contestant, moves: &Moves) -> (bool, bool) {
    let wallet = contestant.open();
    let before = moves.now();
    if let Err(error) = contestant.sync(&wallet).await {
        assert!(
            matches!(
                error.code(),
                ErrorCode::ChainSyncFailed | ErrorCode::NetworkUnavailable | ErrorCode::SyncTimeout
            ),
            "{}: {error:?}",
            contestant.name
        );
    }
    let after = moves.now();
    contestant.end(wallet).await;
    (after.0 > before.0, after.1 > before.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_and_reorganisations_in_the_middle_of_a_sync() {
    let stage = left_alone().await;
    let contest = Contest::new(&stage).await;
    contest.look("before it begins").await;
    let moves = Moves::default();
    let mut met = vec![(0u32, 0u32); contest.contestants.len()];
    for seed in 0..rounds() {
        contest.mine(30).await;
        contest.set_rtt(Duration::from_millis(50 + 10 * (seed % 6)));
        let over = AtomicBool::new(false);
        let syncs = async {
            let seen = join_all(contest.contestants.iter().map(|one| amid(one, &moves))).await;
            over.store(true, Ordering::SeqCst);
            seen
        };
        let (seen, ()) = tokio::join!(syncs, unrest(&contest, seed, &moves, &over));
        for (met, (block, reorganisation)) in met.iter_mut().zip(seen) {
            met.0 += u32::from(block);
            met.1 += u32::from(reorganisation);
        }
        contest.set_rtt(Duration::ZERO);
        // LDK offers a sweep once at each height, and not all have come to the last one.
        contest.mine(1).await;
        // Nothing is sent: a sweep pays to an address that those have not come to who tried less often.
        contest.agree(&format!("it stands still, seed {seed}")).await;
    }
    for (contestant, met) in contest.contestants.iter().zip(met) {
        assert!(
            met.0 > 0 && met.1 > 0,
            "{}: blocks and reorganisations met: {met:?}",
            contestant.name
        );
    }
}

/// One sync that is dropped at a moment that the seed gives; by turns the wallet is closed in order or just gone.
async fn cut_off(contestant: &Contestant, seed: u64) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let wallet = contestant.open();
    let patience = Duration::from_millis(random.gen_range(1..600));
    let cut = tokio::time::timeout(patience, contestant.sync(&wallet))
        .await
        .is_err();
    if random.gen_bool(0.5) {
        wallet.close().await.unwrap();
    } else {
        wallet.abandon().unwrap();
    }
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_that_are_cut_off_go_on_after_a_restart() {
    let stage = left_alone().await;
    let contest = Contest::new(&stage).await;
    contest.mine(1).await;
    contest.look("the commitment is confirmed").await;
    let mut cuts = 0;
    for round in 0..rounds() {
        match round % 4 {
            0 => contest.mine(300).await,
            1 => drop(stage.devnet.reorg(3).await.unwrap()),
            2 => contest.mine(40).await,
            _ => drop(stage.devnet.reorg_empty(2).await.unwrap()),
        }
        contest.set_rtt(Duration::from_millis(60));
        for seed in 0..3 {
            let seed = round * 100 + seed;
            let all = contest.contestants.iter().zip(0..);
            let all = all.map(|(contestant, at)| cut_off(contestant, seed * 10 + at));
            cuts += join_all(all).await.into_iter().filter(|cut| *cut).count();
        }
        contest.set_rtt(Duration::ZERO);
        contest.look(&format!("after the cuts, round {round}")).await;
    }
    assert!(cuts > 0, "none was cut off");
}
