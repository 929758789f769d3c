//! Snapshots that were tampered with: a million and more by hand, some hundreds in every run.

use std::io::Write;

use bitcoin::Network;
use pilotlight_devnet::gossip::{Size, day_later, delta, full, synthetic};
use pilotlight_node::gossip::apply::apply;
use pilotlight_node::gossip::file;
use pilotlight_node::gossip::format::summarise;
use pilotlight_node::gossip::map::Map;
use pilotlight_node::gossip::spool::{self, Incoming};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{DAY, ago, now};

/// How many, and where to begin: `PILOTLIGHT_GOSSIP_MUTATIONS=1000000`, `PILOTLIGHT_GOSSIP_SEED=7`.
const CASES: &str = "PILOTLIGHT_GOSSIP_MUTATIONS";
const SEED: &str = "PILOTLIGHT_GOSSIP_SEED";

/// Small enough for thousands of cases in a moment, large enough for every kind of row.
const SMALL: Size = Size {
    nodes: 8,
    channels: 20,
};

/// Pieces in the repository: a full snapshot, a delta and an empty one of version 2, and a full one of version 1.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gossip/corpus");

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Where the timestamp stands.
const TIME: std::ops::Range<usize> = 36..40;

fn corpus() -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(CORPUS).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    // The full one of version 2 first: the map that must survive is made of it.
    files.sort_by_key(|path| (!path.ends_with("full-v2.lngossip"), path.clone()));
    let pieces = files.iter().map(|path| {
        // LDK looks no further into what is old.
        let mut piece = std::fs::read(path).unwrap();
        piece[TIME].copy_from_slice(&ago(DAY).to_be_bytes());
        piece
    });
    pieces.collect()
}

/// One to eight changes of the kinds that break parsers.
fn mutated(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = corpus.choose(random).unwrap().clone();
    for _ in 0..random.gen_range(1..=8) {
        if bytes.is_empty() {
            bytes.push(random.r#gen());
        }
        // The first bytes decide whether the rest is read at all, so most changes spare them.
        let from = if random.gen_ratio(1, 10) || bytes.len() <= TIME.end {
            0
        } else {
            TIME.end
        };
        let at = random
            .gen_range(from..bytes.len().max(from + 1))
            .min(bytes.len() - 1);
        match random.gen_range(0..9) {
            0 => bytes[at] ^= 1 << random.gen_range(0..8),
            1 => bytes[at] = random.r#gen(),
            2 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, 0xff].choose(random).unwrap(),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.r#gen()),
            5 => {
                bytes.remove(at);
            }
            // Counts and lengths, as large as they go.
            6 => {
                let count = *[0u32, 1, 0xffff, 200_000, 600_000, 0x7fff_ffff, u32::MAX]
                    .choose(random)
                    .unwrap();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&count.to_be_bytes()[..end - at]);
            }
            // A stretch twice, or of another piece.
            7 => {
                let end = (at + random.gen_range(1..64)).min(bytes.len());
                let stretch = bytes[at..end].to_vec();
                bytes.splice(at..at, stretch);
            }
            _ => {
                let other = corpus.choose(random).unwrap();
                let begin = random.gen_range(0..other.len());
                let end = (begin + random.gen_range(1..64)).min(other.len());
                let to = (at + (end - begin)).min(bytes.len());
                bytes.splice(at..to, other[begin..end].iter().copied());
            }
        }
    }
    bytes
}

/// Of this process so far, in bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    pilotlight_devnet::peak_memory().unwrap_or(0)
}

