//! LDK put together: keys, monitors, channels, peers, sweeper.
//!
//! `assemble` reads it all from the store in the one order that is safe, `commit` writes it back as one, `keys` binds LDK's keys to the on-chain wallet,
//! `router` and `message_router` find ways,
//! `events` acts on what LDK tells, `breach` notices partners that cheat, `payments` and `peers` keep our own rows. What the person can ask for is in `node`.

mod assemble;
mod breach;
mod commit;
mod events;
mod keys;
mod message_router;
mod payments;
mod peers;
mod router;
mod types;

pub use assemble::{Lightning, Parts, Watching};
pub use breach::{Breaches, is_penalty};
pub use events::EventHandler;
pub use keys::Keys;
pub use payments::Payments;
pub use peers::Peers;
pub use types::*;
