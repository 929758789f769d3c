//! What keeps runs from coming: a plain function of the status.
//!
//! Owns codes and plain sentences. What is done about a blocker is the app's, and the words for its own people too.

use serde::{Deserialize, Serialize};

use crate::config::TaskKind;
use crate::device::{BackgroundRefresh, NetworkState};
use crate::models::{Backend, Status, TaskStatus};

/// A request that is due for so long was passed over for other reasons than a busy phone: iOS attempts processing requests
/// "within the next two days as long as the user has used your app within the past week"
/// (<https://developer.apple.com/documentation/backgroundtasks/bgprocessingtaskrequest>).
const OVERDUE_MS: u64 = 2 * 24 * 60 * 60 * 1000;

/// What kind of thing keeps runs from coming, weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum BlockerCode {
    /// There is no background scheduler here.
    Unsupported,
    /// The person switched Background App Refresh off.
    BackgroundRefreshDenied,
    /// Background App Refresh is off, and the person cannot switch it on. Apple: do not ask them to.
    BackgroundRefreshRestricted,
    /// Low Power Mode is on.
    LowPowerMode,
    /// The app is not built to run the task.
    NotPermitted,
    /// The system did not register the task for another reason.
    NotRegistered,
    /// No request for the task is pending.
    NotSubmitted,
    /// Nobody would do the work.
    NoHandler,
    /// There is no network.
    Offline,
    /// The task waits for the charger.
    NotOnPower,
    /// The device was not unlocked since it started, or does not say.
    LockedSinceBoot,
    /// Due for more than two days. One reason among others: the app was swiped away in the app switcher, after which iOS
    /// launches nothing until the person opens it.
    ForceQuitSuspected,
}

/// Something that keeps runs from coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct Blocker {
    /// For programs.
    pub code: BlockerCode,
    /// The task that it keeps, if not all.
    pub id: Option<String>,
    /// In English.
    pub text: String,
}

impl Blocker {
    fn all(code: BlockerCode, text: &str) -> Self {
        Self {
            code,
            id: None,
            text: text.to_owned(),
        }
    }

    fn of(task: &TaskStatus, code: BlockerCode, text: String) -> Self {
        Self {
            code,
            id: Some(task.id.clone()),
            text,
        }
    }
}

/// What keeps runs from coming, at this moment in milliseconds since the Unix epoch. Looks at everything in the status but
/// its `blockers`.
pub fn blockers(status: &Status, now_ms: u64) -> Vec<Blocker> {
    let mut found = of_device(status);
    // Where there is no scheduler, the tasks have nothing to say but that.
    if status.backend != Backend::Unsupported {
        for task in &status.tasks {
            found.extend(of_task(status, task, now_ms));
        }
    }
    // Stable: within a code, tasks stay as they are declared.
    found.sort_by_key(|blocker| blocker.code);
    found
}

fn of_device(status: &Status) -> Vec<Blocker> {
    use BlockerCode as Code;
    let mut found = Vec::new();
    let device = &status.device;
    let scheduled = |task: &TaskStatus| task.kind != TaskKind::Continued;
    if status.backend == Backend::Unsupported {
        found.push(Blocker::all(
            Code::Unsupported,
            "There is no background scheduler on this platform.",
        ));
    }
    match device.background_refresh {
        Some(BackgroundRefresh::Denied) => found.push(Blocker::all(
            Code::BackgroundRefreshDenied,
            "Background App Refresh is switched off for this app or this device.",
        )),
        Some(BackgroundRefresh::Restricted) => found.push(Blocker::all(
            Code::BackgroundRefreshRestricted,
            "Background App Refresh is off, and the settings of this device do not let its user change that.",
        )),
        Some(BackgroundRefresh::Available) | None => {}
    }
    if device.low_power == Some(true) && status.tasks.iter().any(scheduled) {
        found.push(Blocker::all(
            Code::LowPowerMode,
            "Low Power Mode is on; runs in the background are put off until it is off.",
        ));
    }
    if device.network == Some(NetworkState::Offline) {
        found.push(Blocker::all(Code::Offline, "There is no network."));
    }
    if device.unlocked_once != Some(true) {
        found.push(Blocker::all(
            Code::LockedSinceBoot,
            "The device was not unlocked since it started; until then the app's files cannot be read.",
        ));
    }
    found
}

