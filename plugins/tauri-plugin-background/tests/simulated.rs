//! The simulated system keeps the rules that Apple documents for `BGTaskScheduler`.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tauri_plugin_background::clock::{Moment, SystemClock, VirtualClock};
use tauri_plugin_background::config::{SimulatedConfig, TaskConfig};
use tauri_plugin_background::scheduler::simulated::{
    Conditions, SimulatedScheduler, SimulatedSystem, SystemEvent,
};
use tauri_plugin_background::scheduler::{LaunchSink, Request, Scheduler};
use tauri_plugin_background::{BackgroundRefresh, DeviceFacts, LaunchReason, NetworkState};
use tauri_plugin_background::{SchedulerError, TaskKind};

const SECOND: Duration = Duration::from_secs(1);

fn task(id: &str, kind: TaskKind) -> TaskConfig {
    TaskConfig {
        id: id.to_owned(),
        kind,
        min_interval_minutes: None,
        requires_network: false,
        requires_power: false,
        soft_budget_secs: None,
    }
}

struct Phone {
    system: SimulatedSystem,
    start: Moment,
}

impl Phone {
    fn new(tasks: &[TaskConfig]) -> Self {
        let mut system = SimulatedSystem::new(SimulatedConfig::default());
        for task in tasks {
            system.register(task).unwrap();
        }
        Self {
            system,
            start: Moment::now(),
        }
    }

    fn submit(&mut self, at: u32, task: &TaskConfig, delay: Duration) -> Result<(), SchedulerError> {
        self.system
            .submit(self.start + at * SECOND, &Request::new(task, delay))
    }

    fn set(&mut self, at: u32, conditions: Conditions) -> Vec<SystemEvent> {
        self.system.set_conditions(self.start + at * SECOND, conditions)
    }

    fn poll(&mut self, at: u32) -> Vec<SystemEvent> {
        self.system.poll(self.start + at * SECOND)
    }

    fn next(&self) -> Option<Duration> {
        self.system
            .next_event()
            .map(|at| at.saturating_duration_since(self.start.instant))
    }
}

fn launch(token: u64, id: &str) -> SystemEvent {
    SystemEvent::Launch {
        token,
        id: id.to_owned(),
    }
}

#[test]
fn a_request_is_granted_once_its_earliest_date_has_passed() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, 60 * SECOND).unwrap();
    assert_eq!(phone.next(), Some(60 * SECOND));
    assert_eq!(phone.poll(59), []);
    assert_eq!(phone.poll(60), [launch(1, "a.r")]);
    assert!(phone.system.pending().is_empty(), "a granted request is used up");
    assert_eq!(phone.poll(61), []);
}

#[test]
fn the_same_identifier_replaces_and_limits_hold() {
    let refresh = task("a.r", TaskKind::Refresh);
    let other = task("a.r2", TaskKind::Refresh);
    let mut phone = Phone::new(&[refresh.clone(), other.clone()]);
    phone.submit(0, &refresh, 10 * SECOND).unwrap();
    phone.submit(0, &refresh, 90 * SECOND).unwrap();
    assert_eq!(phone.next(), Some(90 * SECOND));
    assert_eq!(
        phone.submit(0, &other, SECOND),
        Err(SchedulerError::TooManyPending)
    );
    phone.system.cancel("a.r");
    phone.submit(0, &other, SECOND).unwrap();

    let tasks: Vec<_> = (0..11)
        .map(|i| task(&format!("a.p{i}"), TaskKind::Processing))
        .collect();
    let mut phone = Phone::new(&tasks);
    for task in &tasks[..10] {
        phone.submit(0, task, SECOND).unwrap();
    }
    assert_eq!(
        phone.submit(0, &tasks[10], SECOND),
        Err(SchedulerError::TooManyPending)
    );
    phone.submit(0, &tasks[3], 2 * SECOND).unwrap();
}

