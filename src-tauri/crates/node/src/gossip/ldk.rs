//! The map as LDK's `NetworkGraph`, whole or in part, and back.
//!
//! LDK judges what may stand in a graph (ages, amounts, capacities), so rows go through its own doors and never around them.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::Network;
use bitcoin::constants::ChainHash;
use lightning::ln::msgs::{UnsignedChannelUpdate, UnsignedNodeAnnouncement};
use lightning::routing::gossip::{ChannelUpdateInfo, NetworkGraph, NodeAlias, NodeAnnouncementInfo, NodeId};
use lightning_types::features::{ChannelFeatures, NodeFeatures};

use super::map::{Channel, Map, NO_FEATURES, Node, Nonsense, Policy};
use crate::log::Logger;

/// LDK's graph of the network.
pub type Graph = NetworkGraph<Arc<Logger>>;

/// LDK dates what comes by Rapid Gossip Sync a week back.
const DATED_BACK_SECS: u32 = 7 * 24 * 60 * 60;

/// What the policies of a graph are dated.
#[derive(Debug, Clone, Copy)]
pub enum Dated {
    /// As they stand in the map, but not before this, Unix time in s: for applying news. LDK takes nothing that is older than
    /// two weeks, but news often only say what changed, and need the old to change.
    From(u32),
    /// All the same, Unix time in s: for a search, to which only their content matters.
    At(u32),
}

impl Dated {
    fn date(self, date: u32) -> u32 {
        match self {
            Self::From(oldest) => date.max(oldest),
            Self::At(now) => now,
        }
    }
}

/// A graph without anything in it.
pub fn empty(network: Network) -> Arc<Graph> {
    Arc::new(Graph::new(network, Arc::new(Logger)))
}

/// The whole map as a graph; what is dated before `oldest` (Unix time in s) is dated so.
pub fn whole(map: &Map, oldest: u32) -> Arc<Graph> {
    let graph = empty(map.network);
    for channel in map.channels() {
        put(&graph, map, channel, Dated::From(oldest));
    }
    let dated = map.timestamp.saturating_sub(DATED_BACK_SECS);
    for at in 0..map.nodes().len() {
        // A map has fewer than 2^32 nodes.
        put_node(&graph, map, u32::try_from(at).unwrap_or(u32::MAX), dated);
    }
    graph.set_last_rapid_gossip_sync_timestamp(map.timestamp);
    graph
}

/// Some channels of the map, and their ends, as a graph.
pub fn part(map: &Map, channels: &[u32], now: u32) -> Arc<Graph> {
    let graph = empty(map.network);
    let mut ends = Vec::with_capacity(2 * channels.len());
    for channel in channels.iter().filter_map(|at| map.channels().get(*at as usize)) {
        put(&graph, map, channel, Dated::At(now));
        ends.extend(channel.ends);
    }
    ends.sort_unstable();
    ends.dedup();
    for node in ends {
        put_node(&graph, map, node, now);
    }
    graph
}

/// Puts a channel into a graph that may have it already.
pub fn put(graph: &Graph, map: &Map, channel: &Channel, dated: Dated) {
    let [one, two] = channel.ends.map(|end| map.nodes()[end as usize].id);
    let (scid, capacity) = (channel.scid, channel.capacity_sat);
    let seen = u64::from(dated.date(channel.seen));
    let added =
        graph.add_channel_from_partial_announcement(scid, capacity, seen, ChannelFeatures::empty(), one, two);
    if added.is_err() {
        // It is there already.
        return;
    }
    for (direction, policy) in (0u8..).zip(channel.policies) {
        let Some(policy) = policy else { continue };
        // Refused when LDK finds it nonsense: more than the channel holds, say.
        let _ = graph.update_channel_unsigned(&UnsignedChannelUpdate {
            chain_hash: ChainHash::using_genesis_block(map.network),
            short_channel_id: scid,
            timestamp: dated.date(policy.last_update),
            // Bit 0 says that there is a maximum, and must be set (BOLT 7).
            message_flags: 1,
            channel_flags: direction | if policy.enabled { 0 } else { 2 },
            cltv_expiry_delta: policy.cltv_delta,
            htlc_minimum_msat: policy.smallest_msat,
            htlc_maximum_msat: policy.largest_msat,
            fee_base_msat: policy.base_msat,
            fee_proportional_millionths: policy.per_million,
            excess_data: Vec::new(),
        });
    }
}

