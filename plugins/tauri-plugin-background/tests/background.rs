//! The plugin as an app uses it, on real threads: attach, wake, stop, panic, overrun.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scripted::Scripted;
use tauri_plugin_background::clock::{Clock, Moment, SystemClock, VirtualClock};
use tauri_plugin_background::scheduler::simulated::SimulatedScheduler;
use tauri_plugin_background::scheduler::unsupported::UnsupportedScheduler;
use tauri_plugin_background::{
    Backend, Background, Config, Error, Launch, LaunchReason, Outcome, RunEnd, RunEvent, RunRecord,
    RunResult, SchedulerError, TaskKind,
};

const REFRESH: &str = "app.test.refresh";
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any thread here needs, shorter than a person waits for a hung test.
const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> Config {
    serde_json::from_str(
        r#"{ "tasks": [
            { "id": "app.test.refresh", "kind": "refresh", "minIntervalMinutes": 30, "softBudgetSecs": 30 },
            { "id": "app.test.processing", "kind": "processing", "minIntervalMinutes": 720 } ] }"#,
    )
    .unwrap()
}

/// A phone whose clock moves only when the test says so.
struct Phone {
    clock: Arc<VirtualClock>,
    system: Arc<SimulatedScheduler>,
    background: Arc<Background>,
    ended: Receiver<RunRecord>,
}

impl Phone {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(Moment::now()));
        let system = SimulatedScheduler::new(config().simulated, clock.clone());
        let background = Arc::new(Background::new(config(), system.clone(), clock.clone()).unwrap());
        let ended = ends_of(&background);
        Self {
            clock,
            system,
            background,
            ended,
        }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.system.poll();
        self.background.tick();
    }

    fn end(&self) -> RunRecord {
        self.ended.recv_timeout(PATIENCE).unwrap()
    }

    /// From now, in minutes.
    fn next(&self) -> Option<u64> {
        let status = self.background.status();
        let at = status
            .tasks
            .iter()
            .find(|task| task.id == REFRESH)
            .unwrap()
            .earliest_at_ms;
        at.map(|at| (at - self.clock.now().unix_ms) / 60_000)
    }
}

fn ends_of(background: &Background) -> Receiver<RunRecord> {
    let (sender, ended) = channel();
    let sender = Mutex::new(sender);
    background.on_event(move |event| {
        if let RunEvent::Completed { record } = event {
            let _ = sender.lock().unwrap().send(record.clone());
        }
    });
    ended
}

