//! The simulated system keeps the rules that Apple documents for `BGTaskScheduler`.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tauri_plugin_background::clock::Moment;
use tauri_plugin_background::config::{SimulatedConfig, TaskConfig};
use tauri_plugin_background::scheduler::Request;
use tauri_plugin_background::scheduler::simulated::{Conditions, SimulatedSystem, SystemEvent};
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

#[test]
fn power_network_and_the_switch_are_waited_for() {
    let mut processing = task("a.p", TaskKind::Processing);
    processing.requires_network = true;
    processing.requires_power = true;
    let mut phone = Phone::new(std::slice::from_ref(&processing));
    phone.submit(0, &processing, SECOND).unwrap();
    let good = Conditions::default();
    for bad in [
        Conditions {
            network: false,
            ..good
        },
        Conditions { power: false, ..good },
        Conditions {
            background_refresh: false,
            ..good
        },
    ] {
        phone.system.set_conditions(bad);
        assert_eq!((phone.poll(100), phone.next()), (vec![], None), "{bad:?}");
    }
    assert_eq!(
        phone.submit(100, &processing, SECOND),
        Err(SchedulerError::Unavailable)
    );
    phone.system.set_conditions(good);
    assert_eq!(phone.poll(100), [launch(1, "a.p")]);
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
