//! A network graph of mainnet's size, the same for the same seed: made with LDK, in the form that rapid gossip leaves it in
//! (no signatures, no original messages), which is its smallest.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ldk_node::bitcoin::Network;
use ldk_node::bitcoin::constants::ChainHash;
use ldk_node::bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use ldk_node::io::sqlite_store::{KV_TABLE_NAME, SQLITE_DB_FILE_NAME, SqliteStore};
use ldk_node::lightning::ln::msgs::{
    LightningError, SocketAddress, UnsignedChannelUpdate, UnsignedNodeAnnouncement,
};
use ldk_node::lightning::routing::gossip::{NetworkGraph, NodeAlias, NodeId};
use ldk_node::lightning::types::features::{ChannelFeatures, NodeFeatures};
use ldk_node::lightning::util::logger::{Logger, Record};
use ldk_node::lightning::util::persist::{
    KVStoreSync, NETWORK_GRAPH_PERSISTENCE_KEY, NETWORK_GRAPH_PERSISTENCE_PRIMARY_NAMESPACE,
    NETWORK_GRAPH_PERSISTENCE_SECONDARY_NAMESPACE,
};
use ldk_node::lightning::util::ser::Writeable;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;

use crate::Outcome;

/// Nodes that announce themselves, with alias and address: about as many as on mainnet, in percent.
const ANNOUNCED: u32 = 75;

/// A few nodes have most channels. Raising an even draw to this power makes the largest hold some thousand ends of 96,000,
/// and the median node two, as on mainnet.
const SKEW: i32 = 3;

/// Sizes of channels, in sat, between which they are spread evenly by magnitude.
const SMALLEST_SAT: f64 = 20_000.0;
const LARGEST_SAT: f64 = 20_000_000.0;

struct Silent;

impl Logger for Silent {
    fn log(&self, _: Record<'_>) {}
}

/// Makes one of `nodes` nodes, all of which have a channel, and `channels` channels, and writes it as LDK does.
pub(crate) fn make(file: &Path, nodes: u32, channels: u32, seed: u64) -> Outcome {
    if nodes < 2 || channels < nodes {
        return Err("there must be two nodes, and a channel for each".into());
    }
    let mut random = StdRng::seed_from_u64(seed);
    let graph = NetworkGraph::new(Network::Regtest, &Silent);
    let ids = node_ids(nodes, &mut random)?;
    // LDK refuses what is older than two weeks; and the same day gives the same file.
    let day = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / day * day;
    let timestamp = u32::try_from(now)?;

    let mut used = HashSet::new();
    for channel in 0..channels {
        // The first channels go round, so that no node is without.
        let one = if channel < nodes {
            channel as usize
        } else {
            drawn(&ids, &mut random)
        };
        let mut two = drawn(&ids, &mut random);
        if one == two {
            two = (two + 1) % ids.len();
        }
        let (low, high) = if ids[one] < ids[two] {
            (one, two)
        } else {
            (two, one)
        };
        let scid = loop {
            let scid = scid(&mut random);
            if used.insert(scid) {
                break scid;
            }
        };
        let sat = (SMALLEST_SAT * (LARGEST_SAT / SMALLEST_SAT).powf(random.r#gen())).round();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between the two bounds"
        )]
        let sat = sat as u64;
        let added = graph.add_channel_from_partial_announcement(
            scid,
            Some(sat),
            now,
            ChannelFeatures::empty(),
            ids[low],
            ids[high],
        );
        added.map_err(words)?;
        for direction in 0..2 {
            let policy = policy(scid, direction, timestamp, sat * 1_000, &mut random);
            graph.update_channel_unsigned(&policy).map_err(words)?;
        }
    }
    for id in &ids {
        if random.gen_ratio(ANNOUNCED, 100) {
            let announcement = announcement(*id, timestamp, &mut random);
            graph
                .update_node_from_unsigned_announcement(&announcement)
                .map_err(words)?;
        }
    }
    let bytes = graph.encode();
    fs::write(file, &bytes)?;
    let known = graph.read_only();
    Ok(json!({ "nodes": known.nodes().len(), "channels": known.channels().len(), "bytes": bytes.len() }))
}

/// Puts a graph where ldk-node looks for it, in its database.
pub(crate) fn install(file: &Path, dir: PathBuf) -> Outcome {
    let bytes = fs::read(file)?;
    let store = SqliteStore::new(
        dir,
        Some(SQLITE_DB_FILE_NAME.to_owned()),
        Some(KV_TABLE_NAME.to_owned()),
    )?;
    let size = bytes.len();
    KVStoreSync::write(
        &store,
        NETWORK_GRAPH_PERSISTENCE_PRIMARY_NAMESPACE,
        NETWORK_GRAPH_PERSISTENCE_SECONDARY_NAMESPACE,
        NETWORK_GRAPH_PERSISTENCE_KEY,
        bytes,
    )?;
    Ok(json!({ "bytes": size }))
}

fn node_ids(count: u32, random: &mut StdRng) -> Result<Vec<NodeId>, Box<dyn std::error::Error>> {
    let secp = Secp256k1::new();
    let mut ids = Vec::new();
    for _ in 0..count {
        let mut secret = [0; 32];
        random.fill_bytes(&mut secret);
        let secret = SecretKey::from_slice(&secret)?;
        ids.push(NodeId::from_pubkey(&PublicKey::from_secret_key(&secp, &secret)));
    }
    Ok(ids)
}

/// One of the nodes; the first are drawn most.
fn drawn(ids: &[NodeId], random: &mut StdRng) -> usize {
    let even: f64 = random.r#gen();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "at least 0, below a count of some thousand"
    )]
    let at = (even.powi(SKEW) * ids.len() as f64) as usize;
    at.min(ids.len() - 1)
}

