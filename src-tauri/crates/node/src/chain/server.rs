//! A source of the chain as it is named in lists and settings, and as it may be named to others.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::Network;
use reqwest::Url;

use super::engine::Memory;
use super::filters::Settings;
use super::source::Source;
use super::{ElectrumSource, EsploraSource, HostPort, electrum};
use crate::birthday::Birthday;
use crate::config::tls_or_loopback;
use crate::error::{Error, ErrorCode, Result};

/// Longest address that is taken from a person.
const LONGEST: usize = 512;

/// A source of the chain.
#[derive(Clone, PartialEq, Eq)]
pub enum Server {
    /// An Esplora server, by its base URL, without a trailing slash.
    Esplora(String),
    /// An Electrum server.
    Electrum {
        /// `ssl://HOST:PORT`; `tcp://HOST:PORT` on this machine, or for an onion service through the proxy.
        url: String,
        /// A SOCKS5 proxy (Tor's, for one) for the connection to it.
        proxy: Option<SocketAddr>,
    },
    /// Peers of the Bitcoin network that serve compact block filters.
    Filters(FilterPeers),
}

/// Peers of the Bitcoin network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPeers {
    /// The only peers to use; none to find some through DNS.
    pub peers: Vec<HostPort>,
    /// How many must agree.
    pub required: usize,
    /// A SOCKS5 proxy for all connections to them.
    pub proxy: Option<SocketAddr>,
}

impl FilterPeers {
    /// What the source needs to be told.
    pub fn settings(&self, network: Network, birthday: Option<Birthday>) -> Settings {
        Settings {
            network,
            peers: self.peers.clone(),
            required: self.required,
            proxy: self.proxy,
            birthday,
        }
    }
}

impl Server {
    /// An Esplora server.
    pub fn esplora(url: impl Into<String>) -> Self {
        let url: String = url.into();
        Self::Esplora(url.trim_end_matches('/').to_owned())
    }

    /// An Electrum server.
    pub fn electrum(url: impl Into<String>, proxy: Option<SocketAddr>) -> Self {
        let url: String = url.into();
        let url = url.trim().trim_end_matches('/').to_owned();
        Self::Electrum { url, proxy }
    }

    /// A server as a person types it: `https://…` (Esplora), also without the scheme, or `ssl://HOST:PORT` (Electrum).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if it is no address of a server that can be asked; [`ErrorCode::Misconfigured`] if
    /// others could read along.
    pub fn typed(text: &str) -> Result<Self> {
        let text = text.trim();
        let bad = |words: &str| Error::new(ErrorCode::InvalidInput, format!("server: {words}"));
        if text.is_empty()
            || text.len() > LONGEST
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(bad("not an address"));
        }
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let parsed = Url::parse(&url).map_err(|e| bad(&e.to_string()))?;
        let server = match parsed.scheme() {
            _ if parsed.host_str().is_none_or(str::is_empty) => return Err(bad("no host")),
            "https" | "http" => Self::esplora(url),
            "ssl" | "tcp" if parsed.port().is_none() => return Err(bad("an Electrum server has a port")),
            "ssl" | "tcp" => Self::electrum(url, None),
            _ => return Err(bad("not a kind of server that is known")),
        };
        server.validate()?;
        Ok(server)
    }

    /// The source that asks it, not connected yet; what it shows is remembered there. `None` for peers, which are many and have
    /// a source of their own.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if no client can be made of its address.
    pub fn source(&self, network: Network, memory: Arc<Memory>) -> Result<Option<Arc<dyn Source>>> {
        Ok(match self {
            Self::Esplora(url) => Some(Arc::new(EsploraSource::sharing(url, network, memory)?)),
            Self::Electrum { url, proxy } => {
                Some(Arc::new(ElectrumSource::sharing(url, *proxy, network, memory)?))
            }
            Self::Filters(_) => None,
        })
    }

    /// Whether it is one that is asked, and can be left alone by itself. Peers of the Bitcoin network are many.
    pub fn is_one(&self) -> bool {
        !matches!(self, Self::Filters(_))
    }

    /// How records, logs and backoff name it: without what may be a secret in its URL (a name and a password, a query).
    pub fn name(&self) -> String {
        match self {
            Self::Esplora(url) | Self::Electrum { url, .. } => public(url),
            Self::Filters(_) => "compact block filters".to_owned(),
        }
    }

    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if it is neither TLS nor on this machine, or no address that can be asked.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Electrum { url, proxy } => electrum::validate(url, *proxy),
            Self::Esplora(url) => {
                tls_or_loopback(url, "chain server")?;
                let parsed = Url::parse(url).map_err(|e| Error::new(ErrorCode::Misconfigured, e))?;
                if parsed.query().is_some() || parsed.fragment().is_some() {
                    let words = "the chain server's URL must end with its path";
                    return Err(Error::new(ErrorCode::Misconfigured, words));
                }
                Ok(())
            }
            // What is wrong with them is found when the source is made.
            Self::Filters(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A URL without what may be a secret.
fn public(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "a server whose address cannot be read".to_owned();
    };
    // Fails only for URLs that have no place for them.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_no_secret() {
        let table = [
            ("https://example.com/api", "https://example.com/api"),
            ("https://example.com/", "https://example.com"),
            (
                "https://me:secret@example.com:8443/api",
                "https://example.com:8443/api",
            ),
            (
                "https://example.com/api?key=secret#secret",
                "https://example.com/api",
            ),
            ("secret", "a server whose address cannot be read"),
        ];
        for (url, name) in table {
            let server = Server::esplora(url);
            assert_eq!(server.name(), name);
            assert!(!format!("{server:?}").contains("secret"), "{url}");
        }
    }

    #[test]
    fn an_electrum_server_is_named_by_its_address() {
        let server = Server::electrum("ssl://electrum.example.com:50002/", None);
        assert_eq!(server.name(), "ssl://electrum.example.com:50002");
        assert!(server.validate().is_ok());
        let clear = Server::electrum("tcp://electrum.example.com:50001", None);
        assert!(clear.validate().is_err());
    }

    #[test]
    fn what_a_person_types_is_understood_or_refused_with_the_reason() {
        let table = [
            ("example.com/api/", Ok("https://example.com/api")),
            (" https://example.com ", Ok("https://example.com")),
            ("http://127.0.0.1:3002", Ok("http://127.0.0.1:3002")),
            ("http://example.com", Err(ErrorCode::Misconfigured)),
            ("https://example.com/?x", Err(ErrorCode::Misconfigured)),
            ("ssl://example.com:50002", Ok("ssl://example.com:50002")),
            ("ssl://example.com", Err(ErrorCode::InvalidInput)),
            ("tcp://example.com:50001", Err(ErrorCode::Misconfigured)),
            ("ftp://example.com", Err(ErrorCode::InvalidInput)),
            ("", Err(ErrorCode::InvalidInput)),
            ("my server", Err(ErrorCode::InvalidInput)),
            ("https://", Err(ErrorCode::InvalidInput)),
        ];
        for (text, expected) in table {
            let server = Server::typed(text).map(|server| server.name());
            assert_eq!(server.as_deref().map_err(Error::code), expected, "{text}");
        }
    }

    #[test]
    fn a_server_is_tls_or_on_this_machine_and_has_no_query() {
        let fine = |url: &str| Server::esplora(url).validate().is_ok();
        assert!(
            fine("https://example.com/api") && fine("http://127.0.0.1:1") && fine("https://a:b@example.com")
        );
        assert!(!fine("http://example.com") && !fine("https://example.com/?key=1") && !fine("nonsense"));
    }
}
