//! The promises of the run state machine, held against random lives: devices that are locked, answer late or not at all;
//! late handlers, one task's before the other's; launches that join the person's run; expiries before, while and after
//! completion; panics, double completions, handlers that never return.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tauri_plugin_background::clock::Moment;
use tauri_plugin_background::run::{Effect, HANDLER_WAIT, Input, Machine, Token, WATCHDOG};
use tauri_plugin_background::{Config, DeviceFacts, LaunchReason, Outcome, RunEnd, RunRecord, RunResult};

const TASKS: [&str; 3] = ["app.test.refresh", "app.test.processing", "app.test.continued"];
const REFRESH: &str = TASKS[0];
const CONTINUED: &str = TASKS[2];

fn config() -> Config {
    serde_json::from_str(
        r#"{ "tasks": [
            { "id": "app.test.refresh", "kind": "refresh", "softBudgetSecs": 30 },
            { "id": "app.test.processing", "kind": "processing", "softBudgetSecs": 120 },
            { "id": "app.test.continued", "kind": "continued", "softBudgetSecs": 60 } ] }"#,
    )
    .unwrap()
}

fn budget(id: &str) -> Duration {
    Duration::from_secs(match TASKS.iter().position(|task| *task == id) {
        Some(0) => 30,
        Some(1) => 120,
        _ => 60,
    })
}

