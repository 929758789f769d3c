//! A real regtest on this machine: `bitcoind`, an Esplora face in front of it, an LSP and two more Lightning peers.
//!
//! For tests, development and measurements; never part of the shipped app. Everything listens on 127.0.0.1, on ports
//! that were free, and dies with the [`Devnet`] (or with the process, however it ends).
//!
//! ```no_run
//! # async fn example() -> Result<(), pilotlight_devnet::Error> {
//! use pilotlight_devnet::{Devnet, Options};
//!
//! let devnet = Devnet::start(Options { peers: 1, ..Options::default() }).await?;
//! let lsp = devnet.lsp()?;
//! println!("{} {}", devnet.esplora_url(), lsp.info().uri());
//! devnet.mine(6).await?;
//! # Ok(())
//! # }
//! ```

mod bitcoind;
mod child;
mod control;
mod devnet;
mod electrs;
mod error;
mod esplora;
mod faucet;
mod folder;
pub mod gossip;
mod info;
mod line;
mod memory;
mod mining;
mod peer;
mod rpc;
mod start;

pub use bitcoind::{Found, Origin, ensure as ensure_bitcoind};
pub use control::{Command, Control, ControlError, Served, serve as serve_control};
pub use devnet::{Devnet, PEER_NAMES, Seen};
pub use electrs::Electrs;
pub use error::Error;
pub use esplora::{EndpointTraffic, Fault, FaultKind, FaultState, Faults, Traffic};
pub use folder::copy_folder;
pub use info::{BitcoindInfo, Info, Options};
pub use line::{Carried, Line};
pub use memory::peak_memory;
pub use mining::Reorg;
pub use peer::{Balances, Channel, OldState, Payment, PaymentState, Peer, PeerInfo};
pub use rpc::{Rpc, RpcAccess};

/// Tells whoever watches the terminal what takes so long. Written past the test harness's capture on purpose: a build
/// of several minutes must not look like a hang.
pub(crate) fn progress(words: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "devnet: {words}");
}
