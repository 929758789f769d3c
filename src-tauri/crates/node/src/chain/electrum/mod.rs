//! The chain by way of an Electrum server, on one connection with many questions under way.
//!
//! `address` says where a server is and `dial` connects; `line` carries questions and answers, `client` bounds, counts and types
//! them; `api` asks and proves each answer by itself, `proof` is about merkle trees, `look` finds what is watched, `known` is
//! what was proved before. What is done with the answers is the engine's.

mod address;
mod api;
mod client;
mod dial;
#[cfg(test)]
mod fuzz;
mod known;
mod line;
mod look;
mod proof;
#[cfg(feature = "oracle")]
pub mod serial;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{BlockHash, FeeRate, Network, Script, Transaction};
use pilotlight_store::Store;

use self::address::Address;
use self::api::{Api, MOST_HEADERS};
use self::client::{Client, PIPELINE};
use self::known::Known;
use self::look::Look;
use super::engine::{Answer, Chain, Engine, Findings, HistoryItem, Memory, Recent, Server, lie};
use super::fees::Estimates;
use super::source::{Round, Sent, Source, Tip};
use super::watch::{WatchedCoin, WatchedTransaction};
use crate::error::Result;
use crate::lock::lock;
use crate::onchain::OnchainWallet;

/// Blocks under the tip that are known without a further question: as many as Esplora shows.
const RECENT: u32 = 10;

/// How often the tip and the headers up to it are asked for if they do not fit together: a block was found in between.
const TRIES: usize = 3;

/// One Electrum server, for the life of the node.
pub struct ElectrumSource {
    engine: Engine<Electrum>,
    /// The lowest rate that is passed on, in sat per 1000 weight units; 0 if not known.
    floor: AtomicU64,
}

impl ElectrumSource {
    /// A server that is not connected yet, reached through a SOCKS5 proxy if one is given. What it shows is remembered in the
    /// store, if there is one.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Misconfigured`] if the URL is none that may be used; see [`validate`].
    pub fn new(
        url: &str,
        proxy: Option<SocketAddr>,
        network: Network,
        store: Option<Arc<Store>>,
    ) -> Result<Self> {
        Self::sharing(url, proxy, network, Arc::new(Memory::new(store)))
    }

    /// One of several servers, with the memory that they share.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn sharing(
        url: &str,
        proxy: Option<SocketAddr>,
        network: Network,
        memory: Arc<Memory>,
    ) -> Result<Self> {
        let client = Client::new(url, Address::new(url, proxy)?);
        let server = Electrum {
            api: Api::new(client, network),
            known: Known::default(),
            turn: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        };
        Ok(Self {
            engine: Engine::new(server, memory),
            floor: AtomicU64::new(0),
        })
    }

    fn api(&self) -> &Api {
        &self.engine.server().api
    }
}

/// Whether this is the URL of a server that may be used: `ssl://HOST:PORT`; `tcp://HOST:PORT` on this machine, or for an onion
/// service through a proxy.
///
/// # Errors
/// [`crate::ErrorCode::Misconfigured`].
pub fn validate(url: &str, proxy: Option<SocketAddr>) -> Result<()> {
    Address::new(url, proxy).map(|_| ())
}

struct Electrum {
    api: Api,
    known: Known,
    /// One asks for the tip at a time: LDK's part of a round and the wallet's begin at the same moment.
    turn: tokio::sync::Mutex<()>,
    /// The last tip, and how many were learned before it.
    last: Mutex<(u64, Option<Recent>)>,
}

impl Electrum {
    /// The tip and the blocks under it, down to those about this height if they are not too many.
    async fn recent_from(&self, height: Option<u32>) -> Result<Recent> {
        let before = lock(&self.last).0;
        let _turn = self.turn.lock().await;
        let (learned, last) = lock(&self.last).clone();
        if learned > before
            && let Some(last) = &last
            && height.is_none_or(|height| last.at(height).is_some())
        {
            // Somebody else has just asked the same.
            return Ok(last.clone());
        }
        let mut guess = height.or(last.map(|last| last.tip.height));
        for _ in 0..TRIES {
            let (top, early) = match guess.take() {
                // The headers are asked for before the tip is known, to save a round trip.
                Some(height) => {
                    let start = lowest_of(height);
                    let headers = self.api.headers(start, MOST_HEADERS);
                    let (top, headers) = tokio::try_join!(self.api.top(), headers)?;
                    (top, Some((start, headers)))
                }
                None => (self.api.top().await?, None),
            };
            let early = early.map(|(start, headers)| up_to(&top, start, &headers));
            let mut recent = early.transpose()?.flatten();
            if recent.is_none() {
                let start = lowest_of(top.height);
                let headers = self.api.headers(start, RECENT).await?;
                recent = up_to(&top, start, &headers)?;
            }
            if let Some(recent) = recent {
                *lock(&self.last) = (learned + 1, Some(recent.clone()));
                return Ok(recent);
            }
        }
        Err(lie("its tip is not the last of its headers"))
    }
}

