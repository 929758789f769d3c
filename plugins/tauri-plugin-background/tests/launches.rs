//! Launches that meet something else: a locked device, a run of the person's, a task without its handler, a system that
//! refuses or does not answer.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scripted::Scripted;
use tauri_plugin_background::clock::{Moment, VirtualClock};
use tauri_plugin_background::{
    Background, BackgroundRefresh, BlockerCode, Config, Error, LaunchReason, MAX_CAUSE_BYTES, Outcome,
    RunEnd, RunEvent, RunRecord, RunResult, SchedulerError,
};

const REFRESH: &str = "app.test.refresh";
const PROCESSING: &str = "app.test.processing";
const CONTINUED: &str = "app.test.continued";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any thread here needs, shorter than a person waits for a hung test.
const PATIENCE: Duration = Duration::from_secs(20);

struct Phone {
    clock: Arc<VirtualClock>,
    system: Arc<Scripted>,
    background: Arc<Background>,
    ended: Receiver<RunRecord>,
}

impl Phone {
    fn new(system: Scripted) -> Self {
        let config: Config = serde_json::from_str(
            r#"{ "tasks": [
                { "id": "app.test.refresh", "kind": "refresh", "minIntervalMinutes": 30, "softBudgetSecs": 30 },
                { "id": "app.test.processing", "kind": "processing", "minIntervalMinutes": 720 },
                { "id": "app.test.continued", "kind": "continued" } ] }"#,
        )
        .unwrap();
        let clock = Arc::new(VirtualClock::new(Moment::now()));
        let system = Arc::new(system);
        let background = Arc::new(Background::new(config, system.clone(), clock.clone()).unwrap());
        let (sender, ended) = channel();
        let sender = Mutex::new(sender);
        background.on_event(move |event| {
            if let RunEvent::Completed { record } = event {
                let _ = sender.lock().unwrap().send(record.clone());
            }
        });
        Self {
            clock,
            system,
            background,
            ended,
        }
    }

    fn attach(&self, handler: impl Fn() -> Outcome + Send + Sync + 'static) {
        self.background.attach(move |_| handler()).unwrap();
    }

    /// Attaches a handler that says when it was started and returns when it is told to.
    fn attach_held(&self) -> (Receiver<()>, Sender<RunResult>) {
        let (started, starts) = channel();
        let (release, released) = channel();
        let (started, released) = (Mutex::new(started), Mutex::new(released));
        self.attach(move || {
            started.lock().unwrap().send(()).unwrap();
            Outcome::new(released.lock().unwrap().recv_timeout(PATIENCE).unwrap())
        });
        (starts, release)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.background.tick();
    }

    fn end(&self) -> RunRecord {
        self.ended.recv_timeout(PATIENCE).unwrap()
    }

    fn last_request(&self, id: &str) -> Option<Duration> {
        let requests = self.system.submitted();
        requests
            .iter()
            .rev()
            .find(|(other, _)| other == id)
            .map(|(_, delay)| *delay)
    }

    fn blockers(&self) -> Vec<BlockerCode> {
        let status = self.background.status();
        status.blockers.iter().map(|blocker| blocker.code).collect()
    }
}

fn completed() -> Outcome {
    Outcome::new(RunResult::Completed)
}

#[test]
fn no_handler_is_started_before_the_device_was_unlocked() {
    let phone = Phone::new(Scripted::locked());
    phone.attach(|| panic!("a handler was started on a locked device"));
    let token = phone.system.launch(REFRESH);
    assert_eq!(
        phone.blockers(),
        [BlockerCode::NotSubmitted, BlockerCode::LockedSinceBoot]
    );
    phone.advance(10 * SECOND);
    let row = phone.end();
    assert_eq!((row.end, row.time_called), (RunEnd::Locked, false));
    assert_eq!(row.device.unwrap().unlocked_once, Some(false));
    assert_eq!(phone.system.completed(), [(token, false)]);
    assert_eq!(phone.last_request(REFRESH), Some(30 * MINUTE), "no failure");
    assert_eq!(phone.background.status().tasks[0].failures_in_a_row, 0);

    let phone = Phone::new(Scripted::locked());
    phone.attach(completed);
    // It does not say: taken as locked.
    phone.system.device.lock().unwrap().unlocked_once = None;
    let token = phone.system.launch(REFRESH);
    phone.advance(9 * SECOND);
    phone.system.unlock();
    assert_eq!(phone.end().end, RunEnd::Completed);
    assert_eq!(phone.system.completed(), [(token, true)]);
    // It was unlocked, and stays so whatever it says next.
    phone.system.device.lock().unwrap().unlocked_once = None;
    phone.system.launch(REFRESH);
    assert_eq!(phone.end().end, RunEnd::Completed);
}

