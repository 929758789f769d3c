//! The server: every state of the network it was given, told in full or as what changed, and faults on demand.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::encode::{delta, full};
use super::network::Network;
use crate::Error;

/// Bytes of one piece of an endless answer.
const PIECE: usize = 64 << 10;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GossipFault {
    /// The request is taken and never answered.
    Hang,
    /// The answer stops half-way and the connection stays.
    Stall,
    /// The answer stops half-way and the connection ends.
    Cut,
    /// An answer of nonsense.
    Garbage,
    /// An answer that never ends.
    Endless,
    /// A packed answer that unpacks to a thousand times its size, without end.
    Bomb,
    /// Another network's snapshot.
    OtherChain,
    /// An HTTP status.
    Status(u16),
    /// The server knows no snapshots of version 2.
    Old,
}

/// A running server. Cheap to clone; it ends when the last clone is dropped.
#[derive(Clone)]
pub struct GossipServer {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared {
    address: SocketAddr,
    chain: bitcoin::Network,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    states: BTreeMap<u32, Arc<Network>>,
    fault: Option<GossipFault>,
    asked: Vec<String>,
    sent: u64,
}

impl GossipServer {
    /// Listens on a free port of 127.0.0.1. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub async fn start(chain: bitcoin::Network) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("opening the gossip server"))?;
        let address = listener
            .local_addr()
            .map_err(Error::io("opening the gossip server"))?;
        let shared = Arc::new(Shared {
            address,
            chain,
            inner: Mutex::default(),
        });
        let router = Router::new()
            .route("/snapshot/v2/{from}", get(version_2))
            .route("/snapshot/{from}", get(version_1))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Ends with its task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            shared,
            _task: Arc::new(Task(task)),
        })
    }

    /// Its address; snapshots are at `/snapshot/v2/{timestamp}`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// From now on the network is told to be like this since `ago`. States must be given in the order of their times.
    pub fn publish(&self, network: Network, ago: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u32::try_from(now.saturating_sub(ago).as_secs()).unwrap_or(u32::MAX);
        self.publish_at(network, at);
    }

    /// The same since a moment, Unix time in s, which may be yet to come.
    pub fn publish_at(&self, network: Network, at: u32) {
        self.lock().states.insert(at, Arc::new(network));
    }

    /// Whether this is what is told now.
    pub(crate) fn tells(&self, network: &Network) -> bool {
        self.lock()
            .states
            .last_key_value()
            .is_some_and(|(_, latest)| **latest == *network)
    }

    /// Fails so from now on, or no more.
    pub fn fail(&self, fault: Option<GossipFault>) {
        self.lock().fault = fault;
    }

    /// What was asked since the last call, as paths.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Bytes handed out so far.
    pub fn sent(&self) -> u64 {
        self.lock().sent
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot from this timestamp on; in full for one that nothing is known of.
    fn snapshot(&self, from: u32, chain: bitcoin::Network) -> Option<Vec<u8>> {
        let inner = self.lock();
        let (at, now) = inner
            .states
            .last_key_value()
            .map(|(at, now)| (*at, Arc::clone(now)))?;
        let before = inner.states.get(&from).cloned();
        drop(inner);
        Some(match before {
            Some(before) => delta(&before, &now, chain, at),
            None => full(&now, chain, at),
        })
    }
}

async fn version_2(State(shared): State<Arc<Shared>>, Path(from): Path<u32>, headers: HeaderMap) -> Response {
    shared.lock().asked.push(format!("/snapshot/v2/{from}"));
    let fault = shared.lock().fault;
    if fault == Some(GossipFault::Old) {
        return StatusCode::NOT_FOUND.into_response();
    }
    answer(&shared, from, &headers, fault).await
}

/// Snapshots of version 1 are told apart by their fourth byte, so a client that asks for one must look at it anyway.
async fn version_1(State(shared): State<Arc<Shared>>, Path(from): Path<u32>, headers: HeaderMap) -> Response {
    shared.lock().asked.push(format!("/snapshot/{from}"));
    let fault = shared.lock().fault.filter(|fault| *fault != GossipFault::Old);
    answer(&shared, from, &headers, fault).await
}

async fn answer(shared: &Shared, from: u32, headers: &HeaderMap, fault: Option<GossipFault>) -> Response {
    let packs = headers
        .get(header::ACCEPT_ENCODING)
        .is_some_and(|accepted| accepted.as_bytes().windows(4).any(|word| word == b"gzip"));
    let chain = match fault {
        Some(GossipFault::OtherChain) => bitcoin::Network::Signet,
        _ => shared.chain,
    };
    let Some(snapshot) = shared.snapshot(from, chain) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let body = if packs { packed(&snapshot) } else { snapshot };
    shared.lock().sent += body.len() as u64;
    let response = match fault {
        None | Some(GossipFault::OtherChain | GossipFault::Old) => Response::new(Body::from(body)),
        Some(GossipFault::Hang) => std::future::pending().await,
        Some(GossipFault::Status(code)) => {
            return StatusCode::from_u16(code)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                .into_response();
        }
        Some(GossipFault::Garbage) => return Response::new(Body::from(vec![0x5a; 5_000])),
        Some(GossipFault::Endless) => return Response::new(endless()),
        Some(GossipFault::Bomb) => Response::new(bomb()),
        Some(GossipFault::Stall) => Response::new(half(body, true)),
        Some(GossipFault::Cut) => Response::new(half(body, false)),
    };
    if packs || fault == Some(GossipFault::Bomb) {
        let (mut parts, body) = response.into_parts();
        parts
            .headers
            .insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        return Response::from_parts(parts, body);
    }
    response
}

fn half(mut body: Vec<u8>, stays: bool) -> Body {
    body.truncate(body.len() / 2);
    let first = Bytes::from(body);
    let rest = async move {
        if stays {
            std::future::pending::<()>().await;
        }
        Err(std::io::Error::other("cut on purpose"))
    };
    Body::from_stream(futures::StreamExt::chain(
        futures::stream::iter([Ok(first)]),
        futures::stream::once(rest),
    ))
}

fn endless() -> Body {
    let piece = Bytes::from(vec![0; PIECE]);
    Body::from_stream(futures::stream::repeat_with(move || {
        Ok::<_, std::io::Error>(piece.clone())
    }))
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = packer.write_all(bytes);
    packer.finish().unwrap_or_default()
}

/// Zeros, packed to a thousandth of their size, without end.
fn bomb() -> Body {
    let packer = GzEncoder::new(Vec::new(), Compression::fast());
    Body::from_stream(futures::stream::unfold(packer, |mut packer| async move {
        // Writing to memory does not fail.
        let _ = packer.write_all(&vec![0; PIECE]).and_then(|()| packer.flush());
        let piece = std::mem::take(packer.get_mut());
        Some((Ok::<_, std::io::Error>(piece), packer))
    }))
}