fn unlocked() -> DeviceFacts {
    DeviceFacts {
        unlocked_once: Some(true),
        ..DeviceFacts::default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Device {
    /// Answers at once.
    Says(Option<bool>),
    /// Answers at the next `Answer`, or never.
    Silent,
}

#[derive(Debug, Clone)]
enum Action {
    Launch {
        task: usize,
        person: bool,
    },
    LaunchAgain(usize),
    LaunchUnknown,
    /// How the device takes questions from now on.
    Device(Device),
    Answer(usize, Option<bool>),
    Unlock,
    Ready(usize),
    Finish(usize, RunResult, Option<Duration>),
    Panic(usize),
    Expire(usize),
    FailedBefore(u32),
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
    let lock = proptest::option::of(any::<bool>());
    let action = prop_oneof![
        6 => (0_usize..3, 0_u8..4).prop_map(|(task, who)| Action::Launch { task, person: who == 0 }),
        1 => which.clone().prop_map(Action::LaunchAgain),
        1 => Just(Action::LaunchUnknown),
        1 => proptest::option::of(lock.clone()).prop_map(|lock| Action::Device(lock.map_or(Device::Silent, Device::Says))),
        2 => (which.clone(), lock).prop_map(|(n, lock)| Action::Answer(n, lock)),
        1 => Just(Action::Unlock),
        3 => (0_usize..3).prop_map(Action::Ready),
        5 => (which.clone(), result, wish).prop_map(|(n, result, wish)| Action::Finish(n, result, wish)),
        1 => which.clone().prop_map(Action::Panic),
        4 => which.prop_map(Action::Expire),
        1 => (0_u32..9).prop_map(Action::FailedBefore),
        5 => (0_u64..20_000).prop_map(|ms| Action::Advance(Duration::from_millis(ms))),
    ];
    proptest::collection::vec(action, 1..40)
}

/// What an onlooker knows of a launch, without looking into the machine.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is something that happened or did not.
struct Seen {
    id: &'static str,
    launched: Moment,
    /// The launch that was under way when this one came.
    host: Option<Token>,
    answered: bool,
    opened: bool,
    time_called: Option<Moment>,
    started: bool,
    /// The handler was started and has not returned.
    handler: bool,
    cancelled: bool,
    completed: Option<(Moment, bool)>,
    end: Option<RunEnd>,
    announced: bool,
}

struct World {
    machine: Machine,
    now: Moment,
    device: Device,
    unlocked: bool,
    ready: BTreeSet<&'static str>,
    adopted: bool,
    tokens: Vec<Token>,
    seen: BTreeMap<Token, Seen>,
}

impl World {
    fn new() -> Self {
        Self {
            machine: Machine::new(config()),
            now: Moment::now(),
            device: Device::Says(Some(true)),
            unlocked: false,
            ready: BTreeSet::new(),
            adopted: false,
            tokens: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Launch { task, person } => self.launch(TASKS[*task], *person),
            Action::LaunchAgain(n) => {
                let Some(token) = self.token(*n) else { return };
                // A token that was completed may come again only by a fault of the system; one in use, or whose handler
                // still runs, must not.
                if self.seen[&token].completed.is_none() || self.seen[&token].handler {
                    self.rejects(token, REFRESH);
                }
            }
            Action::LaunchUnknown => self.rejects(Token::Scheduler(u64::MAX), "app.test.x"),
            Action::Device(device) => self.device = *device,
            Action::Answer(n, unlocked_once) => {
                if let Some(token) = self.token(*n) {
                    self.answer(token, *unlocked_once);
                }
            }
            Action::Unlock => {
                self.unlocked = true;
                self.feed(Input::Unlocked);
            }
            Action::Ready(task) => {
                self.ready.insert(TASKS[*task]);
                self.feed(Input::Ready {
                    ids: vec![TASKS[*task].into()],
                });
            }
            Action::Finish(n, result, wish) => {
                let Some(token) = self.started(*n) else { return };
                let outcome = Outcome::new(*result).with_next_in(*wish);
                self.returns(token, RunEnd::from(*result), |token| Input::Finished {
                    token,
                    outcome,
                    memory: None,
                });
            }
            Action::Panic(n) => {
                let Some(token) = self.started(*n) else { return };
                self.returns(token, RunEnd::Panicked, |token| Input::Panicked {
                    token,
                    cause: "on purpose".into(),
                    memory: None,
                });
            }
            Action::Expire(n) => {
                let Some(token) = self.token(*n) else { return };
                let now = self.now;
                let seen = self.seen.get_mut(&token).unwrap();
                let joined = seen.host.is_some() && seen.completed.is_none();
                seen.time_called.get_or_insert(now);
                self.feed(Input::Expired { token });
                if joined {
                    assert_eq!(self.seen[&token].completed, Some((now, false)), "not at once");
                }
            }
            Action::FailedBefore(count) => {
                if !std::mem::replace(&mut self.adopted, true) {
                    let failures = BTreeMap::from([(REFRESH.to_owned(), *count)]);
                    self.feed(Input::FailedBefore { failures });
                }
            }
            Action::Advance(by) => self.advance(*by),
        }
    }

    fn launch(&mut self, id: &'static str, person: bool) {
        let number = self.tokens.len() as u64;
        let (token, reason) = if person {
            (Token::Person(number), LaunchReason::Person)
        } else {
            (Token::Scheduler(number), LaunchReason::System)
        };
        let host = self
            .seen
            .iter()
            .find(|(_, seen)| seen.id == id && seen.completed.is_none() && seen.host.is_none())
            .map(|(token, _)| *token);
        if person && host.is_some() {
            return self.rejects(token, id);
        }
        self.tokens.push(token);
        let seen = Seen {
            id,
            launched: self.now,
            host,
            answered: false,
            opened: false,
            time_called: None,
            started: false,
            handler: false,
            cancelled: false,
            completed: None,
            end: None,
            announced: false,
        };
        self.seen.insert(token, seen);
        let launched = Input::Launched {
            token,
            id: id.into(),
            reason,
        };
        let effects = self.machine.handle(self.now, launched);
        let submits = matches!(&effects[0], Effect::SubmitNext { id: next, .. } if next == id);
        assert_eq!(submits, id != CONTINUED, "{effects:?}");
        self.watch(effects);
    }

    fn rejects(&mut self, token: Token, id: &str) {
        let launched = Input::Launched {
            token,
            id: id.into(),
            reason: LaunchReason::System,
        };
        assert_eq!(
            self.machine.handle(self.now, launched),
            [Effect::Reject { token }]
        );
    }

    fn answer(&mut self, token: Token, unlocked_once: Option<bool>) {
        self.unlocked |= unlocked_once == Some(true);
        self.seen.get_mut(&token).unwrap().answered = true;
        let facts = DeviceFacts {
            unlocked_once,
            ..DeviceFacts::default()
        };
        self.feed(Input::Device { token, facts });
    }

    fn token(&self, n: usize) -> Option<Token> {
        self.tokens.get(n).copied()
    }

    /// Only a handler that was started can return, but it may do so at any time after, and again.
    fn started(&self, n: usize) -> Option<Token> {
        self.token(n).filter(|token| self.seen[token].started)
    }

    fn returns(&mut self, token: Token, end: RunEnd, input: impl FnOnce(Token) -> Input) {
        let seen = self.seen.get_mut(&token).unwrap();
        seen.handler = false;
        let open = seen.completed.is_none();
        let (id, now) = (seen.id, self.now);
        let joined: Vec<_> = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.host == Some(token) && seen.completed.is_none())
            .map(|(token, _)| *token)
            .collect();
        self.feed(input(token));
        if open {
            assert_eq!(self.seen[&token].completed, Some((now, end.is_success())));
            assert_eq!(self.seen[&token].end, Some(end));
        }
        for token in joined {
            assert_eq!(self.seen[&token].completed, Some((now, end.is_success())), "{id}");
            assert_eq!(self.seen[&token].end, Some(end));
        }
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
        self.watch(effects);
        // Whatever can start has started.
        for seen in self.seen.values() {
            let can =
                seen.answered && self.unlocked && self.ready.contains(seen.id) && !self.lingers(seen.id);
            if can && seen.host.is_none() && seen.completed.is_none() {
                assert!(seen.started, "{seen:?} waits for nothing");
            }
        }
    }

    /// Whether a handler of a completed run still runs.
    fn lingers(&self, id: &str) -> bool {
        let handlers = self.seen.values().filter(|seen| seen.id == id && seen.handler);
        handlers.into_iter().any(|seen| seen.completed.is_some())
    }

    fn watch(&mut self, effects: Vec<Effect>) {
        let mut submitted = BTreeSet::new();
        let mut recorded = Vec::<RunRecord>::new();
        let mut completed = Vec::new();
        let mut asked = Vec::new();
        for effect in effects {
            match effect {
                Effect::SubmitNext { id, delay } => {
                    assert_ne!(id, CONTINUED);
                    assert!(
                        delay > Duration::ZERO && delay <= Duration::from_secs(7 * 86_400),
                        "{delay:?}"
                    );
                    submitted.insert(id);
                }
                Effect::AskDevice { token } => asked.push(token),
                Effect::Opened(row) => {
                    assert_eq!((row.end, row.finished_at_ms), (RunEnd::UnderWay, None));
                    let seen = self.row(&row);
                    assert!(seen.answered && !seen.opened && seen.completed.is_none());
                    seen.opened = true;
                }
                Effect::Start { token, run, deadline } => {
                    let others = self
                        .seen
                        .iter()
                        .filter(|(other, seen)| **other != token && seen.handler);
                    let seen = &self.seen[&token];
                    assert!(
                        others.into_iter().all(|(_, other)| other.id != seen.id),
                        "runs of one task overlap"
                    );
                    assert!(self.ready.contains(seen.id), "started before a handler was there");
                    assert!(
                        self.unlocked || matches!(token, Token::Person(_)),
                        "started on a locked device"
                    );
                    assert!(
                        !seen.started && seen.completed.is_none() && seen.host.is_none() && seen.opened,
                        "started twice, or after completion, or joined"
                    );
                    assert_eq!(deadline, seen.launched.instant + budget(seen.id));
                    assert_eq!(run.launched_at_ms, seen.launched.unix_ms);
                    let seen = self.seen.get_mut(&token).unwrap();
                    (seen.started, seen.handler) = (true, true);
                }
                Effect::Cancel { token } => {
                    let seen = self.seen.get_mut(&token).unwrap();
                    assert!(seen.started && !seen.cancelled && seen.completed.is_none());
                    assert!(
                        seen.time_called.is_some()
                            || self.now.instant == seen.launched.instant + budget(seen.id)
                    );
                    seen.cancelled = true;
                }
                Effect::Complete { token, success } => {
                    let seen = self.seen.get_mut(&token).unwrap();
                    assert_eq!(seen.completed, None, "completed twice");
                    assert!(
                        submitted.contains(seen.id) || seen.id == CONTINUED,
                        "completed before the next was submitted"
                    );
                    seen.completed = Some((self.now, success));
                    completed.push(token);
                }
                Effect::Record(row) => {
                    assert_eq!(row.finished_at_ms, Some(self.now.unix_ms));
                    // The system may suspend the app at a completion; but when time is up, that goes first.
                    let told = completed.iter().any(|token| self.is_of(&row, *token));
                    assert_eq!(told, row.end == RunEnd::Overran);
                    recorded.push(row);
                }
                Effect::Announce(row) => {
                    let position = recorded.iter().position(|other| *other == row);
                    recorded.remove(position.expect("announced what was not recorded"));
                    assert!(completed.iter().any(|token| self.is_of(&row, *token)), "{row:?}");
                    self.judge(&row);
                }
                Effect::Reject { .. } => panic!("a good launch was rejected"),
            }
        }
        assert_eq!(recorded, [], "recorded without being announced");
        assert!(
            completed.iter().all(|token| self.seen[token].announced),
            "completed without a record"
        );
        for token in asked {
            if let Device::Says(unlocked_once) = self.device {
                self.answer(token, unlocked_once);
            }
        }
    }

    /// Runs are numbered as they come.
    fn token_of(&self, row: &RunRecord) -> Token {
        self.tokens[usize::try_from(row.run).unwrap() - 1]
    }

    fn is_of(&self, row: &RunRecord, token: Token) -> bool {
        self.token_of(row) == token
    }

    fn row(&mut self, row: &RunRecord) -> &mut Seen {
        let token = self.token_of(row);
        let seen = self.seen.get_mut(&token).unwrap();
        assert_eq!(
            (row.id.as_str(), row.launched_at_ms),
            (seen.id, seen.launched.unix_ms)
        );
        seen
    }

    fn judge(&mut self, row: &RunRecord) {
        let (unlocked, ready) = (self.unlocked, self.ready.contains(row.id.as_str()));
        let number = |token: Token| self.tokens.iter().position(|other| *other == token).unwrap() as u64 + 1;
        let host = self.seen[&self.token_of(row)].host.map(number);
        assert_eq!(row.joined, host);
        assert_eq!(row.next_at_ms.is_some(), row.id != CONTINUED);
        let seen = self.row(row);
        assert!(!seen.announced);
        seen.announced = true;
        seen.end = Some(row.end);
        assert_eq!(
            Some(row.end.is_success()),
            seen.completed.map(|(_, success)| success)
        );
        if host.is_none() {
            assert_eq!(row.time_called, seen.cancelled);
            assert!(
                row.next_at_ms
                    .is_none_or(|next| next > row.finished_at_ms.unwrap())
            );
            match row.end {
                RunEnd::Locked => assert!(!seen.started && (!unlocked || !seen.answered)),
                RunEnd::NoHandler => assert!(!seen.started && unlocked_or_person(row, unlocked) && !ready),
                RunEnd::Busy => assert!(!seen.started && ready),
                _ => assert!(seen.started),
            }
        }
        if matches!(
            row.end,
            RunEnd::Locked | RunEnd::NoHandler | RunEnd::Busy | RunEnd::Overran | RunEnd::Panicked
        ) {
            assert!(row.cause.is_some(), "{row:?}");
        }
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
            if seen.host.is_some() {
                assert!(!seen.started && completed.instant <= called);
            } else if !seen.started {
                assert!(completed.instant <= seen.launched.instant + HANDLER_WAIT);
            }
        }
    }
}

