//! What a webview may ask for, where its capabilities allow it.

use tauri::{AppHandle, Runtime, command};

use crate::BackgroundExt;
use crate::error::Result;
use crate::models::{RunRecord, Status};

#[command]
pub(crate) async fn status<R: Runtime>(app: AppHandle<R>) -> Result<Status> {
    Ok(app.background().status())
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
pub(crate) async fn simulate_launch<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().simulate_launch(&id)
}

#[command]
pub(crate) async fn simulate_expiration<R: Runtime>(app: AppHandle<R>, id: String) -> Result<()> {
    app.background().simulate_expiration(&id)
}
