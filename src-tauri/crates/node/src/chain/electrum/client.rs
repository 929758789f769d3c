//! Requests to one Electrum server: a connection when one is needed, bounded in time and in number at once; counted; typed
//! failures.
//!
//! Knows the handshake, and nothing else of what is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::address::Address;
use super::dial;
use super::line::{Answer, Line, Refusal, unreached};
use crate::chain::engine::{garbled, lie};
use crate::clock;
use crate::config::{REQUEST_RETRIES, REQUEST_TIMEOUT};
use crate::error::{Error, ErrorCode, Result};

/// Questions under way at a time. On one connection, each costs a line and no handshake; the smallest servers answer so many
/// well within the time that one answer has.
pub const PIPELINE: usize = 32;

/// How long a connection on which nothing was heard is believed in. Phones sleep, and routers forget: a dead connection is
/// noticed by silence alone, which costs as long as an answer may take. An open app asks every half a minute.
const IDLE_MS: u64 = 90_000;

/// Versions of the protocol that are spoken. 1.4 has everything that is asked; 1.6 says some of it in another form.
const VERSIONS: [&str; 2] = ["1.4", "1.6"];

/// An answer of a few numbers or a hash.
const SMALL: usize = 16 * 1024;

/// JSON-RPC: there is no such method.
const NO_METHOD: i64 = -32601;

/// JSON-RPC: something went wrong inside. electrs says so while it is still indexing.
const INTERNAL: i64 = -32603;

/// Electrum: the node behind the server failed, or refused.
const NODE_REFUSED: i64 = 2;

/// ElectrumX: too much was asked; it is busy.
const TOO_MUCH: [i64; 2] = [-101, -102];

/// What servers say besides, or instead. There is no standard.
const TOO_MUCH_WORDS: [&str; 5] = [
    "excessive resource usage",
    "server busy",
    "rate limit",
    "too many requests",
    "slow down",
];

/// One server.
pub struct Client {
    url: String,
    address: Address,
    slot: Mutex<Slot>,
    /// Attempts to connect that have failed.
    failures: AtomicU64,
    turns: Semaphore,
    requests: AtomicU64,
}

#[derive(Default)]
struct Slot {
    line: Option<Arc<Line>>,
    /// Why the last attempt to connect failed.
    failed: Option<Error>,
}

/// What became of a question.
#[derive(Debug)]
pub enum Reply<T> {
    /// The answer.
    Answer(T),
    /// A "no" about this question.
    Refused(Refusal),
    /// The server knows no such method.
    Unknown,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(url: &str, address: Address) -> Self {
        Self {
            url: url.to_owned(),
            address,
            slot: Mutex::default(),
            failures: AtomicU64::new(0),
            turns: Semaphore::new(PIPELINE),
            requests: AtomicU64::new(0),
        }
    }

