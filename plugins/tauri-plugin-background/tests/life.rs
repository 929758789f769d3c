//! Lives of phones: deterministic, true to their figures, quick, and never without a next request.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tauri_plugin_background::scheduler::simulated::life::{Event, Happening, Life, Rng, figures};
use tauri_plugin_background::scheduler::simulated::{App, Conditions, Diary, Run, SimulatedPhone};
use tauri_plugin_background::{
    BackgroundRefresh, Config, NetworkState, Outcome, RunEnd, RunResult, TaskKind,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    serde_json::from_str(
        r#"{ "tasks": [
            { "id": "app.test.refresh", "kind": "refresh", "minIntervalMinutes": 30, "softBudgetSecs": 30 },
            { "id": "app.test.processing", "kind": "processing", "minIntervalMinutes": 720,
              "requiresNetwork": true, "softBudgetSecs": 300 } ] }"#,
    )
    .unwrap()
}

/// An app of every temper: takes any time, stops at once or too late, fails, wishes and panics by the seed.
struct Moody(Rng);

impl App for Moody {
    fn starts(&mut self, _run: &Run) -> Duration {
        Duration::from_millis(self.0.between(0, 60_000))
    }

    fn ends(&mut self, _run: &Run, _after: Duration, _called: Option<Duration>) -> Outcome {
        let result = self.0.pick(&[
            RunResult::Completed,
            RunResult::Partial,
            RunResult::Expired,
            RunResult::Failed,
        ]);
        let wish = self.0.percent(70).then(|| self.0.between(0, 30 * 24 * 60));
        Outcome::new(*result).with_next_in(
            wish.map(|minutes| minutes * 60 * SECOND.as_secs())
                .map(Duration::from_secs),
        )
    }

    fn stops_in(&mut self) -> Duration {
        Duration::from_millis(*self.0.pick(&[0, 300, 2_999, 3_000, 3_001, 9_000]))
    }
}

fn lived(seed: u64, days: u32) -> Diary {
    let phone = SimulatedPhone::new(config(), Moody(Rng::new(seed)));
    phone.live(&Life::draw(seed, days)).unwrap().0
}

#[test]
fn a_week_of_life_takes_milliseconds() {
    let began = Instant::now();
    let weeks = 20;
    let runs: usize = (0..weeks).map(|seed| lived(seed, 7).runs.len()).sum();
    let each = began.elapsed() / u32::try_from(weeks).unwrap();
    println!("{each:?} a week, {runs} runs");
    assert!(runs > 20);
    // Some 10 ms without optimisation; the rest is for a busy machine.
    assert!(each < Duration::from_millis(500), "{each:?}");
}

#[test]
fn the_same_seed_gives_the_same_life_and_the_same_diary() {
    for seed in [0, 1, 42, u64::MAX] {
        assert_eq!(Life::draw(seed, 14), Life::draw(seed, 14));
        assert_eq!(lived(seed, 14), lived(seed, 14), "{seed}");
    }
    assert_ne!(Life::draw(1, 14), Life::draw(2, 14));
}

