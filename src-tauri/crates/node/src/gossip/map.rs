//! The map of the network in the form in which it is kept: sorted rows, as small as the facts they hold.
//!
//! Owns the rows and how to find them. LDK's `NetworkGraph` takes a kilobyte for each channel and half a second to read;
//! this takes some hundred bytes and a few milliseconds, and a search gets the part of it that matters as a `NetworkGraph`
//! (`corridor`). The file is `file`'s, news from a server are `apply`'s.

use bitcoin::Network;
use lightning::routing::gossip::NodeId;
use lightning_types::features::NodeFeatures;

/// A node: its id, and which of the map's sets of features it announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The public key.
    pub id: NodeId,
    /// Position in [`Map::features`]; [`NO_FEATURES`] if it announced nothing.
    pub features: u16,
}

/// The node announced no features that we know of.
pub const NO_FEATURES: u16 = u16::MAX;

/// What one end asks for forwarding through a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Since when, Unix time in s, as LDK dates what comes by Rapid Gossip Sync: a week back.
    pub last_update: u32,
    /// Fee of a payment, in msat.
    pub base_msat: u32,
    /// And for each million msat sent, in msat.
    pub per_million: u32,
    /// Blocks it takes for itself.
    pub cltv_delta: u16,
    /// Whether it forwards now.
    pub enabled: bool,
    /// Smallest payment, in msat.
    pub smallest_msat: u64,
    /// Largest payment, in msat.
    pub largest_msat: u64,
}

/// A channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// Block, transaction and output of its funding (BOLT 7).
    pub scid: u64,
    /// What it holds, in sat; not all servers say.
    pub capacity_sat: Option<u64>,
    /// Positions of its ends in [`Map::nodes`], in the order of the announcement.
    pub ends: [u32; 2],
    /// When it was announced, Unix time in s, as LDK dates it.
    pub seen: u32,
    /// What each end asks: the first for payments from the first end to the second, and the other way round.
    pub policies: [Option<Policy>; 2],
}

/// The map of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Which network.
    pub network: Network,
    /// The server's timestamp of the last news in it, Unix time in s: what the next news are asked from.
    pub timestamp: u32,
    nodes: Vec<Node>,
    features: Vec<NodeFeatures>,
    channels: Vec<Channel>,
    /// Where each node's channels begin in `of_node`, and, last, where the last node's end.
    begins: Vec<u32>,
    /// The channels of all nodes, node after node.
    of_node: Vec<u32>,
}

/// What makes rows no map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// Nodes or channels out of order, or twice.
    #[error("rows out of order")]
    Order,
    /// A channel with an end that is not there, or two ends that are one.
    #[error("a channel without its ends")]
    Ends,
    /// A node with features that are not there.
    #[error("a node without its features")]
    Features,
    /// More than can be counted.
    #[error("too many rows")]
    Size,
}

impl Map {
    /// A map of these rows. Nodes must be sorted by id, channels by short channel id.
    ///
    /// # Errors
    /// [`Nonsense`], when they contradict each other: a file may be damaged.
    pub fn new(
        network: Network,
        timestamp: u32,
        nodes: Vec<Node>,
        features: Vec<NodeFeatures>,
        channels: Vec<Channel>,
    ) -> Result<Self, Nonsense> {
        let in_order = nodes
            .windows(2)
            .all(|two| two[0].id.as_slice() < two[1].id.as_slice());
        if !in_order || !channels.windows(2).all(|two| two[0].scid < two[1].scid) {
            return Err(Nonsense::Order);
        }
        let known = |node: &Node| node.features == NO_FEATURES || usize::from(node.features) < features.len();
        if !nodes.iter().all(known) {
            return Err(Nonsense::Features);
        }
        // Twice the channels must be countable too.
        if nodes.len() >= u32::MAX as usize || channels.len() >= (u32::MAX / 2) as usize {
            return Err(Nonsense::Size);
        }
        let mut begins = vec![0u32; nodes.len() + 1];
        for channel in &channels {
            let [one, two] = channel.ends;
            if one == two || one as usize >= nodes.len() || two as usize >= nodes.len() {
                return Err(Nonsense::Ends);
            }
            begins[one as usize + 1] += 1;
            begins[two as usize + 1] += 1;
        }
        for node in 0..nodes.len() {
            begins[node + 1] += begins[node];
        }
        let mut of_node = vec![0u32; 2 * channels.len()];
        let mut next = begins.clone();
        for (at, channel) in (0u32..).zip(&channels) {
            for end in channel.ends {
                of_node[next[end as usize] as usize] = at;
                next[end as usize] += 1;
            }
        }
        Ok(Self {
            network,
            timestamp,
            nodes,
            features,
            channels,
            begins,
            of_node,
        })
    }

