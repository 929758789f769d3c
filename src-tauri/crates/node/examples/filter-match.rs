//! How many compact block filters of mainnet's size can be looked through in a second, on one core: ours beside
//! rust-bitcoin's, the same filters, in turn. `cargo run --release -p pilotlight-node --example filter-match`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)] // A measurement: what fails, fails loudly.

#[allow(dead_code)]
#[path = "../src/chain/filters/gcs.rs"]
mod gcs;

use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::bip158::{BlockFilterReader, FilterHash, GcsFilterWriter};
use bitcoin::hashes::Hash;

/// Scripts in a full block of these years, outputs and spent outputs together; the filter has some 20 kB.
const ELEMENTS: u64 = 8_000;
/// Scripts of ours: a wallet's look-ahead and a few channels.
const OURS: u64 = 80;
const FILTERS: usize = 200;
const TURNS: usize = 5;

fn script(block: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![0x00, 0x14];
    bytes.extend_from_slice(&block.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&[7; 4]);
    bytes
}

fn main() {
    let filters: Vec<(BlockHash, Vec<u8>)> = (0..FILTERS as u64)
        .map(|block| {
            let hash = BlockHash::hash(&block.to_le_bytes());
            let key =
                |from: usize| u64::from_le_bytes(hash.to_byte_array()[from..from + 8].try_into().unwrap());
            let mut bytes = Vec::new();
            let mut writer = GcsFilterWriter::new(&mut bytes, key(0), key(8), 784_931, 19);
            (0..ELEMENTS).for_each(|number| writer.add_element(&script(block, number)));
            writer.finish().unwrap();
            (hash, bytes)
        })
        .collect();
    let ours: Vec<Vec<u8>> = (0..OURS).map(|number| script(u64::MAX, number)).collect();
    let bytes = filters.iter().map(|(_, filter)| filter.len()).sum::<usize>() / FILTERS;
    println!("{FILTERS} filters of {ELEMENTS} scripts, {bytes} bytes each; {OURS} scripts asked for");
    let (mut own, mut theirs, mut hashing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut hits = (0, 0);
    for _ in 0..TURNS {
        let begun = Instant::now();
        for (hash, filter) in &filters {
            hits.0 += usize::from(gcs::contains_any(filter, hash, ours.iter().map(Vec::as_slice)).unwrap());
        }
        own += begun.elapsed();
        let begun = Instant::now();
        for (hash, filter) in &filters {
            let found = BlockFilterReader::new(hash)
                .match_any(&mut filter.as_slice(), ours.iter().map(Vec::as_slice));
            hits.1 += usize::from(found.unwrap());
        }
        theirs += begun.elapsed();
        let begun = Instant::now();
        for (_, filter) in &filters {
            std::hint::black_box(FilterHash::hash(filter));
        }
        hashing += begun.elapsed();
    }
    assert_eq!(hits.0, hits.1, "both find the same");
    let rate = |took: Duration| (FILTERS * TURNS) as f64 / took.as_secs_f64();
    println!(
        "ours: {:.0} a second; rust-bitcoin: {:.0}; ratio {:.1}",
        rate(own),
        rate(theirs),
        rate(own) / rate(theirs)
    );
    println!(
        "hashing them alone: {:.0} a second; ours with the hash: {:.0}",
        rate(hashing),
        rate(own + hashing)
    );
}
