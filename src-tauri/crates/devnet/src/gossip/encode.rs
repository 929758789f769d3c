//! Networks, and what changed in them, as snapshots of version 2 of Rapid Gossip Sync.

use std::collections::BTreeMap;

use bitcoin::constants::ChainHash;

use super::network::{Channel, Network, Policy};

/// Sets of features that have a number of their own in a snapshot. The format has room for six.
const NUMBERED_SETS: usize = 6;

/// Everything there is. `timestamp` is Unix time in s.
pub fn full(network: &Network, chain: bitcoin::Network, timestamp: u32) -> Vec<u8> {
    delta(&Network::default(), network, chain, timestamp)
}

/// What is to be told to somebody who knows `before`. Channels that are gone are not told: silence tells of them, in time.
pub fn delta(before: &Network, now: &Network, chain: bitcoin::Network, timestamp: u32) -> Vec<u8> {
    let mut out = b"LDK\x02".to_vec();
    out.extend_from_slice(ChainHash::using_genesis_block(chain).as_bytes());
    out.extend_from_slice(&timestamp.to_be_bytes());

    let new: Vec<(u64, &Channel)> = now
        .channels
        .iter()
        .filter(|(scid, _)| !before.channels.contains_key(scid))
        .map(|(scid, channel)| (*scid, channel))
        .collect();
    let position = nodes(&mut out, before, now, &new);
    announcements(&mut out, &new, &position);
    updates(&mut out, before, now);
    out
}

/// Writes the nodes that the rest refers to, or that announce something new; gives their positions.
fn nodes(
    out: &mut Vec<u8>,
    before: &Network,
    now: &Network,
    new: &[(u64, &Channel)],
) -> BTreeMap<[u8; 33], u64> {
    let mut ids: Vec<[u8; 33]> = new.iter().flat_map(|(_, channel)| channel.ends).collect();
    let announces = |id: &[u8; 33]| {
        let features = now.nodes.get(id)?;
        (before.nodes.get(id) != Some(features)).then_some(features)
    };
    ids.extend(now.nodes.keys().filter(|id| announces(id).is_some()));
    ids.sort_unstable();
    ids.dedup();

    let mut uses: BTreeMap<&Vec<u8>, usize> = BTreeMap::new();
    for features in ids.iter().filter_map(announces) {
        *uses.entry(features).or_default() += 1;
    }
    let mut sets: Vec<&Vec<u8>> = uses.keys().copied().collect();
    sets.sort_by_key(|set| std::cmp::Reverse(uses[set]));
    sets.truncate(NUMBERED_SETS);
    out.push(u8::try_from(sets.len()).unwrap_or(0));
    for set in &sets {
        put_features(out, set);
    }
    put_count(out, ids.len());
    for id in &ids {
        let features = announces(id);
        let number = features.map_or(0, |features| {
            let numbered = sets.iter().position(|set| *set == features);
            numbered.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(7)
        });
        out.push(id[0] | number << 3);
        out.extend_from_slice(&id[1..]);
        if let (7, Some(features)) = (number, features) {
            put_features(out, features);
        }
    }
    ids.into_iter().zip(0u64..).collect()
}

fn announcements(out: &mut Vec<u8>, new: &[(u64, &Channel)], position: &BTreeMap<[u8; 33], u64>) {
    put_count(out, new.len());
    let mut last = 0;
    for (scid, channel) in new {
        put_features(out, &[]);
        put_big_size(out, scid - last);
        last = *scid;
        let [one, two] = channel.ends.map(|end| position[&end]);
        put_big_size(out, one);
        match channel.capacity_sat {
            None => put_big_size(out, two),
            Some(sat) => {
                // The highest bit says that more follows: the capacity, with its length.
                put_big_size(out, two | 1 << 63);
                let mut more = Vec::new();
                put_big_size(&mut more, sat);
                out.extend_from_slice(&u16::try_from(more.len()).unwrap_or(0).to_be_bytes());
                out.extend_from_slice(&more);
            }
        }
    }
}

