//! Made-up networks, shaped like mainnet, the same for the same seed.

use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};

use super::network::{Channel, Network, Policy};

/// Of nodes, announced with features, in percent: about as many as on mainnet.
const ANNOUNCED: u32 = 75;

/// Of directions, closed for now, in percent: a third of mainnet's.
const DISABLED: u32 = 33;

/// A few nodes have most channels. Raising an even draw to this power makes the largest hold some thousand ends of a hundred
/// thousand, and the median node two, as on mainnet.
const SKEW: i32 = 3;

/// Sizes of channels, in sat, between which they are spread evenly by magnitude.
const SMALLEST_SAT: f64 = 20_000.0;
const LARGEST_SAT: f64 = 20_000_000.0;

/// Of directions, changed within a day, in percent; and of channels, opened and closed.
const CHANGED_A_DAY: u32 = 8;
const OPENED_A_DAY: u32 = 1;

/// Features of mainnet's nodes, as BOLT 9 bits; most announce the first set.
const FEATURES: [&[usize]; 4] = [
    &[1, 5, 7, 8, 11, 13, 14, 17, 27, 45, 47],
    &[1, 5, 7, 8, 11, 12, 14, 17, 19, 25, 39, 45, 47],
    &[1, 5, 7, 8, 11, 13, 14, 17, 23, 27, 31, 45, 47, 55],
    &[1, 9, 15, 17],
];

/// How large a made-up network is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Nodes, all of which have a channel.
    pub nodes: usize,
    /// Channels, at least as many.
    pub channels: usize,
}

impl Size {
    /// Mainnet at the beginning of 2026.
    pub const MAINNET: Self = Self {
        nodes: 17_300,
        channels: 50_800,
    };
}

/// A network of that size.
pub fn synthetic(size: Size, seed: u64) -> Network {
    let mut random = StdRng::seed_from_u64(seed);
    let secp = Secp256k1::new();
    let mut ids: Vec<[u8; 33]> = Vec::with_capacity(size.nodes);
    while ids.len() < size.nodes.max(2) {
        let mut secret = [0; 32];
        random.fill_bytes(&mut secret);
        // A number that is no key comes once in 2^128 draws.
        if let Ok(secret) = SecretKey::from_slice(&secret) {
            ids.push(PublicKey::from_secret_key(&secp, &secret).serialize());
        }
    }
    let mut network = Network::default();
    for id in &ids {
        if random.gen_ratio(ANNOUNCED, 100) {
            let set = random.gen_range(0..FEATURES.len() * FEATURES.len());
            // The first set is drawn most.
            let set = FEATURES[set.saturating_sub(FEATURES.len() * 3)];
            network.nodes.insert(*id, bytes(set));
        }
    }
    for nth in 0..size.channels.max(ids.len()) {
        let one = if nth < ids.len() {
            nth
        } else {
            drawn(&ids, &mut random)
        };
        open(&mut network, &ids, one, &mut random);
    }
    network
}

/// The same network a day later: some channels opened, some silent, some policies changed.
pub fn day_later(network: &Network, seed: u64) -> Network {
    let mut random = StdRng::seed_from_u64(seed);
    let mut later = network.clone();
    let scids: Vec<u64> = later.channels.keys().copied().collect();
    let some = |percent: u32| scids.len() * percent as usize / 100;
    for scid in scids.choose_multiple(&mut random, some(OPENED_A_DAY)) {
        later.channels.remove(scid);
    }
    for channel in later.channels.values_mut() {
        for policy in channel.policies.iter_mut().flatten() {
            if random.gen_ratio(CHANGED_A_DAY, 100) {
                match random.gen_range(0..3) {
                    0 => policy.enabled = !policy.enabled,
                    1 => policy.per_million = random.gen_range(0..2_000),
                    _ => policy.largest_msat = policy.largest_msat / 10 * random.gen_range(1..10),
                }
            }
        }
    }
    let mut ids: Vec<[u8; 33]> = later.channels.values().flat_map(|channel| channel.ends).collect();
    ids.sort_unstable();
    ids.dedup();
    for _ in 0..some(OPENED_A_DAY) {
        let one = random.gen_range(0..ids.len());
        open(&mut later, &ids, one, &mut random);
    }
    later
}

fn open(network: &mut Network, ids: &[[u8; 33]], one: usize, random: &mut StdRng) {
    let mut two = drawn(ids, random);
    if one == two {
        two = (two + 1) % ids.len();
    }
    let mut ends = [ids[one], ids[two]];
    ends.sort_unstable();
    let scid = loop {
        let scid = scid(random);
        if !network.channels.contains_key(&scid) {
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
    let policies = [(); 2].map(|()| Some(policy(sat * 1_000, random)));
    network.channels.insert(
        scid,
        Channel {
            ends,
            capacity_sat: Some(sat),
            policies,
        },
    );
}

/// One of the nodes; the first are drawn most.
fn drawn(ids: &[[u8; 33]], random: &mut StdRng) -> usize {
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

fn policy(capacity_msat: u64, random: &mut StdRng) -> Policy {
    Policy {
        enabled: !random.gen_ratio(DISABLED, 100),
        cltv_delta: *pick(&[40, 80, 144], random),
        smallest_msat: *pick(&[1, 1_000], random),
        largest_msat: capacity_msat / 100 * 99,
        base_msat: *pick(&[0, 1_000], random),
        per_million: random.gen_range(0..2_000),
    }
}

fn bytes(bits: &[usize]) -> Vec<u8> {
    let length = bits.iter().max().map_or(0, |most| most / 8 + 1);
    let mut bytes = vec![0; length];
    for bit in bits {
        bytes[bit / 8] |= 1 << (bit % 8);
    }
    bytes
}

fn pick<'a, T>(of: &'a [T], random: &mut StdRng) -> &'a T {
    &of[random.gen_range(0..of.len())]
}
