//! Bitcoin Core's daemon: finding or building it, and running one on a chain of its own.

mod build;
mod find;
mod process;

pub use find::{Found, Origin, ensure};
pub(crate) use process::Bitcoind;
