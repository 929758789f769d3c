//! A plain connection to one Bitcoin peer: one question, one answer, by name.
//!
//! `bip157` brings filters in bulk and does not say which peer said what. To find out who contradicts whom, to see that a
//! connection is alive, and to hand a transaction to a peer of our choice, each peer is asked here, alone. Everything is
//! bounded in time and size, and every answer is checked as far as it can be checked by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bitcoin::bip158::FilterHash;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::p2p::message_filter::{CFHeaders, GetCFHeaders, GetCFilters};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Address, Magic, ServiceFlags};
use bitcoin::{Block, BlockHash, FeeRate, Network, Transaction, Txid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chain::host::HostPort;
use crate::chain::socks;
use crate::clock;
use crate::config::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::error::{Error, ErrorCode, Result};

/// The protocol we speak: the first with BIP339, which every peer with filters has.
const PROTOCOL: u32 = 70_016;

/// Longest message believed, in bytes: Bitcoin Core's own limit. A block has no more.
const MESSAGE_LIMIT: u32 = 4_000_000;

/// How long a peer may take to ask for the parent of a transaction that it was given. Bitcoin Core waits two seconds
/// before it asks a peer that called it for anything, and two more before it asks by `txid`.
const PARENT_WAIT: Duration = Duration::from_millis(4_500);

/// Longest wait for a block. 2 MB in this time is a slow link of a phone; slower than that, a wake cannot do its work.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// Most headers in one answer (Bitcoin Core: `MAX_HEADERS_RESULTS`).
pub const HEADERS_AT_ONCE: usize = 2_000;

/// Most filter headers in one answer (BIP157).
pub const FILTER_HEADERS_AT_ONCE: u32 = 2_000;

/// BIP158's only filter type.
const BASIC: u8 = 0;

/// Messages of no interest to us that are skipped before an answer. A peer announces blocks and addresses unasked, but
/// not so many in the time of one answer.
const NOISE_LIMIT: u32 = 1_000;

/// A connection to a peer that serves filters, its handshake done.
pub struct Wire {
    peer: HostPort,
    stream: TcpStream,
    magic: Magic,
    floor: Option<FeeRate>,
    takes_transactions: bool,
    pings: u64,
    /// Unanswered while an answer is half read: a future that was dropped there leaves a stream that makes no sense.
    whole: bool,
    traffic: Traffic,
}

/// Bytes over one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Questions asked.
    pub requests: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

impl Wire {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`ErrorCode::NetworkUnavailable`] if the peer is not there or does not serve filters, [`ErrorCode::SyncTimeout`] if
    /// it is silent, [`ErrorCode::ChainSyncFailed`] if it talks nonsense.
    pub async fn connect(peer: &HostPort, network: Network, proxy: Option<SocketAddr>) -> Result<Self> {
        let dial = async {
            match proxy {
                Some(proxy) => socks::connect(proxy, peer).await,
                None => TcpStream::connect((peer.host(), peer.port())).await,
            }
        };
        let stream = timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| fault(peer, ErrorCode::NetworkUnavailable, "no connection in time"))?
            .map_err(|e| fault(peer, ErrorCode::NetworkUnavailable, &e))?;
        // Small questions, each waited for.
        let _ = stream.set_nodelay(true);
        let mut wire = Self {
            peer: peer.clone(),
            stream,
            magic: network.magic(),
            floor: None,
            takes_transactions: false,
            pings: 0,
            whole: true,
            traffic: Traffic::default(),
        };
        timeout(CONNECT_TIMEOUT, wire.shake_hands())
            .await
            .map_err(|_| fault(peer, ErrorCode::SyncTimeout, "no handshake in time"))??;
        Ok(wire)
    }

    /// Who this is.
    pub fn peer(&self) -> &HostPort {
        &self.peer
    }

    /// The lowest rate at which the peer takes transactions (BIP133), if it said so.
    pub fn floor(&self) -> Option<FeeRate> {
        self.floor
    }

    /// What went over the connection since the last time.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// Whether the connection can be used again.
    pub fn usable(&self) -> bool {
        self.whole
    }

    /// The peer's headers above the first block of the locator that it has in its best chain; at most
    /// [`HEADERS_AT_ONCE`]. They are connected to one another, and nothing more was checked.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn headers(&mut self, locator: Vec<BlockHash>) -> Result<Vec<Header>> {
        let question = NetworkMessage::GetHeaders(GetHeadersMessage {
            version: PROTOCOL,
            locator_hashes: locator,
            stop_hash: BlockHash::all_zeros(),
        });
        let headers = self
            .ask(question, REQUEST_TIMEOUT, |message| match message {
                NetworkMessage::Headers(headers) => Picked::Answer(headers),
                other => Picked::Other(other),
            })
            .await?;
        let connected = headers
            .windows(2)
            .all(|pair| pair[1].prev_blockhash == pair[0].block_hash());
        if !connected || headers.len() > HEADERS_AT_ONCE {
            return Err(self.lie("its headers are not connected"));
        }
        Ok(headers)
    }

    /// What the peer says the filters' hashes are, from `start` (a height) to the block `stop`, `count` in all; the filter
    /// header before the first comes along.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn filter_headers(&mut self, start: u32, stop: BlockHash, count: u32) -> Result<CFHeaders> {
        let question = NetworkMessage::GetCFHeaders(GetCFHeaders {
            filter_type: BASIC,
            start_height: start,
            stop_hash: stop,
        });
        let answer = self
            .ask(question, REQUEST_TIMEOUT, |message| match message {
                NetworkMessage::CFHeaders(headers) if headers.stop_hash == stop => Picked::Answer(headers),
                other => Picked::Other(other),
            })
            .await?;
        if answer.filter_type != BASIC || answer.filter_hashes.len() != count as usize {
            return Err(self.lie("it was asked for some filter headers and gave others"));
        }
        Ok(answer)
    }

    /// One block's filter, checked against the hash that the peer gave for it.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn filter(&mut self, height: u32, block: BlockHash, hash: FilterHash) -> Result<Vec<u8>> {
        let question = NetworkMessage::GetCFilters(GetCFilters {
            filter_type: BASIC,
            start_height: height,
            stop_hash: block,
        });
        let filter = self
            .ask(question, REQUEST_TIMEOUT, |message| match message {
                NetworkMessage::CFilter(filter) if filter.block_hash == block => {
                    Picked::Answer(filter.filter)
                }
                other => Picked::Other(other),
            })
            .await?;
        if FilterHash::hash(&filter) != hash {
            return Err(self.lie("its filter is not the one that its filter header names"));
        }
        Ok(filter)
    }

    /// A whole block with its witnesses, checked against its hash, its merkle root and its witness commitment.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn block(&mut self, hash: BlockHash) -> Result<Block> {
        let question = NetworkMessage::GetData(vec![Inventory::WitnessBlock(hash)]);
        let answer = self
            .ask(question, BLOCK_TIMEOUT, |message| match message {
                NetworkMessage::Block(block) if block.block_hash() == hash => Picked::Answer(Some(block)),
                NetworkMessage::NotFound(_) => Picked::Answer(None),
                other => Picked::Other(other),
            })
            .await?;
        let Some(block) = answer else {
            return Err(fault(
                &self.peer,
                ErrorCode::NetworkUnavailable,
                "it does not have a block",
            ));
        };
        if !block.check_merkle_root() || !block.check_witness_commitment() {
            return Err(self.lie("its block is not what the header commits to"));
        }
        Ok(block)
    }

    /// Hands transactions over, parents first, and waits until the peer has looked at them. What it thinks of them, the
    /// protocol does not tell. `recent` are those that were handed over of late, these among them: a parent that pays too
    /// little by itself was refused, and is asked for again when its child has come.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`ErrorCode::NetworkUnavailable`] if the peer takes no transactions.
    pub async fn hand_over(&mut self, transactions: &[Transaction], recent: &[Transaction]) -> Result<()> {
        if !self.takes_transactions {
            return Err(fault(
                &self.peer,
                ErrorCode::NetworkUnavailable,
                "it takes no transactions",
            ));
        }
        let parents: Vec<Txid> = recent.iter().map(Transaction::compute_txid).collect();
        let mut orphan = false;
        for transaction in transactions {
            self.send(&NetworkMessage::Tx(transaction.clone())).await?;
            let mut spent = transaction.input.iter().map(|input| input.previous_output.txid);
            orphan |= spent.any(|txid| parents.contains(&txid));
        }
        self.until_pong().await?;
        if orphan && self.asked_for(recent).await? {
            self.until_pong().await?;
        }
        Ok(())
    }

    /// A ping and its pong: whatever was sent before it has been worked on.
    async fn until_pong(&mut self) -> Result<()> {
        self.pings += 1;
        let nonce = self.pings;
        self.ask(
            NetworkMessage::Ping(nonce),
            REQUEST_TIMEOUT,
            |message| match message {
                NetworkMessage::Pong(pong) if pong == nonce => Picked::Answer(()),
                other => Picked::Other(other),
            },
        )
        .await
    }

    /// Gives the peer one of these transactions if it asks for one soon; whether it did.
    async fn asked_for(&mut self, transactions: &[Transaction]) -> Result<bool> {
        let wanted = async {
            for _ in 0..NOISE_LIMIT {
                let message = self.receive().await?;
                let NetworkMessage::GetData(wanted) = message else {
                    self.overhear(message).await?;
                    continue;
                };
                let asked = |transaction: &&Transaction| {
                    wanted.iter().any(|item| match item {
                        Inventory::WTx(wtxid) => *wtxid == transaction.compute_wtxid(),
                        Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => {
                            *txid == transaction.compute_txid()
                        }
                        _ => false,
                    })
                };
                if let Some(transaction) = transactions.iter().find(asked) {
                    self.send(&NetworkMessage::Tx(transaction.clone())).await?;
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match timeout(PARENT_WAIT, wanted).await {
            Ok(asked) => asked,
            // Nothing was asked for: it has them all. The wait was cut between two messages or within one.
            Err(_) => Ok(false),
        }
    }

    async fn shake_hands(&mut self) -> Result<()> {
        let nowhere = Address::new(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), ServiceFlags::NONE);
        let ours = VersionMessage {
            version: PROTOCOL,
            services: ServiceFlags::NONE,
            timestamp: i64::try_from(clock::since_epoch().as_secs()).unwrap_or(i64::MAX),
            receiver: nowhere.clone(),
            sender: nowhere,
            // Only for nodes that listen: it tells them that they talk to themselves.
            nonce: 0,
            user_agent: concat!("/Pilotlight:", env!("CARGO_PKG_VERSION"), "/").into(),
            start_height: 0,
            // Nobody else's transactions, please.
            relay: false,
        };
        self.send(&NetworkMessage::Version(ours)).await?;
        let mut theirs = None;
        for _ in 0..NOISE_LIMIT {
            match self.receive().await? {
                NetworkMessage::Version(version) => {
                    let serves = version
                        .services
                        .has(ServiceFlags::COMPACT_FILTERS | ServiceFlags::WITNESS);
                    if !serves || version.version < PROTOCOL {
                        let why = "it does not serve compact block filters";
                        return Err(fault(&self.peer, ErrorCode::NetworkUnavailable, why));
                    }
                    theirs = Some(version);
                    // Transactions are named by their witness ids from here on (BIP339: before `verack`).
                    self.send(&NetworkMessage::WtxidRelay).await?;
                    self.send(&NetworkMessage::Verack).await?;
                }
                NetworkMessage::Verack => match theirs {
                    Some(version) => {
                        self.takes_transactions = version.relay;
                        return Ok(());
                    }
                    None => return Err(self.lie("it agreed before it introduced itself")),
                },
                other => self.overhear(other).await?,
            }
        }
        Err(self.lie("it says much and does not introduce itself"))
    }

    /// Asks, and gives the first message that is an answer.
    async fn ask<T>(
        &mut self,
        question: NetworkMessage,
        limit: Duration,
        mut pick: impl FnMut(NetworkMessage) -> Picked<T>,
    ) -> Result<T> {
        let peer = self.peer.clone();
        self.traffic.requests += 1;
        let answered = async {
            self.send(&question).await?;
            for _ in 0..NOISE_LIMIT {
                match pick(self.receive().await?) {
                    Picked::Answer(answer) => return Ok(answer),
                    Picked::Other(other) => self.overhear(other).await?,
                }
            }
            Err(self.lie("it says much and answers nothing"))
        };
        if let Ok(answer) = timeout(limit, answered).await {
            return answer;
        }
        // A late answer would be taken for the answer to another question.
        self.whole = false;
        Err(fault(&peer, ErrorCode::SyncTimeout, "no answer in time"))
    }

    /// What a peer says without having been asked.
    async fn overhear(&mut self, message: NetworkMessage) -> Result<()> {
        match message {
            NetworkMessage::Ping(nonce) => self.send(&NetworkMessage::Pong(nonce)).await,
            NetworkMessage::FeeFilter(sat_per_kvb) => {
                let sat_per_kvb = u64::try_from(sat_per_kvb).map_err(|_| self.lie("a fee below zero"))?;
                self.floor = Some(FeeRate::from_sat_per_kwu(sat_per_kvb.div_ceil(4)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn send(&mut self, message: &NetworkMessage) -> Result<()> {
        let bytes = serialize(&RawNetworkMessage::new(self.magic, message.clone()));
        self.whole = false;
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|e| fault(&self.peer, ErrorCode::NetworkUnavailable, &e))?;
        self.whole = true;
        self.traffic.sent += bytes.len() as u64;
        Ok(())
    }

    async fn receive(&mut self) -> Result<NetworkMessage> {
        let gone = |e: std::io::Error| fault(&self.peer, ErrorCode::NetworkUnavailable, &e);
        self.whole = false;
        // Magic (4), command (12), length (4), checksum (4).
        let mut bytes = vec![0u8; 24];
        self.stream.read_exact(&mut bytes).await.map_err(gone)?;
        if bytes[..4] != self.magic.to_bytes() {
            return Err(self.lie("it talks of another network"));
        }
        let length = u32::from_le_bytes(bytes[16..20].try_into().expect("a range of four bytes has four"));
        if length > MESSAGE_LIMIT {
            return Err(self.lie("a message longer than any may be"));
        }
        // Memory is taken as the bytes come, not as they are promised.
        let mut body = (&mut self.stream).take(u64::from(length));
        let read = body.read_to_end(&mut bytes).await.map_err(gone)?;
        if read < length as usize {
            return Err(fault(&self.peer, ErrorCode::NetworkUnavailable, "it hung up"));
        }
        self.whole = true;
        self.traffic.received += bytes.len() as u64;
        let message: RawNetworkMessage =
            deserialize(&bytes).map_err(|e| self.lie(&format!("a message that makes no sense: {e}")))?;
        Ok(message.into_payload())
    }

    fn lie(&self, what: &str) -> Error {
        fault(&self.peer, ErrorCode::ChainSyncFailed, what)
    }
}

enum Picked<T> {
    Answer(T),
    Other(NetworkMessage),
}

/// An error that names the peer.
pub fn fault(peer: &HostPort, code: ErrorCode, what: impl std::fmt::Display) -> Error {
    Error::new(code, format!("filter peer {peer}: {what}"))
}
