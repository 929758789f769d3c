//! The simulated phone plays single days as they are told, with the real plugin on it.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tauri_plugin_background::scheduler::simulated::life::{Event, Happening, Life};
use tauri_plugin_background::scheduler::simulated::{App, Conditions, Diary, Run, SimulatedPhone};
use tauri_plugin_background::{BackgroundRefresh, Config, Outcome, RunEnd, RunResult, TaskKind};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: u64 = 3600;

/// At night on the table.
const REST: Conditions = Conditions {
    network: tauri_plugin_background::NetworkState::Unmetered,
    power: true,
    low_power: false,
    background_refresh: BackgroundRefresh::Available,
    in_use: false,
    foreground: false,
    unlocked_once: true,
    available_memory_bytes: None,
};

const OPENED: Conditions = Conditions {
    in_use: true,
    foreground: true,
    ..REST
};

const REFRESH: TaskKind = TaskKind::Refresh;
const PROCESSING: TaskKind = TaskKind::Processing;

/// Takes so long, stops in so long, and asks for its next run in two hours.
#[derive(Default)]
struct Scripted {
    takes: Duration,
    stops_in: Duration,
    said: Vec<String>,
}

impl App for Scripted {
    fn starts(&mut self, run: &Run) -> Duration {
        self.said.push(format!(
            "{:?} at {} for {}",
            run.kind,
            millis(run.at),
            run.budget.as_secs()
        ));
        self.takes
    }

    fn ends(&mut self, _run: &Run, after: Duration, called: Option<Duration>) -> Outcome {
        self.said.push(format!("over after {}", millis(after)));
        let result = match called {
            Some(_) => RunResult::Expired,
            None => RunResult::Completed,
        };
        Outcome::new(result).with_next_in(Some(Duration::from_secs(2 * HOUR)))
    }

    fn stops_in(&mut self) -> Duration {
        self.stops_in
    }

    fn cut_off(&mut self, _run: &Run) {
        self.said.push("cut off".into());
    }

    fn opened(&mut self, at: Duration, _phone: Conditions) {
        self.said.push(format!("opened at {}", millis(at)));
    }
}

fn millis(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

fn chance(kind: TaskKind, secs: u64) -> Happening {
    Happening::Chance {
        kind,
        lasts: Duration::from_secs(secs),
    }
}

/// A day told hour by hour, with an app of which each run takes so many seconds.
fn lived(takes: u64, events: &[(u64, Happening)]) -> (Diary, Vec<String>) {
    let config: Config = serde_json::from_str(
        r#"{ "tasks": [
            { "id": "app.test.refresh", "kind": "refresh", "minIntervalMinutes": 60 },
            { "id": "app.test.processing", "kind": "processing", "minIntervalMinutes": 60 } ] }"#,
    )
    .unwrap();
    let life = Life {
        lasts: Duration::from_secs(24 * HOUR),
        events: events
            .iter()
            .map(|(at, what)| Event {
                at: Duration::from_secs(*at),
                what: *what,
            })
            .collect(),
        ..Life::draw(1, 1)
    };
    let app = Scripted {
        takes: Duration::from_secs(takes),
        stops_in: SECOND,
        said: Vec::new(),
    };
    let (diary, app) = SimulatedPhone::new(config, app).live(&life).unwrap();
    (diary, app.said)
}

fn ends(diary: &Diary) -> Vec<RunEnd> {
    diary.runs.iter().map(|run| run.end).collect()
}

const FIRST: [(u64, Happening); 2] = [(0, Happening::Phone(OPENED)), (60, Happening::Phone(REST))];

fn day(then: &[(u64, Happening)]) -> Vec<(u64, Happening)> {
    FIRST.iter().chain(then).copied().collect()
}

#[test]
fn a_suspended_app_is_launched_at_once_and_a_cold_one_after_its_start() {
    let launched = chance(REFRESH, 30);
    let (diary, said) = lived(5, &day(&[(HOUR, launched)]));
    assert_eq!(ends(&diary), [RunEnd::Completed]);
    assert_eq!(
        said,
        [
            "opened at 0.000",
            "Refresh at 3600.000 for 30",
            "over after 5.000"
        ]
    );
    assert_eq!(
        (diary.processes, diary.runs[0].next_at_ms),
        (1, Some(3_605_000 + 7_200_000))
    );

    let (diary, said) = lived(5, &day(&[(900, Happening::Reclaimed), (HOUR, launched)]));
    assert_eq!(ends(&diary), [RunEnd::Completed]);
    assert_eq!(said[1..], ["Refresh at 3600.900 for 29", "over after 5.000"]);
    assert_eq!((diary.processes, diary.prewarmed), (2, 0));
}

#[test]
fn a_prewarmed_process_has_no_handler_until_it_is_needed() {
    let prewarmed = [(900, Happening::Reclaimed), (1000, Happening::Prewarmed)];
    let then = |last| day(&[prewarmed[0], prewarmed[1], last]);
    // Nobody needs it: nothing runs, and what is pending stays so.
    let (diary, said) = lived(5, &then((1001, Happening::Phone(REST))));
    assert_eq!((diary.prewarmed, diary.processes, said.len()), (1, 2, 1));
    assert_eq!((diary.without_request, diary.refused), (Duration::ZERO, 0));
    // A launch: the app finishes its start, in the same process.
    let (diary, said) = lived(5, &then((HOUR, chance(REFRESH, 30))));
    assert_eq!((ends(&diary), diary.processes), (vec![RunEnd::Completed], 2));
    assert_eq!(said[1], "Refresh at 3600.900 for 29");
    // The person: likewise.
    let (diary, said) = lived(5, &then((2000, Happening::Phone(OPENED))));
    assert_eq!((diary.opened, diary.processes), (2, 2));
    assert_eq!(said[1], "opened at 2000.000");
}

