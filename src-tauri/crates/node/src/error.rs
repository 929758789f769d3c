//! Every way in which the node can fail, in two views: a code for programs, plain words for people.
//!
//! Owns the classification (which retry rule an error gets). Does not own retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A stable code for programs; one per variant of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum ErrorCode {
    /// DNS, TCP or TLS: the server was not reached.
    NetworkUnavailable,
    /// A server answered too slowly, or our own cap ended the work.
    SyncTimeout,
    /// Not started, because the time left was not worth it.
    InsufficientTime,
    /// Not started, because the phone is short of memory.
    LowMemory,
    /// The chain source contradicts itself, or a proof fails.
    ChainSyncFailed,
    /// The server asked us to slow down.
    RateLimited,
    /// The work was called off.
    Cancelled,
    /// The chain was not synced in this run of the process yet.
    NotSynced,
    /// There is no wallet here yet.
    NoWallet,
    /// There is a wallet here already.
    WalletExists,
    /// The device is locked.
    Locked,
    /// Another process has this wallet open.
    InUse,
    /// The recovery words are not valid.
    InvalidMnemonic,
    /// What was typed, pasted or scanned cannot be understood.
    InvalidInput,
    /// For another Bitcoin network than this wallet's.
    WrongNetwork,
    /// The invoice has expired.
    InvoiceExpired,
    /// This invoice was paid before, or is being paid now.
    AlreadyPaid,
    /// Not enough money, fees and reserves included.
    InsufficientFunds,
    /// No way to the payee was found.
    RouteNotFound,
    /// The payment failed on its way.
    PaymentFailed,
    /// The map of the network is needed and is not there.
    GraphNotReady,
    /// What a gossip server sent is no good.
    GossipFailed,
    /// The peer could not be reached.
    PeerUnreachable,
    /// There is no such channel.
    ChannelNotFound,
    /// The channel could not be opened or closed.
    ChannelFailed,
    /// The disk failed or is full.
    StorageFailed,
    /// What is on disk is damaged.
    StorageCorrupt,
    /// The app is set up wrongly.
    Misconfigured,
    /// A wallet with real money must be watched, so no other takes its place.
    RealMoneyStays,
    /// The recovery words of real money cannot be kept safely on this kind of device.
    RealMoneyElsewhere,
    /// A fault of ours.
    Internal,
}

/// Which retry rule an error gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum ErrorClass {
    /// Try again later.
    Transient,
    /// Try again when the server allows.
    RateLimited,
    /// A person must change something first.
    Config,
    /// Data is damaged: recovery, not repetition.
    Corrupt,
    /// Called off; nothing is wrong.
    Cancelled,
}

/// An error of the node.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.message())]
pub struct Error {
    code: ErrorCode,
    detail: String,
    retry_after: Option<Duration>,
}

/// The result of everything the node does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with the technical detail that a developer will want; people get [`Error::message`].
    pub fn new(code: ErrorCode, detail: impl std::fmt::Display) -> Self {
        Self {
            code,
            detail: detail.to_string(),
            retry_after: None,
        }
    }

    /// The same, with the wait that the server asked for, if it asked for one.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The wait that the server asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What a developer will want to know. May quote a server or peer: never show it as our own words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The retry rule.
    pub fn class(&self) -> ErrorClass {
        self.code.class()
    }

    /// What happened, in plain words, with the next step where there is one.
    pub fn message(&self) -> &'static str {
        self.code.message()
    }

    /// The error as data, for records and the UI.
    pub fn report(&self) -> ErrorReport {
        ErrorReport {
            code: self.code,
            class: self.class(),
            message: self.message().to_owned(),
            detail: self.detail.clone(),
        }
    }
}

/// An [`Error`] as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct ErrorReport {
    /// The stable code.
    pub code: ErrorCode,
    /// The retry rule.
    pub class: ErrorClass,
    /// Plain words.
    pub message: String,
    /// For developers.
    pub detail: String,
}

