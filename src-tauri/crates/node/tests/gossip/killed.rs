//! Kills in the middle of spooling, applying and replacing: the next start has the old map or the new one, whole.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bitcoin::Network;
use pilotlight_devnet::gossip::{self, Size, day_later, delta, synthetic};
use pilotlight_node::Config;
use pilotlight_node::gossip::apply::apply;
use pilotlight_node::gossip::map::Map;
use pilotlight_node::gossip::spool::Incoming;
use pilotlight_node::gossip::{Gossip, Server, file};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{DAY, ago, now};

const CHILD: &str = "PILOTLIGHT_GOSSIP_TEST_DIRECTORY";
const EPOCH: &str = "PILOTLIGHT_GOSSIP_TEST_EPOCH";
const KILLS: &str = "PILOTLIGHT_GOSSIP_KILLS";

/// Large enough that the map's file is many pages.
const SIZE: Size = Size {
    nodes: 300,
    channels: 1_500,
};

/// States of the network, one after the other and then from the beginning.
const STATES: u32 = 6;

fn networks() -> Vec<gossip::Network> {
    let mut all = vec![synthetic(SIZE, 21)];
    for seed in 1..STATES {
        let next = day_later(all.last().unwrap(), seed.into());
        all.push(next);
    }
    all
}

/// News from one state to the next; the first are everything. `epoch` is when the first was, Unix time in s.
fn news(networks: &[gossip::Network], state: u32, epoch: u32) -> (u32, Vec<u8>) {
    let at = |state: u32| epoch + state * 60;
    let now = &networks[state as usize];
    match state.checked_sub(1) {
        None => (
            0,
            delta(&gossip::Network::default(), now, Network::Regtest, at(0)),
        ),
        Some(before) => {
            let before_state = &networks[before as usize];
            (at(before), delta(before_state, now, Network::Regtest, at(state)))
        }
    }
}

fn server() -> Server {
    Server::at("http://127.0.0.1:1")
}

fn owner(directory: &Path) -> std::sync::Arc<Gossip> {
    let mut config = Config::new(directory, Network::Regtest, "http://127.0.0.1:1");
    config.gossip = Some(server());
    std::sync::Arc::new(Gossip::new(&config, tokio::sync::broadcast::channel(4).0))
}

#[test]
#[ignore = "the child of the_map_is_whole_after_every_kill"]
fn child_spools_and_applies_until_it_is_killed() {
    let directory = std::env::var_os(CHILD).expect("only started by its parent");
    let epoch: u32 = std::env::var(EPOCH).unwrap().parse().unwrap();
    let (directory, networks) = (Path::new(&directory), networks());
    let (map_file, spool_file) = (directory.join("gossip/map"), directory.join("gossip/news"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gossip = owner(directory);
    println!("ready");
    loop {
        let header = file::read_header(&map_file, Network::Regtest).unwrap();
        let state = header.map_or(0, |header| (header.timestamp - epoch) / 60 + 1);
        if state == STATES {
            // From the beginning.
            std::fs::remove_file(&map_file).unwrap();
            continue;
        }
        let (base, bytes) = news(&networks, state, epoch);
        let mut incoming = Incoming::begin(&spool_file).unwrap();
        incoming.body().write_all(&bytes).unwrap();
        incoming
            .keep(&spool_file, Network::Regtest, base, server().mark(), u64::MAX)
            .unwrap();
        let applied = runtime.block_on(gossip.apply()).unwrap().unwrap();
        println!("{state} {}", applied.known);
    }
}

#[test]
fn the_map_is_whole_after_every_kill() {
    let kills: u32 = std::env::var(KILLS).map_or(25, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("gossip")).unwrap();
    let (epoch, networks) = (ago(DAY), networks());
    let mut expected: Vec<Map> = Vec::new();
    for state in 0..STATES {
        let (_, bytes) = news(&networks, state, epoch);
        expected.push(apply(expected.last(), &bytes, Network::Regtest, now()).unwrap());
    }
    let map_file = directory.path().join("gossip/map");
    let mut random = StdRng::seed_from_u64(5);
    let mut seen = vec![0u32; STATES as usize + 1];
    let mut steps = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child_spools_and_applies_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env(CHILD, directory.path())
            .env(EPOCH, epoch.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(out).map_while(Result::ok);
        lines.find(|line| line.ends_with("ready")).expect("it starts");
        std::thread::sleep(Duration::from_micros(random.gen_range(0..400_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        steps += lines.filter(|line| !line.is_empty()).count();
        match file::read(&map_file, Network::Regtest).unwrap() {
            Some((header, map)) => {
                let state = (header.timestamp - epoch) / 60;
                // Not `assert_eq`, which would print them.
                assert!(map == expected[state as usize], "kill {kill}, state {state}");
                seen[state as usize] += 1;
            }
            None => seen[STATES as usize] += 1,
        }
        // A start after the kill gets on with what waits, or finds that nothing does.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let before = file::read_header(&map_file, Network::Regtest).unwrap();
        let applied = runtime.block_on(owner(directory.path()).apply()).unwrap();
        let after = file::read_header(&map_file, Network::Regtest).unwrap();
        assert_eq!(applied.is_some(), before != after, "kill {kill}");
    }
    println!("{kills} kills, {steps} maps made; found by state, and none: {seen:?}");
    assert!(
        steps > kills as usize / 4,
        "the children did too little to prove anything: {steps}"
    );
}
