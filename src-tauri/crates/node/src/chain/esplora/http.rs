//! Requests to one server: bounded in time, in number at once and in what an answer may weigh; counted; typed failures.
//!
//! Knows nothing of Esplora.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::backoff::retry_after;
use crate::chain::engine::quote;
use crate::config::{PARALLEL_REQUESTS, REQUEST_RETRIES, REQUEST_TIMEOUT};
use crate::error::{Error, ErrorCode, Result};

/// Before a request is tried again: long enough for a server that is being restarted behind its proxy, short enough not
/// to be felt.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Most bytes of a refusal that are read.
const REFUSAL_LIMIT: usize = 4 * 1024;

/// Longer answers are read one at a time: eight of the longest that there can be, at once, are more memory than a wake has. Few
/// are so long: a page of an address's history has 25 transactions, of some 1,000 bytes each.
const LONG: usize = 256 * 1024;

/// One server.
pub struct Http {
    base: String,
    client: Client,
    requests: AtomicU64,
    turns: Semaphore,
    /// Whose answer may be long.
    long: Semaphore,
    #[cfg(test)]
    memory: Option<FromMemory>,
}

/// In tests: answers to URLs, out of memory in the place of a network.
#[cfg(test)]
pub type FromMemory = Box<dyn Fn(&str) -> (u16, Vec<u8>) + Send + Sync>;

/// What became of something that was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// The answer's body.
    Answer(Vec<u8>),
    /// Refused (400), with the server's words.
    Refused(String),
    /// The server knows no such endpoint (404, 405 or 501).
    Unknown,
}

impl Http {
    /// A client that has not connected yet. `base` has no slash at its end.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if no client can be made.
    pub fn new(base: &str) -> Result<Self> {
        let client = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(PARALLEL_REQUESTS)
            .tcp_nodelay(true)
            // An answer from somewhere else is not this server's.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::new(ErrorCode::Misconfigured, format!("chain server: {e}")))?;
        Ok(Self {
            base: base.to_owned(),
            client,
            requests: AtomicU64::new(0),
            turns: Semaphore::new(PARALLEL_REQUESTS),
            long: Semaphore::new(1),
            #[cfg(test)]
            memory: None,
        })
    }

    /// A server in memory.
    #[cfg(test)]
    pub fn from_memory(base: &str, client: Client, memory: FromMemory) -> Self {
        Self {
            base: base.to_owned(),
            client,
            requests: AtomicU64::new(0),
            turns: Semaphore::new(PARALLEL_REQUESTS),
            long: Semaphore::new(1),
            memory: Some(memory),
        }
    }

    /// The server's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Requests sent so far, repeated ones included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Gets a body of at most `limit` bytes; `None` if the server says that there is no such thing (404).
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the answer is longer.
    pub async fn get(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let url = format!("{}{path}", self.base);
        let mut left = REQUEST_RETRIES;
        loop {
            let done = self.try_get(&url, limit).await;
            match done {
                // A time-out is not tried again: the next would take as long. Nor is a limit: that is what it asks for.
                Err(error) if left > 0 && error.code() == ErrorCode::NetworkUnavailable => {
                    left -= 1;
                    tracing::debug!(path, detail = error.detail(), "asked again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn try_get(&self, url: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let _turn = self.turn().await?;
        let response = self.response(url).await?;
        match response.status() {
            StatusCode::OK => self.body(response, limit).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(response).await),
        }
    }

    async fn response(&self, url: &str) -> Result<Response> {
        #[cfg(test)]
        if let Some(memory) = &self.memory {
            let (status, body) = memory(url);
            let response = http::Response::builder().status(status).body(body);
            return Ok(response.expect("the test knows which statuses there are").into());
        }
        self.client.get(url).send().await.map_err(|e| unreached(&e))
    }

    /// Posts a body. Never tried again: the caller may not know whether it arrived.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn post(&self, path: &str, content: String, limit: usize) -> Result<Posted> {
        let _turn = self.turn().await?;
        let request = self.client.post(format!("{}{path}", self.base)).body(content);
        let response = request.send().await.map_err(|e| unreached(&e))?;
        match response.status() {
            StatusCode::OK => self.body(response, limit).await.map(Posted::Answer),
            StatusCode::BAD_REQUEST => {
                let words = self.body(response, REFUSAL_LIMIT).await.unwrap_or_default();
                Ok(Posted::Refused(quote(&String::from_utf8_lossy(&words))))
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(Posted::Unknown)
            }
            _ => Err(self.refused(response).await),
        }
    }

    /// An answer's body. One that is long waits for the long one that is being read.
    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>> {
        let too_long = || {
            Error::new(
                ErrorCode::ChainSyncFailed,
                format!("chain server: an answer of more than {limit} bytes"),
            )
        };
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut alone = None;
        while let Some(chunk) = response.chunk().await.map_err(|e| unreached(&e))? {
            let length = bytes.len() + chunk.len();
            if length > limit {
                return Err(too_long());
            }
            if length > LONG && alone.is_none() {
                let turn = tokio::time::timeout(REQUEST_TIMEOUT, self.long.acquire()).await;
                let turn = turn.map_err(|_| {
                    let words = "chain server: other answers are long and take too long";
                    Error::new(ErrorCode::SyncTimeout, words)
                })?;
                alone = turn.ok();
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// What a status that is no answer means.
    async fn refused(&self, response: Response) -> Error {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
            // A server that is down for a while, and says for how long, asks for the same thing.
            StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => ErrorCode::RateLimited,
            status if status.is_server_error() => ErrorCode::NetworkUnavailable,
            _ => ErrorCode::ChainSyncFailed,
        };
        let words = self.body(response, REFUSAL_LIMIT).await.unwrap_or_default();
        let words = quote(&String::from_utf8_lossy(&words));
        Error::new(code, format!("chain server: HTTP {status}: {words}")).with_retry_after(wait)
    }

    /// Counts a request and waits for its turn. Given back when dropped, so a dropped request blocks nobody.
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        turn.map_err(|e| Error::new(ErrorCode::Internal, e))
    }
}

/// What a request that brought no whole answer failed of.
fn unreached(error: &reqwest::Error) -> Error {
    let code = if error.is_timeout() {
        ErrorCode::SyncTimeout
    } else {
        ErrorCode::NetworkUnavailable
    };
    let mut story = error.to_string();
    let mut cause = StdError::source(error);
    while let Some(why) = cause {
        story = format!("{story}: {why}");
        cause = why.source();
    }
    Error::new(code, format!("chain server: {}", quote(&story)))
}
