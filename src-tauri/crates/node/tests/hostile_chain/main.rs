//! A chain server that lies: each lie is found out or harmless, in time, and all is as if it had never been told when the
//! server is honest again.
//!
//! The lies are told by a man in the middle before an honest server on a real bitcoind, to a real wallet.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

#[path = "../common/mod.rs"]
mod common;

mod facts;
mod lies;
mod middle;
mod world;

use std::time::{Duration, Instant};

use lies::{Lie, Must};
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{Checkpoint, Config, Depth, Result};
use world::{DEPTHS, Lane, MOMENTS, Moment, World};

/// No lie may hold us up for longer than this: half of what a wake has.
const LIMIT: Duration = Duration::from_secs(15);

/// Men in the middle at work at a time. Some lies are silence, and waiting costs nobody anything.
const LANES: usize = 4;

/// What one look at the chain came to.
struct Look {
    came_to: Result<Checkpoint>,
    digest: Digest,
    took: Duration,
    /// The rate of a payment, in sat per 1000 weight units.
    rate: u64,
    /// What could be spent, in sat.
    spendable: u64,
}

/// Opens the wallet, looks, lets everything have its effects, and closes it, as a wake does.
async fn look(config: &Config, depth: Depth) -> Look {
    let wallet = AtRest::open(config, Engine::Ours).unwrap();
    let begun = Instant::now();
    let looking = async { tokio::join!(wallet.take_fees(), wallet.sync(depth)) };
    let (fees, came_to) = tokio::time::timeout(LIMIT, looking)
        .await
        .expect("a lie held us up for too long");
    fees.unwrap();
    let took = begun.elapsed();
    wallet.handle_events().await;
    let (digest, rate, spendable) = (wallet.digest(), wallet.rate(), wallet.spendable_sat());
    wallet.close().await.unwrap();
    Look {
        came_to,
        digest,
        took,
        rate,
        spendable,
    }
}

