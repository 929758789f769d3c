//! An Esplora-compatible HTTP face of the chain, with counters and faults for tests.

mod answers;
pub(crate) mod chain;
mod fault;
pub(crate) mod fees;
pub(crate) mod follow;
mod json;
mod listener;
mod traffic;

pub(crate) use answers::Face;
pub use fault::{Fault, FaultKind, FaultState, Faults};
pub(crate) use listener::Listener;
pub use traffic::{EndpointTraffic, Traffic};
