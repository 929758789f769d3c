//! One connection on which many questions are under way at a time: JSON-RPC, a line each (`electrum-protocol`, "Protocol Basics").
//!
//! What a line may weigh is bounded, and so is what may be on its way. A question that nobody waits for any more leaves a note
//! of a few bytes until its answer has come. The first thing that does not fit ends the connection, with a reason that
//! everybody who waits is given. Knows nothing of what is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::dial::Stream;
use crate::chain::engine::{garbled, lie, quote};
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// Longest line when nothing larger was asked for: a header that a server tells of unasked, an error with words.
const SMALL: usize = 64 * 1024;

/// Bytes of answers that have come and were not looked at yet. Two of the largest there can be (a block's worth of transaction, in
/// hex); whoever reads slower than the server sends makes the server wait.
const UNREAD: usize = 20 * 1024 * 1024;

/// Questions whose answers are still to come, also those that nobody waits for any more. Far more than are asked at a time.
const MOST_OPEN: usize = 1_000;

/// News that a server may tell, one after the other, before anything is asked. A block is one; none is of use to us.
const MOST_NEWS: usize = 1_000;

/// Lines that wait to be written.
const OUTGOING: usize = 64;

/// An answer, and the room it takes until it was read.
pub struct Answer {
    /// What was answered.
    pub outcome: std::result::Result<Box<RawValue>, Refusal>,
    _room: Option<OwnedSemaphorePermit>,
}

/// A server's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// JSON-RPC's number for it, or the server's.
    pub code: i64,
    /// Its words, short.
    pub words: String,
}

/// One connection. Ends when dropped.
pub struct Line {
    state: Arc<Mutex<State>>,
    outgoing: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    news: usize,
    /// When something was last heard, Unix time in ms: the process may have slept since then.
    heard_ms: u64,
    ended: Option<Error>,
}

struct Open {
    limit: usize,
    waiting: oneshot::Sender<Answer>,
}

