//! The promises of the run state machine, held against random lives: launches, late handlers, expiries before, while and
//! after completion, panics, double completions.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tauri_plugin_background::clock::Moment;
use tauri_plugin_background::run::{Effect, HANDLER_WAIT, Input, Machine, Token, WATCHDOG};
use tauri_plugin_background::{Config, LaunchReason, Outcome, RunEnd, RunResult};

const REFRESH: &str = "app.test.refresh";
const PROCESSING: &str = "app.test.processing";

fn config() -> Config {
    serde_json::from_str(
        r#"{ "tasks": [
            { "id": "app.test.refresh", "kind": "refresh", "softBudgetSecs": 30 },
            { "id": "app.test.processing", "kind": "processing", "softBudgetSecs": 120 } ] }"#,
    )
    .unwrap()
}

fn budget(id: &str) -> Duration {
    Duration::from_secs(if id == REFRESH { 30 } else { 120 })
}

#[derive(Debug, Clone)]
enum Action {
    Launch { refresh: bool, person: bool },
    LaunchAgain(usize),
    LaunchUnknown,
    Attach,
    Finish(usize, RunResult, Option<Duration>),
    Panic(usize),
    Expire(usize),
    Advance(Duration),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let result = prop_oneof![
        Just(RunResult::Completed),
        Just(RunResult::Partial),
        Just(RunResult::Expired),
        Just(RunResult::Failed)
    ];
    let wish = proptest::option::of((0_u64..100_000).prop_map(Duration::from_secs));
    let which = 0_usize..6;
    let action = prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(refresh, person)| Action::Launch { refresh, person }),
        1 => which.clone().prop_map(Action::LaunchAgain),
        1 => Just(Action::LaunchUnknown),
        2 => Just(Action::Attach),
        4 => (which.clone(), result, wish).prop_map(|(n, result, wish)| Action::Finish(n, result, wish)),
        1 => which.clone().prop_map(Action::Panic),
        3 => which.prop_map(Action::Expire),
        4 => (0_u64..20_000).prop_map(|ms| Action::Advance(Duration::from_millis(ms))),
    ];
    proptest::collection::vec(action, 1..60)
}

/// What an onlooker knows of a launch, without looking into the machine.
struct Seen {
    id: &'static str,
    launched: Moment,
    time_called: Option<Moment>,
    started: bool,
    cancelled: bool,
    completed: Option<(Moment, bool)>,
    end: Option<RunEnd>,
}

struct World {
    machine: Machine,
    now: Moment,
    attached: bool,
    tokens: Vec<Token>,
    seen: BTreeMap<Token, Seen>,
}

impl World {
    fn new() -> Self {
        Self {
            machine: Machine::new(config()),
            now: Moment::now(),
            attached: false,
            tokens: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Launch { refresh, person } => {
                let id = if *refresh { REFRESH } else { PROCESSING };
                let number = self.tokens.len() as u64;
                let (token, reason) = match person {
                    true => (Token::Person(number), LaunchReason::Person),
                    false => (Token::Scheduler(number), LaunchReason::System),
                };
                self.tokens.push(token);
                let (launched, now) = (self.now, self.now);
                let seen = Seen {
                    id,
                    launched,
                    time_called: None,
                    started: false,
                    cancelled: false,
                    completed: None,
                    end: None,
                };
                self.seen.insert(token, seen);
                let effects = self.machine.handle(
                    now,
                    Input::Launched {
                        token,
                        id: id.into(),
                        reason,
                    },
                );
                let first = effects.first();
                assert!(
                    matches!(first, Some(Effect::SubmitNext { id: next, .. }) if next == id),
                    "{effects:?}"
                );
                self.watch(&effects);
            }
            Action::LaunchAgain(n) => {
                let Some(token) = self.tokens.get(*n).copied() else {
                    return;
                };
                // A token that was completed may come again only by a fault of the system; one in use must not.
                if self.seen[&token].completed.is_none() {
                    let launched = Input::Launched {
                        token,
                        id: REFRESH.into(),
                        reason: LaunchReason::System,
                    };
                    assert_eq!(
                        self.machine.handle(self.now, launched),
                        [Effect::Reject { token }]
                    );
                }
            }
            Action::LaunchUnknown => {
                let token = Token::Scheduler(u64::MAX);
                let launched = Input::Launched {
                    token,
                    id: "app.test.x".into(),
                    reason: LaunchReason::System,
                };
                assert_eq!(
                    self.machine.handle(self.now, launched),
                    [Effect::Reject { token }]
                );
            }
            Action::Attach => {
                self.attached = true;
                self.feed(Input::HandlerAttached);
            }
            Action::Finish(n, result, wish) => {
                let Some(token) = self.started(*n) else { return };
                let open = self.seen[&token].completed.is_none();
                self.feed(Input::Finished {
                    token,
                    outcome: Outcome::new(*result).with_next_in(*wish),
                });
                if open {
                    let success = matches!(result, RunResult::Completed | RunResult::Partial);
                    assert_eq!(self.seen[&token].completed, Some((self.now, success)));
                }
            }
            Action::Panic(n) => {
                let Some(token) = self.started(*n) else { return };
                let open = self.seen[&token].completed.is_none();
                self.feed(Input::Panicked { token });
                if open {
                    assert_eq!(self.seen[&token].end, Some(RunEnd::Panicked));
                }
            }
            Action::Expire(n) => {
                let Some(token) = self.tokens.get(*n).copied() else {
                    return;
                };
                let now = self.now;
                self.seen.get_mut(&token).unwrap().time_called.get_or_insert(now);
                self.feed(Input::Expired { token });
            }
            Action::Advance(by) => self.advance(*by),
        }
    }