#[test]
fn a_life_is_pinned() {
    // Another platform, or another version, must draw the same: the figures of the README depend on it. Changing a figure
    // changes this, on purpose.
    let life = Life::draw(7, 14);
    let digest = life.events.iter().fold(0_u64, |digest, event| {
        let text = format!("{event:?}");
        text.bytes().fold(digest, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    });
    assert_eq!((life.events.len(), digest), (2008, 5_301_890_830_292_403_168));
}

/// Whatever the app does, whatever the phone goes through: a completed run leaves a request, and so there is one at all
/// times from the first opening on.
#[test]
fn the_chain_of_requests_never_breaks() {
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..300 {
        let diary = lived(seed, 14);
        assert_eq!(
            (diary.chain_broken, diary.without_request, diary.refused),
            (0, Duration::ZERO, 0),
            "seed {seed}"
        );
        for run in &diary.runs {
            assert!(run.next_at_ms > run.finished_at_ms, "seed {seed}: {run:?}");
            *ends.entry(format!("{:?}", run.end)).or_insert(0) += 1;
        }
    }
    for end in ["Completed", "Partial", "Expired", "Failed", "Overran", "Locked"] {
        assert!(ends.contains_key(end), "no run ended so: {end} in {ends:?}");
    }
}

/// No launch of a task while it runs, none before its earliest date, none while the app is swiped away, no refresh in Low
/// Power Mode, no end later than the plugin promises.
#[test]
fn what_is_launched_keeps_the_rules() {
    let mut launches = 0;
    for seed in 0..200 {
        let life = Life::draw(seed, 14);
        let phone = SimulatedPhone::new(config(), Moody(Rng::new(seed)));
        let (diary, _) = phone.live(&life).unwrap();
        for run in &diary.runs {
            launches += 1;
            let at = Duration::from_millis(run.launched_at_ms);
            let over = Duration::from_millis(run.finished_at_ms.unwrap());
            let swiped_away = diary
                .force_quit
                .is_some_and(|(from, to)| (from..to).contains(&at));
            assert!(!swiped_away, "seed {seed}: {run:?}");
            let phone = phone_at(&life, at);
            assert!(
                run.kind != TaskKind::Refresh || !phone.low_power,
                "seed {seed}: {run:?}"
            );
            assert!(
                run.kind != TaskKind::Processing || !phone.in_use,
                "seed {seed}: {run:?}"
            );
            assert!(
                run.kind != TaskKind::Processing || phone.online(),
                "seed {seed}: {run:?}"
            );
            let budget = if run.kind == TaskKind::Refresh { 30 } else { 300 };
            assert!(over <= at + (budget + 3) * SECOND, "seed {seed}: {run:?}");
            assert!(
                run.end != RunEnd::Locked || !phone.unlocked_once,
                "seed {seed}: {run:?}"
            );
        }
        for id in ["app.test.refresh", "app.test.processing"] {
            let runs: Vec<_> = diary.runs.iter().filter(|run| run.id == id).collect();
            for pair in runs.windows(2) {
                assert!(
                    pair[0].next_at_ms.unwrap() <= pair[1].launched_at_ms,
                    "seed {seed}: {pair:?}"
                );
            }
        }
    }
    assert!(launches > 1_000, "{launches}");
}

fn phone_at(life: &Life, at: Duration) -> Conditions {
    let so_far = life.events.iter().take_while(|event| event.at <= at);
    let phones = so_far.filter_map(|event| match event.what {
        Happening::Phone(phone) => Some(phone),
        _ => None,
    });
    phones.last().unwrap()
}

/// The figures mean what they say.
#[test]
fn lives_are_as_drawn() {
    let lives: Vec<_> = (0..200).map(|seed| Life::draw(seed, 14)).collect();
    let (mut force_quits, mut early, mut refreshes, mut restarts, mut bouts, mut offline) =
        (0, 0, 0, 0, 0, 0);
    for life in &lives {
        assert_eq!(life.lasts, 14 * DAY);
        let Happening::Phone(first) = life.events[0].what else {
            panic!("{:?}", life.events[0]);
        };
        assert!(life.events[0].at.is_zero() && first.foreground && first.in_use);
        assert!(life.events.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let mut last_chance: Option<Duration> = None;
        let mut before = first;
        for Event { at, what } in &life.events {
            match what {
                Happening::ForceQuit => force_quits += 1,
                Happening::Restarted => restarts += 1,
                Happening::Chance {
                    kind: TaskKind::Refresh,
                    lasts,
                } => {
                    refreshes += 1;
                    early += u32::from(*lasts < 30 * SECOND);
                    assert!(last_chance.is_none_or(|last| *at >= last + 14 * MINUTE), "{at:?}");
                    last_chance = Some(*at);
                }
                Happening::Phone(phone) => {
                    bouts += u32::from(phone.in_use && !before.in_use);
                    offline += u32::from(phone.network == NetworkState::Offline);
                    assert_eq!(phone.background_refresh, BackgroundRefresh::Available);
                    assert!(phone.in_use || !phone.foreground);
                    assert!(phone.unlocked_once || !phone.in_use);
                    before = *phone;
                }
                Happening::Chance { .. } | Happening::Prewarmed | Happening::Reclaimed => {}
            }
        }
    }
    assert!(
        (190..=200).contains(&force_quits),
        "one in almost every fortnight: {force_quits}"
    );
    let share = early * 100 / refreshes;
    assert!((17..=23).contains(&share), "early: {share} %");
    assert!(restarts > 30, "{restarts}");
    let daily = bouts / (200 * 14);
    assert!((60..=100).contains(&daily), "bouts a day: {daily}");
    assert!(offline > 500, "{offline}");
    let opens: Vec<_> = figures::OPENS_PER_FORTNIGHT
        .iter()
        .filter(|opens| {
            lives
                .iter()
                .any(|life| life.person.opens_per_fortnight == **opens)
        })
        .collect();
    assert_eq!(opens.len(), figures::OPENS_PER_FORTNIGHT.len());
}

#[test]
fn a_life_may_be_of_any_length() {
    for days in [0, 1, 2, 7, 30] {
        let life = Life::draw(3, days);
        assert_eq!(life.lasts, days * DAY);
        assert_eq!(life.events.is_empty(), days == 0);
        assert!(life.events.iter().all(|event| event.at < life.lasts));
        let (diary, _) = SimulatedPhone::new(config(), Moody(Rng::new(3)))
            .live(&life)
            .unwrap();
        assert_eq!(diary.opened == 0, days == 0);
    }
}
