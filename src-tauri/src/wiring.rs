//! Joins the wallet in use and the background plugin, which do not know each other: a launch becomes a grant, a wake record
//! becomes an outcome.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pilotlight_node::{
    Conditions, Error, ErrorCode, Grant, GrantKind, Network, WakeOutcome, WakeProgress, WakeReason,
    WakeRecord,
};
use tauri::async_runtime;
use tauri::{AppHandle, Manager};
use tauri_plugin_background::{
    BackgroundExt, DeviceFacts, Launch, LaunchReason, NetworkState, Outcome, Progress, RunResult, TaskKind,
};
use tokio::sync::watch;

use crate::settings::Settings;
use crate::wallets::Wallets;
use crate::warning::{News, Notice};
use crate::{events, platform};

/// Gives the app its wallets, the plugin its work and the webview its events. Reads nothing: the phone may be locked.
///
/// # Errors
/// If the system does not know where an app keeps its data, or the plugin has a handler already.
pub fn start(app: &AppHandle, settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let folder = settings.folder(app)?;
    // Of all wallets: which one is in use is not known yet, and the plugin takes one folder for its life.
    app.background().keep_history(&folder)?;
    let wallets = Wallets::new(settings.clone(), folder, Box::new(platform::Device));
    app.manage(Arc::clone(&wallets));
    events::forward(app, &wallets);
    // The plugin calls this on a thread of its own, which may block; the node's tasks live on Tauri's runtime, whether
    // the foreground or a wake brought it up.
    let handle = app.clone();
    app.background().attach(move |launch| {
        let chosen = async_runtime::block_on(wallets.for_a_wake(launch.deadline, &launch.cancel));
        let lifecycle = match chosen {
            Ok(lifecycle) => lifecycle,
            Err(error) => return no_wallet(&error),
        };
        let before = lifecycle.safety();
        let conditions = conditions(&handle.background().device());
        let record = async_runtime::block_on(lifecycle.wake(grant(launch, conditions)));
        if record.wants_processing && record.kind == GrantKind::Refresh {
            ask_for_minutes(&handle);
        }
        // Before the task is called complete: iOS may suspend the process the moment it is.
        if let Some(notice) = Notice::after(&before, &lifecycle.safety(), SystemTime::now()) {
            platform::warn(&notice);
        }
        if let Some(news) = News::after(&before, &lifecycle.safety()) {
            platform::tell(news);
        }
        let outcome = outcome(&record, unix_now());
        // Another wallet may have taken its place meanwhile, even while this was said. There is one warning, and one next launch:
        // they are that one's.
        match wallets.known() {
            Some(other) if !wallets.is_in_use(&lifecycle) => {
                platform::warn(&Notice::of(&other.safety()));
                outcome.with_next_in(None)
            }
            _ => outcome,
        }
    })?;
    Ok(())
}

/// How a launch ends for which it is not known which wallet is in use. No wallet is woken: another one than the person's
/// would be watched in its place. The plugin has asked for the next launch already.
fn no_wallet(error: &Error) -> Outcome {
    let result = match error.code() {
        ErrorCode::Locked => RunResult::Locked,
        ErrorCode::Cancelled | ErrorCode::InsufficientTime => RunResult::Expired,
        _ => RunResult::Failed,
    };
    tracing::error!(code = ?error.code(), detail = error.detail(), "no wallet is woken");
    Outcome::new(result).with_cause(format!("{:?}: {}", error.code(), error.message()))
}

/// The plugin's word for what the node calls a grant of this kind.
pub fn task_kind(kind: GrantKind) -> TaskKind {
    match kind {
        GrantKind::Refresh => TaskKind::Refresh,
        GrantKind::Processing => TaskKind::Processing,
    }
}

/// Asks for the processing task as soon as the system likes, in place of its request for later. The system keeps it until
/// the phone is on power and nobody uses it.
fn ask_for_minutes(app: &AppHandle) {
    let background = app.background();
    for id in background.tasks_of(TaskKind::Processing) {
        if let Err(error) = background.schedule(id, Duration::ZERO) {
            tracing::warn!(id, %error, "no processing run was asked for");
        }
    }
}

/// The node's words for what the plugin knows of the device.
fn conditions(device: &DeviceFacts) -> Conditions {
    Conditions {
        network: device.network.map(|network| match network {
            NetworkState::Offline => Network::Offline,
            NetworkState::Constrained => Network::Constrained,
            NetworkState::Expensive => Network::Expensive,
            NetworkState::Unmetered => Network::Unmetered,
        }),
        on_power: device.on_power,
        low_power: device.low_power,
        available_memory: device.available_memory_bytes,
    }
}

