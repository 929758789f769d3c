//! A chain server that never stops talking: it costs a wake its time, and no memory.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::net::SocketAddr;

use common::{Wallet, number};
use pilotlight_devnet::copy_folder;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a flood may take above what an honest server takes, in bytes. The largest answers that are read have 8 million.
const MOST: u64 = 24_000_000;

/// A server that talks without end.
struct Flood {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Flood {
    /// In front of an honest Esplora server: floods every path with this in it.
    async fn over(honest: &str, path: &'static str, head: &'static str, piece: &'static str) -> Self {
        let upstream: SocketAddr = honest.trim_start_matches("http://").parse().unwrap();
        Self::listening(move |client| serve(client, upstream, path, head, piece)).await
    }

    /// To whatever is said first, this and then more and more.
    async fn of(head: Vec<u8>, piece: &'static [u8]) -> Self {
        Self::listening(move |mut client| {
            let head = head.clone();
            async move {
                client.readable().await?;
                client.write_all(&head).await?;
                let much = piece.repeat(64 * 1024 / piece.len());
                loop {
                    client.write_all(&much).await?;
                }
            }
        })
        .await
    }

    async fn listening<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Whoever hangs up has heard enough.
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        });
        Self { address, task }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request on one connection.
async fn serve(
    client: TcpStream,
    upstream: SocketAddr,
    path: &str,
    head: &str,
    piece: &str,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if client.read_line(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.lines().next().unwrap_or_default();
    if line.split(' ').nth(1).is_some_and(|asked| asked.contains(path)) {
        let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(start.as_bytes()).await?;
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        if !head.is_empty() {
            client.write_all(chunk(head).as_bytes()).await?;
        }
        let much = chunk(&piece.repeat(64 * 1024 / piece.len()));
        loop {
            client.write_all(much.as_bytes()).await?;
        }
    }
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    client.write_all(&answer).await
}

fn peak(record: &Value) -> u64 {
    number(record, "peak_memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_stops_talking_costs_a_wake_no_memory() {
    let mut wallet = Wallet::new().await;
    wallet.ask(&["init"]).await;
    wallet.fund(1_000_000).await;
    wallet.open(500_000).await;
    wallet.ask(&["channels"]).await;
    for sat in [20_000, 30_000] {
        wallet.fund(sat).await;
    }
    wallet.devnet.mine(20).await.unwrap();
    let honest = wallet.devnet.plain_esplora_url();
    let folder = tempfile::tempdir().unwrap();
    let awake = folder.path().join("awake");
    let wake = async |wallet: &Wallet, chain: &[&str]| {
        copy_folder(wallet.dir.path(), &awake).unwrap();
        let wake = ["wake", "--kind", "processing", "--budget-secs", "40"];
        let record = wallet.try_in(&awake, &[chain, &wake].concat()).await;
        std::fs::remove_dir_all(&awake).unwrap();
        record
    };
    let calm = wake(&wallet, &[]).await;
    assert_eq!(calm["outcome"], "completed", "{calm:#}");
    let most = peak(&calm) + MOST;
    let check = |what: &str, record: &Value| {
        println!("{what}: {} kB: {}", peak(record) / 1000, record["outcome"]);
        assert!(
            peak(record) < most,
            "{what}: {} kB, calm {} kB: {record:#}",
            peak(record) / 1000,
            peak(&calm) / 1000
        );
    };
    for (path, head, piece) in [
        ("/", "", "\0"),
        ("/blocks", "[", "{},"),
        ("/tx/", "", "ab"),
        ("/outspends", "[", "{\"spent\":false},"),
        ("/scripthash", "[{\"txid\":\"", "ab"),
        ("/txs", "[", "{},"),
    ] {
        let flood = Flood::over(&honest, path, head, piece).await;
        wallet.esplora = format!("http://{}", flood.address);
        check(path, &wake(&wallet, &[]).await);
    }
    for (what, head, piece) in [
        ("an endless line", &b"{\"id\":0,\"result\":\""[..], &b"ab"[..]),
        (
            "endless news",
            b"",
            b"{\"method\":\"blockchain.headers.subscribe\",\"params\":[]}\n",
        ),
    ] {
        let flood = Flood::of(head.to_vec(), piece).await;
        let electrum = format!("tcp://{}", flood.address);
        check(what, &wake(&wallet, &["--electrum", &electrum]).await);
    }
    // Regtest's magic, a command, and that four thousand million bytes follow.
    let head = [&[0xfa, 0xbf, 0xb5, 0xda][..], b"headers\0\0\0\0\0", &[0xff; 8]].concat();
    let flood = Flood::of(head, b"\0").await;
    let peer = flood.address.to_string();
    check("an endless message", &wake(&wallet, &["--filters", &peer]).await);
}