fn unlocked_or_person(row: &RunRecord, unlocked: bool) -> bool {
    unlocked || row.reason == LaunchReason::Person
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

/// A machine on an unlocked device, all of whose tasks have handlers.
fn ready_machine(now: Moment) -> Machine {
    let mut machine = Machine::new(config());
    machine.handle(now, Input::Unlocked);
    let ids = TASKS.map(str::to_owned).to_vec();
    machine.handle(now, Input::Ready { ids });
    machine
}

fn launch(machine: &mut Machine, now: Moment, number: u64) -> Token {
    let token = Token::Scheduler(number);
    let launched = Input::Launched {
        token,
        id: REFRESH.into(),
        reason: LaunchReason::System,
    };
    machine.handle(now, launched);
    token
}

fn minutes(effects: &[Effect]) -> u64 {
    let Effect::SubmitNext { delay, .. } = &effects[0] else {
        panic!("{effects:?}")
    };
    delay.as_secs() / 60
}

/// The first request after a failure is further away than after a success; a success forgets the failures.
#[test]
fn failures_in_a_row_put_the_next_run_off() {
    use RunResult::{Completed, Expired, Failed, Locked, Partial};
    let now = Moment::now();
    let mut machine = ready_machine(now);
    let mut number = 0;
    let mut run = |machine: &mut Machine, result| {
        number += 1;
        let token = launch(machine, now, number);
        let facts = unlocked();
        machine.handle(now, Input::Device { token, facts });
        let outcome = Outcome::new(result);
        minutes(&machine.handle(
            now,
            Input::Finished {
                token,
                outcome,
                memory: None,
            },
        ))
    };
    let delays = [Completed, Failed, Expired, Partial].map(|result| run(&mut machine, result));
    assert_eq!(delays, [30, 60, 120, 30]);

    // A handler that found the device locked tried nothing: that neither counts nor forgives.
    let delays = [Failed, Locked, Failed, Completed].map(|result| run(&mut machine, result));
    assert_eq!(delays, [60, 30, 120, 30]);

    // Failures of earlier processes count until a run of this one succeeded.
    let failures = BTreeMap::from([(REFRESH.to_owned(), 2)]);
    machine.handle(
        now,
        Input::FailedBefore {
            failures: failures.clone(),
        },
    );
    assert_eq!(run(&mut machine, Failed), 60);
    let mut machine = ready_machine(now);
    machine.handle(now, Input::FailedBefore { failures });
    assert_eq!(run(&mut machine, Failed), 240);
}

/// Nothing was tried, so nothing failed; and the owner may unlock the device at any moment.
#[test]
fn a_locked_device_is_asked_again_after_the_minimum_interval() {
    let now = Moment::now();
    let mut machine = Machine::new(config());
    let ids = TASKS.map(str::to_owned).to_vec();
    machine.handle(now, Input::Ready { ids });
    let failures = BTreeMap::from([(REFRESH.to_owned(), 3)]);
    machine.handle(now, Input::FailedBefore { failures });
    for (number, facts) in [Some(false), None].into_iter().enumerate() {
        let token = launch(&mut machine, now, number as u64);
        let facts = DeviceFacts {
            unlocked_once: facts,
            ..DeviceFacts::default()
        };
        let opened = machine.handle(now, Input::Device { token, facts });
        assert!(matches!(opened[..], [Effect::Opened(_)]), "{opened:?}");
        let effects = machine.handle(now + HANDLER_WAIT, Input::Tick);
        assert_eq!(minutes(&effects), 30);
        assert_eq!(machine.failures_of(REFRESH), 3);
        assert_eq!(
            effects[2],
            Effect::Complete {
                token,
                success: false
            }
        );
    }
    // One that is unlocked in time runs.
    let token = launch(&mut machine, now, 9);
    let facts = DeviceFacts::default();
    machine.handle(now, Input::Device { token, facts });
    let started = machine.handle(now + HANDLER_WAIT / 2, Input::Unlocked);
    assert!(matches!(started[..], [Effect::Start { .. }]), "{started:?}");
    // An answer that is older than the unlocking does not lock it again.
    let token = Token::Scheduler(10);
    let launched = Input::Launched {
        token,
        id: TASKS[1].into(),
        reason: LaunchReason::System,
    };
    machine.handle(now, launched);
    let facts = DeviceFacts {
        unlocked_once: Some(false),
        ..DeviceFacts::default()
    };
    let started = machine.handle(now, Input::Device { token, facts });
    assert!(matches!(started[1], Effect::Start { .. }), "{started:?}");
}
