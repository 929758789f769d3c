//! Which part of the map a search for a route needs: the channels on the best ways between us and the payee.
//!
//! Two plain searches over the compact map, one from us and one from the payee, tell for every channel what the best way
//! through it costs, fees and LDK's first guess at reliability included. The cheapest few thousand are the corridor. LDK's own
//! `find_route` then decides within it, with all it knows: scores, parts, hints, limits. The corridor holds each of its
//! channels' best ways whole, so whatever the best route is under these costs, it lies inside.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::map::{Channel, Map, Policy};

/// Channels in a corridor. A payment tries some dozens; more cost time (some 4 µs each) and memory (a page each).
pub const CORRIDOR: usize = 2_000;

/// Parts into which LDK may split a payment: its default.
const MOST_PARTS: u64 = 10;

/// LDK's penalties for a channel of which nothing is known, in msat; the defaults of `ProbabilisticScoringFeeParameters`.
const EACH_HOP: u64 = 1_024;
const EACH_HOP_BY_AMOUNT: u64 = 131_072;
const EASILY_PROBED: u64 = 250;
const UNSURE: f64 = 10_000.0;
const UNSURE_BY_AMOUNT: f64 = 1_250.0;
/// What LDK takes off the odds of a channel that never carried anything for us.
const NEVER_USED: f64 = 64.0 / 78.0;
/// LDK's limit on how bad odds can be: 10^-2.
const WORST: f64 = 2.0;
/// Steps in which the share of a channel's capacity is looked up.
const STEPS: usize = 64;

/// More than any way costs.
const NO_WAY: u64 = u64::MAX;

/// What is looked for.
pub struct Wanted<'a> {
    /// Where the payment can start: the peers of our usable channels.
    pub from: &'a [u32],
    /// Where it must come: the payee, or where its hints or blinded paths begin.
    pub to: &'a [u32],
    /// How much, in msat.
    pub amount_msat: u64,
    /// Whether it may be split.
    pub parts: bool,
    /// Channels to leave out, because they failed.
    pub avoid: &'a HashSet<u64>,
}

