//! Where an Electrum server is: `ssl://HOST:PORT`, or `tcp://HOST:PORT` where nobody is on the way.

use std::net::{IpAddr, SocketAddr};

use crate::chain::host::HostPort;
use crate::error::{Error, ErrorCode, Result};

/// Where a server is, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host and port.
    pub at: HostPort,
    /// Whether with TLS.
    pub tls: bool,
    /// A SOCKS5 proxy to go through.
    pub proxy: Option<SocketAddr>,
}

impl Address {
    /// Reads a URL. Without TLS only a server on this machine is spoken to, or an onion service through a proxy: Tor encrypts
    /// the way to that one, and its name is its key.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`].
    pub fn new(url: &str, proxy: Option<SocketAddr>) -> Result<Self> {
        let wrong = |what: &str| Error::new(ErrorCode::Misconfigured, format!("Electrum server: {what}"));
        let (tls, at) = match url.trim().split_once("://") {
            Some(("ssl", at)) => (true, at),
            Some(("tcp", at)) => (false, at),
            _ => return Err(wrong("it must look like ssl://HOST:PORT")),
        };
        let at: HostPort = at
            .trim_end_matches('/')
            .parse()
            .map_err(|_| wrong("it must look like ssl://HOST:PORT"))?;
        // Names are in lower case by now.
        let onion = at.host().rsplit('.').next() == Some("onion");
        if onion && proxy.is_none() {
            return Err(wrong("an onion service needs a proxy"));
        }
        let loopback = at.host() == "localhost" || at.host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !tls && !loopback && !onion {
            return Err(wrong(
                "it must be ssl, on this machine, or an onion service through a proxy",
            ));
        }
        Ok(Self { at, tls, proxy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_clear_only_where_nobody_is_on_the_way() {
        let tor: Option<SocketAddr> = Some("127.0.0.1:9050".parse().unwrap());
        // (URL, allowed directly, allowed through a proxy)
        for (url, directly, proxied) in [
            ("ssl://electrum.example.com:50002", true, true),
            ("ssl://[2001:db8::1]:50002/", true, true),
            ("tcp://127.0.0.1:50001", true, true),
            ("tcp://[::1]:50001", true, true),
            ("tcp://localhost:50001", true, true),
            ("tcp://electrum.example.com:50001", false, false),
            ("tcp://127.0.0.1.example.com:50001", false, false),
            ("tcp://192.168.1.2:50001", false, false),
            ("tcp://explorernuoc63nb.onion:110", false, true),
            ("ssl://explorernuoc63nb.onion:110", false, true),
            ("tcp://explorernuoc63nb.onion.example.com:110", false, false),
            ("https://electrum.example.com:50002", false, false),
            ("ssl://electrum.example.com", false, false),
            ("ssl://user@electrum.example.com:1", false, false),
            ("electrum.example.com:50002", false, false),
            ("", false, false),
        ] {
            assert_eq!(Address::new(url, None).is_ok(), directly, "{url}");
            assert_eq!(Address::new(url, tor).is_ok(), proxied, "{url} through a proxy");
        }
        let error = Address::new("tcp://example.com:1", None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Misconfigured);
    }
}