    /// A client on a line that stands, for tests of what is said on it.
    #[cfg(test)]
    pub fn over(line: Line) -> Self {
        let address = Address::new("tcp://127.0.0.1:1", None).expect("it is on this machine");
        let client = Self::new("tcp://127.0.0.1:1", address);
        let slot = Slot {
            line: Some(Arc::new(line)),
            failed: None,
        };
        Self {
            slot: Mutex::new(slot),
            ..client
        }
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests sent so far, handshakes and repeated ones included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks, and reads an answer of at most `limit` bytes.
    ///
    /// Asked again on another connection if this one ends: everything that is asked may be asked twice, and a connection that
    /// has ended since it was last used is the rule on a phone.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the answer is longer, or is none.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        limit: usize,
    ) -> Result<Reply<T>> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|e| Error::new(ErrorCode::Internal, e))?;
        let mut left = REQUEST_RETRIES;
        let answer = loop {
            let line = self.line().await?;
            match self.ask_on(&line, method, params.clone(), limit).await {
                // A time-out is not tried again: the next would take as long.
                Err(error) if left > 0 && error.code() == ErrorCode::NetworkUnavailable => {
                    left -= 1;
                    tracing::debug!(method, detail = error.detail(), "asked again");
                }
                done => break done?,
            }
        };
        match &answer.outcome {
            Ok(raw) => {
                let read = serde_json::from_str(raw.get()).map_err(|e| garbled("answer", &e));
                read.map(Reply::Answer)
            }
            Err(refusal) if refusal.code == NO_METHOD => Ok(Reply::Unknown),
            Err(refusal) => {
                let error = refused(refusal);
                match error.code() {
                    ErrorCode::RateLimited => Err(error),
                    _ => Ok(Reply::Refused(refusal.clone())),
                }
            }
        }
    }

    /// Asks what no server may refuse.
    ///
    /// # Errors
    /// As [`Self::ask`]; typed by what a refusal means.
    pub async fn must<T: DeserializeOwned>(&self, method: &str, params: Value, limit: usize) -> Result<T> {
        match self.ask(method, params, limit).await? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Refused(refusal) => Err(refused(&refusal)),
            Reply::Unknown => Err(lie(&format!("it knows no {method}"))),
        }
    }

    async fn ask_on(&self, line: &Line, method: &str, params: Value, limit: usize) -> Result<Answer> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Ok(done) = timeout(REQUEST_TIMEOUT, line.ask(method, params, limit)).await {
            return done;
        }
        let silent = Error::new(
            ErrorCode::SyncTimeout,
            format!("chain server: no answer to {method} in time"),
        );
        // Whatever else is asked on this connection would wait as long.
        line.end(silent.clone());
        Err(silent)
    }

    /// The connection, made if there is none that can be believed in.
    async fn line(&self) -> Result<Arc<Line>> {
        let failures = self.failures.load(Ordering::SeqCst);
        let mut slot = self.slot.lock().await;
        if let Some(line) = slot.line.take_if(|line| !believed(line)) {
            line.end(Error::new(
                ErrorCode::NetworkUnavailable,
                "chain server: the connection is old",
            ));
        }
        if let Some(line) = &slot.line {
            return Ok(Arc::clone(line));
        }
        if let Some(why) = &slot.failed
            && self.failures.load(Ordering::SeqCst) > failures
        {
            // Others have tried while this waited for its turn. Many who wait must not each wait anew.
            return Err(why.clone());
        }
        match self.connect().await {
            Ok(line) => {
                let line = Arc::new(line);
                *slot = Slot {
                    line: Some(Arc::clone(&line)),
                    failed: None,
                };
                Ok(line)
            }
            Err(why) => {
                slot.failed = Some(why.clone());
                self.failures.fetch_add(1, Ordering::SeqCst);
                Err(why)
            }
        }
    }

    async fn connect(&self) -> Result<Line> {
        let dialled = timeout(REQUEST_TIMEOUT, dial::connect(&self.address)).await;
        let stream = dialled
            .map_err(|_| Error::new(ErrorCode::SyncTimeout, "chain server: no connection in time"))?
            .map_err(|e| unreached(&e))?;
        let line = Line::new(stream);
        // Must be the first thing said, and answered before the next.
        let us = concat!("pilotlight/", env!("CARGO_PKG_VERSION"));
        let answer = self
            .ask_on(&line, "server.version", json!([us, VERSIONS]), SMALL)
            .await?;
        if let Err(refusal) = &answer.outcome {
            return Err(refused(refusal));
        }
        Ok(line)
    }
}

fn believed(line: &Line) -> bool {
    // A clock that was set back makes the difference none; one that was set forward costs a connection.
    line.stands() && clock::now_ms().saturating_sub(line.heard_ms()) < IDLE_MS
}

/// What a "no" means.
pub fn refused(refusal: &Refusal) -> Error {
    let Refusal { code, words } = refusal;
    let lower = words.to_lowercase();
    let kind = if TOO_MUCH.contains(code) || TOO_MUCH_WORDS.iter().any(|known| lower.contains(known)) {
        ErrorCode::RateLimited
    } else if [INTERNAL, NODE_REFUSED].contains(code) {
        ErrorCode::NetworkUnavailable
    } else {
        ErrorCode::ChainSyncFailed
    };
    Error::new(kind, format!("chain server: refused ({code}): {words}"))
}
