//! Pilotlight's node: a self-custodial Lightning wallet that stays safe while it is closed.
//!
//! Start at [`Lifecycle`], the one owner of the node. Nothing here knows of Tauri, iOS or a screen.

pub mod backoff;
mod birthday;
mod capsules;
pub mod chain;
mod clock;
pub mod config;
mod connection;
mod doors;
mod error;
pub mod gossip;
mod lifecycle;
mod lightning;
mod lock;
mod log;
mod meter;
mod models;
mod node;
mod onchain;
mod rows;
mod seed;
pub mod wake;

pub use capsules::{CapsuleRestored, CapsuleSlot};
pub use config::{ChainChoice, Config, HostPort, PeerAddress};
pub use connection::{Connection, ConnectionStatus};
pub use error::{Error, ErrorClass, ErrorCode, ErrorReport, Result};
pub use lifecycle::{Grace, LINGER, LINGER_FOR_PAYMENT, Lifecycle};
pub use models::*;
#[cfg(feature = "oracle")]
pub use node::oracle;
pub use node::{Checkpoint, Depth, Node};
pub use seed::{Found, Seed, SeedFile, SeedStore, WordCount};
pub use wake::safe_until::{SafeUntil, SafeUntilReason};
pub use wake::safety::{Safety, warn_at};
pub use wake::{
    Blocks, Conditions, Degraded, Grant, GrantKind, Level, Network, StageEnd, StageName, StageRecord,
    WakeOutcome, WakeProgress, WakeReason, WakeRecord,
};
