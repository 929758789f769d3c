//! The map's file: a header that can be read alone, then rows of fixed length under a checksum.
//!
//! A refresh wake reads the header only (what the next news are asked from) and never the rows. The file is a copy of what a
//! server tells anybody, so damage costs a download and no money: it is told as damage and the file is fetched anew.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bitcoin::Network;
use lightning::routing::gossip::NodeId;
use lightning::util::ser::{Readable, Writeable};
use lightning_types::features::NodeFeatures;
use pilotlight_store::files;

use super::map::{Channel, Map, Node, Policy};

const MAGIC: [u8; 8] = *b"PLTMAP\x00\x01";
const HEADER: usize = 44;
const NODE: usize = 35;
const POLICY: usize = 31;
const CHANNEL: usize = 28 + 2 * POLICY;

/// Most nodes, channels and sets of features that a file may claim: ten times today's network, as LDK allows a snapshot.
/// Rows are only made as they are read, so a lying header costs nothing.
const MOST_NODES: u32 = 200_000;
const MOST_CHANNELS: u32 = 600_000;
const MOST_FEATURES: u32 = 10_000;

/// Capacity of a channel whose capacity is not known.
const UNKNOWN: u64 = u64::MAX;

/// What stands in a policy's place where there is none; else bit 0 says that it forwards.
const ABSENT: u8 = 0x80;

/// What a map's file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the next news are asked from.
    pub timestamp: u32,
    /// Which server they must come from; see [`super::server::Server::mark`].
    pub server: u32,
    /// How many channels there are.
    pub channels: u32,
    chain: u32,
    nodes: u32,
    features: u32,
    features_bytes: u32,
    body: u32,
}

/// Why a file gave no map.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error("reading the map: {0}")]
    Disk(io::Error),
    /// It is not a map of this network, or no longer.
    #[error("the map is damaged: {0}")]
    Damaged(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early".into()),
            _ => Self::Disk(error),
        }
    }
}

fn damaged(what: &str) -> ReadError {
    ReadError::Damaged(what.to_owned())
}

/// The map as the bytes of its file.
pub fn encode(map: &Map, server: u32) -> Vec<u8> {
    let mut features = Vec::new();
    for set in map.features() {
        features.extend(set.encode());
    }
    let rows = map.nodes().len() * NODE + map.channels().len() * CHANNEL;
    let mut out = Vec::with_capacity(HEADER + features.len() + rows);
    out.resize(HEADER, 0);
    out.extend_from_slice(&features);
    for node in map.nodes() {
        out.extend_from_slice(node.id.as_slice());
        out.extend_from_slice(&node.features.to_le_bytes());
    }
    for channel in map.channels() {
        out.extend_from_slice(&channel.scid.to_le_bytes());
        out.extend_from_slice(&channel.capacity_sat.unwrap_or(UNKNOWN).to_le_bytes());
        out.extend_from_slice(&channel.ends[0].to_le_bytes());
        out.extend_from_slice(&channel.ends[1].to_le_bytes());
        out.extend_from_slice(&channel.seen.to_le_bytes());
        for policy in channel.policies {
            put_policy(&mut out, policy);
        }
    }
    // The counts fit: `Map::new` bounds them, and the rest follows from them.
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let body = crc32c::crc32c(&out[HEADER..]);
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    for word in [
        chain(map.network).to_le_bytes(),
        map.timestamp.to_le_bytes(),
        server.to_le_bytes(),
        count(map.nodes().len()),
        count(map.channels().len()),
        count(map.features().len()),
        count(features.len()),
        body.to_le_bytes(),
    ] {
        header.extend_from_slice(&word);
    }
    let sum = crc32c::crc32c(&header);
    header.extend_from_slice(&sum.to_le_bytes());
    out[..HEADER].copy_from_slice(&header);
    out
}

/// Replaces the map's file.
///
/// # Errors
/// The disk's; the old file is whole then.
pub fn write(path: &Path, map: &Map, server: u32) -> io::Result<()> {
    files::write_atomically(path, &encode(map, server))
}

