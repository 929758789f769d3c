//! Finding ways for payments, with the map of the network or without it.
//!
//! LDK asks its router synchronously, in the middle of sending. [`WakeRouter`] answers from our own channels alone: ways to
//! direct peers and by an invoice's hints, blinded paths that begin at our peers. [`LazyRouter`] asks it first and takes the map
//! only when that is not enough: the part of it around the payment, with LDK's own search on that part.
//!
//! Waiting for a map that must be fetched first is not done here but before the payment is begun (`node::money`).

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::secp256k1::{PublicKey, Secp256k1, Signing, Verification};
use lightning::blinded_path::payment::{
    BlindedPaymentPath, ForwardTlvs, PaymentConstraints, PaymentForwardNode, PaymentRelay, ReceiveTlvs,
};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{MIN_FINAL_CLTV_EXPIRY_DELTA, PaymentId};
use lightning::routing::router::{InFlightHtlcs, Route, RouteParameters, Router};
use lightning::sign::EntropySource;
use lightning_types::features::BlindedHopFeatures;
use lightning_types::payment::PaymentHash;

use super::keys::Keys;
use crate::clock;
use crate::gossip::Gossip;
use crate::gossip::ldk::{self, Graph};
use crate::gossip::search::{self, Question};
use crate::lock::lock;

/// Blinded paths given out at most, as LDK does: more make an invoice long and the payer no wiser.
const MOST_PATHS: usize = 3;

/// Payments remembered for whom the map was needed and asleep. There are seldom two at once; more than this are a fault.
const MOST_REFUSED: usize = 64;

/// What LDK is told when the map would be needed and may not be loaded. Not that there is no route.
pub const ASLEEP: &str = "the map of the network is asleep";

/// Routes from our own channels alone.
pub struct WakeRouter {
    keys: Arc<Keys>,
    gossip: Arc<Gossip>,
    /// Nothing is in it. LDK's search takes our channels and the invoice's hints beside it.
    nothing: Arc<Graph>,
}

impl WakeRouter {
    /// Without a map.
    pub fn new(keys: Arc<Keys>, gossip: Arc<Gossip>) -> Self {
        let nothing = ldk::empty(gossip.network());
        Self {
            keys,
            gossip,
            nothing,
        }
    }

    fn question<'a>(
        &self,
        payer: &'a PublicKey,
        params: &'a RouteParameters,
        first_hops: Option<&'a [&'a ChannelDetails]>,
        inflight: &'a InFlightHtlcs,
    ) -> Question<'a> {
        Question {
            payer,
            params,
            first_hops,
            inflight,
            random: self.keys.get_secure_random_bytes(),
        }
    }

    fn answer(&self, question: &Question<'_>) -> Result<Route, &'static str> {
        self.gossip
            .scored(|scorer| search::on_graph(&self.nothing, scorer, question))
    }
}

impl Router for WakeRouter {
    fn find_route(
        &self,
        payer: &PublicKey,
        params: &RouteParameters,
        first_hops: Option<&[&ChannelDetails]>,
        inflight: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        self.answer(&self.question(payer, params, first_hops, &inflight))
    }

    /// As LDK's own router, but without asking the graph whether our peers are well connected: they are the only way to us.
    fn create_blinded_payment_paths<T: Signing + Verification>(
        &self,
        recipient: PublicKey,
        first_hops: Vec<ChannelDetails>,
        tlvs: ReceiveTlvs,
        amount_msats: Option<u64>,
        secp_ctx: &Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        let paths = first_hops
            .into_iter()
            .filter(|channel| can_carry(channel, amount_msats))
            .filter_map(|channel| forward_node(&channel, &tlvs))
            .take(MOST_PATHS)
            .map(|node| {
                BlindedPaymentPath::new(
                    &[node],
                    recipient,
                    tlvs.clone(),
                    u64::MAX,
                    MIN_FINAL_CLTV_EXPIRY_DELTA,
                    &*self.keys,
                    secp_ctx,
                )
            })
            .collect::<Result<Vec<_>, ()>>()?;
        // We are not announced, so a path that begins at ourselves would lead nobody to us.
        if paths.is_empty() { Err(()) } else { Ok(paths) }
    }
}

