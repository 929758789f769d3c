//! What a peer tells of itself, in types of our own: a change in ldk-node must not reach every test.

use std::net::SocketAddr;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use ldk_node::payment::{PaymentDetails, PaymentDirection, PaymentStatus};
use ldk_node::{BalanceDetails, ChannelDetails};
use serde::{Deserialize, Serialize};

/// How to reach a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// `lsp`, `alice` or `bob`.
    pub name: String,
    /// Its public key.
    pub node_id: PublicKey,
    /// Where it listens.
    pub address: SocketAddr,
}

impl PeerInfo {
    /// `NODE_ID@ADDRESS`
    pub fn uri(&self) -> String {
        format!("{}@{}", self.node_id, self.address)
    }
}

/// A channel as one of its ends sees it.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as ldk-node tells them"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The channel's id, hex. Changes once, when funding is negotiated.
    pub channel_id: String,
    /// The peer's own name for it, decimal. Never changes.
    pub user_channel_id: String,
    /// The other end.
    pub counterparty: PublicKey,
    /// The funding output, once negotiated.
    pub funding: Option<OutPoint>,
    /// The funding transaction alone, for convenience.
    pub funding_txid: Option<Txid>,
    /// Its size.
    pub value_sat: u64,
    /// What this end can send.
    pub outbound_msat: u64,
    /// What this end can receive.
    pub inbound_msat: u64,
    /// Whether this end opened it.
    pub is_outbound: bool,
    /// Whether both ends have seen enough confirmations.
    pub is_ready: bool,
    /// Whether it is ready and the other end is connected.
    pub is_usable: bool,
    /// Whether it is announced to the network.
    pub is_announced: bool,
    /// Confirmations of the funding transaction.
    pub confirmations: Option<u32>,
    /// Confirmations it needs.
    pub confirmations_required: Option<u32>,
}

impl From<ChannelDetails> for Channel {
    fn from(channel: ChannelDetails) -> Self {
        Self {
            channel_id: channel.channel_id.to_string(),
            user_channel_id: channel.user_channel_id.0.to_string(),
            counterparty: channel.counterparty_node_id,
            funding: channel.funding_txo,
            funding_txid: channel.funding_txo.map(|outpoint| outpoint.txid),
            value_sat: channel.channel_value_sats,
            outbound_msat: channel.outbound_capacity_msat,
            inbound_msat: channel.inbound_capacity_msat,
            is_outbound: channel.is_outbound,
            is_ready: channel.is_channel_ready,
            is_usable: channel.is_usable,
            is_announced: channel.is_announced,
            confirmations: channel.confirmations,
            confirmations_required: channel.confirmations_required,
        }
    }
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Not decided yet.
    Pending,
    /// It arrived.
    Succeeded,
    /// It will not arrive.
    Failed,
}

/// A Lightning payment as one end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Payment hash, hex.
    pub hash: String,
    /// Whether this end receives it.
    pub inbound: bool,
    /// How it stands.
    pub state: PaymentState,
    /// Its amount, when known.
    pub amount_msat: Option<u64>,
    /// Routing fees paid by this end.
    pub fee_msat: Option<u64>,
    /// Why it failed, when known.
    pub failure: Option<String>,
}

impl Payment {
    pub(super) fn new(hash: &str, details: &PaymentDetails, failure: Option<String>) -> Self {
        Self {
            hash: hash.to_owned(),
            inbound: details.direction == PaymentDirection::Inbound,
            state: match details.status {
                PaymentStatus::Pending => PaymentState::Pending,
                PaymentStatus::Succeeded => PaymentState::Succeeded,
                PaymentStatus::Failed => PaymentState::Failed,
            },
            amount_msat: details.amount_msat,
            fee_msat: details.fee_paid_msat,
            failure,
        }
    }
}

/// What a peer owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    /// On chain, also unconfirmed, also reserved.
    pub onchain_total_sat: u64,
    /// On chain and free to be spent.
    pub onchain_spendable_sat: u64,
    /// Kept back for the fees of force-closes.
    pub anchor_reserve_sat: u64,
    /// In channels, including those being closed.
    pub lightning_sat: u64,
    /// Outputs of closed channels not yet swept to the end.
    pub pending_sweeps: usize,
}

impl From<BalanceDetails> for Balances {
    fn from(balances: BalanceDetails) -> Self {
        Self {
            onchain_total_sat: balances.total_onchain_balance_sats,
            onchain_spendable_sat: balances.spendable_onchain_balance_sats,
            anchor_reserve_sat: balances.total_anchor_channels_reserve_sats,
            lightning_sat: balances.total_lightning_balance_sats,
            pending_sweeps: balances.pending_balances_from_channel_closures.len(),
        }
    }
}