#[test]
fn only_registered_tasks_are_taken_and_only_once() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(&[]);
    assert_eq!(
        phone.submit(0, &refresh, SECOND),
        Err(SchedulerError::NotPermitted("a.r".into()))
    );
    phone.system.register(&refresh).unwrap();
    assert_eq!(
        phone.system.register(&refresh),
        Err(SchedulerError::AlreadyRegistered("a.r".into()))
    );
    assert_eq!(
        phone.system.simulate_launch(phone.start, "a.x"),
        Err(SchedulerError::NotPermitted("a.x".into()))
    );
}

/// A task for each row, which waits for nothing but what the row says.
fn of_kind(kind: TaskKind, requires_network: bool, requires_power: bool) -> TaskConfig {
    TaskConfig {
        requires_network,
        requires_power,
        ..task("a.t", kind)
    }
}

#[test]
fn each_kind_waits_for_its_conditions_and_for_no_others() {
    let good = Conditions {
        foreground: false,
        ..Conditions::default()
    };
    let refresh = of_kind(TaskKind::Refresh, false, false);
    let free = of_kind(TaskKind::Processing, false, false);
    let online = of_kind(TaskKind::Processing, true, false);
    let plugged = of_kind(TaskKind::Processing, false, true);
    let offline = Conditions {
        network: NetworkState::Offline,
        ..good
    };
    let unplugged = Conditions { power: false, ..good };
    let low = Conditions {
        low_power: true,
        ..good
    };
    let in_use = Conditions { in_use: true, ..good };
    let off = |background_refresh| Conditions {
        background_refresh,
        ..good
    };
    for (task, conditions, granted) in [
        (&refresh, offline, true),
        (&refresh, unplugged, true),
        (&refresh, low, false),
        (&refresh, in_use, true),
        (&refresh, off(BackgroundRefresh::Denied), false),
        (&refresh, off(BackgroundRefresh::Restricted), false),
        (&free, offline, true),
        (&free, unplugged, true),
        (&free, low, true),
        (&free, in_use, false),
        (&free, off(BackgroundRefresh::Denied), false),
        (&online, offline, false),
        (&online, unplugged, true),
        (&plugged, offline, true),
        (&plugged, unplugged, false),
    ] {
        let mut phone = Phone::new(std::slice::from_ref(task));
        phone.submit(0, task, SECOND).unwrap();
        phone.set(0, conditions);
        let due = phone.next().is_some();
        let launched = !phone.poll(100).is_empty();
        assert_eq!((due, launched), (granted, granted), "{task:?} {conditions:?}");
        if !granted {
            assert_eq!(phone.system.pending().len(), 1, "it waits");
            phone.set(200, good);
            assert_eq!(phone.poll(200), [launch(1, "a.t")], "{task:?} {conditions:?}");
        }
    }
}

#[test]
fn with_background_app_refresh_off_nothing_can_be_asked_for() {
    let refresh = task("a.r", TaskKind::Refresh);
    for background_refresh in [BackgroundRefresh::Denied, BackgroundRefresh::Restricted] {
        let mut phone = Phone::new(std::slice::from_ref(&refresh));
        phone.set(
            0,
            Conditions {
                background_refresh,
                ..Conditions::default()
            },
        );
        assert_eq!(
            phone.submit(0, &refresh, SECOND),
            Err(SchedulerError::Unavailable)
        );
        assert_eq!(phone.system.refused(), 1);
        phone.set(0, Conditions::default());
        assert_eq!(phone.submit(0, &refresh, SECOND), Ok(()));
        assert_eq!(phone.system.refused(), 1);
    }
}

