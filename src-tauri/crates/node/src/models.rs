//! What the node tells the outside: plain data, serialisable, the same for the CLI and the UI.
//!
//! Units are in the names: `_sat`, `_msat`, `_ms`, `_bytes`. Moments are milliseconds since the Unix epoch.
//! Amounts in msat are strings in TypeScript, because 2^53 is not enough to be sure of them there.

use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;
use crate::wake::safe_until::SafeUntil;

/// What is known of the person's money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Balances {
    /// Everything that is the person's, on-chain and in channels, less what is still uncertain.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub total_sat: u64,
    /// Can be sent over Lightning now, if the channels are usable.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub lightning_sat: u64,
    /// Can be received over Lightning now, if the channels are usable.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub receivable_sat: u64,
    /// Confirmed on-chain coins, the channel reserve included.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub onchain_confirmed_sat: u64,
    /// On-chain coins seen but not yet in a block.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub onchain_pending_sat: u64,
    /// On its way back from channels that are closing; it becomes on-chain coins by itself.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub closing_sat: u64,
    /// When the chain was last seen whole. `None`: never; then the numbers are not known, not zero.
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub synced_at_ms: Option<u64>,
}

/// One Lightning channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// Its name in TypeScript: tauri-specta keeps `Channel` for Tauri's own.
#[serde(rename = "LightningChannel")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Channel {
    /// The channel id, hex.
    pub channel_id: String,
    /// The peer's node id, hex.
    pub peer: String,
    /// The channel's whole value.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub capacity_sat: u64,
    /// Ours, and can be sent now.
    #[serde(with = "msat_text")]
    #[cfg_attr(feature = "bindings", specta(type = String))]
    pub outbound_msat: u64,
    /// Can be received now.
    #[serde(with = "msat_text")]
    #[cfg_attr(feature = "bindings", specta(type = String))]
    pub inbound_msat: u64,
    /// Funding confirmed and both sides agree.
    pub ready: bool,
    /// Ready, and the peer is connected.
    pub usable: bool,
    /// The funding transaction's id, once there is one.
    pub funding_txid: Option<String>,
    /// Confirmations of the funding transaction, in blocks.
    pub confirmations: Option<u32>,
    /// Confirmations needed before the channel is ready, in blocks.
    pub confirmations_required: Option<u32>,
}

/// Which way money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Direction {
    /// To the person.
    Received,
    /// From the person.
    Sent,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum PaymentStatus {
    /// Under way, or (an invoice of ours) waiting to be paid.
    Pending,
    /// Final.
    Succeeded,
    /// Final; nothing was paid.
    Failed,
}

/// By which road a payment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum PaymentKind {
    /// A BOLT11 invoice.
    Lightning,
    /// An on-chain transaction.
    Onchain,
    /// The on-chain transaction that opens a channel: the person's own money, moving from one pocket to the other.
    ChannelFunding,
    /// The on-chain transaction that takes the money of a channel partner that tried to cheat.
    Penalty,
}

/// One line of the activity list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Payment {
    /// The payment hash (Lightning) or transaction id (on-chain), hex.
    pub id: String,
    /// Lightning or on-chain.
    pub kind: PaymentKind,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub status: PaymentStatus,
    /// The amount without fees. `None` for an invoice that lets the payer choose.
    #[serde(with = "msat_text::option")]
    #[cfg_attr(feature = "bindings", specta(type = Option<String>))]
    pub amount_msat: Option<u64>,
    /// What the network took, once known.
    #[serde(with = "msat_text::option")]
    #[cfg_attr(feature = "bindings", specta(type = Option<String>))]
    pub fee_msat: Option<u64>,
    /// What the payment is for, as the invoice says (text of a stranger).
    pub description: Option<String>,
    /// Why it failed, in plain words.
    pub failure: Option<String>,
    /// When it was made or first seen.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub created_at_ms: u64,
    /// When its status last changed.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub updated_at_ms: u64,
}

/// A BOLT11 invoice of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Invoice {
    /// The invoice, to be shown or shared.
    pub bolt11: String,
    /// Its payment hash, hex: the id under which the payment will appear.
    pub payment_hash: String,
    /// When it ends.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub expires_at_ms: u64,
}