/// What the map's file says of itself; `None` without one.
///
/// # Errors
/// [`ReadError`]
pub fn read_header(path: &Path, network: Network) -> Result<Option<Header>, ReadError> {
    match File::open(path) {
        Ok(mut file) => header(&mut file, network).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError::Disk(error)),
    }
}

/// The map in a file; `None` without one.
///
/// # Errors
/// [`ReadError`]
pub fn read(path: &Path, network: Network) -> Result<Option<(Header, Map)>, ReadError> {
    match File::open(path) {
        Ok(file) => decode(BufReader::with_capacity(1 << 16, file), network).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError::Disk(error)),
    }
}

/// The map in these bytes.
///
/// # Errors
/// [`ReadError`]
pub fn decode(mut input: impl Read, network: Network) -> Result<(Header, Map), ReadError> {
    let header = header(&mut input, network)?;
    let mut body = Summed { input, sum: 0 };
    let mut bytes = vec![0; header.features_bytes as usize];
    body.read_exact(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut features = Vec::new();
    for _ in 0..header.features {
        let set: NodeFeatures = Readable::read(&mut rest).map_err(|_| damaged("features"))?;
        features.push(set);
    }
    let mut nodes = Vec::with_capacity(header.nodes as usize);
    for _ in 0..header.nodes {
        let row: [u8; NODE] = body.row()?;
        nodes.push(Node {
            id: NodeId::from_slice(&row[..33]).map_err(|_| damaged("a node's id"))?,
            features: u16::from_le_bytes(part(&row, 33)),
        });
    }
    let mut channels = Vec::with_capacity(header.channels as usize);
    for _ in 0..header.channels {
        let row: [u8; CHANNEL] = body.row()?;
        let capacity = u64::from_le_bytes(part(&row, 8));
        channels.push(Channel {
            scid: u64::from_le_bytes(part(&row, 0)),
            capacity_sat: (capacity != UNKNOWN).then_some(capacity),
            ends: [
                u32::from_le_bytes(part(&row, 16)),
                u32::from_le_bytes(part(&row, 20)),
            ],
            seen: u32::from_le_bytes(part(&row, 24)),
            policies: [policy(&row[28..]), policy(&row[28 + POLICY..])],
        });
    }
    if body.sum != header.body {
        return Err(damaged("its checksum"));
    }
    if !rest.is_empty() || body.input.read(&mut [0])? != 0 {
        return Err(damaged("it goes on after its end"));
    }
    let map = Map::new(network, header.timestamp, nodes, features, channels)
        .map_err(|e| ReadError::Damaged(e.to_string()))?;
    Ok((header, map))
}

fn header(input: &mut impl Read, network: Network) -> Result<Header, ReadError> {
    let mut bytes = [0; HEADER];
    input.read_exact(&mut bytes)?;
    if bytes[..8] != MAGIC {
        return Err(damaged("another format"));
    }
    if crc32c::crc32c(&bytes[..HEADER - 4]) != u32::from_le_bytes(part(&bytes, HEADER - 4)) {
        return Err(damaged("its header"));
    }
    let word = |at: usize| u32::from_le_bytes(part(&bytes, 8 + 4 * at));
    let header = Header {
        chain: word(0),
        timestamp: word(1),
        server: word(2),
        nodes: word(3),
        channels: word(4),
        features: word(5),
        features_bytes: word(6),
        body: word(7),
    };
    if header.chain != chain(network) {
        return Err(damaged("another network"));
    }
    let sane = header.nodes <= MOST_NODES
        && header.channels <= MOST_CHANNELS
        && header.features <= MOST_FEATURES
        && header.features_bytes <= MOST_FEATURES * 1024;
    if sane {
        Ok(header)
    } else {
        Err(damaged("its size"))
    }
}

fn chain(network: Network) -> u32 {
    u32::from_le_bytes(network.magic().to_bytes())
}

fn part<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&row[at..at + N]);
    part
}