fn can_carry(channel: &ChannelDetails, amount_msat: Option<u64>) -> bool {
    let most = channel
        .inbound_htlc_maximum_msat
        .unwrap_or(u64::MAX)
        .min(channel.inbound_capacity_msat);
    let least = channel.inbound_htlc_minimum_msat.unwrap_or(0);
    channel.counterparty.features.supports_route_blinding()
        && amount_msat.is_none_or(|amount| (least..=most).contains(&amount))
}

/// What a peer needs to know to forward to us.
fn forward_node(channel: &ChannelDetails, tlvs: &ReceiveTlvs) -> Option<PaymentForwardNode> {
    let payment_relay = PaymentRelay::try_from(channel.counterparty.forwarding_info.clone()?).ok()?;
    let ours = tlvs.tlvs().payment_constraints.max_cltv_expiry;
    Some(PaymentForwardNode {
        tlvs: ForwardTlvs {
            short_channel_id: channel.get_inbound_payment_scid()?,
            payment_constraints: PaymentConstraints {
                max_cltv_expiry: ours.checked_add(u32::from(payment_relay.cltv_expiry_delta))?,
                htlc_minimum_msat: channel.inbound_htlc_minimum_msat.unwrap_or(0),
            },
            payment_relay,
            next_blinding_override: None,
            features: BlindedHopFeatures::empty(),
        },
        node_id: channel.counterparty.node_id,
        htlc_maximum_msat: channel.inbound_htlc_maximum_msat.unwrap_or(u64::MAX),
    })
}

/// Takes the map when our own channels are not enough.
pub struct LazyRouter {
    own: WakeRouter,
    gossip: Arc<Gossip>,
    refused: std::sync::Mutex<HashSet<PaymentHash>>,
}

impl LazyRouter {
    /// A router that loads nothing yet.
    pub fn new(keys: Arc<Keys>, gossip: Arc<Gossip>) -> Self {
        Self {
            own: WakeRouter::new(keys, Arc::clone(&gossip)),
            gossip,
            refused: std::sync::Mutex::default(),
        }
    }

    /// Whether a payment needs the map: our own channels and the invoice's hints are not enough for it.
    pub fn needs_map(
        &self,
        payer: &PublicKey,
        params: &RouteParameters,
        first_hops: &[&ChannelDetails],
    ) -> bool {
        let nothing_else = InFlightHtlcs::new();
        let question = self.own.question(payer, params, Some(first_hops), &nothing_else);
        self.own.answer(&question).is_err()
    }

    /// Whether this payment was refused because the map was asleep; asks once.
    pub fn was_refused(&self, payment: &PaymentHash) -> bool {
        lock(&self.refused).remove(payment)
    }
}

impl Router for LazyRouter {
    fn find_route(
        &self,
        payer: &PublicKey,
        params: &RouteParameters,
        first_hops: Option<&[&ChannelDetails]>,
        inflight: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        let question = self.own.question(payer, params, first_hops, &inflight);
        let own = self.own.answer(&question);
        let Err(why) = own else { return own };
        match self.gossip.map() {
            Some(map) => {
                let now = u32::try_from(clock::since_epoch().as_secs()).unwrap_or(u32::MAX);
                let closed = self.gossip.closed();
                self.gossip
                    .scored(|scorer| search::on_map(&map, scorer, &question, &closed, now))
            }
            None if self.gossip.asleep() => Err(ASLEEP),
            None => Err(why),
        }
    }

    fn find_route_with_id(
        &self,
        payer: &PublicKey,
        params: &RouteParameters,
        first_hops: Option<&[&ChannelDetails]>,
        inflight: InFlightHtlcs,
        payment_hash: PaymentHash,
        _: PaymentId,
    ) -> Result<Route, &'static str> {
        let found = self.find_route(payer, params, first_hops, inflight);
        if found == Err(ASLEEP) {
            let mut refused = lock(&self.refused);
            if refused.len() < MOST_REFUSED {
                refused.insert(payment_hash);
            }
        }
        found
    }

    fn create_blinded_payment_paths<T: Signing + Verification>(
        &self,
        recipient: PublicKey,
        first_hops: Vec<ChannelDetails>,
        tlvs: ReceiveTlvs,
        amount_msats: Option<u64>,
        secp_ctx: &Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        self.own
            .create_blinded_payment_paths(recipient, first_hops, tlvs, amount_msats, secp_ctx)
    }
}
