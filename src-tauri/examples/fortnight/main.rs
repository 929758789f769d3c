//! Fourteen days of a phone with Pilotlight on it, in virtual time: how often iOS would wake the wallet, how the wakes would
//! end, and how long the chain would go unwatched. Prints JSON.
//!
//! ```text
//! cargo run --no-default-features --example fortnight -- --seed 7
//! cargo run --no-default-features --example fortnight -- --seeds 1000
//! ```
//!
//! Real: the plugin with its state machine and policy, the tasks of `tauri.conf.json`, the node's budget and its policy for
//! the next wake. Modelled: the phone and its owner ([`Life`]), and what a wake takes ([`wallet`]).

mod aggregate;
mod figures;
mod rounding;
mod wallet;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tauri_plugin_background::Config;
use tauri_plugin_background::scheduler::simulated::SimulatedPhone;
use tauri_plugin_background::scheduler::simulated::life::{Life, Rng};

use aggregate::Aggregate;
use figures::Fortnight;
use wallet::Wallet;

const DAYS: u32 = 14;

/// The wallet's chance is drawn apart from the phone's, so that a change to one leaves the other as it is.
const WALLET_STREAM: u64 = 100;

const USAGE: &str = "usage: fortnight [--seed N | --seeds N] [--always-after MINUTES]

  --seed N                one phone
  --seeds N               the phones 1 to N, together (1000)
  --always-after MINUTES  ask for every next wake so late, instead of what the node's policy says: to compare with";

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Wanted {
    seed: Option<u64>,
    seeds: Option<u64>,
    always_after: Option<Duration>,
}

fn main() -> ExitCode {
    let done = parse(std::env::args().skip(1)).and_then(|wanted| print(&wanted));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    while let Some(word) = words.next() {
        let number = words.next().ok_or("a number is missing")?;
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{number:?} is not a number"))?;
        match word.as_str() {
            "--seed" => wanted.seed = Some(number),
            "--seeds" if number > 0 => wanted.seeds = Some(number),
            "--always-after" => wanted.always_after = Some(Duration::from_secs(number.saturating_mul(60))),
            _ => return Err(format!("what is {word:?} {number}?").into()),
        }
    }
    if wanted.seed.is_some() && wanted.seeds.is_some() {
        return Err("--seed is for one phone, --seeds for many".into());
    }
    Ok(wanted)
}

fn print(wanted: &Wanted) -> Result<(), Failure> {
    let config = declared()?;
    let json = if let Some(seed) = wanted.seed {
        serde_json::to_string(&fortnight(&config, seed, wanted.always_after)?)?
    } else {
        let all = fortnights(&config, wanted.seeds.unwrap_or(1000), wanted.always_after)?;
        serde_json::to_string(&Aggregate::of(&all))?
    };
    println!("{json}");
    Ok(())
}

/// The tasks as the app declares them.
fn declared() -> Result<Config, Failure> {
    let app: serde_json::Value = serde_json::from_str(include_str!("../../../tauri.conf.json"))?;
    Ok(serde_json::from_value(app["plugins"]["background"].clone())?)
}

fn fortnight(config: &Config, seed: u64, always_after: Option<Duration>) -> Result<Fortnight, Failure> {
    let life = Life::draw(seed, DAYS);
    let wallet = Wallet::new(Rng::new(seed).fork(WALLET_STREAM), life.lasts, always_after);
    let (diary, wallet) = SimulatedPhone::new(config.clone(), wallet).live(&life)?;
    Ok(Fortnight::of(seed, &life, &diary, &wallet))
}

/// On all cores; in the order of the seeds, whichever was ready first.
fn fortnights(
    config: &Config,
    seeds: u64,
    always_after: Option<Duration>,
) -> Result<Vec<Fortnight>, Failure> {
    let (next, done) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let lived = fortnight(config, seed, always_after);
                    done.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((seed, lived));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, lived)| lived).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seeds_give_the_same_bytes() {
        let config = declared().unwrap();
        let one = || serde_json::to_string(&fortnight(&config, 7, None).unwrap()).unwrap();
        assert_eq!(one(), one());
        let all = || {
            let all = fortnights(&config, 20, None).unwrap();
            serde_json::to_string(&Aggregate::of(&all)).unwrap()
        };
        assert_eq!(all(), all(), "whichever core was faster");
    }

    /// What holds on any phone: every wake is counted once, the gaps fill the fortnight, the requests never end.
    #[test]
    fn the_figures_of_a_fortnight_add_up() {
        let config = declared().unwrap();
        let mut wakes = 0;
        for seed in 1..=60 {
            let one = fortnight(&config, seed, None).unwrap();
            let without_handler = one.ends.get("locked").copied().unwrap_or(0);
            let ended = one.refresh.granted + one.processing.granted;
            let cut_off = one.refresh.cut_off + one.processing.cut_off;
            assert_eq!(one.wakes, ended - cut_off + without_handler, "seed {seed}");
            for outcomes in [&one.refresh, &one.processing] {
                let good = outcomes.completed + outcomes.partial;
                let all = good + outcomes.expired + outcomes.failed + outcomes.cut_off;
                assert_eq!(outcomes.granted, all, "seed {seed}");
            }
            assert_eq!(one.requests_refused, 0, "seed {seed}");
            assert_eq!(one.chain_of_requests_broken, 0, "seed {seed}");
            assert!(one.hours_without_a_request.abs() < f64::EPSILON, "seed {seed}");
            assert!(
                one.gaps.worst_hours <= one.background_gaps.worst_hours,
                "seed {seed}"
            );
            assert!(
                one.worst_gap_without_force_quit_hours <= one.gaps.worst_hours,
                "seed {seed}"
            );
            wakes += one.wakes;
        }
        assert!(wakes > 300, "{wakes}");
    }

    /// A policy that asks later is woken less: the simulation answers to what the app asks for.
    #[test]
    fn who_asks_later_is_woken_less() {
        let config = declared().unwrap();
        let wakes = |minutes: u64| {
            let all = fortnights(&config, 40, Some(Duration::from_secs(minutes * 60))).unwrap();
            all.iter().map(|one| one.wakes).sum::<u64>()
        };
        let (often, seldom) = (wakes(30), wakes(24 * 60));
        assert!(often > seldom * 3 / 2, "{often} {seldom}");
    }

    #[test]
    fn words_that_are_not_understood_are_refused() {
        let parsed = |words: &str| parse(words.split_whitespace().map(ToOwned::to_owned));
        for bad in [
            "--seed",
            "--seed x",
            "--seeds 0",
            "--seed 1 --seeds 2",
            "--what 3",
            "7",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        let wanted = parsed("--seeds 5 --always-after 90").unwrap();
        assert_eq!(
            (wanted.seeds, wanted.always_after),
            (Some(5), Some(Duration::from_secs(5400)))
        );
    }
}
