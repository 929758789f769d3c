//! The races around a completion, under a scheduler that chooses which thread goes on at every step: a handler that
//! returns, and returns again; a system that calls time, on this launch and on one that joined it; the watchdog; the device
//! that answers late. What runs is the gate and the machine that the plugin runs on, with another library's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use shuttle::thread::{self, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Gate, Lock, Order, Port, Table};
use crate::clock::{Moment, VirtualClock};
use crate::config::Config;
use crate::device::DeviceFacts;
use crate::models::{ActiveRun, LaunchReason, Outcome, RunEnd, RunRecord, RunResult};
use crate::run::{HANDLER_WAIT, Input, Token, WATCHDOG};

const TASK: &str = "app.test.refresh";
const BUDGET: Duration = Duration::from_secs(30);
const FIRST: u64 = 1;
const SECOND: u64 = 2;

impl<T> Lock<T> for shuttle::sync::Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn with<A>(&self, work: impl FnOnce(&mut T) -> A) -> A {
        work(&mut self.lock().unwrap())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    /// Does its work, and returns a second time by a fault.
    Returns,
    /// Works until it is told to stop.
    Obeys,
}

/// A phone with one task, and all that it saw.
struct Phone {
    gate: Gate<shuttle::sync::Mutex<Table>>,
    clock: VirtualClock,
    handler: Handler,
    seen: Mutex<Seen>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    me: std::sync::Weak<Self>,
}

#[derive(Default)]
struct Seen {
    launched: BTreeMap<Token, usize>,
    submitted: usize,
    completed: Vec<(Token, bool)>,
    kept: BTreeSet<u64>,
    announced: BTreeMap<u64, RunEnd>,
    cancels: Vec<CancellationToken>,
    handlers: usize,
}

impl Phone {
    fn new(handler: Handler) -> Arc<Self> {
        let config: Config =
            serde_json::from_str(r#"{ "tasks": [{ "id": "app.test.refresh", "kind": "refresh" }] }"#)
                .unwrap();
        Arc::new_cyclic(|me| Self {
            gate: Gate::new(config),
            clock: VirtualClock::new(Moment::now()),
            handler,
            seen: Mutex::default(),
            threads: Mutex::default(),
            me: me.clone(),
        })
    }

    /// Never held across a step of the scheduler, so an ordinary lock is right.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn feed(&self, input: Input) {
        self.gate.feed(&self.clock, self, input);
    }

    fn launch(&self, token: Token) {
        let submitted = self.seen().submitted;
        self.seen().launched.insert(token, submitted);
        let (id, reason) = (TASK.to_owned(), LaunchReason::System);
        self.feed(Input::Launched { token, id, reason });
    }

    fn finish(&self, token: Token) {
        let (outcome, memory) = (Outcome::new(RunResult::Completed), None);
        self.feed(Input::Finished {
            token,
            outcome,
            memory,
        });
    }

    fn spawn(&self, work: impl FnOnce(&Self) + Send + 'static) {
        let me = self.me.upgrade().unwrap();
        let thread = thread::spawn(move || work(&me));
        self.threads.lock().unwrap().push(thread);
    }

    fn settle(&self) {
        loop {
            let Some(thread) = self.threads.lock().unwrap().pop() else {
                break;
            };
            thread.join().unwrap();
        }
        for _ in 0..3 {
            self.clock.advance(BUDGET + WATCHDOG + HANDLER_WAIT);
            self.feed(Input::Tick);
        }
        let seen = self.seen();
        let mut completed: Vec<_> = seen.completed.iter().map(|(token, _)| *token).collect();
        completed.sort_unstable();
        let launched: Vec<_> = seen.launched.keys().copied().collect();
        assert_eq!(completed, launched, "each launch is completed exactly once");
        assert_eq!(seen.announced.len(), launched.len());
        assert!(
            seen.cancels.iter().all(CancellationToken::is_cancelled),
            "a handler was left running"
        );
        assert!(self.gate.look(|machine| machine.active().is_empty()));
    }
}

/// Every call is a step of the scheduler: what the gate does, it does between other threads' doings.
impl Port for Phone {
    fn submit_next(&self, _id: &str, _delay: Duration, _order: Order) {
        thread::yield_now();
        self.seen().submitted += 1;
    }

    fn ask_device(&self, token: Token) {
        thread::yield_now();
        let facts = DeviceFacts {
            unlocked_once: Some(true),
            ..DeviceFacts::default()
        };
        self.feed(Input::Device { token, facts });
    }

    fn keep(&self, row: RunRecord) {
        thread::yield_now();
        if row.end != RunEnd::UnderWay {
            assert!(self.seen().kept.insert(row.run), "recorded twice");
        }
    }

    fn start(&self, token: Token, _run: ActiveRun, _deadline: Instant, cancel: CancellationToken) {
        thread::yield_now();
        self.seen().cancels.push(cancel.clone());
        self.spawn(move |phone| {
            {
                let mut seen = phone.seen();
                assert_eq!(seen.handlers, 0, "runs of one task overlap");
                seen.handlers += 1;
            }
            thread::yield_now();
            while phone.handler == Handler::Obeys && !cancel.is_cancelled() {
                thread::yield_now();
            }
            phone.seen().handlers -= 1;
            phone.finish(token);
            if phone.handler == Handler::Returns {
                phone.finish(token);
            }
        });
    }

    fn complete(&self, token: Token, success: bool) {
        thread::yield_now();
        let mut seen = self.seen();
        let before = seen.launched[&token];
        assert!(seen.submitted > before, "completed before the next was submitted");
        seen.completed.push((token, success));
    }

    fn announce(&self, row: RunRecord) {
        thread::yield_now();
        assert!(
            self.seen().announced.insert(row.run, row.end).is_none(),
            "announced twice"
        );
    }

    fn reject(&self, token: Token) {
        panic!("{token:?} was rejected");
    }

    fn wake_at(&self, _at: Option<Instant>) {}
}

fn race(handler: Handler) {
    let phone = Phone::new(handler);
    phone.spawn(|phone| {
        phone.feed(Input::Ready {
            ids: vec![TASK.to_owned()],
        });
    });
    for number in [FIRST, SECOND] {
        let token = Token::Scheduler(number);
        phone.spawn(move |phone| {
            phone.launch(token);
            // The system may call time as soon as it reported the launch, and again.
            phone.spawn(move |phone| phone.feed(Input::Expired { token }));
            phone.feed(Input::Expired { token });
        });
    }
    phone.spawn(|phone| {
        for step in [BUDGET, WATCHDOG] {
            phone.clock.advance(step);
            phone.feed(Input::Tick);
        }
    });
    phone.settle();
}

#[test]
fn a_handler_that_returns_twice_races_with_expiries_and_the_watchdog() {
    shuttle::check_random(|| race(Handler::Returns), 2_000);
    shuttle::check_pct(|| race(Handler::Returns), 1_000, 3);
}

#[test]
fn a_handler_that_waits_to_be_told_is_told_whatever_comes_first() {
    shuttle::check_random(|| race(Handler::Obeys), 2_000);
    shuttle::check_pct(|| race(Handler::Obeys), 1_000, 3);
}
