//! Counting what a listener carries, for tests that want to know what a sync costs.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use std::sync::Arc;

/// What one endpoint carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTraffic {
    /// Requests received.
    pub requests: u64,
    /// Bytes of the answers' bodies.
    pub body_bytes: u64,
}

/// What a listener carried since it began or was last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// By method and path, with hashes, addresses and numbers replaced: `GET /tx/:hash/outspend/:n`.
    pub endpoints: BTreeMap<String, EndpointTraffic>,
    /// All requests.
    pub requests: u64,
    /// TCP connections accepted.
    pub connections: u64,
    /// Bytes that came in over TCP, headers included.
    pub bytes_in: u64,
    /// Bytes that went out over TCP, headers included.
    pub bytes_out: u64,
}

/// The live counters of one listener.
#[derive(Default)]
pub(crate) struct Meter {
    endpoints: Mutex<BTreeMap<String, EndpointTraffic>>,
    connections: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Meter {
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, method: &str, path: &str) {
        self.entry(method, path, |entry| entry.requests += 1);
    }

    pub(crate) fn body(&self, method: &str, path: &str, bytes: u64) {
        self.entry(method, path, |entry| entry.body_bytes += bytes);
    }

    fn entry(&self, method: &str, path: &str, change: impl FnOnce(&mut EndpointTraffic)) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        change(
            endpoints
                .entry(format!("{method} {}", endpoint(path)))
                .or_default(),
        );
    }

    pub(crate) fn read(&self) -> Traffic {
        let endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Traffic {
            requests: endpoints.values().map(|entry| entry.requests).sum(),
            endpoints,
            connections: self.connections.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn reset(&self) {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        for counter in [&self.connections, &self.bytes_in, &self.bytes_out] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// The path with what varies replaced.
fn endpoint(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if segment.len() == 64 && segment.bytes().all(|b| b.is_ascii_hexdigit()) {
            ":hash"
        } else if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            ":n"
        } else if segment.starts_with("bcrt1") {
            ":address"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A TCP stream that counts.
pub(crate) struct Counted {
    pub(crate) stream: TcpStream,
    pub(crate) meter: Arc<Meter>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.meter.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            self.meter.bytes_out.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_taken_out_of_paths() {
        let hash = "ab".repeat(32);
        assert_eq!(
            endpoint(&format!("/tx/{hash}/outspend/12")),
            "/tx/:hash/outspend/:n"
        );
        assert_eq!(endpoint("/blocks/tip/hash"), "/blocks/tip/hash");
        assert_eq!(endpoint("/address/bcrt1qxyz/utxo"), "/address/:address/utxo");
        assert_eq!(endpoint("/"), "/");
    }
}