/// One lie to one wallet, and what came of it; what was wrong is said in words.
async fn tell(
    world: &World,
    lane: &Lane,
    lie: &Lie,
    at: Moment,
    depth: (Depth, &'static str),
    strict: bool,
) -> Vec<String> {
    let control = world.control(at, depth.1);
    let (config, _dir) = lane.copy(at);
    lane.tell(Some(lie.tell));
    let lied = look(&config, depth.0).await;
    let (asked, told) = lane.middle.counts();
    lane.tell(None);
    // What was withheld at a tip is asked for again at the next one, or when the app is opened.
    let again = match lie.must {
        Must::Pass => DEPTHS[1],
        _ => depth,
    };
    let honest = look(&config, again.0).await;
    let expected = world.control(at, again.1);

    let (mut wrong, height) = (Vec::new(), world.facts.get().unwrap().height());
    let came_to = match &lied.came_to {
        Ok(tip) => format!("block {}", tip.height),
        Err(error) => format!("{:?}: {}", error.code(), error.detail()),
    };
    let as_it_must = match (lie.must, &lied.came_to) {
        (Must::Fail(code), Err(error)) => error.code() == code,
        (Must::FailOneOf(codes), Err(error)) => codes.contains(&error.code()),
        (Must::Succeed, Ok(tip)) => tip.hash == world.facts.get().unwrap().tip().block_hash(),
        (Must::Pass, _) => true,
        _ => false,
    };
    // At other moments and depths a lie may not be told at all, or make no difference.
    if strict && !as_it_must {
        wrong.push(format!("it must {:?}", lie.must));
    }
    if strict && told == 0 {
        wrong.push("the lie was not told".into());
    }
    if let Err(error) = &lied.came_to
        && error.code() == pilotlight_node::ErrorCode::Internal
    {
        wrong.push("an error that is nobody's".into());
    }
    wrong.extend(harm(&lied, control));
    match &honest.came_to {
        Ok(_) => {
            let mut all = honest.digest.clone();
            all.events.extend(lied.digest.events.iter().cloned());
            all.events.sort_unstable();
            all.events.dedup();
            // What was handed over for sending in the first look is not handed over again in the second.
            all.spends.extend(lied.digest.spends.iter().copied());
            let differences = all.differences(&expected.after);
            wrong.extend(
                differences
                    .into_iter()
                    .map(|line| format!("afterwards it {line}")),
            );
        }
        // A block that took its work is believed, and its price is that of a real one. Until the real chain is as high, that is a
        // delay, and no more.
        Err(error)
            if lied.came_to.as_ref().is_ok_and(|tip| tip.height > height)
                && error.code() == pilotlight_node::ErrorCode::ChainSyncFailed => {}
        Err(error) => wrong.push(format!("the honest server is not believed: {}", error.detail())),
    }
    if honest.rate != expected.rate {
        wrong.push(format!(
            "a rate of {} is left, not {}",
            honest.rate, expected.rate
        ));
    }
    let Lie { name, of, .. } = lie;
    eprintln!(
        "{at:?} {} | {name} | {of} | {asked} asked, {told} lies | {came_to} | {:?}",
        depth.1, lied.took
    );
    let title = format!("{name} ({at:?}, {}; {came_to})", depth.1);
    wrong.into_iter().map(|what| format!("{title}: {what}")).collect()
}

/// What a lie must never do, whatever it came to.
fn harm(lied: &Look, control: &world::Control) -> Vec<String> {
    let (before, after) = (&control.before, &control.after);
    let mut wrong = Vec::new();
    let was_or_will_be = |what: &str, now: &[String], before: &[String], after: &[String]| {
        let strange = now
            .iter()
            .filter(|line| !before.contains(line) && !after.contains(line));
        strange
            .map(|line| format!("false {what}: {line}"))
            .collect::<Vec<_>>()
    };
    let gone = before.channels.len().min(after.channels.len());
    if lied.digest.channels.len() < gone {
        wrong.push(format!("a channel is closed: {:?}", lied.digest.channels));
    }
    for outpoint in &lied.digest.spends {
        if !before.spends.contains(outpoint) && !after.spends.contains(outpoint) {
            wrong.push(format!("{outpoint} would be spent"));
        }
    }
    wrong.extend(was_or_will_be(
        "event",
        &lied.digest.events,
        &before.events,
        &after.events,
    ));
    if lied.spendable > control.spendable.max(control.spendable_before) {
        wrong.push(format!(
            "{} sat could be spent, of {}",
            lied.spendable, control.spendable
        ));
    }
    if !(253..=500_000).contains(&lied.rate) {
        wrong.push(format!("a rate of {}", lied.rate));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_lie_about_blocks_and_transactions_is_found_out_or_harmless() {
    let mut all = lies::blocks::lies();
    all.extend(lies::transactions::lies());
    Box::pin(tell_all(all)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_lie_about_the_wallet_and_in_the_http_is_found_out_or_harmless() {
    let mut all = lies::wallet::lies();
    all.extend(lies::fees::lies());
    all.extend(lies::http::lies());
    Box::pin(tell_all(all)).await;
}

async fn tell_all(lies: Vec<Lie>) {
    let world = Box::pin(World::new(LANES)).await;
    let only = std::env::var("PILOTLIGHT_CHAIN_LIE").ok();
    // Every lie at every moment and depth, by hand; else each where it hurts most.
    let everywhere = std::env::var_os("PILOTLIGHT_CHAIN_LIES_EVERYWHERE").is_some();
    let mut cases = Vec::new();
    for lie in lies {
        if only
            .as_ref()
            .is_some_and(|only| !lie.name.contains(only.as_str()))
        {
            continue;
        }
        let lie: &'static Lie = Box::leak(Box::new(lie));
        for at in MOMENTS {
            for depth in DEPTHS {
                let strict = lie.at == (at, depth.0);
                if strict || everywhere {
                    cases.push((lie, at, depth, strict));
                }
            }
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = world.lanes.iter().map(|lane| async {
        let mut wrong = Vec::new();
        while let Some((lie, at, depth, strict)) =
            cases.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        {
            let told = std::panic::AssertUnwindSafe(tell(&world, lane, lie, *at, *depth, *strict));
            let told = futures::FutureExt::catch_unwind(told).await;
            lane.tell(None);
            wrong.extend(told.unwrap_or_else(|_| vec![format!("{}: a panic", lie.name)]));
        }
        wrong
    });
    let wrong: Vec<String> = futures::future::join_all(work).await.concat();
    eprintln!("{} lies told", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
