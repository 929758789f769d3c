//! What a webview may ask for, where its capabilities allow it.

use std::time::Duration;

use tauri::{AppHandle, Runtime, command};

use crate::BackgroundExt;
use crate::error::{Error, Result};
use crate::models::{RunRecord, Status};

#[command]
pub(crate) async fn status<R: Runtime>(app: AppHandle<R>) -> Result<Status> {
    // It may wait for the system, so it keeps no thread of the runtime.
    let asked = tauri::async_runtime::spawn_blocking(move || app.background().status());
    asked.await.map_err(|_| Error::NoStatus)
}

#[command]
pub(crate) async fn history<R: Runtime>(app: AppHandle<R>) -> Result<Vec<RunRecord>> {
    Ok(app.background().history())
}

#[command]
pub(crate) async fn wake_now<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().wake_now(&id)
}

#[command]
pub(crate) async fn schedule<R: Runtime>(app: AppHandle<R>, id: String, delay_secs: f64) -> Result<()> {
    let delay = Duration::try_from_secs_f64(delay_secs);
    let delay = delay.map_err(|_| Error::InvalidDelay(delay_secs.to_string()))?;
    app.background().schedule(&id, delay)
}

#[command]
pub(crate) async fn cancel<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().cancel(&id)
}

#[command]
pub(crate) async fn simulate_launch<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().simulate_launch(&id)
}

#[command]
pub(crate) async fn simulate_expiration<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().simulate_expiration(&id)
}
