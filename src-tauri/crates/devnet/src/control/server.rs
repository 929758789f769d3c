//! The control endpoint.

use std::net::Ipv4Addr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::command::Command;
use crate::devnet::WeakDevnet;
use crate::{Devnet, Error};

/// A control endpoint that is being served. Dropping it ends the serving, not the devnet.
pub struct Served {
    url: String,
    task: JoinHandle<()>,
    stop: mpsc::Receiver<()>,
}

impl Served {
    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until somebody sends [`Command::Stop`]. Ending the devnet is then the caller's to do.
    pub async fn stop_requested(&mut self) {
        // `None` when the server died: then nobody can ask any more, and waiting goes on.
        if self.stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    devnet: WeakDevnet,
    stop: mpsc::Sender<()>,
}

/// Opens a control endpoint for `devnet` on a free port of 127.0.0.1. It does not keep the devnet alive.
///
/// # Errors
/// [`Error::Io`] when no port can be opened.
pub async fn serve(devnet: &Devnet) -> Result<Served, Error> {
    let (stop, stopped) = mpsc::channel(1);
    let shared = Shared {
        devnet: devnet.downgrade(),
        stop,
    };
    let opened = devnet.runtime().spawn(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("opening the control endpoint"))?;
        let url = listener
            .local_addr()
            .map(|address| format!("http://{address}/"))
            .map_err(Error::io("opening the control endpoint"))?;
        // Only JSON is taken, which no web page can send here without the permission that is never given.
        let router = Router::new()
            .route("/", post(command).get(info))
            .with_state(shared);
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok::<_, Error>((url, task))
    });
    let (url, task) = opened
        .await
        .map_err(|e| Error::Input(format!("the control endpoint died: {e}")))??;
    devnet.set_control_url(url.clone());
    Ok(Served {
        url,
        task,
        stop: stopped,
    })
}

async fn info(State(shared): State<Shared>) -> Response {
    run(&shared, Command::Info).await
}

async fn command(State(shared): State<Shared>, Json(command): Json<Command>) -> Response {
    let stop = command == Command::Stop;
    let response = run(&shared, command).await;
    if stop {
        let _ = shared.stop.try_send(());
    }
    response
}

async fn run(shared: &Shared, command: Command) -> Response {
    let Some(devnet) = shared.devnet.upgrade() else {
        return answer(StatusCode::GONE, &json!({ "error": "the devnet has ended" }));
    };
    // A task of its own: what was begun is finished, even if the asking side hangs up meanwhile.
    let done = tokio::spawn(async move { command.run(&devnet).await }).await;
    match done {
        Ok(Ok(value)) => answer(StatusCode::OK, &value),
        Ok(Err(e)) => answer(status(&e), &json!({ "error": e.to_string() })),
        Err(e) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "error": e.to_string() }),
        ),
    }
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, Json(value)).into_response()
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Input(_) | Error::Rpc { .. } | Error::Faucet(_) => StatusCode::BAD_REQUEST,
        Error::NoSuchPeer(_) => StatusCode::NOT_FOUND,
        Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