/// The channels worth looking at, at most `most`, as positions in the map. Empty if there is no way at all.
pub fn corridor(map: &Map, wanted: &Wanted<'_>, most: usize) -> Vec<u32> {
    let costs = Costs::new(wanted);
    let there = search(map, wanted.to, &costs, Heading::Back);
    if wanted
        .from
        .iter()
        .all(|node| there.cost[*node as usize] == NO_WAY)
    {
        return Vec::new();
    }
    let here = search(map, wanted.from, &costs, Heading::On);
    let mut through: Vec<(u64, u32)> = Vec::new();
    for (at, channel) in (0u32..).zip(map.channels()) {
        let best = [0, 1].map(|direction| {
            let (source, target) = ends(channel, direction);
            let ways = (here.cost[source as usize], there.cost[target as usize]);
            match (ways, costs.of(channel, direction)) {
                ((NO_WAY, _) | (_, NO_WAY), _) | (_, None) => NO_WAY,
                ((before, after), Some(cost)) => before.saturating_add(cost).saturating_add(after),
            }
        });
        let best = best[0].min(best[1]);
        if best != NO_WAY {
            through.push((best, at));
        }
    }
    if through.len() > most {
        through.select_nth_unstable(most);
        through.truncate(most);
    }
    let mut chosen: Vec<u32> = through.into_iter().map(|(_, at)| at).collect();
    // The best way from each of our peers, however dear: one channel may not hold enough.
    for start in wanted.from {
        let mut node = *start;
        while let Some(at) = there.next[node as usize] {
            chosen.push(at);
            let [one, two] = map.channels()[at as usize].ends;
            node = if one == node { two } else { one };
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// The two ends of a channel: where a payment in this direction comes from, and where it goes.
fn ends(channel: &Channel, direction: usize) -> (u32, u32) {
    (channel.ends[direction], channel.ends[1 - direction])
}

#[derive(Clone, Copy, PartialEq)]
enum Heading {
    /// Along payments.
    On,
    /// Against them.
    Back,
}

/// What a search found, by node.
struct Found {
    /// The cost of the best way between the node and the nearest of the starts, in msat.
    cost: Vec<u64>,
    /// The channel by which that way leaves the node.
    next: Vec<Option<u32>>,
}

/// Dijkstra's algorithm, from several starts.
fn search(map: &Map, starts: &[u32], costs: &Costs<'_>, heading: Heading) -> Found {
    let nodes = map.nodes().len();
    let mut found = Found {
        cost: vec![NO_WAY; nodes],
        next: vec![None; nodes],
    };
    let mut open = BinaryHeap::new();
    for start in starts {
        found.cost[*start as usize] = 0;
        open.push(Reverse((0u64, *start)));
    }
    while let Some(Reverse((cost, node))) = open.pop() {
        if cost > found.cost[node as usize] {
            continue;
        }
        for at in map.channels_of(node) {
            let channel = &map.channels()[*at as usize];
            let forth = usize::from(channel.ends[0] != node);
            let (direction, neighbour) = match heading {
                Heading::On => (forth, channel.ends[1 - forth]),
                Heading::Back => (1 - forth, channel.ends[1 - forth]),
            };
            let Some(step) = costs.of(channel, direction) else {
                continue;
            };
            let total = cost.saturating_add(step);
            if total < found.cost[neighbour as usize] {
                found.cost[neighbour as usize] = total;
                found.next[neighbour as usize] = Some(*at);
                open.push(Reverse((total, neighbour)));
            }
        }
    }
    found
}

/// What it costs to use a channel.
struct Costs<'a> {
    wanted: &'a Wanted<'a>,
    least_msat: u64,
    hop: u64,
    by_share: [u64; STEPS + 1],
}

impl<'a> Costs<'a> {
    fn new(wanted: &'a Wanted<'a>) -> Self {
        let amount = wanted.amount_msat;
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate, far below the limits of either type"
        )]
        let by_share = std::array::from_fn(|step| {
            // The integral of LDK's density 128 * (1/256 + 9 * (x - 0.5)^8), from the share used to the whole.
            let integral = |x: f64| (x - 0.5).powi(9) + (x - 0.5) / 256.0;
            let share = step as f64 / STEPS as f64;
            let odds = (integral(1.0) - integral(share)) / (integral(1.0) - integral(0.0)) * NEVER_USED;
            let doubt = if odds > 0.0 {
                (-odds.log10()).min(WORST)
            } else {
                WORST
            };
            (doubt * (UNSURE + UNSURE_BY_AMOUNT * amount as f64 / f64::from(1 << 20))) as u64
        });
        Self {
            wanted,
            least_msat: if wanted.parts { amount / MOST_PARTS } else { amount },
            hop: EACH_HOP + EACH_HOP_BY_AMOUNT.saturating_mul(amount) / (1 << 30),
            by_share,
        }
    }

    /// In msat; `None` if the payment, or the smallest part of it, cannot go that way.
    fn of(&self, channel: &Channel, direction: usize) -> Option<u64> {
        // LDK leaves channels alone that only one end has spoken of.
        let (policy, _) = (channel.policies[direction]?, channel.policies[1 - direction]?);
        let amount = self.wanted.amount_msat;
        let room = room_msat(channel, &policy);
        if !policy.enabled
            || room < self.least_msat.max(1)
            || policy.smallest_msat > amount
            || self.wanted.avoid.contains(&channel.scid)
        {
            return None;
        }
        let fee =
            u128::from(policy.base_msat) + u128::from(amount) * u128::from(policy.per_million) / 1_000_000;
        let share = match channel.capacity_sat {
            None => 0,
            Some(_) => usize::try_from(u128::from(amount.min(room)) * STEPS as u128 / u128::from(room))
                .unwrap_or(STEPS)
                .min(STEPS),
        };
        let probed = channel
            .capacity_sat
            .is_some_and(|sat| policy.largest_msat >= sat.saturating_mul(500));
        let penalty = self.hop + self.by_share[share] + if probed { EASILY_PROBED } else { 0 };
        Some(u64::try_from(fee).unwrap_or(NO_WAY - 1).saturating_add(penalty))
    }
}

