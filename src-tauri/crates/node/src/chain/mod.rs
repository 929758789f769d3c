//! What the chain says, brought to LDK and BDK.
//!
//! `esplora` is the source, `gate` stands between it and the node so that nothing unproven or late gets through,
//! `fees` keeps the estimates, `broadcast` sends transactions.

pub mod broadcast;
pub mod esplora;
pub mod fees;
mod gate;

pub use broadcast::Broadcaster;
pub use esplora::EsploraSource;
pub use fees::Fees;
