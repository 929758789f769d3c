//! What a node needs to be told, and the numbers it lives by, each with the reason for its value.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Network, ScriptBuf};
use lightning::ln::msgs::SocketAddress;
use serde::{Deserialize, Serialize};

use crate::backoff::Endpoint;
use crate::chain::filters::REQUIRED;
use crate::chain::server::FilterPeers;
pub use crate::chain::{HostPort, Server as ChainServer};
use crate::error::{Error, ErrorCode, Result};
use crate::gossip::Server;

/// Longest wait for one answer of a chain server. A phone's slow network answers within 1-2 s; a server that needs
/// more than this is one we should not spend a 30 s grant on.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Retries of one request. The client's default of 6 sleeps up to 16 s in silence, half a refresh grant.
pub const REQUEST_RETRIES: usize = 1;

/// Addresses looked at beyond the last used one when a wallet is restored (BIP44's gap limit).
pub const STOP_GAP: usize = 20;

/// Requests to one chain server at a time. Each needs a connection of its own (HTTP/1.1), and a handshake once: with eight,
/// a wallet of a few channels asks everything in three round trips; servers allow a browser six to eight.
pub const PARALLEL_REQUESTS: usize = 8;

/// How long, in blocks, a peer that force-closes must wait for its money, and so how long we have to see that it
/// cheated. The most that LDK lets us ask: two weeks asleep are then safe.
pub const OUR_TO_SELF_DELAY: u16 = 2016;

/// Final CLTV delta of our invoices, in blocks. A sleepy wallet wants a day between a payment's arrival and the need to
/// go on-chain for it, not LDK's minimum of 42 blocks.
pub const FINAL_CLTV_DELTA: u16 = 144;

/// How long an invoice of ours can be paid.
pub const INVOICE_EXPIRY: Duration = Duration::from_secs(60 * 60);

/// How long we try to find a way for a payment before we call it failed.
pub const PAYMENT_RETRY: Duration = Duration::from_secs(30);

/// Kept back on-chain for each anchor channel, in sat, to pay the fee of a force-close. The figure of ldk-node, which
/// covers a commitment with a few HTLCs at some 50 sat/vB.
pub const ANCHOR_RESERVE_SAT: u64 = 25_000;

/// Longest wait for a TCP connection and the Lightning handshake with a peer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the foreground looks at the chain.
pub const FOREGROUND_SYNC_INTERVAL: Duration = Duration::from_secs(30);

/// Monitor updates kept as rows before the whole monitor is written again.
pub const MAX_PENDING_MONITOR_UPDATES: u64 = 25;

/// By which way the chain is heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ChainChoice {
    /// From the Esplora server at [`Config::esplora_url`], which learns which transactions are ours.
    #[default]
    Esplora,
    /// From an Electrum server, which learns the same.
    Electrum {
        /// `ssl://HOST:PORT`; `tcp://HOST:PORT` on this machine, or for an onion service through the proxy.
        url: String,
        /// A SOCKS5 proxy (Tor's, for one) for the connection to it.
        proxy: Option<SocketAddr>,
    },
    /// From the first of these servers that answers, in this order. Each of them that is asked learns which transactions are
    /// ours.
    Automatic {
        /// The servers; at least one.
        servers: Vec<ChainServer>,
    },
    /// By compact block filters (BIP157) from peers of the Bitcoin network, who do not. No other server is asked.
    Filters {
        /// The only peers to use; none to find some through DNS.
        peers: Vec<HostPort>,
        /// How many must agree. Less than two only for a node of one's own.
        required: usize,
        /// A SOCKS5 proxy (Tor's, for one) for all connections to them.
        proxy: Option<SocketAddr>,
    },
}

impl ChainChoice {
    /// By compact block filters from these peers, or from some that DNS knows. Two must agree; but whoever names a single peer
    /// names their own.
    pub fn filters(peers: Vec<HostPort>, proxy: Option<SocketAddr>) -> Self {
        let required = match peers.len() {
            0 => REQUIRED,
            named => named.min(REQUIRED),
        };
        Self::Filters {
            peers,
            required,
            proxy,
        }
    }
}

/// What a node needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything of this wallet lives here; made if absent. One folder per network.
    pub data_dir: PathBuf,
    /// Which Bitcoin network.
    pub network: Network,
    /// Base URL of the Esplora server for [`ChainChoice::Esplora`], without a trailing slash. TLS is required unless it is
    /// loopback.
    pub esplora_url: String,
    /// By which way the chain is heard.
    pub chain: ChainChoice,
    /// An Esplora server that is asked for fee rates, and for nothing else, if the chain is heard from peers: blocks do not
    /// tell what the next one costs.
    pub fees_from: Option<String>,
    /// Peers with compact block filters to use when the person wants to ask no server; none to find some through DNS.
    pub filter_peers: Vec<HostPort>,
    /// The challenge of a signet other than the public one, as its script (BIP325).
    pub challenge: Option<ScriptBuf>,
    /// The liquidity provider that a wake connects to, besides the peers we have channels with.
    pub lsp: Option<PeerAddress>,
    /// Where the map of the network comes from. Without one, payments find only direct peers and what invoices hint at.
    pub gossip: Option<Server>,
}

