//! The chain by way of an Esplora server.
//!
//! `http` bounds and counts requests; `api` asks and proves each answer by itself; `ask` asks many things at a time and
//! sees whether they fit together; `seen` remembers what earlier rounds have settled; `round` tells LDK; `wallet` does
//! the on-chain wallet's part.

mod api;
mod ask;
mod http;
mod round;
mod seen;
#[cfg(feature = "oracle")]
pub mod serial;
mod wallet;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bitcoin::{BlockHash, Network, Transaction};
use pilotlight_store::Store;

use self::api::{Api, Recent};
use self::round::{Facts, Work};
use self::seen::Memory;
use self::wallet::Scan;
use super::fees::Estimates;
use super::source::{Depth, Round, Sent, Source, Tip};
use crate::error::Result;
use crate::lock::lock;

/// One Esplora server, for the life of the node.
pub struct EsploraSource {
    api: Api,
    memory: Memory,
    facts: Mutex<Option<Facts>>,
}

impl EsploraSource {
    /// A server that is not connected yet. What it shows is remembered in the store, if there is one.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Misconfigured`] if no client can be made of the URL.
    pub fn new(url: &str, network: Network, store: Option<Arc<Store>>) -> Result<Self> {
        Ok(Self {
            api: Api::new(url, network)?,
            memory: Memory::new(store),
            facts: Mutex::default(),
        })
    }

    /// Scans for the on-chain wallet, up to a tip that was known before. Gives whether every address was asked for to which
    /// what LDK hears of may pay.
    async fn scan(&self, round: &Round<'_>, recent: &Recent) -> Result<bool> {
        let known = self.known_under(recent);
        let scan = Scan {
            api: &self.api,
            recent,
            known: &known,
        };
        let wallet = &round.wallet;
        if !wallet.scanned() {
            wallet.apply_full_scan(scan.full_scan(wallet.full_scan_request()).await?)?;
            return Ok(true);
        }
        let news = round.depth == Depth::Deep || self.news();
        for request in wallet.scan_requests(round.depth, news) {
            wallet.apply_scan(scan.sync(request).await?)?;
        }
        Ok(news)
    }

    /// Whether LDK has heard of transactions that the wallet has not looked for yet.
    fn news(&self) -> bool {
        let remembered = self.memory.recall(self.endpoint(), Depth::Quick);
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
            api: &self.api,
            memory: &self.memory,
            facts: &self.facts,
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

#[async_trait]
impl Source for EsploraSource {
    fn endpoint(&self) -> &str {
        self.api.http().base()
    }

    async fn tip(&self) -> Result<Tip> {
        Ok(self.api.recent().await?.tip)
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        Ok(self.work(round).sync().await?.tip)
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        let recent = self.api.recent().await?;
        if self.scan(round, &recent).await? {
            self.memory.no_more_news()?;
        }
        Ok(())
    }

    async fn sync(&self, round: &Round<'_>) -> Result<Tip> {
        let work = self.work(round);
        let wallet = async {
            let recent = self.api.recent().await?;
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

    async fn fees(&self) -> Result<Option<Estimates>> {
        self.api.fees().await.map(Some)
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        self.api.send(transaction).await
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        if let Some(sent) = self.api.send_package(transactions).await? {
            return Ok(sent);
        }
        // An older server. One by one is what there is; a parent that pays too little by itself is refused.
        let mut outcome = Sent::Accepted;
        for transaction in transactions {
            if let refused @ Sent::Refused(_) = self.api.send(transaction).await? {
                outcome = refused;
            }
        }
        Ok(outcome)
    }

    fn requests(&self) -> u64 {
        self.api.http().requests()
    }
}