impl Line {
    /// Takes a connection over.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let state = Arc::new(Mutex::new(State {
            next: 0,
            open: BTreeMap::new(),
            news: 0,
            heard_ms: clock::now_ms(),
            ended: None,
        }));
        let (outgoing, lines) = mpsc::channel(OUTGOING);
        let (reader, writer) = tokio::io::split(stream);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let why = tokio::select! {
                why = read(reader, &shared) => why,
                why = write(writer, lines) => why,
            };
            end(&shared, why);
        });
        Self {
            state,
            outgoing,
            task,
        }
    }

    /// Asks one thing, and waits for its answer of at most `limit` bytes. Not bounded in time: the caller does that.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn ask(&self, method: &str, params: Value, limit: usize) -> Result<Answer> {
        let (waiting, answer) = oneshot::channel();
        // Room to write first: from the note to the sending nothing is awaited, so that there is no note of a question that never
        // left.
        let Ok(slot) = self.outgoing.reserve().await else {
            return Err(self.why());
        };
        let id = {
            let mut state = lock(&self.state);
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            if state.open.len() >= MOST_OPEN {
                drop(state);
                self.end(Error::new(
                    ErrorCode::NetworkUnavailable,
                    "chain server: it owes us too many answers",
                ));
                return Err(self.why());
            }
            let id = state.next;
            state.next += 1;
            // What is around the answer in its line is small.
            let limit = limit.saturating_add(SMALL);
            state.open.insert(id, Open { limit, waiting });
            id
        };
        let question = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        slot.send(format!("{question}\n").into_bytes());
        answer.await.map_err(|_| self.why())
    }

    /// Ends it; whoever waits is told why.
    pub fn end(&self, why: Error) {
        end(&self.state, why);
        self.task.abort();
    }

    /// Whether it has not ended, as far as is known.
    pub fn stands(&self) -> bool {
        lock(&self.state).ended.is_none()
    }

    /// When something was last heard, Unix time in ms.
    pub fn heard_ms(&self) -> u64 {
        lock(&self.state).heard_ms
    }

    fn why(&self) -> Error {
        let ended = lock(&self.state).ended.clone();
        ended.unwrap_or_else(|| Error::new(ErrorCode::NetworkUnavailable, "chain server: it hung up"))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn end(state: &Mutex<State>, why: Error) {
    let mut state = lock(state);
    state.ended.get_or_insert(why);
    // Nobody is left waiting: dropping the senders wakes them.
    state.open.clear();
}

/// Writes until that fails.
async fn write(mut writer: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Vec<u8>>) -> Error {
    while let Some(line) = lines.recv().await {
        let written = async {
            writer.write_all(&line).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return unreached(&error);
        }
    }
    Error::new(ErrorCode::Cancelled, "chain server: the connection was given up")
}

/// Reads and hands out answers until something does not fit.
async fn read(reader: impl AsyncRead + Unpin, state: &Mutex<State>) -> Error {
    let mut reader = BufReader::new(reader);
    let unread = Arc::new(Semaphore::new(UNREAD));
    loop {
        let line = match next_line(&mut reader, state).await {
            Ok(line) => line,
            Err(error) => return error,
        };
        // Held until the answer was read, so that this waits if too much lies about.
        let size = u32::try_from(line.len().min(UNREAD)).unwrap_or(u32::MAX);
        let room = Arc::clone(&unread).acquire_many_owned(size).await.ok();
        if let Err(error) = hand_out(&line, room, state) {
            return error;
        }
    }
}

/// The next line, without its end.
async fn next_line(reader: &mut (impl AsyncBufReadExt + Unpin), state: &Mutex<State>) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let some = reader.fill_buf().await.map_err(|e| unreached(&e))?;
        if some.is_empty() {
            return Err(Error::new(
                ErrorCode::NetworkUnavailable,
                "chain server: it hung up",
            ));
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(some.len());
        if line.len() + taken > SMALL {
            let limit = longest(state);
            if line.len() + taken > limit {
                return Err(lie(&format!("an answer of more than {limit} bytes")));
            }
        }
        line.extend_from_slice(&some[..taken]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// The longest line that may come now.
fn longest(state: &Mutex<State>) -> usize {
    let state = lock(state);
    let limits = state.open.values().map(|open| open.limit);
    limits.max().unwrap_or(SMALL)
}

/// What a server says.
#[derive(Deserialize)]
struct Said<'a> {
    id: Option<u64>,
    method: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<SaidError>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SaidError {
    Full { code: Option<i64>, message: String },
    Words(String),
}

fn hand_out(line: &[u8], room: Option<OwnedSemaphorePermit>, state: &Mutex<State>) -> Result<()> {
    let said: Said = serde_json::from_slice(line).map_err(|e| garbled("line", &e))?;
    let refusal = said.error.map(|error| match error {
        SaidError::Full { code, message } => Refusal {
            code: code.unwrap_or(0),
            words: quote(&message),
        },
        SaidError::Words(words) => Refusal {
            code: 0,
            words: quote(&words),
        },
    });
    let mut state = lock(state);
    state.heard_ms = clock::now_ms();
    let Some(id) = said.id else {
        return match refusal {
            // Not about one question, but about all of them.
            Some(refusal) => Err(super::client::refused(&refusal)),
            None if said.method.is_none() => Err(lie("it says what nobody can read")),
            None if state.news >= MOST_NEWS => Err(lie("it tells too much that nobody asked for")),
            None => {
                state.news += 1;
                Ok(())
            }
        };
    };
    state.news = 0;
    let open = state.open.remove(&id);
    let open = open.ok_or_else(|| lie("it answers what was not asked"))?;
    if line.len() > open.limit {
        return Err(lie(&format!("an answer of more than {} bytes", open.limit)));
    }
    let outcome = match refusal {
        Some(refusal) => Err(refusal),
        // `null` is an answer too.
        None => Ok(said
            .result
            .map_or_else(|| RawValue::NULL.to_owned(), ToOwned::to_owned)),
    };
    // Whoever asked may have gone.
    let _ = open.waiting.send(Answer { outcome, _room: room });
    Ok(())
}

/// What a connection failed of.
pub fn unreached(error: &std::io::Error) -> Error {
    Error::new(
        ErrorCode::NetworkUnavailable,
        format!("chain server: {}", quote(&error.to_string())),
    )
}