#[test]
fn the_person_who_picks_the_phone_up_ends_processing_and_nothing_else() {
    let (refresh, processing) = (task("a.r", TaskKind::Refresh), task("a.p", TaskKind::Processing));
    let mut phone = Phone::new(&[refresh.clone(), processing.clone()]);
    phone.submit(0, &refresh, SECOND).unwrap();
    phone.submit(0, &processing, SECOND).unwrap();
    assert_eq!(phone.poll(1), [launch(1, "a.p"), launch(2, "a.r")]);
    let in_use = Conditions {
        in_use: true,
        ..Conditions::default()
    };
    assert_eq!(
        phone.set(2, in_use),
        [SystemEvent::Changed, SystemEvent::Expire { token: 1 }]
    );
    assert_eq!(phone.set(3, in_use), [], "once");
    assert_eq!(phone.poll(7), [SystemEvent::Kill { token: 1 }]);
    assert_eq!(phone.poll(31), [SystemEvent::Expire { token: 2 }]);
}

#[test]
fn after_a_force_quit_nothing_comes_until_the_person_opens_the_app() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, SECOND).unwrap();
    phone.poll(1);
    phone.submit(1, &refresh, SECOND).unwrap();
    phone.system.force_quit();
    assert!(!phone.system.complete(1), "its launches ended with the process");
    let closed = Conditions {
        foreground: false,
        ..Conditions::default()
    };
    phone.set(2, closed);
    // The system may start a process for something else; still nothing is launched in it.
    phone.system.register(&refresh).unwrap();
    assert_eq!((phone.poll(100_000), phone.next()), (vec![], None));
    assert_eq!(
        phone.system.pending().len(),
        1,
        "the request is the system's and stays"
    );
    phone.set(100_000, Conditions::default());
    assert_eq!(phone.poll(100_000), [launch(2, "a.r")]);
}

#[test]
fn requests_outlive_the_process_and_registrations_do_not() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, SECOND).unwrap();
    phone.system.process_ended();
    assert_eq!((phone.poll(5), phone.next()), (vec![], None));
    let now = phone.start + 5 * SECOND;
    assert_eq!(
        phone.system.due(now, TaskKind::Refresh),
        ["a.r"],
        "it would be granted to a process"
    );
    assert_eq!(
        phone.submit(5, &refresh, SECOND),
        Err(SchedulerError::NotPermitted("a.r".into()))
    );
    phone.system.register(&refresh).unwrap();
    assert_eq!(phone.poll(5), [launch(1, "a.r")]);
}

#[test]
fn a_grant_lasts_as_long_as_it_is_said_to() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, 10 * SECOND).unwrap();
    let grant = |phone: &mut Phone, at: u32, kind| {
        let now = phone.start + at * SECOND;
        phone.system.grant(now, kind, Some(4 * SECOND))
    };
    assert_eq!(grant(&mut phone, 9, TaskKind::Refresh), [], "not due yet");
    assert_eq!(grant(&mut phone, 10, TaskKind::Processing), [], "of another kind");
    assert_eq!(grant(&mut phone, 10, TaskKind::Refresh), [launch(1, "a.r")]);
    assert_eq!(phone.poll(13), []);
    assert_eq!(phone.poll(14), [SystemEvent::Expire { token: 1 }], "early");
}

#[test]
fn a_continued_task_starts_at_once_in_the_foreground_and_ends_when_it_stands_still() {
    let continued = task("a.c", TaskKind::Continued);
    let mut phone = Phone::new(&[continued.clone(), task("a.p", TaskKind::Processing)]);
    let start = |phone: &mut Phone, at: u32, id: &str| {
        let now = phone.start + at * SECOND;
        phone.system.start_continued(now, id)
    };
    let closed = Conditions {
        foreground: false,
        ..Conditions::default()
    };
    phone.set(0, closed);
    assert_eq!(start(&mut phone, 0, "a.c"), Err(SchedulerError::Unavailable));
    phone.set(0, Conditions::default());
    for other in ["a.p", "a.x"] {
        assert_eq!(
            start(&mut phone, 0, other),
            Err(SchedulerError::NotPermitted(other.into()))
        );
    }
    assert_eq!(
        phone.submit(0, &continued, SECOND),
        Err(SchedulerError::NotPermitted("a.c".into())),
        "nobody but the person asks for it"
    );
    start(&mut phone, 0, "a.c").unwrap();
    assert_eq!(
        start(&mut phone, 0, "a.c"),
        Err(SchedulerError::AlreadyRunning("a.c".into()))
    );
    assert_eq!(phone.next(), Some(Duration::ZERO));
    assert_eq!(phone.poll(0), [launch(1, "a.c")]);
    // It goes on in the background, and in use, as long as it moves.
    phone.set(
        1,
        Conditions {
            in_use: true,
            ..closed
        },
    );
    for minute in 1..60_u32 {
        let at = minute * 20;
        let now = phone.start + at * SECOND;
        phone.system.progress(now, 1, u64::from(minute));
        assert_eq!(phone.poll(at), [], "{minute}");
    }
    let last = 59 * 20;
    phone.system.progress(phone.start + (last + 20) * SECOND, 1, 59);
    assert_eq!(phone.poll(last + 29), [], "the same figure again is no progress");
    assert_eq!(phone.poll(last + 30), [SystemEvent::Expire { token: 1 }]);
}

