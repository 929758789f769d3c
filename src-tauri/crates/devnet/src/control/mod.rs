//! Controlling a devnet from another process: one HTTP endpoint on loopback that takes a [`Command`] in JSON and gives
//! JSON back. `POST /` with e.g. `{"do":"mine","blocks":6}`; `GET /` is `info`.

mod client;
mod command;
mod server;

pub use client::{Control, ControlError};
pub use command::Command;
pub use server::{Served, serve};