/// Where the few blocks under a tip begin.
fn lowest_of(tip: u32) -> u32 {
    tip.saturating_sub(RECENT - 1)
}

/// The chain of a tip out of headers from a height on; `None` if the tip is not where it must be among them.
fn up_to(top: &Tip, start: u32, headers: &[Header]) -> Result<Option<Recent>> {
    let above = top.height.checked_sub(start);
    let above = above.and_then(|above| usize::try_from(above).ok());
    let Some(chain) = above.and_then(|above| headers.get(..=above)) else {
        return Ok(None);
    };
    if chain.last() != Some(&top.header) {
        return Ok(None);
    }
    let descending: Vec<Header> = chain.iter().rev().copied().collect();
    Recent::new(top.height, &descending).map(Some)
}

#[async_trait]
impl Server for Electrum {
    fn endpoint(&self) -> &str {
        self.api.client().url()
    }

    fn parallel(&self) -> usize {
        PIPELINE
    }

    async fn tip_hash(&self) -> Result<BlockHash> {
        Ok(self.api.top().await?.hash)
    }

    async fn recent(&self) -> Result<Recent> {
        self.recent_from(None).await
    }

    async fn extended(&self, recent: &Recent, height: u32) -> Result<Recent> {
        let mut recent = recent.clone();
        while recent.at(height).is_none() {
            let next = recent.below()?;
            let start = height.max(next.saturating_sub(MOST_HEADERS - 1));
            let count = next.saturating_sub(start) + 1;
            let mut headers = self.api.headers(start, count).await?;
            if u32::try_from(headers.len()) != Ok(count) {
                return Err(lie(&format!(
                    "it does not show its blocks from height {start} on"
                )));
            }
            headers.reverse();
            recent.extend(&headers)?;
        }
        Ok(recent)
    }

    async fn height_of(&self, block: &BlockHash, height: u32) -> Result<Option<u32>> {
        let there = self.block_at(height).await?;
        Ok((there.as_ref() == Some(block)).then_some(height))
    }

    async fn recent_and_height_of(&self, block: &BlockHash, height: u32) -> Result<(Recent, Option<u32>)> {
        let recent = self.recent_from(Some(height)).await?;
        let height = match recent.at(height) {
            Some(there) => (there == *block).then_some(height),
            None => self.height_of(block, height).await?,
        };
        Ok((recent, height))
    }

    async fn block_at(&self, height: u32) -> Result<Option<BlockHash>> {
        let header = self.api.header(height).await?;
        Ok(header.map(|header| header.block_hash()))
    }

    async fn first_transaction(&self, block: &BlockHash, height: u32) -> Result<Option<Transaction>> {
        let known = lock(&self.last)
            .1
            .as_ref()
            .and_then(|last| last.header_at(height));
        let header = async {
            match known.filter(|header| header.block_hash() == *block) {
                Some(header) => Ok(Some(header)),
                None => self.api.header(height).await,
            }
        };
        let (header, first) = tokio::try_join!(header, self.api.first(height))?;
        let (txid, beside) = first;
        let header = header.filter(|header| header.block_hash() == *block);
        let transaction = self.api.transaction(&txid).await?;
        let (Some(header), Some(transaction)) = (header, transaction) else {
            return Err(lie(&format!(
                "it does not show the first transaction of block {block}"
            )));
        };
        if proof::root(&txid, 0, &beside) != Some(header.merkle_root) {
            return Err(lie(&format!(
                "transaction {txid} is not the first of block {block}"
            )));
        }
        Ok(Some(transaction))
    }

    async fn look(
        &self,
        chain: Chain<'_>,
        transactions: &[WatchedTransaction],
        outputs: &[WatchedCoin],
    ) -> Answer<Findings> {
        let (api, known) = (&self.api, &self.known);
        Look { api, known, chain }.at(transactions, outputs).await
    }

    async fn history(
        &self,
        chain: Chain<'_>,
        script: &Script,
        wallet: &OnchainWallet,
    ) -> Result<Vec<HistoryItem>> {
        let (api, known) = (&self.api, &self.known);
        Look { api, known, chain }.history(script, wallet).await
    }
}

#[async_trait]
impl Source for ElectrumSource {
    fn endpoint(&self) -> &str {
        self.engine.server().endpoint()
    }

    async fn tip(&self) -> Result<Tip> {
        // The header is proved, and what it stands on is asked for when there is something new in it.
        self.api().top().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<BlockHash>> {
        Server::block_at(self.engine.server(), height).await
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
        let (estimates, floor) = tokio::try_join!(self.api().fees(), self.api().floor())?;
        if let Some(floor) = floor {
            self.floor.store(floor.to_sat_per_kwu(), Ordering::Relaxed);
        }
        Ok(Some(estimates))
    }

    fn floor(&self) -> Option<FeeRate> {
        let floor = self.floor.load(Ordering::Relaxed);
        (floor > 0).then(|| FeeRate::from_sat_per_kwu(floor))
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
        self.api().client().requests()
    }
}