    /// Only a handler that was started can return, but it may do so at any time after, and again.
    fn started(&self, n: usize) -> Option<Token> {
        self.tokens
            .get(n)
            .copied()
            .filter(|token| self.seen[token].started)
    }

    fn advance(&mut self, by: Duration) {
        let target = self.now + by;
        while let Some(tick) = self.machine.next_tick().filter(|tick| *tick <= target.instant) {
            let step = tick.saturating_duration_since(self.now.instant);
            self.now = self.now + step;
            self.feed(Input::Tick);
            assert!(
                self.machine.next_tick().is_none_or(|next| next > tick),
                "the tick changed nothing"
            );
        }
        self.now = Moment {
            instant: target.instant,
            unix_ms: self.now.unix_ms_of(target.instant),
        };
    }

    fn feed(&mut self, input: Input) {
        let effects = self.machine.handle(self.now, input);
        self.watch(&effects);
    }

    fn watch(&mut self, effects: &[Effect]) {
        let mut submitted = Vec::new();
        let mut last_completed = None;
        for effect in effects {
            match effect {
                Effect::SubmitNext { id, delay } => {
                    assert!(
                        *delay > Duration::ZERO && *delay <= Duration::from_secs(7 * 86_400),
                        "{delay:?}"
                    );
                    submitted.push(id.clone());
                }
                Effect::Start { token, run, deadline } => {
                    let seen = self.seen.get_mut(token).unwrap();
                    assert!(self.attached, "started before a handler was there");
                    assert!(
                        !seen.started && seen.completed.is_none(),
                        "started twice, or after completion"
                    );
                    assert_eq!(*deadline, seen.launched.instant + budget(seen.id));
                    assert_eq!(run.launched_at_ms, seen.launched.unix_ms);
                    seen.started = true;
                }
                Effect::Cancel { token } => {
                    let seen = self.seen.get_mut(token).unwrap();
                    assert!(seen.started && !seen.cancelled && seen.completed.is_none());
                    seen.cancelled = true;
                }
                Effect::Complete { token, success } => {
                    let seen = self.seen.get_mut(token).unwrap();
                    assert_eq!(seen.completed, None, "completed twice");
                    assert!(
                        submitted.iter().any(|id| id == seen.id),
                        "completed before the next was submitted"
                    );
                    seen.completed = Some((self.now, *success));
                    last_completed = Some(*token);
                }
                Effect::Record(record) => {
                    let seen = self.seen.get_mut(&last_completed.take().unwrap()).unwrap();
                    assert_eq!(record.id, seen.id);
                    assert_eq!(
                        Some(record.end.is_success()),
                        seen.completed.map(|(_, success)| success)
                    );
                    assert_eq!(record.time_called, seen.cancelled);
                    assert!(record.next_at_ms > record.finished_at_ms);
                    seen.end = Some(record.end);
                }
                Effect::Reject { .. } => panic!("a good launch was rejected"),
            }
        }
        assert_eq!(last_completed, None, "completed without a record");
    }

    fn settle(mut self) {
        self.advance(Duration::from_secs(3_600));
        assert_eq!(self.machine.next_tick(), None);
        assert_eq!(self.machine.active(), []);
        for (token, seen) in &self.seen {
            let (completed, _) = seen
                .completed
                .unwrap_or_else(|| panic!("{token:?} was never completed"));
            let deadline = seen.launched.instant + budget(seen.id);
            let called = seen
                .time_called
                .map_or(deadline, |called| called.instant.min(deadline));
            assert!(
                completed.instant <= called + WATCHDOG,
                "{token:?} outlived the watchdog"
            );
            if !seen.started {
                assert_eq!(seen.end, Some(RunEnd::NoHandler));
                assert!(completed.instant <= seen.launched.instant + HANDLER_WAIT);
            }
        }
    }
}

proptest! {
    // Enough to meet every pair of events in a few seconds. PROPTEST_CASES=100000 before a release.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_launch_is_completed_once_and_in_time(actions in actions()) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.settle();
    }
}

/// The first request after a failure is further away than after a success; a success forgets the failures.
#[test]
fn failures_in_a_row_put_the_next_run_off() {
    let mut machine = Machine::new(config());
    let now = Moment::now();
    machine.handle(now, Input::HandlerAttached);
    let mut number = 0;
    let mut run = |result| {
        number += 1;
        let token = Token::Scheduler(number);
        machine.handle(
            now,
            Input::Launched {
                token,
                id: REFRESH.into(),
                reason: LaunchReason::System,
            },
        );
        let effects = machine.handle(
            now,
            Input::Finished {
                token,
                outcome: Outcome::new(result),
            },
        );
        let Effect::SubmitNext { delay, .. } = &effects[0] else {
            panic!("{effects:?}")
        };
        delay.as_secs() / 60
    };
    let delays = [
        RunResult::Completed,
        RunResult::Failed,
        RunResult::Expired,
        RunResult::Partial,
    ]
    .map(&mut run);
    assert_eq!(delays, [30, 60, 120, 30]);
}
