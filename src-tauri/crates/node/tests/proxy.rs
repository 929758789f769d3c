//! Compact block filters behind a SOCKS5 proxy: every connection goes by way of it, and no name is looked up on this side.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use common::Stage;
use pilotlight_node::{ChainChoice, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Names that no resolver knows (RFC 2606), with the address that the proxy has for each.
const NAMES: [(&str, IpAddr); 2] = [
    ("one.invalid", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
    ("two.invalid", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))),
];

/// A proxy as Tor's: RFC 1928 without authentication, and Tor's own command that looks a name up (socks-extensions.txt, 2).
/// Whatever is asked for is at one place.
struct Proxy {
    address: SocketAddr,
    /// Everything that was asked for, by name or address.
    asked: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn to(place: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, place, Arc::clone(&noted)));
            }
        });
        Self { address, asked, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    place: SocketAddr,
    asked: Arc<Mutex<BTreeSet<String>>>,
) -> io::Result<()> {
    const CONNECT: u8 = 1;
    const RESOLVE: u8 = 0xf0;
    let nonsense = || io::Error::other("not SOCKS5");
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await?;
    let mut methods = vec![0; usize::from(greeting[1])];
    client.read_exact(&mut methods).await?;
    if greeting[0] != 5 || !methods.contains(&0) {
        return Err(nonsense());
    }
    client.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let name = match request[3] {
        1 => {
            let mut octets = [0; 4];
            client.read_exact(&mut octets).await?;
            IpAddr::from(octets).to_string()
        }
        3 => {
            let mut name = vec![0; usize::from(client.read_u8().await?)];
            client.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| nonsense())?
        }
        _ => return Err(nonsense()),
    };
    let _port = client.read_u16().await?;
    asked.lock().unwrap().insert(name.clone());
    let known: BTreeMap<&str, IpAddr> = NAMES.into();
    let there = known.contains_key(name.as_str()) || known.values().any(|ip| ip.to_string() == name);
    match (request[1], known.get(name.as_str())) {
        (RESOLVE, Some(IpAddr::V4(ip))) => {
            let [a, b, c, d] = ip.octets();
            client.write_all(&[5, 0, 0, 1, a, b, c, d, 0, 0]).await
        }
        (CONNECT, _) if there => {
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            let mut server = TcpStream::connect(place).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .map(drop)
        }
        // Host unreachable.
        _ => client.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}

fn behind(stage: &mut Stage, proxy: SocketAddr, names: &[&str]) {
    stage.config.chain = ChainChoice::Filters {
        peers: names.iter().map(|name| name.parse().unwrap()).collect(),
        required: names.len(),
        proxy: Some(proxy),
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_reads_the_chain_through_a_proxy_and_looks_no_name_up() {
    let mut stage = Stage::new().await;
    let proxy = Proxy::to(stage.devnet.p2p_address()).await;
    behind(
        &mut stage,
        proxy.address,
        &["one.invalid:18444", "two.invalid:18444"],
    );
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000).await;
    assert_eq!(stage.devnet.traffic().requests, 0, "the server was not asked");
    let asked = proxy.asked.lock().unwrap().clone();
    for (name, _) in NAMES {
        assert!(asked.contains(name), "{asked:?}");
    }
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_knows_nobody_is_no_network() {
    let mut stage = Stage::new().await;
    let proxy = Proxy::to(stage.devnet.p2p_address()).await;
    behind(&mut stage, proxy.address, &["three.invalid:18444"]);
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    let error = node.sync().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkUnavailable, "{}", error.detail());
    lifecycle.enter_background().await.unwrap();
}
