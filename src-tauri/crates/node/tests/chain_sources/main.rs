//! Every chain source brings a wallet to the same state, whatever happened to the chain: real bitcoind, real channels, and
//! `lightning-transaction-sync` as the oracle.
//!
//! Each contestant has its own copy of the wallet and lives through everything that happens, closing and opening it at
//! each look as a wake does. Nothing is sent but what the test sends for all of them. `contest` knows the sources: one more is
//! one more line there.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

#[path = "../common/mod.rs"]
mod common;

mod behind;
mod cheats;
mod closings;
mod contest;
mod moving;
mod payments;