fn updates(out: &mut Vec<u8>, before: &Network, now: &Network) {
    let mut updates: Vec<(u64, u8, Policy, Option<Policy>)> = Vec::new();
    for (scid, channel) in &now.channels {
        for (direction, policy) in (0u8..).zip(channel.policies) {
            let Some(policy) = policy else { continue };
            let known = before
                .channels
                .get(scid)
                .and_then(|channel| channel.policies[usize::from(direction)]);
            if known != Some(policy) {
                updates.push((*scid, direction, policy, known));
            }
        }
    }
    put_count(out, updates.len());
    if updates.is_empty() {
        return;
    }
    let common = Policy {
        enabled: true,
        cltv_delta: most_common(updates.iter().map(|update| update.2.cltv_delta)),
        smallest_msat: most_common(updates.iter().map(|update| update.2.smallest_msat)),
        base_msat: most_common(updates.iter().map(|update| update.2.base_msat)),
        per_million: most_common(updates.iter().map(|update| update.2.per_million)),
        largest_msat: most_common(updates.iter().map(|update| update.2.largest_msat)),
    };
    out.extend_from_slice(&common.cltv_delta.to_be_bytes());
    out.extend_from_slice(&common.smallest_msat.to_be_bytes());
    out.extend_from_slice(&common.base_msat.to_be_bytes());
    out.extend_from_slice(&common.per_million.to_be_bytes());
    out.extend_from_slice(&common.largest_msat.to_be_bytes());
    let mut last = 0;
    for (scid, direction, policy, known) in updates {
        put_big_size(out, scid - last);
        last = scid;
        put_update(out, direction, &policy, known, &common);
    }
}

/// Bit 7 says that what is not told is as it was, instead of as it mostly is.
fn put_update(out: &mut Vec<u8>, direction: u8, policy: &Policy, known: Option<Policy>, common: &Policy) {
    let rest = known.unwrap_or(*common);
    let mut flags = direction;
    let mut fields = Vec::new();
    if known.is_some() {
        flags |= 1 << 7;
    }
    if !policy.enabled {
        flags |= 1 << 1;
    }
    if policy.cltv_delta != rest.cltv_delta {
        flags |= 1 << 6;
        fields.extend_from_slice(&policy.cltv_delta.to_be_bytes());
    }
    if policy.smallest_msat != rest.smallest_msat {
        flags |= 1 << 5;
        fields.extend_from_slice(&policy.smallest_msat.to_be_bytes());
    }
    if policy.base_msat != rest.base_msat {
        flags |= 1 << 4;
        fields.extend_from_slice(&policy.base_msat.to_be_bytes());
    }
    if policy.per_million != rest.per_million {
        flags |= 1 << 3;
        fields.extend_from_slice(&policy.per_million.to_be_bytes());
    }
    if policy.largest_msat != rest.largest_msat {
        flags |= 1 << 2;
        fields.extend_from_slice(&policy.largest_msat.to_be_bytes());
    }
    out.push(flags);
    out.extend_from_slice(&fields);
}

fn most_common<T: Ord + Copy + Default>(all: impl Iterator<Item = T>) -> T {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(one, _)| one)
        .unwrap_or_default()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// BOLT 9's bytes, which go the other way round over the wire.
fn put_features(out: &mut Vec<u8>, features: &[u8]) {
    out.extend_from_slice(&u16::try_from(features.len()).unwrap_or(0).to_be_bytes());
    out.extend(features.iter().rev());
}

/// BOLT 1's variable-length number.
fn put_big_size(out: &mut Vec<u8>, number: u64) {
    if let Ok(small) = u8::try_from(number)
        && small < 0xfd
    {
        out.push(small);
    } else if let Ok(two) = u16::try_from(number) {
        out.push(0xfd);
        out.extend_from_slice(&two.to_be_bytes());
    } else if let Ok(four) = u32::try_from(number) {
        out.push(0xfe);
        out.extend_from_slice(&four.to_be_bytes());
    } else {
        out.push(0xff);
        out.extend_from_slice(&number.to_be_bytes());
    }
}