/// Most that can go through a channel in one payment, in msat.
fn room_msat(channel: &Channel, policy: &Policy) -> u64 {
    let capacity = channel
        .capacity_sat
        .map_or(u64::MAX, |sat| sat.saturating_mul(1_000));
    capacity.min(policy.largest_msat)
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;
    use proptest::prelude::*;

    use super::super::map::tests::{channel, node};
    use super::*;

    fn network(channels: Vec<Channel>) -> Map {
        Map::new(
            Network::Regtest,
            0,
            (0..20).map(node).collect(),
            Vec::new(),
            channels,
        )
        .unwrap()
    }

    fn random_networks() -> impl Strategy<Value = Map> {
        let policy = (0..5_000u32, 0..3_000u32, 0..10u8, 1..2_000_000u64);
        let one = (0..20u32, 1..20u32, policy.clone(), policy);
        proptest::collection::vec(one, 1..80).prop_map(|channels| {
            let channels = (1u64..).zip(channels).map(|(scid, (one, step, forth, back))| {
                let policies = [forth, back].map(|(base_msat, per_million, luck, largest_msat)| {
                    (luck > 0).then_some(Policy {
                        base_msat,
                        per_million,
                        enabled: luck > 1,
                        largest_msat,
                        ..Policy::default()
                    })
                });
                Channel {
                    policies,
                    capacity_sat: Some(2_000),
                    ..channel(scid, [one, (one + step) % 20])
                }
            });
            network(channels.collect())
        })
    }

    /// The best way's cost the slow and obvious way: Bellman and Ford's.
    fn best_cost(map: &Map, wanted: &Wanted<'_>) -> u64 {
        let costs = Costs::new(wanted);
        let mut cost = vec![NO_WAY; map.nodes().len()];
        for start in wanted.from {
            cost[*start as usize] = 0;
        }
        for _ in 0..map.nodes().len() {
            for channel in map.channels() {
                for direction in 0..2 {
                    let (source, target) = ends(channel, direction);
                    if let (before, Some(step)) = (cost[source as usize], costs.of(channel, direction))
                        && before != NO_WAY
                    {
                        cost[target as usize] = cost[target as usize].min(before + step);
                    }
                }
            }
        }
        wanted
            .to
            .iter()
            .map(|node| cost[*node as usize])
            .min()
            .unwrap_or(NO_WAY)
    }

    fn only(map: &Map, chosen: &[u32]) -> Map {
        let channels = chosen.iter().map(|at| map.channels()[*at as usize]).collect();
        Map::new(map.network, 0, map.nodes().to_vec(), Vec::new(), channels).unwrap()
    }

    proptest! {
        #[test]
        fn the_best_way_lies_in_every_corridor(
            map in random_networks(), most in 0..40usize, from in 0..20u32, to in 0..20u32, amount_msat in 1..2_500_000u64,
            parts: bool,
        ) {
            let avoid = HashSet::new();
            let wanted = Wanted { from: &[from], to: &[to], amount_msat, parts, avoid: &avoid };
            let chosen = corridor(&map, &wanted, most);
            prop_assert_eq!(best_cost(&only(&map, &chosen), &wanted), best_cost(&map, &wanted));
        }
    }

    #[test]
    fn what_failed_and_what_is_too_small_is_left_out() {
        let map = network(vec![channel(1, [0, 1]), channel(2, [0, 1])]);
        let find = |amount_msat, parts, avoid: &[u64]| {
            let avoid = avoid.iter().copied().collect();
            let wanted = Wanted {
                from: &[0],
                to: &[1],
                amount_msat,
                parts,
                avoid: &avoid,
            };
            corridor(&map, &wanted, 10)
        };
        assert_eq!(find(1_000, false, &[]), [0, 1]);
        assert_eq!(find(1_000, false, &[1]), [1]);
        assert_eq!(find(1_000, false, &[1, 2]), [] as [u32; 0]);
        assert_eq!(find(1_500_000, false, &[]), [] as [u32; 0]);
        assert_eq!(find(1_500_000, true, &[]), [0, 1]);
    }
}