/// What a text from outside (pasted, scanned) asks us to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Destination {
    /// A BOLT11 invoice for our network, not yet expired.
    Bolt11 {
        /// The invoice itself.
        bolt11: String,
        /// `None`: the payer chooses.
        #[serde(with = "msat_text::option")]
        #[cfg_attr(feature = "bindings", specta(type = Option<String>))]
        amount_msat: Option<u64>,
        /// Text of a stranger.
        description: String,
        /// When it ends.
        #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
        expires_at_ms: u64,
        /// The payee's node id, hex.
        payee: String,
    },
    /// An on-chain address of our network.
    Onchain {
        /// The address.
        address: String,
        /// From a BIP21 `amount`.
        #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
        amount_sat: Option<u64>,
    },
}

/// Where the wallet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum WalletState {
    /// No wallet on this device yet.
    None,
    /// There is one; its node is not running.
    Stopped,
    /// Its node runs.
    Running,
    /// The device is locked; whether there is a wallet cannot be known now.
    Locked,
}

/// The wallet at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Overview {
    /// Where the wallet stands.
    pub state: WalletState,
    /// `bitcoin`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The liquidity provider of this installation, as `NODE_ID@HOST:PORT`, if there is one.
    pub lsp: Option<String>,
    /// Our node id, hex, while the node runs.
    pub node_id: Option<String>,
    /// The money, while the node runs.
    pub balances: Option<Balances>,
    /// Whether a sync is under way.
    pub syncing: bool,
    /// The last error of a foreground sync, cleared by the next success.
    pub sync_error: Option<ErrorReport>,
    /// The height of the tip, in blocks, once known.
    pub tip_height: Option<u32>,
    /// Before when the chain must be looked at again, as last known, whether the node runs or not. `null`: nothing can be
    /// lost, or it is not known.
    pub safe_until: Option<SafeUntil>,
    /// Channel partners that tried to cheat, newest first, while the node runs: those whose money is not secured yet, and
    /// for a month those that are over.
    pub breaches: Vec<Breach>,
}

/// How the answer to a cheat stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum BreachStatus {
    /// The claim is under way; not all of it is final.
    Securing,
    /// The cheat's money is the person's, for good.
    Secured,
    /// It was found too late: the cheat got away with it.
    Lost,
}

/// A channel partner that tried to cheat: it closed the channel with an old balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Breach {
    /// The channel's id, hex.
    pub channel_id: String,
    /// The partner's node id, hex.
    pub peer: String,
    /// How it stands.
    pub status: BreachStatus,
    /// What the partner claimed for itself: all of it is the person's to take.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub at_stake_sat: u64,
    /// What of it came home and is in a block, less the fees of taking it.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub secured_sat: u64,
    /// When it was found.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub found_at_ms: u64,
    /// When anything of this last changed.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub updated_at_ms: u64,
}

/// How far the map of the network is, for a person who waits to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum MapStep {
    /// It is being fetched.
    Fetching,
    /// It was fetched and is being read.
    Applying,
    /// It is there.
    Ready,
    /// It could not be had.
    Failed,
}

/// Something happened that a screen may want to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum NodeEvent {
    /// The overview is no longer true; fetch it again.
    OverviewChanged,
    /// A payment was made, seen, settled or failed.
    PaymentChanged {
        /// The payment as it is now.
        payment: Payment,
    },
    /// A channel was opened, became usable, or closed.
    ChannelsChanged,
    /// The safe-until moment moved while the app is open or being closed. (A wake says its own in its record.)
    SafeUntilChanged {
        /// The new one; `null`: nothing can be lost any more.
        safe_until: Option<SafeUntil>,
    },
    /// A channel partner was found to cheat, or the answer to it moved on.
    BreachChanged {
        /// How it stands.
        breach: Breach,
    },
    /// A payment waits for the map of the network.
    MapProgress {
        /// How far it is.
        step: MapStep,
    },
    /// A wake began.
    WakeStarted {
        /// The record so far.
        record: crate::wake::WakeRecord,
    },
    /// A wake ended, however it ended; the guide's four metrics are in the record.
    BackgroundSyncCompleted {
        /// The finished record.
        record: crate::wake::WakeRecord,
    },
}

/// Amounts in msat as strings of digits.
#[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option)] // serde's `with` hands over references.
mod msat_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(msat: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(msat)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }

    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        pub fn serialize<S: Serializer>(msat: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
            match msat {
                Some(msat) => serializer.collect_str(msat),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| text.parse().map_err(D::Error::custom))
                .transpose()
        }
    }
}
