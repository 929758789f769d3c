//! A Rapid Gossip Sync server: the devnet's own public channels, or a made-up network of any size, as snapshots.
//!
//! `network` is what is told of, `encode` how, `synthetic` makes large networks up from a seed, `server` serves them and
//! fails on demand. The format is that of `lightning-rapid-gossip-sync`, whose decoder the encoder is tested against.

mod encode;
mod network;
mod server;
mod synthetic;

pub use encode::{delta, full};
pub use network::{Channel, Network, Policy};
pub use server::{GossipFault, GossipServer};
pub use synthetic::{Size, day_later, synthetic};
