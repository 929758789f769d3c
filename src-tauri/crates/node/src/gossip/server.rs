//! Where news of the network come from.

use bitcoin::Network;

use crate::config::tls_or_loopback;
use crate::error::Result;

/// A Rapid Gossip Sync server. To each prefix the timestamp is added from which on news are asked, 0 for all there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Snapshots of version 2, which also tell nodes' features and channels' capacities.
    pub v2: String,
    /// Snapshots of version 1, for servers that know no other.
    pub v1: Option<String>,
    /// Where other people's experience with channels is offered, if it is.
    pub scores: Option<String>,
}

impl Server {
    /// The server of a network, if there is one that everybody may use.
    pub fn of(network: Network) -> Option<Self> {
        // The two have their parts in different orders; it is how the server is.
        let (v2, v1) = match network {
            Network::Bitcoin => (
                "https://rapidsync.lightningdevkit.org/snapshot/v2/",
                Some("https://rapidsync.lightningdevkit.org/snapshot/"),
            ),
            Network::Testnet => (
                "https://rapidsync.lightningdevkit.org/testnet/v2/snapshot/",
                Some("https://rapidsync.lightningdevkit.org/testnet/snapshot/"),
            ),
            _ => return None,
        };
        Some(Self {
            v2: v2.to_owned(),
            v1: v1.map(str::to_owned),
            scores: None,
        })
    }

    /// A server laid out as the reference server is, at this address.
    pub fn at(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        Self {
            v2: format!("{base}/snapshot/v2/"),
            v1: Some(format!("{base}/snapshot/")),
            scores: None,
        }
    }

    /// What a file keeps of the server, to know news of another one. Timestamps are the server's own: what one calls news
    /// since noon may not be what another does.
    pub fn mark(&self) -> u32 {
        crc32c::crc32c(self.v2.as_bytes())
    }

    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Misconfigured`] if it is neither TLS nor on this machine.
    pub fn validate(&self) -> Result<()> {
        [Some(&self.v2), self.v1.as_ref(), self.scores.as_ref()]
            .into_iter()
            .flatten()
            .try_for_each(|url| tls_or_loopback(url, "gossip server"))
    }
}
