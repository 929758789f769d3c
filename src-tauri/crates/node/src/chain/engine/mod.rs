//! The chain by way of a server that is asked questions: whatever is the same for all kinds of them.
//!
//! `server` says which questions a server must answer, and what it must prove; `proof` proves headers and transactions, `heights` at
//! which height a block is; `recent` is a tip with the blocks under it; `ask` asks many things at a time and sees whether they fit together; `seen`
//! remembers what earlier rounds have settled; `round` tells LDK; `wallet` does the on-chain wallet's part. How a server is
//! spoken to is left to the sources beside this folder.

mod ask;
mod heights;
pub mod proof;
mod recent;
mod round;
mod seen;
mod server;
mod wallet;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bitcoin::BlockHash;
use pilotlight_store::Store;

pub use self::ask::{Answer, Findings, Found, Trouble};
use self::heights::Heights;
pub use self::proof::{garbled, lie, quote};
pub use self::recent::Recent;
use self::round::{Facts, Work};
pub use self::seen::Memory;
pub use self::server::{Chain, HistoryItem, Server};
use self::wallet::Scan;
use super::source::{Depth, Round, Tip};
use crate::error::Result;
use crate::lock::lock;

/// One server, and what it has shown, for the life of the node.
pub struct Engine<S> {
    server: S,
    memory: Arc<Memory>,
    facts: Mutex<Option<Facts>>,
    heights: Heights,
}

impl<S: Server> Engine<S> {
    /// An engine over this server. What the server shows is remembered there; engines over other servers may share the
    /// memory, and must if they tell the same followers: what one makes them forget, none may take for told.
    pub fn new(server: S, memory: Arc<Memory>) -> Self {
        Self {
            server,
            memory,
            facts: Mutex::default(),
            heights: Heights::default(),
        }
    }

    /// The server.
    pub fn server(&self) -> &S {
        &self.server
    }

    /// The best block, its header proved.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn tip(&self) -> Result<Tip> {
        Ok(self.server.recent().await?.tip)
    }

    /// Brings every follower to the tip.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        Ok(self.work(round).sync().await?.tip)
    }

    /// Brings the on-chain wallet to the tip.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        let recent = self.server.recent().await?;
        if self.scan(round, &recent).await? {
            self.memory.no_more_news()?;
        }
        Ok(())
    }

    /// Both at a time.
    ///
    /// # Errors
    /// Typed by cause; that of the followers, if both failed.
    pub async fn sync(&self, round: &Round<'_>) -> Result<Tip> {
        let work = self.work(round);
        let wallet = async {
            let recent = self.server.recent().await?;
            self.scan(round, &recent).await
        };
        // Each to its end: what LDK must hear is not called off because the wallet's part failed.
        let (recent, scanned) = tokio::join!(work.sync(), wallet);
        let recent = recent?;
        if !scanned? && self.news() {
            // LDK heard of something while the wallet asked for the fewest addresses.
            self.scan(round, &recent).await?;
        }
        self.memory.no_more_news()?;
        Ok(recent.tip)
    }

    /// Scans for the on-chain wallet, up to a tip that was known before. Gives whether every address was asked for to which
    /// what LDK hears of may pay.
    async fn scan(&self, round: &Round<'_>, recent: &Recent) -> Result<bool> {
        let known = self.known_under(recent);
        let wallet = &round.wallet;
        let mut scan = Scan {
            server: &self.server,
            heights: &self.heights,
            wallet,
            checkpoint: round.known,
            chain: Chain {
                recent,
                known: &known,
            },
            gone: None,
        };
        if !wallet.scanned() {
            wallet.apply_full_scan(scan.full_scan(wallet.full_scan_request()).await?)?;
            return Ok(true);
        }
        if round.depth == Depth::Deep {
            scan.gone = scan.lowest_gone().await?;
        }
        let news = round.depth == Depth::Deep || self.news();
        for request in wallet.scan_requests(round.depth, news) {
            wallet.apply_scan(scan.sync(request).await?)?;
        }
        Ok(news)
    }

    /// Whether LDK has heard of transactions that the wallet has not looked for yet.
    fn news(&self) -> bool {
        let remembered = self.memory.recall(self.server.endpoint(), Depth::Quick);
        remembered.is_none_or(|remembered| remembered.seen.news)
    }

    /// Blocks that the last round found under the same tip.
    fn known_under(&self, recent: &Recent) -> BTreeMap<BlockHash, u32> {
        let facts = lock(&self.facts);
        let same = facts
            .as_ref()
            .filter(|facts| facts.recent.tip.hash == recent.tip.hash);
        same.map(|facts| facts.blocks.clone()).unwrap_or_default()
    }

    fn work<'a, 'r>(&'a self, round: &'a Round<'r>) -> Work<'a, 'r> {
        Work {
            server: &self.server,
            memory: &self.memory,
            facts: &self.facts,
            heights: &self.heights,
            round,
        }
    }
}

/// Forgets what a server has shown in earlier processes: another kind of source is used now.
///
/// # Errors
/// [`crate::ErrorCode::StorageFailed`].
pub fn forget(store: &Arc<Store>) -> Result<()> {
    Memory::new(Some(Arc::clone(store))).forget()
}