#[test]
fn no_snapshot_makes_us_panic_or_grow_or_lose_the_map() {
    let (cases, seed) = (number(CASES, 3_000), number(SEED, 1));
    let corpus = corpus();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (map_file, spool_file) = (dir.path().join("map"), dir.path().join("news"));
    let mut good: Map = apply(None, &corpus[0], Network::Regtest, now()).unwrap();
    file::write(&map_file, &good, 1).unwrap();
    let (mut read, mut applied) = (0u64, 0u64);
    for case in 0..cases {
        let bytes = mutated(&corpus, &mut random);
        let summary = summarise(bytes.as_slice(), Network::Regtest);
        let old = random.gen_ratio(1, 2).then_some(&good);
        let result = apply(old, &bytes, Network::Regtest, now());
        read += u64::from(summary.is_ok());
        applied += u64::from(result.is_ok());
        // What comes of it can be written and read again.
        if let Ok(map) = &result {
            let (_, back) = file::decode(file::encode(map, 1).as_slice(), Network::Regtest).unwrap();
            assert!(back == *map, "case {case} of seed {seed}");
        }
        // Now and then by way of the disk, as the wallet does it.
        if case % 50 == 0 {
            let mut incoming = Incoming::begin(&spool_file).unwrap();
            incoming.body().write_all(&bytes).unwrap();
            let latest = u64::from(ago(0)) + 60;
            let kept = incoming.keep(&spool_file, Network::Regtest, 0, 1, latest);
            assert!(kept.is_err() || summary.is_ok(), "case {case} of seed {seed}");
            if let (Ok(_), Some((_, spooled))) = (kept, spool::take(&spool_file, Network::Regtest).unwrap())
                && let Ok(map) = apply(Some(&good), &spooled, Network::Regtest, now())
            {
                file::write(&map_file, &map, 1).unwrap();
                good = map;
            }
            let (_, on_disk) = file::read(&map_file, Network::Regtest).unwrap().unwrap();
            assert!(on_disk == good, "case {case} of seed {seed}");
        }
    }
    println!(
        "{cases} cases of seed {seed}: {read} read to their end, {applied} applied; peak {} MB",
        peak_memory() >> 20
    );
    assert!(
        read > cases / 50 && applied > cases / 100,
        "{read} read, {applied} applied of {cases}"
    );
    assert!(peak_memory() < 512 << 20, "{} bytes", peak_memory());
}

/// What LDK's decoder takes from end to end, ours must take too, or a good snapshot would be thrown away.
#[test]
fn whatever_ldk_applies_we_can_count() {
    use lightning::routing::gossip::NetworkGraph;
    use lightning::util::logger::{Logger, Record};
    use lightning_rapid_gossip_sync::RapidGossipSync;

    struct Silent;
    impl Logger for Silent {
        fn log(&self, _: Record<'_>) {}
    }

    let corpus = corpus();
    let mut random = StdRng::seed_from_u64(number(SEED, 2));
    let mut taken = 0;
    for case in 0..number(CASES, 3_000) / 4 {
        let bytes = mutated(&corpus, &mut random);
        let graph = NetworkGraph::new(Network::Regtest, &Silent);
        let sync = RapidGossipSync::new(&graph, &Silent);
        if let Ok(timestamp) = sync.update_network_graph_no_std(&bytes, Some(now().as_secs())) {
            taken += 1;
            let summary = summarise(bytes.as_slice(), Network::Regtest);
            assert_eq!(summary.unwrap().timestamp, timestamp, "case {case}");
        }
    }
    assert!(taken > 10);
}

/// `cargo test -p pilotlight-node --test gossip -- --ignored the_corpus_is_written_anew` makes the pieces.
#[test]
#[ignore = "writes the repository's corpus"]
fn the_corpus_is_written_anew() {
    std::fs::create_dir_all(CORPUS).unwrap();
    let network = synthetic(SMALL, 11);
    let later = day_later(&network, 11);
    let time = 1_700_000_000;
    let write = |name: &str, bytes: &[u8]| std::fs::write(format!("{CORPUS}/{name}"), bytes).unwrap();
    let whole = full(&network, Network::Regtest, time);
    write("full-v2.lngossip", &whole);
    write(
        "delta-v2.lngossip",
        &delta(&network, &later, Network::Regtest, time),
    );
    write(
        "quiet-v2.lngossip",
        &delta(&network, &network, Network::Regtest, time),
    );
    write("full-v1.lngossip", &version_1(&network, time));
}

/// A snapshot of version 1 has no features of nodes and no capacities.
fn version_1(network: &pilotlight_devnet::gossip::Network, time: u32) -> Vec<u8> {
    let mut plain = network.clone();
    plain.nodes.clear();
    for channel in plain.channels.values_mut() {
        channel.capacity_sat = None;
    }
    let mut bytes = full(&plain, Network::Regtest, time);
    bytes[3] = 1;
    // The number of sets of features.
    bytes.remove(40);
    bytes
}
