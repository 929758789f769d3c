//! Sending commands to a devnet in another process.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::command::Command;

/// Mining some thousand blocks with peers that follow takes seconds, on a busy machine minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody answers.
    #[error("no devnet answers at {url}: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the HTTP client says.
        reason: String,
    },
    /// No devnet has left word in this folder.
    #[error("no devnet runs in {0}; start one with `pilotlight-devnet up`")]
    NotHere(String),
    /// The devnet's own words.
    #[error("{0}")]
    Refused(String),
}

/// A devnet in another process.
#[derive(Clone, Debug)]
pub struct Control {
    url: String,
    client: reqwest::Client,
}

impl Control {
    /// The devnet whose control endpoint is at `url`.
    pub fn at(url: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .unwrap_or_default();
        Self {
            url: url.to_owned(),
            client,
        }
    }

    /// The devnet that was started with `pilotlight-devnet up --dir DIR`.
    ///
    /// # Errors
    /// [`ControlError::NotHere`] when `DIR/devnet.json` is not there or says nothing.
    pub fn in_folder(dir: &Path) -> Result<Self, ControlError> {
        let nothing = || ControlError::NotHere(dir.display().to_string());
        let text = std::fs::read(dir.join("devnet.json")).map_err(|_| nothing())?;
        let info: Value = serde_json::from_slice(&text).map_err(|_| nothing())?;
        info["control_url"].as_str().map(Self::at).ok_or_else(nothing)
    }

    /// Sends a command and waits for its result.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`], [`ControlError::Refused`]
    pub async fn run(&self, command: &Command) -> Result<Value, ControlError> {
        let unreachable = |e: reqwest::Error| ControlError::Unreachable {
            url: self.url.clone(),
            reason: if e.is_connect() {
                "nobody listens there".into()
            } else {
                e.to_string()
            },
        };
        let response = self
            .client
            .post(&self.url)
            .json(command)
            .send()
            .await
            .map_err(unreachable)?;
        let ok = response.status().is_success();
        let value: Value = response.json().await.map_err(unreachable)?;
        if ok {
            return Ok(value);
        }
        let words = value["error"]
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Err(ControlError::Refused(words))
    }
}