fn put_node(graph: &Graph, map: &Map, node: u32, dated: u32) {
    let Some(features) = map.features_of(node) else {
        return;
    };
    // Refused when the node has no channel, which then has no use for it.
    let _ = graph.update_node_from_unsigned_announcement(&UnsignedNodeAnnouncement {
        features: features.clone(),
        timestamp: dated,
        node_id: map.nodes()[node as usize].id,
        rgb: [0; 3],
        alias: NodeAlias([0; 32]),
        addresses: Vec::new(),
        excess_address_data: Vec::new(),
        excess_data: Vec::new(),
    });
}

/// What of a graph belongs into a map: what was heard of after `oldest` (Unix time in s). `old` is the map that the graph was
/// made of, if it was.
///
/// # Errors
/// [`Nonsense`], if there is more than can be counted.
pub fn map_of(
    graph: &Graph,
    network: Network,
    timestamp: u32,
    oldest: u32,
    old: Option<&Map>,
) -> Result<Map, Nonsense> {
    let graph = graph.read_only();
    let mut announced: Vec<(NodeId, Option<&NodeFeatures>)> = graph
        .nodes()
        .unordered_iter()
        .map(|(id, info)| {
            (
                *id,
                info.announcement_info
                    .as_ref()
                    .map(NodeAnnouncementInfo::features),
            )
        })
        .collect();
    announced.sort_unstable_by(|a, b| a.0.as_slice().cmp(b.0.as_slice()));
    // Numbered in the order of the nodes, so that the same graph makes the same map.
    let mut features: Vec<NodeFeatures> = Vec::new();
    let mut place: HashMap<&NodeFeatures, u16> = HashMap::new();
    let mut nodes = Vec::with_capacity(announced.len());
    for (id, set) in announced {
        let features = set.map_or(NO_FEATURES, |set| {
            if let Some(at) = place.get(set) {
                return *at;
            }
            // So many different sets are nonsense; those that do not fit count as not announced.
            let at = u16::try_from(features.len()).unwrap_or(NO_FEATURES);
            if at != NO_FEATURES {
                features.push(set.clone());
                place.insert(set, at);
            }
            at
        });
        nodes.push(Node { id, features });
    }
    let position = |id: &NodeId| {
        let at = nodes.binary_search_by(|node| node.id.as_slice().cmp(id.as_slice()));
        at.ok()
            .and_then(|at| u32::try_from(at).ok())
            .ok_or(Nonsense::Ends)
    };
    let mut channels = Vec::with_capacity(graph.channels().len());
    for (scid, info) in graph.channels().unordered_iter() {
        // Nobody may route through a channel that asks for what we do not know (BOLT 7).
        if info.features.requires_unknown_bits() {
            continue;
        }
        let seen = old
            .and_then(|old| old.find_channel(*scid))
            .map_or(timestamp.saturating_sub(DATED_BACK_SECS), |channel| channel.seen);
        let policies = [&info.one_to_two, &info.two_to_one]
            .map(|info| policy(info.as_ref()).filter(|policy| policy.last_update > oldest));
        // BOLT 7 suggests to forget a channel of which an end was silent for two weeks.
        if policies.iter().any(Option::is_none) && seen <= oldest {
            continue;
        }
        channels.push(Channel {
            scid: *scid,
            capacity_sat: info.capacity_sats,
            ends: [position(&info.node_one)?, position(&info.node_two)?],
            seen,
            policies,
        });
    }
    channels.sort_unstable_by_key(|channel| channel.scid);
    Map::new(network, timestamp, nodes, features, channels)
}

fn policy(info: Option<&ChannelUpdateInfo>) -> Option<Policy> {
    info.map(|info| Policy {
        last_update: info.last_update,
        base_msat: info.fees.base_msat,
        per_million: info.fees.proportional_millionths,
        cltv_delta: info.cltv_expiry_delta,
        enabled: info.enabled,
        smallest_msat: info.htlc_minimum_msat,
        largest_msat: info.htlc_maximum_msat,
    })
}
