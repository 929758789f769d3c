//! Faces of a Bitcoin peer: a proxy before the devnet's real one, which passes everything on, or lies, or is silent.
//!
//! A second address of the same honest node is a second peer to whoever looks at addresses; what a liar changes is
//! changed in real messages, so that everything but the lie is true.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::{BlockHash, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// What a face does to the messages of the peer behind it; `None` swallows one. The number is the first height of the
/// last question for filter headers on this connection, which the answer does not repeat.
pub type Change = dyn Fn(NetworkMessage, u32) -> Option<NetworkMessage> + Send + Sync;

/// A face, gone when dropped.
pub struct Face {
    pub address: SocketAddr,
    seen: Arc<Mutex<HashMap<String, usize>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Face {
    /// One that passes everything on.
    pub async fn honest(upstream: SocketAddr) -> Self {
        Self::changing(upstream, |message, _| Some(message)).await
    }

    /// One that takes connections and says nothing.
    pub async fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
            }
        });
        let seen = Arc::default();
        Self { address, seen, task }
    }

    /// One that changes what the peer says.
    pub async fn changing(
        upstream: SocketAddr,
        change: impl Fn(NetworkMessage, u32) -> Option<NetworkMessage> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let (change, counter): (Arc<Change>, _) = (Arc::new(change), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (change, counter) = (Arc::clone(&change), Arc::clone(&counter));
                connections.spawn(async move {
                    let server = TcpStream::connect(upstream).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let start = AtomicU32::new(0);
                    let up = async {
                        while let Some(message) = read(&mut from_client).await {
                            if let NetworkMessage::GetCFHeaders(question) = message.payload() {
                                start.store(question.start_height, Ordering::SeqCst);
                            }
                            *counter
                                .lock()
                                .unwrap()
                                .entry(message.cmd().to_owned())
                                .or_default() += 1;
                            to_server.write_all(&serialize(&message)).await.ok()?;
                        }
                        None::<()>
                    };
                    let down = async {
                        while let Some(message) = read(&mut from_server).await {
                            let magic = *message.magic();
                            if let Some(message) =
                                change(message.into_payload(), start.load(Ordering::SeqCst))
                            {
                                let bytes = serialize(&RawNetworkMessage::new(magic, message));
                                to_client.write_all(&bytes).await.ok()?;
                            }
                        }
                        None::<()>
                    };
                    tokio::select! { _ = up => {}, _ = down => {} }
                });
            }
        });
        Self { address, seen, task }
    }

    /// One that hides a block's content: its filter is that of a block with nothing in it, and so is the hash of it.
    pub async fn hiding(upstream: SocketAddr, block: BlockHash, height: u32) -> Self {
        let empty: Vec<u8> = vec![0];
        let hash = FilterHash::hash(&empty);
        // Its own chain of filter headers, from the lie on: where one run of them ended, the next begins.
        let ends: Mutex<HashMap<u32, FilterHeader>> = Mutex::default();
        Self::changing(upstream, move |message, start| {
            Some(match message {
                NetworkMessage::CFilter(mut filter) => {
                    if filter.block_hash == block {
                        filter.filter.clone_from(&empty);
                    }
                    NetworkMessage::CFilter(filter)
                }
                NetworkMessage::CFHeaders(mut headers) => {
                    let mut ends = ends.lock().unwrap();
                    if let Some(before) = ends.get(&start) {
                        headers.previous_filter_header = *before;
                    }
                    let place = height.checked_sub(start).and_then(|at| usize::try_from(at).ok());
                    if let Some(hidden) = place.and_then(|at| headers.filter_hashes.get_mut(at)) {
                        *hidden = hash;
                    }
                    let mut last = headers.previous_filter_header;
                    for hash in &headers.filter_hashes {
                        last = hash.filter_header(&last);
                    }
                    let next = start + u32::try_from(headers.filter_hashes.len()).unwrap();
                    if next > height {
                        ends.insert(next, last);
                    }
                    NetworkMessage::CFHeaders(headers)
                }
                other => other,
            })
        })
        .await
    }

    /// How often a question of this kind was asked.
    pub fn asked(&self, command: &str) -> usize {
        self.seen.lock().unwrap().get(command).copied().unwrap_or(0)
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut OwnedReadHalf) -> Option<RawNetworkMessage> {
    let mut bytes = vec![0u8; 24];
    stream.read_exact(&mut bytes).await.ok()?;
    assert_eq!(bytes[..4], Network::Regtest.magic().to_bytes());
    let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    bytes.resize(24 + length as usize, 0);
    stream.read_exact(&mut bytes[24..]).await.ok()?;
    Some(deserialize(&bytes).unwrap())
}
