//! The chain by way of an Esplora server.
//!
//! `http` bounds and counts requests; `api` asks and proves each answer by itself; `look` finds what is watched. What is done
//! with the answers is the engine's.

mod api;
mod http;
mod look;
#[cfg(feature = "oracle")]
pub mod serial;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::{BlockHash, Network, Script, Transaction};
use pilotlight_store::Store;

use self::api::Api;
use self::look::Look;
use super::engine::{Answer, Chain, Engine, Findings, HistoryItem, Memory, Recent, Server};
use super::fees::Estimates;
use super::source::{Round, Sent, Source, Tip};
use super::watch::{WatchedCoin, WatchedTransaction};
use crate::config::PARALLEL_REQUESTS;
use crate::error::Result;
use crate::onchain::OnchainWallet;

/// One Esplora server, for the life of the node.
pub struct EsploraSource {
    engine: Engine<Api>,
}

impl EsploraSource {
    /// A server that is not connected yet. What it shows is remembered in the store, if there is one.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Misconfigured`] if no client can be made of the URL.
    pub fn new(url: &str, network: Network, store: Option<Arc<Store>>) -> Result<Self> {
        Self::sharing(url, network, Arc::new(Memory::new(store)))
    }

    /// One of several servers, with the memory that they share.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn sharing(url: &str, network: Network, memory: Arc<Memory>) -> Result<Self> {
        let engine = Engine::new(Api::new(url, network)?, memory);
        Ok(Self { engine })
    }

    fn api(&self) -> &Api {
        self.engine.server()
    }
}

#[async_trait]
impl Server for Api {
    fn endpoint(&self) -> &str {
        self.http().base()
    }

    fn parallel(&self) -> usize {
        PARALLEL_REQUESTS
    }

    async fn tip_hash(&self) -> Result<BlockHash> {
        Api::tip_hash(self).await
    }

    async fn recent(&self) -> Result<Recent> {
        Api::recent(self).await
    }

    async fn extended(&self, recent: &Recent, height: u32) -> Result<Recent> {
        Api::extended(self, recent, height).await
    }

    async fn height_of(&self, block: &BlockHash, _: u32) -> Result<Option<u32>> {
        let status = self.block_status(block).await?;
        Ok(status.height.filter(|_| status.in_best_chain))
    }

    async fn block_at(&self, height: u32) -> Result<Option<BlockHash>> {
        Api::block_at(self, height).await
    }

    async fn look(
        &self,
        chain: Chain<'_>,
        transactions: &[WatchedTransaction],
        outputs: &[WatchedCoin],
    ) -> Answer<Findings> {
        let look = Look { api: self, chain };
        look.at(transactions, outputs).await
    }

    async fn first_transaction(&self, block: &BlockHash, _: u32) -> Result<Option<Transaction>> {
        Api::first_transaction(self, block).await.map(Some)
    }

    async fn history(
        &self,
        _: Chain<'_>,
        script: &Script,
        wallet: &OnchainWallet,
    ) -> Result<Vec<HistoryItem>> {
        Api::history(self, script, wallet).await
    }
}

#[async_trait]
impl Source for EsploraSource {
    fn endpoint(&self) -> &str {
        self.api().http().base()
    }

    async fn tip(&self) -> Result<Tip> {
        self.engine.tip().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<BlockHash>> {
        self.api().block_at(height).await
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        self.engine.sync_lightning(round).await
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        self.engine.sync_onchain(round).await
    }

    async fn sync(&self, round: &Round<'_>) -> Result<Tip> {
        self.engine.sync(round).await
    }

    async fn fees(&self) -> Result<Option<Estimates>> {
        self.api().fees().await.map(Some)
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        self.api().send(transaction).await
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        match self.api().send_package(transactions).await? {
            Some(sent) => Ok(sent),
            // An older server.
            None => self.send_one_by_one(transactions).await,
        }
    }

    fn requests(&self) -> u64 {
        self.api().http().requests()
    }
}