    /// The nodes, sorted by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The different sets of features that nodes announce: some dozens on mainnet.
    pub fn features(&self) -> &[NodeFeatures] {
        &self.features
    }

    /// The channels, sorted by short channel id.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Where a node is.
    pub fn find_node(&self, id: &NodeId) -> Option<u32> {
        let at = self
            .nodes
            .binary_search_by(|node| node.id.as_slice().cmp(id.as_slice()))
            .ok()?;
        u32::try_from(at).ok()
    }

    /// A channel.
    pub fn find_channel(&self, scid: u64) -> Option<&Channel> {
        let at = self
            .channels
            .binary_search_by_key(&scid, |channel| channel.scid)
            .ok()?;
        self.channels.get(at)
    }

    /// A node's channels, as positions in [`Self::channels`].
    pub fn channels_of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.of_node[self.begins[node] as usize..self.begins[node + 1] as usize]
    }

    /// What a node announced.
    pub fn features_of(&self, node: u32) -> Option<&NodeFeatures> {
        self.features.get(usize::from(self.nodes[node as usize].features))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn node(number: u8) -> Node {
        let mut id = [number; 33];
        id[0] = 2;
        Node {
            id: NodeId::from_slice(&id).unwrap(),
            features: NO_FEATURES,
        }
    }

    pub(crate) fn channel(scid: u64, ends: [u32; 2]) -> Channel {
        let policy = Policy {
            last_update: 1,
            enabled: true,
            largest_msat: 1_000_000,
            ..Policy::default()
        };
        Channel {
            scid,
            capacity_sat: Some(1_000),
            ends,
            seen: 1,
            policies: [Some(policy); 2],
        }
    }

    fn map(nodes: &[u8], channels: &[(u64, u32, u32)]) -> Result<Map, Nonsense> {
        let nodes = nodes.iter().map(|number| node(*number)).collect();
        let channels = channels
            .iter()
            .map(|(scid, one, two)| channel(*scid, [*one, *two]));
        Map::new(Network::Regtest, 7, nodes, Vec::new(), channels.collect())
    }

    #[test]
    fn every_node_finds_its_channels_and_every_channel_its_ends() {
        let map = map(&[1, 2, 3, 4], &[(10, 0, 1), (20, 2, 1), (30, 0, 2), (40, 0, 1)]).unwrap();
        assert_eq!(map.channels_of(0), [0, 2, 3]);
        assert_eq!(map.channels_of(1), [0, 1, 3]);
        assert_eq!(map.channels_of(2), [1, 2]);
        assert!(map.channels_of(3).is_empty());
        assert_eq!(map.find_node(&node(3).id), Some(2));
        assert_eq!(map.find_node(&node(9).id), None);
        assert_eq!(map.find_channel(30).unwrap().ends, [0, 2]);
        assert!(map.find_channel(31).is_none());
    }

    #[test]
    fn rows_that_contradict_each_other_are_no_map() {
        assert_eq!(map(&[2, 1], &[]), Err(Nonsense::Order));
        assert_eq!(map(&[1, 1], &[]), Err(Nonsense::Order));
        assert_eq!(map(&[1, 2], &[(5, 0, 1), (5, 0, 1)]), Err(Nonsense::Order));
        assert_eq!(map(&[1, 2], &[(5, 0, 2)]), Err(Nonsense::Ends));
        assert_eq!(map(&[1, 2], &[(5, 1, 1)]), Err(Nonsense::Ends));
        let node = Node {
            features: 0,
            ..node(1)
        };
        assert_eq!(
            Map::new(Network::Regtest, 0, vec![node], Vec::new(), Vec::new()),
            Err(Nonsense::Features)
        );
    }
}