#[test]
fn a_device_that_does_not_answer_holds_no_promise_up() {
    let phone = Phone::new(Scripted::default());
    phone.attach(completed);
    let stuck = phone.system.stuck.lock().unwrap();
    let before = phone.system.submitted().len();
    std::thread::scope(|scope| {
        let system = &phone.system;
        let launch = scope.spawn(move || system.launch(REFRESH));
        let begun = Instant::now();
        while phone.system.submitted().len() == before {
            assert!(begun.elapsed() < PATIENCE, "the next run is not asked for first");
            std::thread::sleep(Duration::from_millis(1));
        }
        phone.advance(10 * SECOND);
        assert_eq!(phone.end().end, RunEnd::Locked);
        assert_eq!(phone.system.completed(), [(0, false)]);
        drop(stuck);
        launch.join().unwrap();
    });
    // Its answer comes too late to start anything.
    assert_eq!(phone.background.history().len(), 1);
    assert_eq!(phone.system.completed().len(), 1);
}

#[test]
fn attaching_does_not_wait_for_the_system() {
    let system = Scripted::default();
    system.may_block.store(true, Ordering::SeqCst);
    let phone = Phone::new(system);
    let folder = tempfile::tempdir().unwrap();
    let stuck = phone.system.stuck.lock().unwrap();
    phone.background.keep_history(folder.path()).unwrap();
    phone.attach(completed);
    assert_eq!(phone.system.submitted(), []);
    drop(stuck);
    let begun = Instant::now();
    while phone.system.submitted().len() < 2 || !folder.path().join("background-runs.jsonl").exists() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", phone.system.submitted());
        std::thread::sleep(Duration::from_millis(1));
    }
    // The continued task is the person's to start.
    let mut asked: Vec<_> = phone.system.submitted().into_iter().map(|(id, _)| id).collect();
    asked.sort();
    assert_eq!(asked, [PROCESSING, REFRESH]);
}

#[test]
fn a_launch_joins_the_run_that_is_under_way() {
    let phone = Phone::new(Scripted::default());
    let (starts, release) = phone.attach_held();
    phone.background.wake_now(REFRESH).unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    let token = phone.system.launch(REFRESH);
    let active = phone.background.status().active;
    assert_eq!(active.len(), 2);
    assert_eq!(
        (active[1].joined, active[1].started),
        (Some(active[0].run), false)
    );
    assert_eq!(phone.system.completed(), []);
    release.send(RunResult::Partial).unwrap();
    let (host, joined) = (phone.end(), phone.end());
    assert_eq!(
        (host.reason, host.end, host.joined),
        (LaunchReason::Person, RunEnd::Partial, None)
    );
    assert_eq!(
        (joined.reason, joined.end),
        (LaunchReason::System, RunEnd::Partial)
    );
    assert_eq!(joined.joined, Some(host.run));
    assert_eq!(phone.system.completed(), [(token, true)]);
    assert!(starts.try_recv().is_err(), "a second handler was started");

    // Time called on a launch that joined ends it at once, and only it.
    phone.background.wake_now(REFRESH).unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    let token = phone.system.launch(REFRESH);
    phone.system.sink().expired(token);
    let joined = phone.end();
    assert_eq!((joined.end, joined.time_called), (RunEnd::Expired, true));
    assert_eq!(phone.system.completed()[1], (token, false));
    assert_eq!(phone.background.status().tasks[0].failures_in_a_row, 0);
    assert_eq!(phone.background.status().active.len(), 1);
    release.send(RunResult::Completed).unwrap();
    assert_eq!(phone.end().end, RunEnd::Completed);
    // While the system's run is under way, the person waits for its end.
    phone.system.launch(REFRESH);
    let busy = Err(SchedulerError::AlreadyRunning(REFRESH.into()).into());
    assert_eq!(phone.background.wake_now(REFRESH), busy);
    release.send(RunResult::Completed).unwrap();
    phone.end();
}