fn grant(launch: Launch, conditions: Conditions) -> Grant {
    Grant {
        kind: match launch.kind {
            TaskKind::Refresh => GrantKind::Refresh,
            // Work that the person began is as long as a processing grant, and does the same.
            TaskKind::Processing | TaskKind::Continued => GrantKind::Processing,
        },
        reason: match launch.reason {
            LaunchReason::System => WakeReason::System,
            LaunchReason::Simulated => WakeReason::Simulated,
            LaunchReason::Person => WakeReason::Person,
        },
        deadline: launch.deadline,
        cancel: launch.cancel,
        // The system shows it for work that the person began, and ends what does not move.
        progress: (launch.kind == TaskKind::Continued).then(|| shown(launch.progress)),
        conditions,
    }
}

/// Passes a wake's progress on, for as long as the wake tells it.
fn shown(progress: Progress) -> watch::Sender<WakeProgress> {
    let (sender, mut receiver) = watch::channel(WakeProgress::default());
    async_runtime::spawn(async move {
        while receiver.changed().await.is_ok() {
            let (done, total) = receiver.borrow().parts();
            progress.set(done, total);
        }
    });
    sender
}

fn outcome(record: &WakeRecord, now: Duration) -> Outcome {
    let result = match record.outcome {
        WakeOutcome::Completed => RunResult::Completed,
        WakeOutcome::Partial => RunResult::Partial,
        WakeOutcome::Expired => RunResult::Expired,
        WakeOutcome::Failed | WakeOutcome::InProgress | WakeOutcome::CutOff => RunResult::Failed,
    };
    let next_in = record
        .next_at_ms
        .map(|at| Duration::from_millis(at).saturating_sub(now));
    let outcome = Outcome::new(result).with_next_in(next_in);
    match &record.error {
        Some(error) => outcome.with_cause(format!("{:?}: {}", error.code, error.message)),
        None => outcome,
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_decides_the_next_run() {
        let mut record = WakeRecord {
            outcome: WakeOutcome::Completed,
            next_at_ms: Some(1_062_000),
            ..WakeRecord::begin(1, GrantKind::Refresh, WakeReason::Simulated, 30_000, 1_000_000)
        };
        let now = Duration::from_secs(1_002);
        let good = Outcome::new(RunResult::Completed);
        assert_eq!(
            outcome(&record, now),
            good.clone().with_next_in(Some(Duration::from_secs(60)))
        );
        assert_eq!(outcome(&record, 2 * now), good.with_next_in(Some(Duration::ZERO)));
        record.next_at_ms = None;
        record.outcome = WakeOutcome::CutOff;
        assert_eq!(outcome(&record, now), Outcome::new(RunResult::Failed));
    }

    #[test]
    fn a_launch_without_a_known_wallet_is_locked_and_not_a_failure() {
        for (code, result) in [
            (ErrorCode::Locked, RunResult::Locked),
            (ErrorCode::StorageFailed, RunResult::Failed),
            (ErrorCode::Cancelled, RunResult::Expired),
            (ErrorCode::InsufficientTime, RunResult::Expired),
        ] {
            let outcome = no_wallet(&Error::new(code, "a detail"));
            assert_eq!((outcome.result, outcome.next_in), (result, None));
            assert!(
                outcome
                    .cause
                    .is_some_and(|cause| cause.starts_with(&format!("{code:?}")))
            );
        }
    }

    #[test]
    fn the_device_is_told_to_the_node_in_its_own_words() {
        assert_eq!(conditions(&DeviceFacts::default()), Conditions::default());
        for (network, expected) in [
            (NetworkState::Offline, Network::Offline),
            (NetworkState::Constrained, Network::Constrained),
            (NetworkState::Expensive, Network::Expensive),
            (NetworkState::Unmetered, Network::Unmetered),
        ] {
            let facts = DeviceFacts {
                network: Some(network),
                on_power: Some(true),
                low_power: Some(false),
                available_memory_bytes: Some(7),
                ..DeviceFacts::default()
            };
            let told = Conditions {
                network: Some(expected),
                on_power: Some(true),
                low_power: Some(false),
                available_memory: Some(7),
            };
            assert_eq!(conditions(&facts), told);
        }
    }
}