/// Block, transaction and output of a funding, each as large as on mainnet.
fn scid(random: &mut StdRng) -> u64 {
    let (block, index) = (
        random.gen_range(500_000..900_000u64),
        random.gen_range(1..4_000u64),
    );
    (block << 40) | (index << 16) | random.gen_range(0..2u64)
}

fn policy(
    scid: u64,
    direction: u8,
    timestamp: u32,
    capacity_msat: u64,
    random: &mut StdRng,
) -> UnsignedChannelUpdate {
    UnsignedChannelUpdate {
        chain_hash: ChainHash::REGTEST,
        short_channel_id: scid,
        timestamp,
        // Bit 0 says that there is a maximum, and must be set (BOLT 7).
        message_flags: 1,
        channel_flags: direction,
        cltv_expiry_delta: *pick(&[40, 80, 144], random),
        htlc_minimum_msat: *pick(&[1, 1_000], random),
        htlc_maximum_msat: capacity_msat / 100 * 99,
        fee_base_msat: *pick(&[0, 1_000], random),
        fee_proportional_millionths: random.gen_range(0..2_000),
        excess_data: Vec::new(),
    }
}

fn announcement(node_id: NodeId, timestamp: u32, random: &mut StdRng) -> UnsignedNodeAnnouncement {
    let mut alias = [0; 32];
    for letter in &mut alias[..12] {
        *letter = random.gen_range(b'a'..=b'z');
    }
    let address = if random.r#gen() {
        SocketAddress::TcpIpV4 {
            addr: random.r#gen(),
            port: 9_735,
        }
    } else {
        SocketAddress::OnionV3 {
            ed25519_pubkey: random.r#gen(),
            checksum: random.r#gen(),
            version: 3,
            port: 9_735,
        }
    };
    UnsignedNodeAnnouncement {
        features: NodeFeatures::empty(),
        timestamp,
        node_id,
        rgb: random.r#gen(),
        alias: NodeAlias(alias),
        addresses: vec![address],
        excess_address_data: Vec::new(),
        excess_data: Vec::new(),
    }
}

fn pick<'a, T>(of: &'a [T], random: &mut StdRng) -> &'a T {
    &of[random.gen_range(0..of.len())]
}

fn words(error: LightningError) -> String {
    error.err
}