fn until_cancelled(launch: &Launch) {
    let started = std::time::Instant::now();
    while !launch.cancel.is_cancelled() {
        assert!(started.elapsed() < PATIENCE, "never told to stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_task_runs_when_it_is_due_and_its_outcome_decides_the_next_run() {
    let phone = Phone::new();
    assert_eq!(
        phone.next(),
        None,
        "nothing is asked for before the app attaches its handler"
    );
    let launches = Arc::new(Mutex::new(Vec::new()));
    let seen = launches.clone();
    phone
        .background
        .attach(move |launch| {
            seen.lock().unwrap().push((launch.id, launch.kind, launch.reason));
            Outcome::new(RunResult::Partial).with_next_in(Some(95 * MINUTE))
        })
        .unwrap();
    assert_eq!(phone.next(), Some(30));
    phone.advance(29 * MINUTE);
    assert!(phone.background.history().is_empty());
    phone.advance(MINUTE);
    let record = phone.end();
    assert_eq!(
        (record.end, record.time_called, record.run),
        (RunEnd::Partial, false, 1)
    );
    assert_eq!(phone.next(), Some(95));
    assert_eq!(
        launches.lock().unwrap().as_slice(),
        [(REFRESH.to_owned(), TaskKind::Refresh, LaunchReason::Simulated)]
    );
    assert_eq!(phone.background.history(), std::slice::from_ref(&record));
    assert_eq!(phone.background.status().last, Some(record));
    assert_eq!(
        phone.background.attach(|_| Outcome::new(RunResult::Failed)),
        Err(Error::AlreadyAttached)
    );
}

#[test]
fn a_launch_waits_for_its_handler_but_not_forever() {
    let phone = Phone::new();
    phone.background.simulate_launch(REFRESH).unwrap();
    let active = phone.background.status().active;
    assert!(!active[0].started && !phone.background.status().handler_attached);
    phone.advance(Duration::from_secs(9));
    phone
        .background
        .attach(|_| Outcome::new(RunResult::Completed))
        .unwrap();
    assert_eq!(phone.end().end, RunEnd::Completed);

    let phone = Phone::new();
    phone.background.simulate_launch(REFRESH).unwrap();
    phone.advance(Duration::from_secs(10));
    assert_eq!(phone.end().end, RunEnd::NoHandler);
    assert_eq!(phone.next(), Some(60), "a failure: twice the interval");
}

#[test]
fn a_handler_that_heeds_the_call_decides_for_itself() {
    let phone = Phone::new();
    phone
        .background
        .attach(|launch| {
            until_cancelled(&launch);
            Outcome::new(RunResult::Expired).with_next_in(Some(40 * MINUTE))
        })
        .unwrap();
    phone.background.simulate_launch(REFRESH).unwrap();
    assert_eq!(
        phone.background.simulate_launch(REFRESH),
        Err(SchedulerError::AlreadyRunning(REFRESH.into()).into())
    );
    phone.background.simulate_expiration(REFRESH).unwrap();
    let record = phone.end();
    assert_eq!((record.end, record.time_called), (RunEnd::Expired, true));
    assert_eq!(phone.next(), Some(40));
    // The deadline does the same, where the system says nothing.
    phone.background.simulate_launch(REFRESH).unwrap();
    phone.advance(Duration::from_secs(30));
    assert_eq!((phone.end().end, phone.next()), (RunEnd::Expired, Some(40)));
}

#[test]
fn a_handler_that_does_not_stop_is_completed_without_it() {
    let phone = Phone::new();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    phone
        .background
        .attach(move |_| {
            held.lock().unwrap().recv().unwrap();
            Outcome::new(RunResult::Completed).with_next_in(Some(600 * MINUTE))
        })
        .unwrap();
    phone.background.simulate_launch(REFRESH).unwrap();
    phone.background.simulate_expiration(REFRESH).unwrap();
    phone.advance(Duration::from_millis(2_999));
    assert_eq!(phone.background.history(), []);
    phone.advance(Duration::from_millis(1));
    let record = phone.end();
    assert_eq!((record.end, record.time_called), (RunEnd::Overran, true));
    let next = phone.next();
    // It comes back late: nothing is completed again, nothing is moved.
    release.send(()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((phone.background.history(), phone.next()), (vec![record], next));
}

#[test]
fn a_panic_is_an_end_like_any_other() {
    let phone = Phone::new();
    phone
        .background
        .attach(|_| panic!("on purpose: this is what the test is about"))
        .unwrap();
    for failures in 1..=2 {
        phone.background.simulate_launch(REFRESH).unwrap();
        assert_eq!(phone.end().end, RunEnd::Panicked);
        assert_eq!(phone.next(), Some(30 * 2_u64.pow(failures)));
    }
}

#[test]
fn the_person_may_wake_and_stop_without_the_system() {
    let phone = Phone::new();
    assert_eq!(phone.background.wake_now(REFRESH), Err(Error::NoHandler));
    phone
        .background
        .attach(|launch| {
            assert_eq!(launch.reason, LaunchReason::Person);
            until_cancelled(&launch);
            Outcome::new(RunResult::Expired)
        })
        .unwrap();
    phone.background.wake_now(REFRESH).unwrap();
    let twice = phone.background.wake_now(REFRESH);
    assert_eq!(twice, Err(SchedulerError::AlreadyRunning(REFRESH.into()).into()));
    phone.background.simulate_expiration(REFRESH).unwrap();
    assert_eq!(phone.end().reason, LaunchReason::Person);
    assert_eq!(
        phone.background.wake_now("app.test.x"),
        Err(Error::UnknownTask("app.test.x".into()))
    );
}

#[test]
fn where_no_scheduler_is_the_reason_shows_and_the_person_can_still_wake() {
    let clock = Arc::new(SystemClock);
    let scheduler = Arc::new(UnsupportedScheduler::new("for a test"));
    let background = Background::new(config(), scheduler, clock).unwrap();
    let ended = ends_of(&background);
    background.attach(|_| Outcome::new(RunResult::Completed)).unwrap();
    let status = background.status();
    assert_eq!(status.backend, Backend::Unsupported);
    let words = "background tasks are not supported here: for a test".to_owned();
    assert_eq!(status.tasks[0].registration_error, Some(words.clone()));
    assert_eq!(status.tasks[0].submit_error, Some(words));
    background.wake_now(REFRESH).unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE).unwrap().end, RunEnd::Completed);
}

#[test]
fn a_bad_declaration_is_refused_before_anything_is_registered() {
    let bad: Config =
        serde_json::from_str(r#"{ "tasks": [{ "id": "nodots", "kind": "refresh" }] }"#).unwrap();
    let clock = Arc::new(SystemClock);
    let system = SimulatedScheduler::new(bad.simulated.clone(), clock.clone());
    let refused = Background::new(bad, system, clock).err().unwrap();
    assert_eq!(refused.code(), "config");
    assert!(refused.to_string().contains("nodots"), "{refused}");
}

/// With the real clock and the plugin's own threads: granted when due, told to stop at the end of the budget.
#[test]
fn on_a_desktop_the_timer_threads_do_it_all() {
    let config: Config = serde_json::from_str(
        r#"{ "tasks": [{ "id": "app.test.refresh", "kind": "refresh" }], "simulated": { "refreshBudgetSecs": 1 } }"#,
    )
    .unwrap();
    let clock = Arc::new(SystemClock);
    let system = SimulatedScheduler::new(config.simulated.clone(), clock.clone());
    let background = Background::new(config, system, clock).unwrap();
    let ended = ends_of(&background);
    background
        .attach(|launch| {
            until_cancelled(&launch);
            Outcome::new(RunResult::Expired)
        })
        .unwrap();
    background.schedule(REFRESH, Duration::from_millis(50)).unwrap();
    let record = ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!((record.end, record.time_called), (RunEnd::Expired, true));
    let took = record.finished_at_ms.unwrap() - record.launched_at_ms;
    assert!((950..10_000).contains(&took), "{took} ms");
}

#[test]
fn ends_and_expiries_that_race_complete_each_launch_once() {
    const LAUNCHES: usize = 500;
    let scheduler = Arc::new(Scripted::default());
    let background = Background::new(config(), scheduler.clone(), Arc::new(SystemClock)).unwrap();
    let ended = ends_of(&background);
    background
        .attach(|_| {
            std::thread::yield_now();
            Outcome::new(RunResult::Completed)
        })
        .unwrap();
    for _ in 0..LAUNCHES {
        let token = scheduler.launch(REFRESH);
        let sink = scheduler.sink();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let sink = sink.clone();
                std::thread::spawn(move || sink.expired(token))
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
    }
    for _ in 0..LAUNCHES {
        ended.recv_timeout(PATIENCE).unwrap();
    }
    let completed: Vec<_> = scheduler
        .completed()
        .into_iter()
        .map(|(token, _)| token)
        .collect();
    let each: BTreeSet<_> = completed.iter().copied().collect();
    assert_eq!((completed.len(), each.len()), (LAUNCHES, LAUNCHES));
    // Two at attach, one before each launch's work, at least one for every run that did not join another.
    let runs = background
        .history()
        .iter()
        .filter(|row| row.joined.is_none())
        .count();
    assert!(scheduler.submitted().len() >= 2 + LAUNCHES + runs);
    assert_eq!(background.history().len(), 200);
}