#[test]
fn the_first_unlock_is_told_once() {
    let mut phone = Phone::new(&[]);
    let locked = Conditions {
        unlocked_once: false,
        ..Conditions::default()
    };
    assert_eq!(phone.set(0, locked), [SystemEvent::Changed]);
    assert_eq!(phone.system.conditions().facts().unlocked_once, Some(false));
    let unlocked = [SystemEvent::Unlocked, SystemEvent::Changed];
    assert_eq!(phone.set(1, Conditions::default()), unlocked);
    assert_eq!(phone.set(2, Conditions::default()), []);
}

/// What the scheduler told its sink.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn tell(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl LaunchSink for Told {
    fn launched(&self, token: u64, id: &str, reason: LaunchReason) {
        self.tell(format!("launched {token} {id} {reason:?}"));
    }
    fn expired(&self, token: u64) {
        self.tell(format!("expired {token}"));
    }
    fn unlocked(&self) {
        self.tell("unlocked".into());
    }
    fn changed(&self) {
        self.tell("changed".into());
    }
}

#[test]
fn the_scheduler_tells_its_sink_and_the_device_is_as_the_conditions_say() {
    let clock = Arc::new(VirtualClock::new(Moment::now()));
    let scheduler = SimulatedScheduler::new(SimulatedConfig::default(), clock.clone());
    let told = Arc::new(Told::default());
    for task in [task("a.r", TaskKind::Refresh), task("a.c", TaskKind::Continued)] {
        scheduler.register(&task, told.clone()).unwrap();
    }
    assert_eq!(
        scheduler.device(),
        DeviceFacts {
            unlocked_once: Some(true),
            background_refresh: Some(BackgroundRefresh::Available),
            low_power: Some(false),
            on_power: Some(true),
            network: Some(NetworkState::Unmetered),
            available_memory_bytes: None,
        },
        "a desktop"
    );
    scheduler.set_conditions(Conditions {
        unlocked_once: false,
        network: NetworkState::Expensive,
        low_power: true,
        ..Conditions::default()
    });
    let facts = scheduler.device();
    assert_eq!(
        (facts.unlocked_once, facts.network, facts.low_power),
        (Some(false), Some(NetworkState::Expensive), Some(true))
    );
    scheduler.set_conditions(Conditions::default());
    assert_eq!(told.take(), ["changed", "unlocked", "changed"]);

    scheduler.start_continued("a.c", "Syncing", "").unwrap();
    assert_eq!(told.take(), [""; 0], "never from inside the call");
    scheduler.poll();
    assert_eq!(told.take(), ["launched 1 a.c Simulated"]);
    clock.advance(20 * SECOND);
    scheduler.progress(1, 1, 2);
    clock.advance(20 * SECOND);
    scheduler.poll();
    assert_eq!((told.take(), scheduler.open_launches()), (vec![], 1));
    clock.advance(10 * SECOND);
    scheduler.poll();
    assert_eq!(told.take(), ["expired 1"]);
    scheduler.complete(1, false);

    let refresh = task("a.r", TaskKind::Refresh);
    scheduler.submit(&Request::new(&refresh, SECOND)).unwrap();
    clock.advance(SECOND);
    scheduler.poll();
    assert_eq!(told.take(), ["launched 2 a.r Simulated"]);
    scheduler.process_ended();
    clock.advance(100 * SECOND);
    scheduler.poll();
    assert_eq!(told.take(), [""; 0], "nobody is there to be told");
}