#[test]
fn what_is_left_of_an_overrun_does_not_overlap_the_next_run() {
    let phone = Phone::new(Scripted::default());
    let (starts, release) = phone.attach_held();
    let token = phone.system.launch(REFRESH);
    starts.recv_timeout(PATIENCE).unwrap();
    phone.system.sink().expired(token);
    phone.advance(3 * SECOND);
    assert_eq!(phone.end().end, RunEnd::Overran);
    let busy = Err(SchedulerError::AlreadyRunning(REFRESH.into()).into());
    assert_eq!(phone.background.wake_now(REFRESH), busy);
    phone.system.launch(REFRESH);
    phone.advance(10 * SECOND);
    assert_eq!(phone.end().end, RunEnd::Busy);
    phone.system.launch(REFRESH);
    assert!(starts.try_recv().is_err());
    // It returns, and the launch that waited for that starts.
    release.send(RunResult::Completed).unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    release.send(RunResult::Completed).unwrap();
    assert_eq!(phone.end().end, RunEnd::Completed);
    let completed: Vec<_> = phone
        .system
        .completed()
        .into_iter()
        .map(|(_, success)| success)
        .collect();
    assert_eq!(completed, [false, false, true]);
}

#[test]
fn each_task_waits_for_its_own_handler() {
    let phone = Phone::new(Scripted::default());
    let unknown = phone.background.task("app.test.x", |_| completed());
    assert_eq!(unknown, Err(Error::UnknownTask("app.test.x".into())));
    let own = |_| completed().with_cause("own");
    phone.background.task(PROCESSING, own).unwrap();
    let twice = phone.background.task(PROCESSING, own);
    assert_eq!(twice, Err(Error::DuplicateHandler(PROCESSING.into())));
    phone.attach(|| completed().with_cause("rest"));
    // The app is still in its setup.
    assert_eq!(phone.background.wake_now(PROCESSING), Err(Error::NoHandler));
    phone.system.launch(PROCESSING);
    phone.system.launch(REFRESH);
    assert_eq!(phone.end().cause.as_deref(), Some("rest"));
    assert!(!phone.background.status().handler_attached);
    assert!(phone.blockers().contains(&BlockerCode::NoHandler));
    assert_eq!(
        phone.last_request(PROCESSING),
        Some(720 * MINUTE),
        "by the launch alone"
    );
    phone.background.ready();
    assert_eq!(phone.end().cause.as_deref(), Some("own"));
    assert!(phone.background.status().handler_attached);
    let requests = phone.system.submitted().len();
    phone.background.ready();
    assert_eq!(phone.system.submitted().len(), requests);
}

#[test]
fn a_continued_task_is_started_by_the_person_and_tells_its_progress() {
    let phone = Phone::new(Scripted::default());
    let start = || {
        phone
            .background
            .start_continued(CONTINUED, "Syncing", "to the tip")
    };
    assert_eq!(start(), Err(Error::NoHandler));
    phone
        .background
        .attach(|launch| {
            launch.progress.set(1, 2);
            launch.progress.set(9, 2);
            launch.progress.set(1, 0);
            completed()
        })
        .unwrap();
    let refused = start().unwrap_err();
    assert_eq!(refused.code(), "unsupported");
    let wrong = phone.background.start_continued(REFRESH, "", "");
    assert_eq!(wrong, Err(Error::WrongKind(REFRESH.into())));
    let wrong = phone.background.schedule(CONTINUED, MINUTE);
    assert_eq!(wrong, Err(Error::WrongKind(CONTINUED.into())));
    // What an app does instead.
    phone.background.wake_now(CONTINUED).unwrap();
    assert_eq!(
        (phone.end().end, phone.system.progress.lock().unwrap().len()),
        (RunEnd::Completed, 0)
    );

    phone.system.continued.store(true, Ordering::SeqCst);
    start().unwrap();
    let row = phone.end();
    assert_eq!((row.end, row.next_at_ms), (RunEnd::Completed, None));
    let token = phone.system.completed()[0].0;
    assert_eq!(
        *phone.system.progress.lock().unwrap(),
        [(token, 1, 2), (token, 2, 2)]
    );
    assert_eq!(phone.last_request(CONTINUED), None);
}