fn of_task(status: &Status, task: &TaskStatus, now_ms: u64) -> Vec<Blocker> {
    use BlockerCode as Code;
    let mut found = Vec::new();
    let id = &task.id;
    if !task.handler_ready {
        let text = format!("The app has attached no handler for {id}.");
        found.push(Blocker::of(task, Code::NoHandler, text));
    }
    if !task.permitted {
        let text = format!("{id} is declared, but the app's Info.plist does not permit it.");
        found.push(Blocker::of(task, Code::NotPermitted, text));
    } else if !task.registered && task.kind == TaskKind::Continued {
        // Before iOS 26 there are no such tasks. Their work is begun by hand, so nothing that comes by itself is kept away.
    } else if !task.registered {
        let why = task
            .registration_error
            .as_deref()
            .unwrap_or("no reason was given");
        let text = format!("The system did not register {id}: {why}.");
        found.push(Blocker::of(task, Code::NotRegistered, text));
    } else if task.kind != TaskKind::Continued {
        let runs = status.active.iter().any(|run| run.id == *id);
        match task.earliest_at_ms {
            None if !runs => {
                let text = match &task.submit_error {
                    Some(error) => format!("The system refused the request for {id}: {error}."),
                    None => format!("No run of {id} is asked for."),
                };
                found.push(Blocker::of(task, Code::NotSubmitted, text));
            }
            Some(at) if at.saturating_add(OVERDUE_MS) < now_ms => {
                let text = format!(
                    "{id} is due for more than two days. An app that was swiped away in the app switcher is not run \
                     until it is opened, and one that is seldom used runs seldom."
                );
                found.push(Blocker::of(task, Code::ForceQuitSuspected, text));
            }
            None | Some(_) => {}
        }
    }
    if task.requires_power && status.device.on_power == Some(false) {
        let text = format!("{id} waits until the device is charging.");
        found.push(Blocker::of(task, Code::NotOnPower, text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceFacts;
    use crate::models::{ActiveRun, HistoryStatus, LaunchReason};

    const NOW: u64 = 1_000_000_000_000;

    fn task(id: &str, kind: TaskKind) -> TaskStatus {
        TaskStatus {
            id: id.to_owned(),
            kind,
            min_interval_minutes: 30,
            soft_budget_secs: 30,
            requires_network: false,
            requires_power: false,
            registered: true,
            permitted: true,
            registration_error: None,
            handler_ready: true,
            submit_error: None,
            earliest_at_ms: Some(NOW + 1),
            last: None,
            last_success_at_ms: None,
            failures_in_a_row: 0,
        }
    }

    fn healthy() -> Status {
        Status {
            backend: Backend::Ios,
            device: DeviceFacts {
                unlocked_once: Some(true),
                background_refresh: Some(BackgroundRefresh::Available),
                low_power: Some(false),
                on_power: Some(false),
                network: Some(NetworkState::Expensive),
                available_memory_bytes: Some(1),
            },
            handler_attached: true,
            blockers: vec![],
            tasks: vec![task("a.r", TaskKind::Refresh), task("a.p", TaskKind::Processing)],
            undeclared: vec![],
            active: vec![],
            last: None,
            history: HistoryStatus::default(),
        }
    }

    fn codes(status: &Status) -> Vec<(BlockerCode, Option<&'static str>)> {
        let id = |blocker: Blocker| match blocker.id.as_deref() {
            None => None,
            Some("a.r") => Some("a.r"),
            Some("a.p") => Some("a.p"),
            Some(other) => panic!("{other}"),
        };
        let row = |blocker: Blocker| (blocker.code, id(blocker));
        blockers(status, NOW).into_iter().map(row).collect()
    }

    type Change = fn(&mut Status);
    type Expected = &'static [(BlockerCode, Option<&'static str>)];

    fn check(table: &[(Change, Expected)]) {
        for (index, (change, expected)) in table.iter().enumerate() {
            let mut status = healthy();
            change(&mut status);
            assert_eq!(codes(&status), *expected, "row {index}");
        }
    }

    #[test]
    fn each_fact_of_the_device_has_its_blocker() {
        use BlockerCode as Code;
        check(&[
            (|_| {}, &[]),
            (
                |s| s.device = DeviceFacts::default(),
                &[(Code::LockedSinceBoot, None)],
            ),
            (
                |s| s.device.unlocked_once = Some(false),
                &[(Code::LockedSinceBoot, None)],
            ),
            (
                |s| s.device.background_refresh = Some(BackgroundRefresh::Denied),
                &[(Code::BackgroundRefreshDenied, None)],
            ),
            (
                |s| s.device.background_refresh = Some(BackgroundRefresh::Restricted),
                &[(Code::BackgroundRefreshRestricted, None)],
            ),
            (|s| s.device.low_power = Some(true), &[(Code::LowPowerMode, None)]),
            (
                |s| {
                    s.device.low_power = Some(true);
                    s.tasks = vec![task("a.p", TaskKind::Continued)];
                },
                &[],
            ),
            (
                |s| s.device.network = Some(NetworkState::Offline),
                &[(Code::Offline, None)],
            ),
        ]);
    }

    #[test]
    fn each_fact_of_a_task_has_its_blocker() {
        use BlockerCode as Code;
        check(&[
            (
                |s| s.tasks[1].requires_power = true,
                &[(Code::NotOnPower, Some("a.p"))],
            ),
            (
                |s| {
                    s.tasks[1].requires_power = true;
                    s.device.on_power = None;
                },
                &[],
            ),
            (
                |s| s.tasks[0].handler_ready = false,
                &[(Code::NoHandler, Some("a.r"))],
            ),
            (
                |s| {
                    s.tasks[1].registered = false;
                    s.tasks[1].permitted = false;
                    s.tasks[1].earliest_at_ms = None;
                },
                &[(Code::NotPermitted, Some("a.p"))],
            ),
            (
                |s| {
                    s.tasks[1].registered = false;
                    s.tasks[1].registration_error = Some("x".into());
                },
                &[(Code::NotRegistered, Some("a.p"))],
            ),
            (
                |s| {
                    s.tasks[1].kind = TaskKind::Continued;
                    s.tasks[1].registered = false;
                },
                &[],
            ),
            (
                |s| s.tasks[0].earliest_at_ms = None,
                &[(Code::NotSubmitted, Some("a.r"))],
            ),
            (
                |s| {
                    s.tasks[0].earliest_at_ms = None;
                    s.tasks[0].kind = TaskKind::Continued;
                },
                &[],
            ),
            (
                |s| {
                    s.tasks[0].earliest_at_ms = None;
                    s.active = vec![ActiveRun {
                        run: 1,
                        id: "a.r".into(),
                        kind: TaskKind::Refresh,
                        reason: LaunchReason::System,
                        launched_at_ms: 0,
                        deadline_at_ms: 0,
                        started: true,
                        time_called: false,
                        joined: None,
                    }];
                },
                &[],
            ),
            (|s| s.tasks[0].earliest_at_ms = Some(NOW - OVERDUE_MS), &[]),
            (
                |s| s.tasks[0].earliest_at_ms = Some(NOW - OVERDUE_MS - 1),
                &[(Code::ForceQuitSuspected, Some("a.r"))],
            ),
            (|s| s.backend = Backend::Unsupported, &[(Code::Unsupported, None)]),
        ]);
    }

    #[test]
    fn the_weightiest_comes_first_and_says_why() {
        let mut status = healthy();
        status.device.network = Some(NetworkState::Offline);
        status.device.background_refresh = Some(BackgroundRefresh::Denied);
        for task in &mut status.tasks {
            task.earliest_at_ms = None;
            task.submit_error = Some("background tasks are unavailable".into());
        }
        let found = blockers(&status, NOW);
        assert_eq!(
            codes(&status),
            [
                (BlockerCode::BackgroundRefreshDenied, None),
                (BlockerCode::NotSubmitted, Some("a.r")),
                (BlockerCode::NotSubmitted, Some("a.p")),
                (BlockerCode::Offline, None),
            ]
        );
        assert!(found[1].text.contains("are unavailable"), "{}", found[1].text);
    }
}
