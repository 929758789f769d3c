//! The map of the network: applied as LDK would, whole after every kill, deaf to nonsense, and good enough to pay with.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod apply;
mod hostile;
mod killed;
mod memory;
mod pay;
mod server;
mod wakes;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// In s.
pub const DAY: u32 = 24 * 60 * 60;

/// Since the Unix epoch.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// So long ago, Unix time in s.
pub fn ago(seconds: u32) -> u32 {
    u32::try_from(now().as_secs()).unwrap() - seconds
}
