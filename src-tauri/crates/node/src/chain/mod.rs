//! What the chain says, brought to LDK and BDK.
//!
//! `source` is the contract of every chain source, `watch` knows what LDK wants watched, `esplora`, `electrum` and `filters` are
//! sources, `engine` is what sources over a server that is asked have in common, `gate` stands between a source and the node so
//! that nothing unproven or late gets through, `fees` keeps the estimates, `broadcast` sends transactions. `failover` makes one
//! source of several; `server` names one. `host` and `socks` say where somebody is and how to get there through a proxy.

pub mod broadcast;
pub mod electrum;
pub mod engine;
pub mod esplora;
pub mod failover;
pub mod fees;
pub mod filters;
pub mod gate;
mod host;
pub mod networks;
pub mod server;
mod socks;
pub mod source;
pub mod watch;

pub use broadcast::Broadcaster;
pub use electrum::ElectrumSource;
pub use esplora::EsploraSource;
pub use failover::Failover;
pub use fees::Fees;
pub use filters::FiltersSource;
pub use host::HostPort;
pub use server::Server;
pub use source::{Checkpoint, Depth, Follower, Round, Sent, Source, Terms, Tip};
pub use watch::{Registrar, Watch};
