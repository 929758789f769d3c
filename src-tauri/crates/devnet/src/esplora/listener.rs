//! One HTTP listener of the face on loopback: HTTP/1.1 with keep-alive, round-trip time, faults, counters.
//!
//! hyper is driven by hand rather than through `axum::serve`, because faults need to close a connection without an
//! answer, and counters need the bytes on the wire.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bitcoin::Txid;
use bitcoin::consensus::encode::serialize_hex;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rand::RngCore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::answers::{Face, router};
use super::fault::{FaultKind, Faults};
use super::json as shape;
use super::traffic::{Counted, Meter};
use crate::Error;

/// Length of a garbage body: longer than every fixed-size answer, so that no reader is satisfied by chance.
const GARBAGE_BYTES: usize = 200;

/// A listener that is running. Dropping it ends it and its connections.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    face: Arc<Face>,
    service: TowerToHyperService<Router>,
    faults: Faults,
    meter: Arc<Meter>,
    rtt_micros: AtomicU64,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1 and serves until dropped.
    pub(crate) async fn start(face: Arc<Face>, rtt: Duration) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("opening the Esplora face"))?;
        let address = listener
            .local_addr()
            .map_err(Error::io("opening the Esplora face"))?;
        let shared = Arc::new(Shared {
            service: TowerToHyperService::new(router(Arc::clone(&face))),
            face,
            faults: Faults::default(),
            meter: Arc::default(),
            rtt_micros: AtomicU64::new(micros(rtt)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Takes no more connections and cuts those there are.
    pub(crate) fn close(&self) {
        self.task.abort();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        self.shared.rtt_micros.store(micros(rtt), Ordering::Relaxed);
    }

    pub(crate) fn rtt(&self) -> Duration {
        Duration::from_micros(self.shared.rtt_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the listener: the set aborts them when it is dropped.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely. Busy-looping would not bring any back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        shared.meter.connection();
        let io = TokioIo::new(Counted {
            stream,
            meter: Arc::clone(&shared.meter),
        });
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            // An error here is a client that hung up, or a fault that did.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        });
    }
}

/// The sign for hyper to close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
struct Dropped;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    shared.meter.request(&method, &path);
    let fault = shared.faults.strike(&path);
    let rtt = Duration::from_micros(shared.rtt_micros.load(Ordering::Relaxed));
    if !rtt.is_zero() {
        tokio::time::sleep(rtt).await;
    }
    let response = match fault {
        None => genuine(&shared, request).await,
        Some(kind) => struck(&shared, request, &path, kind).await?,
    };
    if let Some(bytes) = http_body::size(&response) {
        shared.meter.body(&method, &path, bytes);
    }
    Ok(response)
}

/// Reading a body's length through the trait that axum's `Body` implements.
mod http_body {
    use axum::body::{Body, HttpBody};
    use hyper::Response;

    pub(super) fn size(response: &Response<Body>) -> Option<u64> {
        response.body().size_hint().exact()
    }
}

async fn genuine(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let response: Result<Response<Body>, Infallible> = shared.service.call(request).await;
    match response {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn struck(
    shared: &Shared,
    request: Request<Incoming>,
    path: &str,
    kind: FaultKind,
) -> Result<Response<Body>, Dropped> {
    Ok(match kind {
        FaultKind::Hang => std::future::pending().await,
        FaultKind::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            genuine(shared, request).await
        }
        FaultKind::Status {
            code,
            retry_after_secs,
        } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = Response::new(Body::from(format!("devnet: {status} on purpose")));
            *response.status_mut() = status;
            if let Some(seconds) = retry_after_secs {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        FaultKind::Garbage => {
            let mut bytes = vec![0; GARBAGE_BYTES];
            rand::thread_rng().fill_bytes(&mut bytes);
            Response::new(Body::from(bytes))
        }
        FaultKind::DropConnection { mid_body: false } => return Err(Dropped),
        FaultKind::DropConnection { mid_body: true } => half(genuine(shared, request).await).await?,
        FaultKind::WrongHeader => other_header(shared, path).unwrap_or_else(not_found),
        FaultKind::WrongMerkle => other_proof(shared, path).unwrap_or_else(not_found),
        FaultKind::StaleTip { behind } => older_tip(shared, path, behind).await.unwrap_or_else(not_found),
        FaultKind::Fees { sat_per_vb } => {
            Response::new(Body::from(json!(super::fees::flat(sat_per_vb)).to_string()))
        }
    })
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::from("devnet: there is nothing to lie with"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The same answer, announced in full length, of which half comes before the connection ends.
async fn half(response: Response<Body>) -> Result<Response<Body>, Dropped> {
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, bytes.len().max(2).into());
    let first = bytes.slice(..bytes.len() / 2);
    let pieces: [Result<Bytes, Dropped>; 2] = [Ok(first), Err(Dropped)];
    Ok(Response::from_parts(
        parts,
        Body::from_stream(futures::stream::iter(pieces)),
    ))
}

fn second_segment(path: &str) -> Option<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).nth(1)
}

fn other_header(shared: &Shared, path: &str) -> Option<Response<Body>> {
    if path.trim_end_matches('/') == "/blocks" {
        let chain = shared.face.follower.read();
        let tip = chain.height()?;
        let mut first = shape::block(&chain, tip.checked_sub(1)?)?;
        first["id"] = json!(chain.block_at(tip)?.hash);
        first["height"] = json!(tip);
        return Some(Response::new(Body::from(json!([first]).to_string())));
    }
    let asked = second_segment(path)?.parse().ok();
    let chain = shared.face.follower.read();
    let tip = chain.height()?;
    // The block below the asked one: real, well-formed, of the same chain, and wrong.
    let below = asked
        .and_then(|hash| chain.block(&hash))
        .map_or(tip, |(height, _)| height.checked_sub(1).unwrap_or(tip));
    Some(Response::new(Body::from(serialize_hex(
        &chain.block_at(below)?.header,
    ))))
}

fn other_proof(shared: &Shared, path: &str) -> Option<Response<Body>> {
    let asked: Option<Txid> = second_segment(path)?.parse().ok();
    let chain = shared.face.follower.read();
    // The newest coinbase that is not the transaction asked for: its proof is valid, and unrelated.
    let other = (0..=chain.height()?)
        .rev()
        .filter_map(|height| chain.block_at(height)?.txids.first().copied())
        .find(|txid| Some(*txid) != asked)?;
    let place = chain.tx(&other)?.place?;
    let body = if path.trim_end_matches('/').ends_with("/merkle-proof") {
        shape::merkle_proof(&chain, place)?.to_string()
    } else {
        shape::merkle_block(&chain, &other, place)?
    };
    Some(Response::new(Body::from(body)))
}

async fn older_tip(shared: &Shared, path: &str, behind: u32) -> Option<Response<Body>> {
    shared.face.follower.renew().await.ok()?;
    let chain = shared.face.follower.read();
    let height = chain.height()?.saturating_sub(behind);
    let body = match path.trim_end_matches('/') {
        "/blocks/tip/hash" => chain.block_at(height)?.hash.to_string(),
        "/blocks/tip/height" => height.to_string(),
        _ => {
            let list: Vec<Value> = (0..=height)
                .rev()
                .take(10)
                .filter_map(|height| shape::block(&chain, height))
                .collect();
            json!(list).to_string()
        }
    };
    Some(Response::new(Body::from(body)))
}
