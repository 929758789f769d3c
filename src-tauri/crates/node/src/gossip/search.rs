//! A route found on the map: LDK's own search, on the part of the map around the payment.

use std::collections::HashSet;

use bitcoin::secp256k1::PublicKey;
use lightning::blinded_path::{Direction, IntroductionNode};
use lightning::ln::channel_state::ChannelDetails;
use lightning::routing::gossip::NodeId;
use lightning::routing::router::{
    InFlightHtlcs, Payee, Route, RouteParameters, ScorerAccountingForInFlightHtlcs, find_route,
};
use lightning::routing::scoring::ProbabilisticScoringFeeParameters;

use super::corridor::{CORRIDOR, Wanted, corridor};
use super::ldk::{self, Graph};
use super::map::Map;
use super::scores::Scorer;
use crate::log::Logger;

/// The second corridor, when LDK's search, with its limits, finds nothing in the first: a third of mainnet. A third one, of the
/// whole map, found nothing more in the benchmark's hundreds of routes and takes LDK's whole memory for it.
const WIDE: usize = 16_000;

/// What LDK asks its router.
pub struct Question<'a> {
    /// Our node id.
    pub payer: &'a PublicKey,
    /// To whom, how much, how.
    pub params: &'a RouteParameters,
    /// Our usable channels; `None`: those on the map.
    pub first_hops: Option<&'a [&'a ChannelDetails]>,
    /// What our payments under way hold.
    pub inflight: &'a InFlightHtlcs,
    /// Nobody else's.
    pub random: [u8; 32],
}

/// Searches on a graph as it is.
///
/// # Errors
/// LDK's words.
pub fn on_graph(graph: &Graph, scorer: &Scorer, question: &Question<'_>) -> Result<Route, &'static str> {
    find_route(
        question.payer,
        question.params,
        graph,
        question.first_hops,
        &Logger,
        &ScorerAccountingForInFlightHtlcs::new(scorer, question.inflight),
        &ProbabilisticScoringFeeParameters::default(),
        &question.random,
    )
}

/// Searches on the map, but not on the channels in `closed`. `now` is Unix time in s.
///
/// # Errors
/// LDK's words.
pub fn on_map(
    map: &Map,
    scorer: &Scorer,
    question: &Question<'_>,
    closed: &[u64],
    now: u32,
) -> Result<Route, &'static str> {
    let failed = &question.params.payment_params.previously_failed_channels;
    let avoid: HashSet<u64> = closed.iter().chain(failed).copied().collect();
    let from = starts(map, question);
    let to = destinations(map, &question.params.payment_params.payee);
    let wanted = Wanted {
        from: &from,
        to: &to,
        amount_msat: question.params.final_value_msat,
        parts: question.params.payment_params.max_path_count > 1,
        avoid: &avoid,
    };
    let mut found = Err("no channel leads there");
    for most in [CORRIDOR, WIDE] {
        let chosen = corridor(map, &wanted, most);
        found = on_graph(&ldk::part(map, &chosen, now), scorer, question);
        // Everything that leads there was in it: a wider one has no more.
        if found.is_ok() || chosen.len() < most {
            break;
        }
    }
    found
}

/// Where a payment can start: the peers of our channels, or ourselves if we are on the map.
fn starts(map: &Map, question: &Question<'_>) -> Vec<u32> {
    match question.first_hops {
        Some(channels) => positions(map, channels.iter().map(|channel| channel.counterparty.node_id)),
        None => positions(map, [*question.payer]),
    }
}

/// Where a payment must come: the payee, or where its hints or blinded paths begin.
fn destinations(map: &Map, payee: &Payee) -> Vec<u32> {
    match payee {
        Payee::Clear {
            node_id, route_hints, ..
        } => {
            let hints = route_hints
                .iter()
                .filter_map(|hint| Some(hint.0.first()?.src_node_id));
            positions(map, std::iter::once(*node_id).chain(hints))
        }
        Payee::Blinded { route_hints, .. } => {
            let introductions = route_hints
                .iter()
                .filter_map(|path| match path.introduction_node() {
                    IntroductionNode::NodeId(id) => Some(*id),
                    IntroductionNode::DirectedShortChannelId(direction, scid) => {
                        let [one, two] = map.find_channel(*scid)?.ends;
                        let end = match direction {
                            Direction::NodeOne => one,
                            Direction::NodeTwo => two,
                        };
                        map.nodes()[end as usize].id.as_pubkey().ok()
                    }
                });
            positions(map, introductions)
        }
    }
}

fn positions(map: &Map, ids: impl IntoIterator<Item = PublicKey>) -> Vec<u32> {
    let mut positions: Vec<u32> = ids
        .into_iter()
        .filter_map(|id| map.find_node(&NodeId::from_pubkey(&id)))
        .collect();
    positions.sort_unstable();
    positions.dedup();
    positions
}
