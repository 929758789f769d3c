//! Joins the node and the background plugin, which do not know each other: a launch becomes a grant, a wake record
//! becomes an outcome.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pilotlight_node::{
    ErrorCode, Grant, GrantKind, Lifecycle, WakeOutcome, WakeProgress, WakeReason, WakeRecord,
};
use tauri::async_runtime;
use tauri::{AppHandle, Manager};
use tauri_plugin_background::{BackgroundExt, Launch, LaunchReason, Outcome, Progress, RunResult, TaskKind};
use tokio::sync::watch;

use crate::settings::Settings;
use crate::warning::{News, Notice};
use crate::{events, platform};

/// Gives the app its node, the plugin its work and the webview its events.
///
/// # Errors
/// If the system does not know where an app keeps its data, or the plugin has a handler already.
pub fn start(app: &AppHandle, settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let config = settings.config(app)?;
    let data_dir = config.data_dir.clone();
    let lifecycle = platform::lifecycle(config);
    app.manage(lifecycle.clone());
    events::forward(app, &lifecycle);
    app.background().keep_history(&data_dir)?;
    // The plugin calls this on a thread of its own, which may block; the node's tasks live on Tauri's runtime, whether
    // the foreground or a wake brought it up.
    app.background().attach(move |launch| {
        platform::prepare(&data_dir);
        let before = lifecycle.safety();
        let record = async_runtime::block_on(lifecycle.wake(grant(launch)));
        // Before the task is called complete: iOS may suspend the process the moment it is.
        if let Some(notice) = Notice::after(&before, &lifecycle.safety(), SystemTime::now()) {
            platform::warn(&notice);
        }
        if let Some(news) = News::after(&before, &lifecycle.safety()) {
            platform::tell(news);
        }
        outcome(&record, unix_now())
    })?;
    Ok(())
}

/// Brings the node up for the person, if there is a wallet. Says on the log, not to the caller, if it cannot: the
/// overview shows it.
pub async fn enter_foreground(lifecycle: Arc<Lifecycle>) {
    match lifecycle.enter_foreground().await {
        Ok(_) => {}
        Err(error) if error.code() == ErrorCode::NoWallet => {}
        Err(error) => {
            tracing::error!(code = ?error.code(), detail = error.detail(), "the node does not start");
        }
    }
}

/// The plugin's word for what the node calls a grant of this kind.
pub fn task_kind(kind: GrantKind) -> TaskKind {
    match kind {
        GrantKind::Refresh => TaskKind::Refresh,
        GrantKind::Processing => TaskKind::Processing,
    }
}

fn grant(launch: Launch) -> Grant {
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
    }
}

/// Passes a wake's progress on, for as long as the wake tells it.
fn shown(progress: Progress) -> watch::Sender<WakeProgress> {
    let (sender, mut receiver) = watch::channel(WakeProgress::default());
    async_runtime::spawn(async move {
        while receiver.changed().await.is_ok() {
            let WakeProgress { done, total } = *receiver.borrow();
            progress.set(done.into(), total.into());
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
            id: 1,
            kind: GrantKind::Refresh,
            reason: WakeReason::Simulated,
            grant_ms: 30_000,
            joined: false,
            started_at_ms: 1_000_000,
            finished_at_ms: Some(1_002_000),
            outcome: WakeOutcome::Completed,
            error: None,
            stages: vec![],
            last_sync: Some(1_001_000),
            sync_duration: 2_000,
            blocks_synced: 3,
            channels_updated: 0,
            graph_channels_updated: 0,
            tip_height: Some(103),
            bytes_in: 0,
            bytes_out: 0,
            peak_memory: 0,
            cpu_ms: 0,
            next_at_ms: Some(1_062_000),
            safe_until_ms: None,
            safe_until_reason: None,
            breaches: 0,
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
}
