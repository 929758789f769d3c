//! The map of the network: fetched as news, kept small, loaded when somebody pays.
//!
//! `server` and `client` bring a snapshot, `spool` keeps it until there is time to `apply` it, `file` keeps the result. `map`
//! is the map, `corridor` the part of it that a payment needs, `ldk` that part as LDK wants it, `search` finds a route there, `scores`
//! is what payments have taught. [`Gossip`] is the one owner of all of them: who fetches, who applies, what is in memory.
//! When a payment needs the map at all is decided in `lightning::router`.
//!
//! A wake never loads the map. It may fetch: that takes one request, and no more memory than the request.

pub mod apply;
pub mod client;
pub mod corridor;
pub mod file;
pub mod format;
pub mod ldk;
pub mod map;
mod owner;
pub mod scores;
pub mod search;
pub mod server;
pub mod spool;

pub use owner::{Applied, Fetched, Gossip, Spooled};
pub use server::Server;