#[test]
fn time_is_called_early_and_heeded() {
    let (diary, said) = lived(20, &day(&[(HOUR, chance(REFRESH, 7))]));
    assert_eq!(ends(&diary), [RunEnd::Expired]);
    assert_eq!(said[1..], ["Refresh at 3600.000 for 30", "over after 8.000"]);
    assert!(diary.runs[0].time_called);
}

#[test]
fn the_person_who_picks_the_phone_up_ends_processing() {
    let in_use = Conditions { in_use: true, ..REST };
    let events = [
        (HOUR, chance(PROCESSING, 600)),
        (HOUR + 40, Happening::Phone(in_use)),
    ];
    let (diary, said) = lived(200, &day(&events));
    assert_eq!(ends(&diary), [RunEnd::Expired]);
    assert_eq!(said[1..], ["Processing at 3600.000 for 300", "over after 41.000"]);
    // In use already, it does not come at all.
    let (diary, _) = lived(
        200,
        &day(&[(HOUR, Happening::Phone(in_use)), (HOUR, chance(PROCESSING, 600))]),
    );
    assert_eq!((ends(&diary), diary.held_back), (vec![], 1));
}

#[test]
fn a_force_quit_cuts_off_and_holds_until_the_person_opens_the_app() {
    let events = [
        (HOUR, chance(REFRESH, 30)),
        (HOUR + 3, Happening::ForceQuit),
        (5 * HOUR, chance(REFRESH, 30)),
        (6 * HOUR, Happening::Prewarmed),
        (7 * HOUR, chance(PROCESSING, 30)),
        (8 * HOUR, Happening::Phone(OPENED)),
        (8 * HOUR + 60, Happening::Phone(REST)),
        (9 * HOUR, chance(REFRESH, 30)),
    ];
    let (diary, said) = lived(5, &day(&events));
    assert_eq!(
        said[1..],
        [
            "Refresh at 3600.000 for 30",
            "cut off",
            "opened at 28800.000",
            "Refresh at 32400.000 for 30",
            "over after 5.000"
        ]
    );
    assert_eq!((ends(&diary), diary.swiped_away), (vec![RunEnd::Completed], 2));
    let from_to = (Duration::from_secs(HOUR + 3), Duration::from_secs(8 * HOUR));
    assert_eq!(diary.force_quit, Some(from_to));
    assert_eq!(diary.refused, 0, "a dead process asks for nothing");
}

#[test]
fn before_the_first_unlock_no_handler_runs() {
    let locked = Conditions {
        unlocked_once: false,
        ..REST
    };
    let restart = [(HOUR, Happening::Phone(locked)), (HOUR, Happening::Restarted)];
    let events = |unlocked_at| {
        [
            restart[0],
            restart[1],
            (2 * HOUR, chance(REFRESH, 30)),
            (unlocked_at, Happening::Phone(REST)),
        ]
    };
    let (diary, said) = lived(5, &day(&events(3 * HOUR)));
    assert_eq!((ends(&diary), said.len()), (vec![RunEnd::Locked], 1), "{said:?}");
    assert_eq!((diary.chain_broken, diary.without_request), (0, Duration::ZERO));
    // Unlocked while the launch waits: it runs.
    let (diary, said) = lived(5, &day(&events(2 * HOUR + 6)));
    assert_eq!(
        (ends(&diary), said[1].as_str()),
        (vec![RunEnd::Completed], "Refresh at 7206.000 for 24")
    );
}

#[test]
fn chances_that_were_not_taken_say_why() {
    let low = Conditions {
        low_power: true,
        ..REST
    };
    let events = [
        (1800, chance(REFRESH, 30)),
        (HOUR, Happening::Phone(low)),
        (HOUR, chance(REFRESH, 30)),
        (2 * HOUR, Happening::Phone(OPENED)),
        (2 * HOUR, chance(REFRESH, 30)),
    ];
    let (diary, _) = lived(5, &day(&events));
    assert_eq!(
        (diary.chances, diary.too_early, diary.held_back, diary.in_front),
        (3, 1, 1, 1)
    );
    assert_eq!(ends(&diary), []);
}

#[test]
fn without_background_app_refresh_the_person_is_the_only_one_left() {
    let off = |phone| Conditions {
        background_refresh: BackgroundRefresh::Denied,
        ..phone
    };
    let events = [
        (0, Happening::Phone(off(OPENED))),
        (60, Happening::Phone(off(REST))),
        (2 * HOUR, chance(REFRESH, 30)),
        (3 * HOUR, Happening::Phone(REST)),
        (5 * HOUR, chance(REFRESH, 30)),
    ];
    let (diary, said) = lived(5, &events);
    assert!(diary.refused >= 2, "{diary:?}");
    assert_eq!(diary.without_request, Duration::from_secs(3 * HOUR));
    // Switched on again, the plugin asks again by itself.
    assert_eq!(
        (ends(&diary), said.len()),
        (vec![RunEnd::Completed], 3),
        "{said:?}"
    );
}
