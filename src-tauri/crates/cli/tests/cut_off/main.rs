//! A wake is cut off at any moment, in any way: no channel, no payment and no satoshi may be lost to it, and the next wake
//! goes on.
//!
//! Each trial lets 300 blocks come while the wallet sleeps, begins a wake, and at a seeded random moment calls the time,
//! drops it, or kills its process. `PILOTLIGHT_CUTS` says how many; a failure names the seed that shows it again.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod chance;
#[path = "../common/mod.rs"]
mod common;
mod world;

use std::process::Stdio;
use std::time::{Duration, Instant};

use chance::Chance;
use common::LIMIT;
use pilotlight_node::{Grant, GrantKind, WakeReason, WalletState};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use world::World;

/// What `npm test` does: each way and each network once.
const FEW: usize = 6;

/// Trials on one devnet: regtest halves its subsidy every 150 blocks, and a faucet without coins funds nobody.
const TRIALS_PER_WORLD: usize = 9;

/// What a phone sleeps through between two wakes, in the worst case that is no holiday.
const BLOCKS: u32 = 300;

/// From the call of the time to the end of the process, for 99 of 100. A machine that does other things besides may hold up
/// one of a few, so this is asked of a hundred at the least.
const STOP_LIMIT: Duration = Duration::from_millis(1_500);

/// No stop may take longer, on any machine: a wake winds down so long before its deadline.
const WIND_DOWN: Duration = Duration::from_secs(5);

const RTT: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The system calls the time, and the wake ends in order.
    Expired,
    /// Whoever waits for the wake lets go of it.
    Dropped,
    /// The process ends at once.
    Killed,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_is_cut_off_anywhere_costs_nothing_and_the_next_one_goes_on() {
    let cuts = std::env::var("PILOTLIGHT_CUTS").map_or(FEW, |cuts| cuts.parse().unwrap());
    let seed = std::env::var("PILOTLIGHT_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut chance = Chance::new(seed);
    let mut stops = Vec::new();
    let (mut in_the_middle, mut received, mut ends) = (0, 0, 0);
    let mut world = World::new(&mut chance).await;
    for trial in 0..cuts {
        if trial > 0 && trial % TRIALS_PER_WORLD == 0 {
            (received, ends) = (received + world.received, ends + world.ends);
            world = World::new(&mut chance).await;
        }
        let cut = [Cut::Expired, Cut::Dropped, Cut::Killed][trial % 3];
        let slow = (trial / 3) % 2 == 1;
        let name = format!("seed {seed}, trial {trial}, {cut:?}, slow: {slow}");
        world.sleep_through(BLOCKS, &mut chance).await;
        world.devnet().set_rtt(if slow { RTT } else { Duration::ZERO });

        let paying = world.pay_us_when_we_are_there();
        let delay = world.moment(slow, &mut chance);
        let stop = match cut {
            Cut::Expired => expire(&world, delay).await,
            Cut::Dropped => give_up(&world, delay).await,
            Cut::Killed => kill(&world, delay).await,
        };
        paying.abort();
        world.wait_until_peers_know_we_are_gone().await;
        in_the_middle += usize::from(stop.is_some());
        if let Some(stop) = stop.filter(|_| cut != Cut::Killed) {
            assert!(stop < WIND_DOWN, "{name}, after {delay:?}: {stop:?} to stop");
            stops.push(stop);
        }

        let begun = Instant::now();
        let record = world.wallet.ask(&["wake"]).await;
        world.learn(slow, begun.elapsed());
        let tip = world.devnet().height().await.unwrap();
        assert_eq!(
            record["outcome"], "completed",
            "{name}, after {delay:?}: {record:#}"
        );
        assert_eq!(record["tip_height"], tip, "{name}: {record:#}");
        world.devnet().set_rtt(Duration::ZERO);
        world.check(&format!("{name}, after {delay:?}")).await;
        eprintln!("{name}: {delay:?}, {stop:?}");
    }
    (received, ends) = (received + world.received, ends + world.ends);
    assert!(
        in_the_middle * 2 >= cuts,
        "only {in_the_middle} of {cuts} wakes were cut off before their end"
    );
    stops.sort_unstable();
    let at = |hundredth: usize| stops[(stops.len() * hundredth / 100).min(stops.len() - 1)];
    eprintln!(
        "{cuts} cuts, {in_the_middle} before the end; {received} payments came in a cut wake, {ends} held ones ended in one; \
         {} stops: p50 {:?}, p99 {:?}, longest {:?}",
        stops.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(stops.len() < 100 || at(99) < STOP_LIMIT, "{:?} to stop", at(99));
}

/// Calls the time. How long the process then took to end; `None` if the wake was over before.
async fn expire(world: &World, delay: Duration) -> Option<Duration> {
    let mut wake = world.wallet.command(&["wake"]);
    let wake = wake.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let id = wake.id().unwrap().to_string();
    let ending = tokio::spawn(async move {
        let output = wake.wait_with_output().await.unwrap();
        (output, Instant::now())
    });
    tokio::time::sleep(delay).await;
    if ending.is_finished() {
        return None;
    }
    let called = Instant::now();
    // Fails if it ended just now.
    let _ = tokio::process::Command::new("kill")
        .args(["-INT", &id])
        .stderr(Stdio::null())
        .status()
        .await;
    let (output, ended) = tokio::time::timeout(LIMIT, ending).await.unwrap().unwrap();
    let stop = ended.saturating_duration_since(called);
    let Ok(record) = serde_json::from_slice::<Value>(&output.stdout) else {
        // Called before the program listens: it was killed.
        assert!(output.status.code().is_none(), "{:?}", output.status);
        return Some(stop);
    };
    if record["outcome"] == "completed" {
        return None;
    }
    // Everything it knew is written.
    let stages = record["stages"].as_array().unwrap();
    let report = stages.iter().find(|stage| stage["name"] == "report").unwrap();
    assert_eq!(report["end"], "done", "{record:#}");
    Some(stop)
}

/// Drops the wake, within this process. How long the node then took to stop.
async fn give_up(world: &World, delay: Duration) -> Option<Duration> {
    let lifecycle = world.lifecycle();
    let waking = lifecycle.wake(Grant {
        kind: GrantKind::Refresh,
        reason: WakeReason::Test,
        deadline: Instant::now() + Duration::from_secs(30),
        cancel: CancellationToken::new(),
        progress: None,
        conditions: pilotlight_node::Conditions::default(),
    });
    if tokio::time::timeout(delay, waking).await.is_ok() {
        return None;
    }
    let dropped = Instant::now();
    // Its turn comes when the node that the wake needed has stopped.
    lifecycle.enter_background().await.unwrap();
    assert_eq!(lifecycle.overview().await.state, WalletState::Stopped);
    Some(dropped.elapsed())
}

/// Kills the process.
async fn kill(world: &World, delay: Duration) -> Option<Duration> {
    let mut wake = world.wallet.command(&["wake"]);
    let mut wake = wake.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(delay).await;
    if wake.try_wait().unwrap().is_some() {
        return None;
    }
    let killed = Instant::now();
    wake.kill().await.unwrap();
    Some(killed.elapsed())
}