impl ErrorCode {
    /// The retry rule of this code.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::NetworkUnavailable
            | Self::SyncTimeout
            | Self::InsufficientTime
            | Self::LowMemory
            | Self::ChainSyncFailed
            | Self::NotSynced
            | Self::Locked
            | Self::InUse
            | Self::RouteNotFound
            | Self::PaymentFailed
            | Self::GraphNotReady
            | Self::GossipFailed
            | Self::PeerUnreachable
            | Self::ChannelFailed
            | Self::StorageFailed
            | Self::Internal => ErrorClass::Transient,
            Self::RateLimited => ErrorClass::RateLimited,
            Self::NoWallet
            | Self::WalletExists
            | Self::InvalidMnemonic
            | Self::InvalidInput
            | Self::WrongNetwork
            | Self::InvoiceExpired
            | Self::AlreadyPaid
            | Self::InsufficientFunds
            | Self::ChannelNotFound
            | Self::Misconfigured
            | Self::RealMoneyStays
            | Self::RealMoneyElsewhere => ErrorClass::Config,
            Self::StorageCorrupt => ErrorClass::Corrupt,
            Self::Cancelled => ErrorClass::Cancelled,
        }
    }

    /// Plain words for a person.
    pub fn message(self) -> &'static str {
        match self {
            Self::NetworkUnavailable => {
                "The network could not be reached. Check your connection and try again."
            }
            Self::SyncTimeout => {
                "Syncing took too long. What was done is kept; the next try goes on from there."
            }
            Self::InsufficientTime => "There was not enough time left to start this. It will run next time.",
            Self::LowMemory => "The phone was short of memory, so this was left for the next time.",
            Self::ChainSyncFailed => {
                "The chain server gave answers that do not fit together. Nothing was changed because of them."
            }
            Self::RateLimited => "The chain server asked us to slow down. We will try again later.",
            Self::Cancelled => "This was called off. Nothing was lost.",
            Self::NotSynced => {
                "The wallet has not seen the chain yet since it started. Try again in a moment."
            }
            Self::NoWallet => "There is no wallet on this device yet.",
            Self::WalletExists => "There is already a wallet on this device.",
            Self::Locked => "The device is locked. Unlock it and try again.",
            Self::InUse => "The wallet is open in another process. Close that one first.",
            Self::InvalidMnemonic => "These recovery words are not right. Check the spelling and the order.",
            Self::InvalidInput => "This could not be understood. Check it and try again.",
            Self::WrongNetwork => "This is for another Bitcoin network than this wallet.",
            Self::InvoiceExpired => "This invoice has expired. Ask for a new one.",
            Self::AlreadyPaid => "This invoice was already paid, or is being paid now.",
            Self::InsufficientFunds => "There is not enough money for this, fees and reserves included.",
            Self::RouteNotFound => "No way to the payee was found. Try a smaller amount, or later.",
            Self::PaymentFailed => "The payment did not go through. Nothing was paid.",
            Self::GraphNotReady => {
                "The map of the Lightning network is not here yet. Check your connection and try again. Nothing was paid."
            }
            Self::GossipFailed => {
                "The map server sent something that is no map. The map we had is kept; we will try again later."
            }
            Self::PeerUnreachable => "The peer could not be reached. Try again later.",
            Self::ChannelNotFound => "There is no such channel.",
            Self::ChannelFailed => "The channel could not be changed. Try again later.",
            Self::StorageFailed => "The disk refused to write. Free some space and try again.",
            Self::StorageCorrupt => "The wallet's files are damaged. Do not delete the app; start recovery.",
            Self::Misconfigured => "The app is not set up correctly.",
            Self::RealMoneyStays => {
                "There is a wallet with real bitcoin here. It must be watched, so it stays the one in use."
            }
            Self::RealMoneyElsewhere => {
                "Real bitcoin is for the iPhone app: a computer could not keep your recovery words safe enough."
            }
            Self::Internal => "Something went wrong inside the app. Nothing was lost; try again.",
        }
    }
}