#[test]
fn time_is_called_once_and_the_app_would_be_ended_five_seconds_later() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, SECOND).unwrap();
    assert_eq!(phone.poll(1), [launch(1, "a.r")]);
    assert_eq!(phone.next(), Some(31 * SECOND));
    assert_eq!(phone.poll(30), []);
    assert_eq!(phone.poll(31), [SystemEvent::Expire { token: 1 }]);
    assert_eq!(phone.poll(35), []);
    assert_eq!(phone.poll(36), [SystemEvent::Kill { token: 1 }]);
    assert_eq!(phone.poll(100), []);
    assert!(phone.system.complete(1));
    assert!(
        !phone.system.complete(1),
        "a launch is open until it is completed, and no longer"
    );
}

#[test]
fn a_completed_launch_hears_nothing_more() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, SECOND).unwrap();
    phone.poll(1);
    assert!(phone.system.complete(1));
    assert_eq!((phone.poll(1000), phone.next()), (vec![], None));
}

#[test]
fn a_task_is_not_launched_while_it_runs() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    phone.submit(0, &refresh, SECOND).unwrap();
    phone.poll(1);
    phone.submit(1, &refresh, SECOND).unwrap();
    assert_eq!(phone.poll(10), []);
    let now = phone.start + 10 * SECOND;
    assert_eq!(
        phone.system.simulate_launch(now, "a.r"),
        Err(SchedulerError::AlreadyRunning("a.r".into()))
    );
    phone.system.complete(1);
    assert_eq!(phone.poll(10), [launch(2, "a.r")]);
}

#[test]
fn launches_and_expirations_can_be_played_by_hand() {
    let refresh = task("a.r", TaskKind::Refresh);
    let mut phone = Phone::new(std::slice::from_ref(&refresh));
    let now = phone.start;
    phone.submit(0, &refresh, 600 * SECOND).unwrap();
    assert_eq!(
        phone.system.simulate_expiration(now, "a.r"),
        Err(SchedulerError::NotRunning("a.r".into()))
    );
    assert_eq!(phone.system.simulate_launch(now, "a.r"), Ok(launch(1, "a.r")));
    assert!(
        phone.system.pending().is_empty(),
        "as on iOS, a simulated launch uses the request up"
    );
    assert_eq!(
        phone.system.simulate_expiration(now, "a.r"),
        Ok(SystemEvent::Expire { token: 1 })
    );
    assert_eq!(
        phone.system.simulate_expiration(now, "a.r"),
        Err(SchedulerError::NotRunning("a.r".into()))
    );
    assert_eq!(phone.next(), Some(5 * SECOND));
}

#[test]
fn with_a_clock_that_runs_nobody_has_to_poll() {
    let scheduler = SimulatedScheduler::new(SimulatedConfig::default(), Arc::new(SystemClock));
    let told = Arc::new(Told::default());
    let refresh = task("a.r", TaskKind::Refresh);
    for task in [&refresh, &task("a.c", TaskKind::Continued)] {
        scheduler.register(task, told.clone()).unwrap();
    }
    scheduler.start_continued("a.c", "Syncing", "").unwrap();
    scheduler
        .submit(&Request::new(&refresh, Duration::from_millis(20)))
        .unwrap();
    let began = std::time::Instant::now();
    let mut launches = Vec::new();
    while launches.len() < 2 {
        launches.extend(told.take());
        assert!(began.elapsed() < 20 * SECOND, "{launches:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(launches, ["launched 1 a.c Simulated", "launched 2 a.r Simulated"]);
}