impl Config {
    /// A configuration with nothing but the necessary.
    pub fn new(data_dir: impl Into<PathBuf>, network: Network, esplora_url: impl Into<String>) -> Self {
        let url: String = esplora_url.into();
        Self {
            data_dir: data_dir.into(),
            network,
            esplora_url: url.trim_end_matches('/').to_owned(),
            chain: ChainChoice::Esplora,
            fees_from: None,
            filter_peers: Vec::new(),
            challenge: None,
            lsp: None,
            gossip: Server::of(network),
        }
    }

    /// The same with several servers, the first first.
    pub fn asking(data_dir: impl Into<PathBuf>, network: Network, servers: Vec<ChainServer>) -> Self {
        Self {
            chain: ChainChoice::Automatic { servers },
            ..Self::new(data_dir, network, "")
        }
    }

    /// The sources of the chain that are asked, the first first.
    pub fn chain_servers(&self) -> Vec<ChainServer> {
        match &self.chain {
            ChainChoice::Esplora => vec![ChainServer::esplora(&self.esplora_url)],
            ChainChoice::Electrum { url, proxy } => vec![ChainServer::electrum(url, *proxy)],
            ChainChoice::Automatic { servers } => servers.clone(),
            ChainChoice::Filters {
                peers,
                required,
                proxy,
            } => vec![ChainServer::Filters(FilterPeers {
                peers: peers.clone(),
                required: *required,
                proxy: *proxy,
            })],
        }
    }

    /// The sources of the chain that can be left alone, each by itself. Peers of the Bitcoin network are many.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let servers = self.chain_servers();
        servers
            .iter()
            .filter(|server| server.is_one())
            .map(|server| Endpoint::Chain(server.name()))
            .collect()
    }

    /// Where the store is.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if a server is neither TLS nor on this machine.
    pub fn validate(&self) -> Result<()> {
        self.chain_servers().iter().try_for_each(ChainServer::validate)?;
        if let Some(url) = &self.fees_from {
            ChainServer::esplora(url).validate()?;
        }
        self.gossip.as_ref().map_or(Ok(()), Server::validate)
    }
}

/// Whether nobody on the way can read or change what goes to this URL.
///
/// # Errors
/// [`ErrorCode::Misconfigured`] if it is neither TLS nor on this machine.
pub(crate) fn tls_or_loopback(url: &str, what: &str) -> Result<()> {
    let url = reqwest::Url::parse(url)
        .map_err(|e| Error::new(ErrorCode::Misconfigured, format!("{what} URL: {e}")))?;
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(Error::new(
            ErrorCode::Misconfigured,
            format!("the {what} must be https, or on this machine"),
        )),
    }
}

/// Where a Lightning peer is: `NODE_ID@HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddress {
    /// The peer's node id.
    pub node_id: PublicKey,
    /// Its network address.
    pub address: SocketAddress,
}

impl FromStr for PeerAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::new(ErrorCode::InvalidInput, format!("peer address: {what}"));
        let (id, address) = text
            .trim()
            .split_once('@')
            .ok_or_else(|| bad("must look like NODE_ID@HOST:PORT"))?;
        Ok(Self {
            node_id: PublicKey::from_str(id).map_err(|_| bad("the node id is not a public key"))?,
            address: SocketAddress::from_str(address)
                .map_err(|_| bad("the part after @ is not HOST:PORT"))?,
        })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node_id, self.address)
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(peer: PeerAddress) -> Self {
        peer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_addresses_round_trip_and_bad_ones_are_typed() {
        let id = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        for ok in [
            format!("{id}@127.0.0.1:9735"),
            format!("{id}@node.example.com:9735"),
            format!("{id}@[::1]:1"),
        ] {
            let peer: PeerAddress = ok.parse().unwrap();
            assert_eq!(peer.to_string().parse::<PeerAddress>().unwrap(), peer);
        }
        for bad in [
            "",
            "@",
            id,
            "x@127.0.0.1:1",
            &format!("{id}@127.0.0.1"),
            &format!("{id}@:9735:x"),
        ] {
            assert_eq!(
                bad.parse::<PeerAddress>().unwrap_err().code(),
                ErrorCode::InvalidInput,
                "{bad}"
            );
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        let check = |url: &str| Config::new("/x", Network::Regtest, url).validate().is_ok();
        assert!(
            check("http://127.0.0.1:3002") && check("http://[::1]:1") && check("https://example.com/api")
        );
        assert!(!check("http://example.com") && !check("http://127.0.0.1.example.com") && !check("nonsense"));
    }
}
