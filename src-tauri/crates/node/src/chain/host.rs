//! Where a peer or a server is: `HOST:PORT`, the host a name, an IPv4 address or an IPv6 address in brackets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};

/// Longest name of a host (RFC 1035).
const NAME_LIMIT: usize = 253;

/// A network address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if the host is one and not a name.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.host
            .parse()
            .ok()
            .map(|ip: IpAddr| SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for HostPort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(
                ErrorCode::InvalidInput,
                "a peer or server must look like HOST:PORT",
            )
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if port == 0 || host.is_empty() || host.len() > NAME_LIMIT || !host.chars().all(plain) {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(peer: HostPort) -> Self {
        peer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_round_trip_and_nonsense_is_typed() {
        for ok in ["127.0.0.1:8333", "[::1]:18444", "node.example.com:8333"] {
            let peer: HostPort = ok.parse().unwrap();
            assert_eq!(peer.to_string(), ok);
            assert_eq!(peer.socket().is_some(), !ok.contains("example"));
        }
        let long = format!("{}:1", "a".repeat(300));
        for bad in [
            "",
            ":",
            "host",
            "host:",
            ":8333",
            "host:0",
            "host:99999",
            "::1:8333",
            "[::1:8333",
            "a b:1",
            "a/b:1",
            &long,
        ] {
            let error = bad.parse::<HostPort>().unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{bad}");
        }
    }
}
