//! A connection to a server: TCP, by way of a SOCKS5 proxy if one is wanted, and TLS. Knows nothing of what is said on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::Address;
use crate::chain::socks;

/// How long one address of a name has before the next is tried beside it: RFC 8305's recommendation. On a network where one of
/// IPv4 and IPv6 leads nowhere, waiting for its end would take all the time there is.
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects. Not bounded in time: the caller does that.
pub async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    let stream = match address.proxy {
        Some(proxy) => socks::connect(proxy, &address.at).await?,
        None => direct(address.at.host(), address.at.port()).await?,
    };
    // Small questions, each waited for.
    let _ = stream.set_nodelay(true);
    if !address.tls {
        return Ok(Box::new(stream));
    }
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let tls = secured(stream, address.at.host(), roots).await?;
    Ok(Box::new(tls))
}

/// TLS as the other clients here have it, with ring, because aws-lc needs C and cmake for iOS; and with Mozilla's roots, which are
/// the same everywhere.
async fn secured(stream: TcpStream, host: &str, roots: RootCertStore) -> io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The first address of the name that answers.
async fn direct(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut waiting = in_turn(addresses).into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    loop {
        match waiting.next() {
            Some(next) => trying.push(TcpStream::connect(next)),
            None if trying.is_empty() => return Err(failed),
            None => {}
        }
        let head_start = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep(HEAD_START).await;
            }
        };
        tokio::select! {
            Some(done) = trying.next() => match done {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = head_start => {}
        }
    }
}

/// The two families in turn, beginning with the one that the system names first.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ones, mut others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let mut all = Vec::new();
    ones.reverse();
    others.reverse();
    while let Some(address) = ones.pop() {
        all.push(address);
        all.extend(others.pop());
    }
    others.reverse();
    all.extend(others);
    all.truncate(ADDRESSES);
    all
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;

    use super::*;

    #[test]
    fn both_families_have_their_turn() {
        let of = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|a| a.parse().unwrap()).collect() };
        let six = ["[::1]:1", "[::2]:1", "[::3]:1"];
        let four = ["1.1.1.1:1", "1.1.1.2:1"];
        let mixed = of(&[six[0], six[1], six[2], four[0], four[1]]);
        assert_eq!(in_turn(mixed), of(&[six[0], four[0], six[1], four[1], six[2]]));
        let fours = of(&[four[0], six[0], six[1], six[2]]);
        assert_eq!(in_turn(fours), of(&[four[0], six[0], six[1], six[2]]));
        assert!(in_turn(Vec::new()).is_empty());
        assert_eq!(in_turn(vec![of(&four)[0]; 100]).len(), ADDRESSES);
    }

    #[tokio::test]
    async fn a_name_that_does_not_listen_is_an_error_at_once() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        assert!(direct("127.0.0.1", port).await.is_err());
    }

    /// A server with the certificate of the tests, which says back what it is told.
    async fn tls_server() -> SocketAddr {
        let certificate = CertificateDer::from(&include_bytes!("testdata/certificate.der")[..]);
        let key = PrivatePkcs8KeyDer::from(&include_bytes!("testdata/key.der")[..]);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_certificate_must_be_for_this_name_and_from_somebody_who_is_trusted() {
        let address = tls_server().await;
        let certificate = CertificateDer::from(&include_bytes!("testdata/certificate.der")[..]);
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate).unwrap();

        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = secured(stream, "electrum.test", trusted.clone()).await.unwrap();
        stream.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");

        let stream = TcpStream::connect(address).await.unwrap();
        let error = secured(stream, "other.test", trusted).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");

        let url = format!("ssl://{address}");
        let error = connect(&Address::new(&url, None).unwrap()).await.err().unwrap();
        assert!(error.to_string().contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn an_onion_service_is_reached_through_the_proxy_by_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).await.unwrap();
            stream.write_all(&[5, 0]).await.unwrap();
            let mut request = [0; 5 + 14 + 2];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            stream.write_all(b"word").await.unwrap();
            request
        });
        let address = Address::new("tcp://electrum.onion:50001", Some(proxy)).unwrap();
        let mut stream = connect(&address).await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");
        let request = served.await.unwrap();
        assert_eq!(request[..5], [5, 1, 0, 3, 14], "a connection, to a name");
        assert_eq!(&request[5..19], b"electrum.onion");
        assert_eq!(request[19..], 50_001u16.to_be_bytes());
    }
}