fn put_policy(out: &mut Vec<u8>, policy: Option<Policy>) {
    let flags = policy.map_or(ABSENT, |policy| u8::from(policy.enabled));
    let policy = policy.unwrap_or_default();
    out.extend_from_slice(&policy.last_update.to_le_bytes());
    out.extend_from_slice(&policy.base_msat.to_le_bytes());
    out.extend_from_slice(&policy.per_million.to_le_bytes());
    out.extend_from_slice(&policy.cltv_delta.to_le_bytes());
    out.push(flags);
    out.extend_from_slice(&policy.smallest_msat.to_le_bytes());
    out.extend_from_slice(&policy.largest_msat.to_le_bytes());
}

fn policy(row: &[u8]) -> Option<Policy> {
    let flags = row[14];
    (flags != ABSENT).then(|| Policy {
        last_update: u32::from_le_bytes(part(row, 0)),
        base_msat: u32::from_le_bytes(part(row, 4)),
        per_million: u32::from_le_bytes(part(row, 8)),
        cltv_delta: u16::from_le_bytes(part(row, 12)),
        enabled: flags & 1 == 1,
        smallest_msat: u64::from_le_bytes(part(row, 15)),
        largest_msat: u64::from_le_bytes(part(row, 23)),
    })
}

/// Sums what is read through it.
struct Summed<R> {
    input: R,
    sum: u32,
}

impl<R: Read> Summed<R> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        Ok(())
    }

    fn row<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut row = [0; N];
        self.read_exact(&mut row)?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::map::NO_FEATURES;
    use super::*;

    fn maps() -> impl Strategy<Value = Map> {
        let policy =
            proptest::option::of((any::<[u32; 3]>(), any::<u16>(), any::<bool>(), any::<[u64; 2]>()));
        let policy = policy.prop_map(|policy| {
            policy.map(
                |([last_update, base_msat, per_million], cltv_delta, enabled, amounts)| Policy {
                    last_update,
                    base_msat,
                    per_million,
                    cltv_delta,
                    enabled,
                    smallest_msat: amounts[0],
                    largest_msat: amounts[1],
                },
            )
        });
        let channel = (
            proptest::option::of(0..UNKNOWN),
            0u32..10,
            1u32..10,
            any::<u32>(),
            [policy.clone(), policy],
        );
        let channels = proptest::collection::btree_map(any::<u64>(), channel, 0..40);
        (
            any::<u32>(),
            proptest::collection::vec(any::<bool>(), 10),
            channels,
        )
            .prop_map(|(timestamp, announced, channels)| {
                let mut set = NodeFeatures::empty();
                set.set_variable_length_onion_optional();
                let nodes = (0u8..10).zip(announced).map(|(number, announced)| Node {
                    features: if announced { 0 } else { NO_FEATURES },
                    ..super::super::map::tests::node(number)
                });
                let channels =
                    channels
                        .into_iter()
                        .map(|(scid, (capacity_sat, one, step, seen, policies))| Channel {
                            scid,
                            capacity_sat,
                            ends: [one, (one + step) % 10],
                            seen,
                            policies,
                        });
                let (nodes, channels) = (nodes.collect(), channels.collect());
                Map::new(Network::Regtest, timestamp, nodes, vec![set], channels).unwrap()
            })
    }

    proptest! {
        #[test]
        fn a_map_comes_back_as_it_was(map in maps(), server: u32) {
            let bytes = encode(&map, server);
            let (header, back) = decode(bytes.as_slice(), Network::Regtest).unwrap();
            prop_assert_eq!((header.server, header.timestamp), (server, map.timestamp));
            prop_assert_eq!(back, map);
        }

        #[test]
        fn no_damage_goes_unnoticed(map in maps(), at: proptest::sample::Index, bit in 0..8u8) {
            let bytes = encode(&map, 1);
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(decode(flipped.as_slice(), Network::Regtest).is_err());
            prop_assert!(decode(&bytes[..at.index(bytes.len())], Network::Regtest).is_err());
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(decode(longer.as_slice(), Network::Regtest).is_err());
        }
    }

    #[test]
    fn another_networks_map_is_no_map_of_ours() {
        let map = Map::new(Network::Regtest, 1, Vec::new(), Vec::new(), Vec::new()).unwrap();
        let bytes = encode(&map, 0);
        assert!(decode(bytes.as_slice(), Network::Bitcoin).is_err());
        assert!(decode(bytes.as_slice(), Network::Regtest).is_ok());
    }
}
