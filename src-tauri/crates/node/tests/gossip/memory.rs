//! What fetching news costs a process that has a map of mainnet's size on disk: one request, and the memory of a process
//! that has none.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Network;
use pilotlight_devnet::gossip::{GossipServer, Size, day_later, synthetic};
use pilotlight_node::Config;
use pilotlight_node::gossip::{Fetched, Gossip, Server};

const DIRECTORY: &str = "PILOTLIGHT_GOSSIP_TEST_DIRECTORY";
const SERVER: &str = "PILOTLIGHT_GOSSIP_TEST_SERVER";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a refresh wake may take for having a map, in bytes.
const MOST: u64 = 3_000_000;

fn gossip(directory: &Path, server: &str) -> Arc<Gossip> {
    let mut config = Config::new(directory, Network::Regtest, "http://127.0.0.1:1");
    config.gossip = Some(Server::at(server));
    Arc::new(Gossip::new(&config, tokio::sync::broadcast::channel(4).0))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
#[ignore = "the child of a_map_of_mainnets_size_costs_a_fetch_no_memory"]
fn child_fetches_and_tells_its_peak() {
    let directory = std::env::var_os(DIRECTORY).expect("only started by its parent");
    let server = std::env::var(SERVER).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fetched = runtime.block_on(gossip(Path::new(&directory), &server).fetch(true, soon()));
    let Fetched::Spooled(news) = fetched.unwrap() else {
        panic!("nothing was fetched");
    };
    println!(
        "told {} {} {}",
        super::hostile::peak_memory(),
        news.channels,
        news.full
    );
}

/// Peak memory, channels told of, whether it was everything.
fn child(directory: &Path, server: &GossipServer) -> (u64, usize, bool) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::child_fetches_and_tells_its_peak"])
        .args(["--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SERVER, server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said
        .lines()
        .find_map(|line| line.split_once("told "))
        .expect(&said)
        .1;
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap();
    (word().parse().unwrap(), word().parse().unwrap(), word() == "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_mainnets_size_costs_a_fetch_no_memory() {
    let small = Size {
        nodes: 40,
        channels: 120,
    };
    let (none, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tiny = GossipServer::start(Network::Regtest).await.unwrap();
    tiny.publish(synthetic(small, 1), DAY);
    let mainnet = GossipServer::start(Network::Regtest).await.unwrap();
    let before = synthetic(Size::MAINNET, 1);
    let after = day_later(&before, 1);
    let told = |scid: &u64| before.channels.get(scid) != after.channels.get(scid);
    let expected = after.channels.keys().filter(|scid| told(scid)).count();
    mainnet.publish(before.clone(), 2 * DAY);
    let first = gossip(large.path(), &mainnet.url());
    first.fetch(true, soon()).await.unwrap();
    assert_eq!(
        first.apply().await.unwrap().unwrap().known as usize,
        Size::MAINNET.channels
    );
    mainnet.publish(after.clone(), DAY);
    mainnet.asked();

    let (with, channels, full) = tokio::task::block_in_place(|| child(large.path(), &mainnet));
    assert_eq!((channels, full), (expected, false));
    assert_eq!(mainnet.asked().len(), 1, "one request for a day's news");
    let (without, _, _) = tokio::task::block_in_place(|| child(none.path(), &tiny));
    println!("{with} bytes with the map, {without} without");
    assert!(
        with < without + MOST,
        "{with} bytes with the map, {without} without"
    );
}
