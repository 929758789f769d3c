//! A way to a server of any protocol, on which everything takes its time and is counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Error;

/// Pieces on their way on one connection. Enough that the round-trip time and not this is what slows it.
const ON_THE_WAY: usize = 256;

/// The way, closed with its connections when dropped. It begins without delay.
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    rtt_ms: AtomicU64,
    connections: AtomicU64,
    /// Bytes to the server and from it.
    up: AtomicU64,
    down: AtomicU64,
    /// Ends of lines on the way to the server.
    lines: AtomicU64,
}

/// What a line has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections begun.
    pub connections: u64,
    /// Bytes to the server.
    pub up: u64,
    /// Bytes from the server.
    pub down: u64,
    /// Lines to the server: requests, where a request is a line (Electrum).
    pub lines: u64,
}

impl Line {
    /// A line to this server. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub async fn to(server: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("opening a line"))?;
        let address = listener.local_addr().map_err(Error::io("opening a line"))?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(accept(listener, server, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long there and back take from now on. A connection is taken at once; a protocol's own greetings are not.
    pub fn set_rtt(&self, rtt: Duration) {
        let ms = u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
        self.shared.rtt_ms.store(ms, Ordering::SeqCst);
    }

    /// What was carried since this was asked last.
    pub fn take_carried(&self) -> Carried {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::SeqCst);
        Carried {
            connections: take(&self.shared.connections),
            up: take(&self.shared.up),
            down: take(&self.shared.down),
            lines: take(&self.shared.lines),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let up = |piece: &[u8]| {
                let lines = piece.split(|byte| *byte == b'\n').count() - 1;
                shared.up.fetch_add(piece.len() as u64, Ordering::SeqCst);
                shared.lines.fetch_add(lines as u64, Ordering::SeqCst);
            };
            let down = |piece: &[u8]| {
                shared.down.fetch_add(piece.len() as u64, Ordering::SeqCst);
            };
            tokio::select! {
                () = carry(from_client, to_server, &shared.rtt_ms, up) => {}
                () = carry(from_server, to_client, &shared.rtt_ms, down) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One direction: everything arrives half a round trip after it was sent, in order.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    rtt_ms: &AtomicU64,
    count: impl Fn(&[u8]),
) {
    let (send, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let reading = async {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            count(&piece[..length]);
            let due = Instant::now() + Duration::from_millis(rtt_ms.load(Ordering::SeqCst) / 2);
            if send.send((due, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
        drop(send);
    };
    let writing = async {
        while let Some((due, piece)) = arrive.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_over_a_line_takes_half_a_round_trip_each_way_and_is_counted() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Line::to(echo.local_addr().unwrap()).await.unwrap();
        line.set_rtt(Duration::from_secs(100));
        tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let mut client = TcpStream::connect(line.address()).await.unwrap();
        let begun = Instant::now();
        client.write_all(b"one\ntwo\n").await.unwrap();
        let mut answer = [0; 8];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"one\ntwo\n");
        assert!(
            begun.elapsed() >= Duration::from_secs(100),
            "{:?}",
            begun.elapsed()
        );
        let expected = Carried {
            connections: 1,
            up: 8,
            down: 8,
            lines: 2,
        };
        assert_eq!(line.take_carried(), expected);
        assert_eq!(line.take_carried(), Carried::default());
    }
}
