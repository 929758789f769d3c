//! A network of nodes and public channels, as a gossip server knows it.

use std::collections::BTreeMap;

use ldk_node::lightning::routing::gossip::{ChannelUpdateInfo, NodeId};

use crate::peer::Peer;

/// What one end of a channel asks for forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether it forwards now.
    pub enabled: bool,
    /// Blocks it takes for itself.
    pub cltv_delta: u16,
    /// Smallest payment, in msat.
    pub smallest_msat: u64,
    /// Largest payment, in msat.
    pub largest_msat: u64,
    /// Fee of a payment, in msat.
    pub base_msat: u32,
    /// And for each million msat sent, in msat.
    pub per_million: u32,
}

/// A public channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// Its ends, the lesser key first (BOLT 7).
    pub ends: [[u8; 33]; 2],
    /// What it holds, in sat.
    pub capacity_sat: Option<u64>,
    /// What each end asks, in the order of the ends.
    pub policies: [Option<Policy>; 2],
}

/// Nodes and channels at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The features that nodes announce, as BOLT 9 bytes (last byte first), by public key.
    pub nodes: BTreeMap<[u8; 33], Vec<u8>>,
    /// The channels, by short channel id.
    pub channels: BTreeMap<u64, Channel>,
}

impl Network {
    /// What a peer has heard of.
    pub(crate) fn heard_by(peer: &Peer) -> Self {
        let graph = peer.graph();
        let mut network = Self::default();
        for scid in graph.list_channels() {
            let Some(info) = graph.channel(scid) else { continue };
            network.channels.insert(
                scid,
                Channel {
                    ends: [bytes(&info.node_one), bytes(&info.node_two)],
                    capacity_sat: info.capacity_sats,
                    policies: [policy(info.one_to_two.as_ref()), policy(info.two_to_one.as_ref())],
                },
            );
        }
        for id in graph.list_nodes() {
            let announced = graph.node(&id).and_then(|node| node.announcement_info);
            if let Some(announced) = announced {
                let features = announced.features().le_flags().to_vec();
                network.nodes.insert(bytes(&id), features);
            }
        }
        network
    }
}

fn bytes(id: &NodeId) -> [u8; 33] {
    *id.as_array()
}

fn policy(info: Option<&ChannelUpdateInfo>) -> Option<Policy> {
    info.map(|info| Policy {
        enabled: info.enabled,
        cltv_delta: info.cltv_expiry_delta,
        smallest_msat: info.htlc_minimum_msat,
        largest_msat: info.htlc_maximum_msat,
        base_msat: info.fees.base_msat,
        per_million: info.fees.proportional_millionths,
    })
}