#[test]
fn what_was_refused_is_asked_for_again_and_told() {
    use BlockerCode::{BackgroundRefreshDenied, NotSubmitted};
    let phone = Phone::new(Scripted::default());
    *phone.system.refuses.lock().unwrap() = Some(SchedulerError::Unavailable);
    phone.system.device.lock().unwrap().background_refresh = Some(BackgroundRefresh::Denied);
    phone.attach(completed);
    let status = phone.background.status();
    assert_eq!(
        status.tasks[0].submit_error,
        Some(SchedulerError::Unavailable.to_string())
    );
    assert_eq!(
        phone.blockers(),
        [BackgroundRefreshDenied, NotSubmitted, NotSubmitted]
    );
    // A run tells it in its row.
    phone.system.launch(REFRESH);
    let row = phone.end();
    assert_eq!(
        (row.next_at_ms, row.next_refused),
        (None, Some(SchedulerError::Unavailable.to_string()))
    );
    assert_eq!(phone.system.submitted(), []);

    // The person switches it on, ten minutes later.
    phone.advance(10 * MINUTE);
    *phone.system.refuses.lock().unwrap() = None;
    phone.system.sink().changed();
    assert_eq!(
        phone.last_request(REFRESH),
        Some(20 * MINUTE),
        "for the same moment"
    );
    assert_eq!(phone.last_request(PROCESSING), Some(710 * MINUTE));
    assert_eq!(phone.background.status().tasks[0].submit_error, None);
    phone.system.sink().changed();
    assert_eq!(phone.system.submitted().len(), 2, "asked once");

    // Without such a sign, at the next launch of any task.
    *phone.system.refuses.lock().unwrap() = Some(SchedulerError::TooManyPending);
    assert!(phone.background.schedule(PROCESSING, MINUTE).is_err());
    *phone.system.refuses.lock().unwrap() = None;
    phone.advance(5 * SECOND);
    phone.system.launch(REFRESH);
    assert_eq!(phone.last_request(PROCESSING), Some(55 * SECOND));
    // What was taken back is not asked for again.
    *phone.system.refuses.lock().unwrap() = Some(SchedulerError::TooManyPending);
    assert!(phone.background.schedule(PROCESSING, 2 * MINUTE).is_err());
    phone.background.cancel(PROCESSING).unwrap();
    *phone.system.refuses.lock().unwrap() = None;
    phone.system.sink().changed();
    assert_eq!(phone.last_request(PROCESSING), Some(55 * SECOND));
}

#[test]
fn a_row_says_why_in_bounded_words() {
    let phone = Phone::new(Scripted::default());
    phone.system.device.lock().unwrap().available_memory_bytes = Some(1_000);
    let system = phone.system.clone();
    let words = Mutex::new(vec!["ü".repeat(1_000), "the server is down".to_owned()]);
    phone.attach(move || {
        system.device.lock().unwrap().available_memory_bytes = Some(700);
        match words.lock().unwrap().pop() {
            Some(cause) => Outcome::new(RunResult::Failed).with_cause(cause),
            None => panic!("what {} says", "a panic"),
        }
    });
    phone.system.launch(REFRESH);
    let row = phone.end();
    assert_eq!(row.cause.as_deref(), Some("the server is down"));
    assert_eq!(row.device.unwrap().available_memory_bytes, Some(1_000));
    assert_eq!(row.memory_at_end_bytes, Some(700));
    phone.system.launch(REFRESH);
    let cause = phone.end().cause.unwrap();
    assert!(cause.len() <= MAX_CAUSE_BYTES && cause.ends_with("ü…"), "{cause}");
    phone.system.launch(REFRESH);
    let row = phone.end();
    assert_eq!(
        (row.end, row.cause.as_deref()),
        (RunEnd::Panicked, Some("what a panic says"))
    );
    let task = phone.background.status().tasks[0].clone();
    assert_eq!((task.failures_in_a_row, task.last_success_at_ms), (3, None));
    assert_eq!(task.last, Some(row));
}

#[test]
fn what_is_permitted_and_not_declared_shows() {
    let phone = Phone::new(Scripted::default());
    let permit = |ids: &[&str]| {
        *phone.system.permitted.lock().unwrap() = ids.iter().map(|id| (*id).to_owned()).collect();
        phone.background.status().undeclared
    };
    assert_eq!(permit(&[]), Vec::<String>::new());
    assert_eq!(
        permit(&[REFRESH, PROCESSING, "app.test.continued"]),
        Vec::<String>::new()
    );
    // A wildcard is for continued tasks only, and only where one fits.
    assert_eq!(permit(&["app.test.cont*", REFRESH]), Vec::<String>::new());
    assert_eq!(
        permit(&["app.test.*", "app.other.*", "app.test.refreshed", "app.test.re*"]),
        ["app.other.*", "app.test.refreshed", "app.test.re*"]
    );
}
