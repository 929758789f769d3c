//! Downloads from a gossip server: streamed to where they are wanted, unpacked on the way, bounded in size and time.

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use flate2::write::GzDecoder;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, RETRY_AFTER};

use crate::backoff::retry_after;
use crate::config::REQUEST_TIMEOUT;
use crate::error::{Error, ErrorCode, Result};

/// Most bytes of a packed answer. Today's whole network is 1.5 MB.
pub const MOST_PACKED: u64 = 16 << 20;

/// Most bytes of an unpacked one. Today's whole network is 4 MB; a well-made bomb of gzip unpacks to a thousandfold.
pub const MOST_UNPACKED: u64 = 32 << 20;

/// Longest silence while an answer comes.
const SILENCE: Duration = REQUEST_TIMEOUT;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the answer as it was sent.
    pub packed: u64,
    /// Bytes of what was in it.
    pub unpacked: u64,
}

/// Downloads.
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client; connects to nobody yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if TLS cannot be set up.
    pub fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(REQUEST_TIMEOUT)
            .read_timeout(SILENCE)
            // Where we are sent on to was not chosen by us, and may not be TLS.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::new(ErrorCode::Misconfigured, e))?;
        Ok(Self { http })
    }

    /// Downloads `url` into `out`; `None` if the server does not have it. What was written before an error is of no use.
    ///
    /// # Errors
    /// [`ErrorCode::NetworkUnavailable`], [`ErrorCode::RateLimited`], [`ErrorCode::SyncTimeout`] at the deadline or after a
    /// silence, [`ErrorCode::GossipFailed`] if it is larger than any snapshot or cannot be unpacked,
    /// [`ErrorCode::StorageFailed`] if it cannot be written.
    pub async fn download(
        &self,
        url: &str,
        out: impl Write + Send,
        deadline: Instant,
    ) -> Result<Option<Received>> {
        tokio::time::timeout_at(deadline.into(), self.stream(url, out))
            .await
            .map_err(|_| Error::new(ErrorCode::SyncTimeout, "the gossip server's answer took too long"))?
    }

    async fn stream(&self, url: &str, out: impl Write + Send) -> Result<Option<Received>> {
        let request = self.http.get(url).header(ACCEPT_ENCODING, "gzip");
        let mut response = request.send().await.map_err(|e| transport(&e))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = response.headers().get(RETRY_AFTER);
                let wait = wait.and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
                let error = Error::new(ErrorCode::RateLimited, "the gossip server");
                return Err(error.with_retry_after(wait));
            }
            other => {
                return Err(Error::new(
                    ErrorCode::NetworkUnavailable,
                    format!("the gossip server: {other}"),
                ));
            }
        }
        let packed = match response.headers().get(CONTENT_ENCODING) {
            None => false,
            Some(how) if how.as_bytes() == b"identity" => false,
            Some(how) if how.as_bytes() == b"gzip" => true,
            Some(_) => return Err(Error::new(ErrorCode::GossipFailed, "an unknown encoding")),
        };
        let limited = Limited { out, written: 0 };
        let mut body = if packed {
            Body::Packed(Box::new(GzDecoder::new(limited)))
        } else {
            Body::Plain(limited)
        };
        let mut received = 0u64;
        while let Some(bytes) = response.chunk().await.map_err(|e| transport(&e))? {
            received += bytes.len() as u64;
            if received > MOST_PACKED {
                return Err(Error::new(ErrorCode::GossipFailed, "larger than any snapshot"));
            }
            body.write(&bytes).map_err(|e| local(&e))?;
        }
        let unpacked = body.finish().map_err(|e| local(&e))?;
        Ok(Some(Received {
            packed: received,
            unpacked,
        }))
    }
}

enum Body<W: Write> {
    Plain(Limited<W>),
    Packed(Box<GzDecoder<Limited<W>>>),
}

impl<W: Write> Body<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Packed(out) => out.write_all(bytes),
        }
    }

    /// Everything is out; gives how much it was.
    fn finish(self) -> io::Result<u64> {
        let mut out = match self {
            Self::Plain(out) => out,
            // Fails if the packed stream is cut off or its checksum is wrong.
            Self::Packed(out) => out.finish()?,
        };
        out.flush()?;
        Ok(out.written)
    }
}

/// A writer that takes no more than [`MOST_UNPACKED`].
struct Limited<W> {
    out: W,
    written: u64,
}

/// The sign of [`Limited`] that it is full.
#[derive(Debug, thiserror::Error)]
#[error("unpacked, it is larger than any snapshot")]
struct TooLarge;

/// The sign that our disk failed, and not the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Disk(io::Error);

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written + bytes.len() as u64 > MOST_UNPACKED {
            return Err(io::Error::other(TooLarge));
        }
        self.out.write_all(bytes).map_err(|e| io::Error::other(Disk(e)))?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|e| io::Error::other(Disk(e)))
    }
}

fn local(error: &io::Error) -> Error {
    let ours = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Disk>())
        .is_some();
    let code = if ours {
        ErrorCode::StorageFailed
    } else {
        ErrorCode::GossipFailed
    };
    Error::new(code, format!("the gossip server's answer: {error}"))
}

fn transport(error: &reqwest::Error) -> Error {
    let code = if error.is_timeout() && !error.is_connect() {
        ErrorCode::SyncTimeout
    } else {
        ErrorCode::NetworkUnavailable
    };
    Error::new(code, format!("the gossip server: {error}"))
}
