//! The gossip server's snapshots against LDK's decoder.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lightning::routing::gossip::{ChannelUpdateInfo, NetworkGraph};
use lightning::util::logger::{Logger, Record};
use lightning_rapid_gossip_sync::RapidGossipSync;
use pilotlight_devnet::gossip::{Channel, Network, Policy, Size, day_later, delta, full, synthetic};
use proptest::prelude::*;

struct Silent;

impl Logger for Silent {
    fn log(&self, _: Record<'_>) {}
}

type Graph = Arc<NetworkGraph<Arc<Silent>>>;

fn graph() -> Graph {
    Arc::new(NetworkGraph::new(bitcoin::Network::Regtest, Arc::new(Silent)))
}

fn apply(graph: &Graph, snapshot: &[u8]) {
    RapidGossipSync::new(Arc::clone(graph), Arc::new(Silent))
        .update_network_graph(snapshot)
        .unwrap();
}

fn now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
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

/// What LDK has understood.
fn understood(graph: &Graph) -> Network {
    let graph = graph.read_only();
    let channels = graph.channels().unordered_iter().map(|(scid, info)| {
        let channel = Channel {
            ends: [*info.node_one.as_array(), *info.node_two.as_array()],
            capacity_sat: info.capacity_sats,
            policies: [policy(info.one_to_two.as_ref()), policy(info.two_to_one.as_ref())],
        };
        (*scid, channel)
    });
    let nodes = graph.nodes().unordered_iter().filter_map(|(id, info)| {
        let announced = info.announcement_info.as_ref()?;
        Some((*id.as_array(), announced.features().le_flags().to_vec()))
    });
    Network {
        nodes: nodes.collect(),
        channels: channels.collect(),
    }
}

fn policies() -> impl Strategy<Value = Option<Policy>> {
    let amounts = (
        any::<bool>(),
        any::<u16>(),
        0..1_000_000u64,
        0..1_000_000u64,
        any::<[u32; 2]>(),
    );
    proptest::option::of(amounts.prop_map(
        |(enabled, cltv_delta, smallest_msat, largest_msat, [base_msat, per_million])| {
            // Values that many have in common are left out of a snapshot.
            Policy {
                enabled,
                cltv_delta: cltv_delta % 3,
                smallest_msat: smallest_msat % 3,
                largest_msat,
                base_msat: base_msat % 3,
                per_million,
            }
        },
    ))
}

/// Networks of up to twelve nodes, of which only those with channels can be told of.
fn networks() -> impl Strategy<Value = Network> {
    let channel = (
        1u64..1 << 63,
        (
            0..12u8,
            1..12u8,
            proptest::option::of(1_000..u64::MAX / 2_000),
            [policies(), policies()],
        ),
    );
    let features = proptest::option::of(proptest::collection::vec(1..=255u8, 1..4));
    (
        proptest::collection::btree_map(channel.0, channel.1, 0..30),
        proptest::collection::vec(features, 12),
    )
        .prop_map(|(channels, features)| {
            let key = |number: u8| {
                let mut key = [number; 33];
                key[0] = 2 + number % 2;
                key
            };
            let channels: BTreeMap<u64, Channel> = channels
                .into_iter()
                .map(|(scid, (one, step, sat, policies))| {
                    let mut ends = [key(one), key((one + step) % 12)];
                    ends.sort_unstable();
                    // More than there can be is refused by LDK.
                    let capacity_sat = sat.map(|sat| sat % 20_000_000 + 1_000);
                    (
                        scid,
                        Channel {
                            ends,
                            capacity_sat,
                            policies,
                        },
                    )
                })
                .collect();
            let with_channel = |id: &[u8; 33]| channels.values().any(|channel| channel.ends.contains(id));
            let nodes = (0..12u8)
                .map(key)
                .zip(features)
                .filter_map(|(id, features)| Some((id, features?)))
                .filter(|(id, _)| with_channel(id))
                .collect();
            Network { nodes, channels }
        })
}

proptest! {
    #[test]
    fn ldk_understands_a_full_snapshot_as_it_was_meant(network in networks()) {
        let graph = graph();
        apply(&graph, &full(&network, bitcoin::Network::Regtest, now()));
        prop_assert_eq!(understood(&graph), network);
    }

    #[test]
    fn ldk_understands_what_changed_as_it_was_meant(before in networks(), mut after in networks()) {
        // What a day changes: some channels of the first network, and new ones.
        for (scid, channel) in &before.channels {
            let policies = after.channels.get(scid).map_or(channel.policies, |after| after.policies);
            let policies = [0, 1].map(|end| policies[end].or(channel.policies[end]));
            after.channels.insert(*scid, Channel { policies, ..*channel });
        }
        for (id, features) in &before.nodes {
            after.nodes.entry(*id).or_insert_with(|| features.clone());
        }
        let graph = graph();
        apply(&graph, &full(&before, bitcoin::Network::Regtest, now() - 1_000));
        apply(&graph, &delta(&before, &after, bitcoin::Network::Regtest, now()));
        prop_assert_eq!(understood(&graph), after);
    }
}

#[test]
fn a_made_up_network_is_the_same_for_the_same_seed_and_ldk_takes_it_whole() {
    let size = Size {
        nodes: 60,
        channels: 200,
    };
    let network = synthetic(size, 7);
    assert_eq!(network, synthetic(size, 7));
    assert_ne!(network, synthetic(size, 8));
    let graph = graph();
    apply(&graph, &full(&network, bitcoin::Network::Regtest, now() - 86_400));
    assert_eq!(understood(&graph), network);
    let later = day_later(&network, 7);
    apply(&graph, &delta(&network, &later, bitcoin::Network::Regtest, now()));
    let known = understood(&graph);
    // Channels that are gone stay until they were silent for two weeks.
    assert!(
        later
            .channels
            .iter()
            .all(|(scid, channel)| known.channels.get(scid) == Some(channel))
    );
    assert!(later.channels.len() == network.channels.len() && later != network);
}
