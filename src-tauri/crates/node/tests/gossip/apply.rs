//! What comes of applying news, against LDK's own graph that was never out of memory.

use std::sync::Arc;

use bitcoin::Network;
use lightning::routing::gossip::NetworkGraph;
use lightning::util::logger::{Logger, Record};
use lightning_rapid_gossip_sync::RapidGossipSync;
use pilotlight_devnet::gossip::{self, Size, day_later, delta, full, synthetic};
use pilotlight_node::ErrorCode;
use pilotlight_node::gossip::apply::apply;
use pilotlight_node::gossip::file;
use pilotlight_node::gossip::format::summarise;
use pilotlight_node::gossip::map::{Channel, Map};

use super::{DAY, ago, now};

const SMALL: Size = Size {
    nodes: 150,
    channels: 500,
};

struct Silent;

impl Logger for Silent {
    fn log(&self, _: Record<'_>) {}
}

/// Everything that LDK knows, as rows to compare.
fn known_to_ldk(graph: &NetworkGraph<Arc<Silent>>) -> Vec<String> {
    let graph = graph.read_only();
    let mut rows: Vec<String> = graph
        .channels()
        .unordered_iter()
        .map(|(scid, info)| {
            let policies = [&info.one_to_two, &info.two_to_one].map(|info| {
                info.as_ref().map(|info| {
                    let fees = (info.fees.base_msat, info.fees.proportional_millionths);
                    let amounts = (info.htlc_minimum_msat, info.htlc_maximum_msat);
                    (
                        info.last_update,
                        info.enabled,
                        info.cltv_expiry_delta,
                        fees,
                        amounts,
                    )
                })
            });
            let ends = [info.node_one, info.node_two];
            let features = ends.map(|end| {
                let announced = graph.node(&end).and_then(|node| node.announcement_info.as_ref());
                announced.map(|info| info.features().clone())
            });
            format!(
                "{scid} {ends:?} {features:?} {:?} {policies:?}",
                info.capacity_sats
            )
        })
        .collect();
    rows.sort();
    rows
}

fn known_to_us(map: &Map) -> Vec<String> {
    let row = |channel: &Channel| {
        let policies = channel.policies.map(|policy| {
            policy.map(|policy| {
                let fees = (policy.base_msat, policy.per_million);
                let amounts = (policy.smallest_msat, policy.largest_msat);
                (
                    policy.last_update,
                    policy.enabled,
                    policy.cltv_delta,
                    fees,
                    amounts,
                )
            })
        });
        let ends = channel.ends.map(|end| map.nodes()[end as usize].id);
        let features = channel.ends.map(|end| map.features_of(end).cloned());
        format!(
            "{} {ends:?} {features:?} {:?} {policies:?}",
            channel.scid, channel.capacity_sat
        )
    };
    let mut rows: Vec<String> = map.channels().iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn news_lead_to_what_a_graph_that_was_always_in_memory_knows() {
    let stock = Arc::new(NetworkGraph::new(Network::Regtest, Arc::new(Silent)));
    let sync = RapidGossipSync::new(Arc::clone(&stock), Arc::new(Silent));
    let mut before = gossip::Network::default();
    let mut after = synthetic(SMALL, 1);
    let mut map: Option<Map> = None;
    for day in 0..5u32 {
        let at = ago((5 - day) * DAY);
        let news = delta(&before, &after, Network::Regtest, at);
        sync.update_network_graph(&news).unwrap();
        let applied = apply(map.as_ref(), &news, Network::Regtest, now()).unwrap();
        // As after a restart.
        let (header, read) = file::decode(file::encode(&applied, 7).as_slice(), Network::Regtest).unwrap();
        assert_eq!((header.timestamp, &read), (at, &applied));
        assert_eq!(known_to_us(&read), known_to_ldk(&stock), "day {day}");
        assert_eq!(stock.get_last_rapid_gossip_sync_timestamp(), Some(read.timestamp));
        let later = day_later(&after, day.into());
        before = std::mem::replace(&mut after, later);
        map = Some(read);
    }
    assert!(map.unwrap().channels().len() > SMALL.channels);
}

#[test]
fn news_without_updates_move_the_timestamp_all_the_same() {
    let network = synthetic(SMALL, 2);
    let map = apply(
        None,
        &full(&network, Network::Regtest, ago(2 * DAY)),
        Network::Regtest,
        now(),
    )
    .unwrap();
    let later = ago(DAY);
    let nothing = delta(&network, &network, Network::Regtest, later);
    assert_eq!(
        summarise(nothing.as_slice(), Network::Regtest).unwrap().updates,
        0
    );
    let applied = apply(Some(&map), &nothing, Network::Regtest, now()).unwrap();
    assert_eq!(applied.timestamp, later);
    assert_eq!(known_to_us(&applied), known_to_us(&map));
}

#[test]
fn news_older_than_two_weeks_are_refused() {
    let news = full(&synthetic(SMALL, 3), Network::Regtest, ago(15 * DAY));
    let refused = apply(None, &news, Network::Regtest, now()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::GossipFailed);
}

#[test]
fn what_changed_after_a_long_gap_is_added_to_what_was_known_and_what_fell_silent_is_forgotten() {
    let network = synthetic(SMALL, 4);
    let fresh = apply(
        None,
        &full(&network, Network::Regtest, ago(DAY)),
        Network::Regtest,
        now(),
    )
    .unwrap();
    // A map as it was eighteen days ago: all that it knows is older than LDK would take.
    let aged = fresh.channels().iter().map(|channel| {
        let mut channel = *channel;
        channel.seen -= 17 * DAY;
        for policy in channel.policies.iter_mut().flatten() {
            policy.last_update -= 17 * DAY;
        }
        channel
    });
    let (nodes, features) = (fresh.nodes().to_vec(), fresh.features().to_vec());
    let aged = Map::new(Network::Regtest, ago(18 * DAY), nodes, features, aged.collect()).unwrap();
    let mut later = network.clone();
    let changed: Vec<u64> = later.channels.keys().copied().step_by(3).collect();
    for scid in &changed {
        for policy in later
            .channels
            .get_mut(scid)
            .unwrap()
            .policies
            .iter_mut()
            .flatten()
        {
            policy.per_million += 1;
        }
    }
    let news = delta(&network, &later, Network::Regtest, ago(60));
    let applied = apply(Some(&aged), &news, Network::Regtest, now()).unwrap();
    assert_eq!(applied.channels().len(), changed.len());
    for scid in &changed {
        let (found, meant) = (applied.find_channel(*scid).unwrap(), &later.channels[scid]);
        for (found, meant) in found.policies.iter().zip(meant.policies) {
            let (found, meant) = (found.unwrap(), meant.unwrap());
            assert_eq!(found.largest_msat, meant.largest_msat);
            assert_eq!(
                (found.per_million, found.cltv_delta),
                (meant.per_million, meant.cltv_delta)
            );
        }
    }
}

#[test]
fn news_that_would_leave_nothing_of_the_map_are_refused() {
    let network = synthetic(SMALL, 5);
    let fresh = apply(
        None,
        &full(&network, Network::Regtest, ago(DAY)),
        Network::Regtest,
        now(),
    )
    .unwrap();
    let old = fresh.channels().iter().map(|channel| {
        let mut channel = *channel;
        channel.seen -= 20 * DAY;
        for policy in channel.policies.iter_mut().flatten() {
            policy.last_update -= 20 * DAY;
        }
        channel
    });
    let (nodes, features) = (fresh.nodes().to_vec(), fresh.features().to_vec());
    let old = Map::new(Network::Regtest, ago(19 * DAY), nodes, features, old.collect()).unwrap();
    let nothing = delta(&network, &network, Network::Regtest, ago(60));
    let refused = apply(Some(&old), &nothing, Network::Regtest, now()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::GossipFailed);
}

#[test]
fn the_count_of_a_snapshot_is_of_the_channels_that_are_in_it() {
    let before = synthetic(SMALL, 6);
    let after = day_later(&before, 6);
    let told = |scid: &u64| before.channels.get(scid) != after.channels.get(scid);
    let expected = after.channels.keys().filter(|scid| told(scid)).count();
    let news = delta(&before, &after, Network::Regtest, ago(60));
    let summary = summarise(news.as_slice(), Network::Regtest).unwrap();
    assert_eq!(summary.channels as usize, expected);
    let whole = full(&after, Network::Regtest, ago(60));
    let summary = summarise(whole.as_slice(), Network::Regtest).unwrap();
    assert_eq!(summary.channels as usize, after.channels.len());
}
