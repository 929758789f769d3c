//! What a devnet is asked to be, and what it says it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::BlockHash;
use serde::{Deserialize, Serialize};

use crate::peer::PeerInfo;
use crate::rpc::RpcAccess;

/// What a devnet should consist of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many of [`PEER_NAMES`](crate::PEER_NAMES) to start: 0 is `bitcoind` and the Esplora face alone, 1 adds the LSP. More can be
    /// started later with [`Devnet::ensure_peer`](crate::Devnet::ensure_peer).
    pub peers: usize,
    /// Open announced channels between the LSP and the other peers that are started.
    pub channels: bool,
    /// Added to every request on the wallet's Esplora listener.
    pub rtt: Duration,
    /// Where data goes; `None` for a temporary folder that goes away with the devnet.
    pub dir: Option<PathBuf>,
    /// Mine a block this often.
    pub auto_mine: Option<Duration>,
    /// The gossip server tells of the peers' public channels as they open; else of what is published on it.
    pub live_gossip: bool,
    /// Tell on stderr what is being done.
    pub progress: bool,
}

/// Where `bitcoind` can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BitcoindInfo {
    /// JSON-RPC.
    pub rpc: RpcAccess,
    /// The Bitcoin peer-to-peer port; serves compact block filters.
    pub p2p: SocketAddr,
    /// The file with RPC's user and password.
    pub cookie_file: PathBuf,
    /// Its version, as it says itself.
    pub version: String,
}

/// Everything somebody needs to know to use the devnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Always `regtest`.
    pub network: String,
    /// The process that keeps it alive.
    pub pid: u32,
    /// Its folder.
    pub dir: PathBuf,
    /// The wallet's Esplora listener: with round-trip time and faults.
    pub esplora_url: String,
    /// Another one, without.
    pub plain_esplora_url: String,
    /// The Rapid Gossip Sync server.
    pub gossip_url: String,
    /// The control endpoint, when there is one.
    pub control_url: Option<String>,
    /// Round-trip time of the wallet's listener, milliseconds.
    pub rtt_ms: u64,
    /// Where `bitcoind` can be reached.
    pub bitcoind: BitcoindInfo,
    /// The peers that were started.
    pub peers: Vec<PeerInfo>,
    /// Height of the chain.
    pub height: u32,
    /// Its best block.
    pub tip: BlockHash,
    /// What `estimatesmartfee` says for 6 blocks, sat/vB.
    pub fee_rate: Option<f64>,
}
