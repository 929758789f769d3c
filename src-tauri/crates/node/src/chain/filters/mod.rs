//! The chain by way of compact block filters (BIP157, BIP158): nobody learns which transactions are ours.
//!
//! `jury` asks the peers by name what the chain and the filters are (`wire` is one connection, `headers` the rules that
//! headers keep), `line` brings filters in bulk through the crate `bip157`, `gcs` looks into them, `read` tells LDK and
//! the wallet what is in the blocks that concern them, `court` finds out who lied, `round` and `pass` are the order of all that.
//! `birth` says where a new wallet begins. `trail` and `book` are what is kept on disk: how far the blocks were read, and which peers are good.

mod birth;
mod book;
mod court;
mod gcs;
mod headers;
mod jury;
mod line;
mod pass;
mod read;
mod round;
mod seeds;
#[cfg(test)]
mod tests;
mod trail;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bitcoin::{BlockHash, FeeRate, Network, Transaction};
use futures::future::join_all;
use pilotlight_store::Store;

use super::fees::Estimates;
use super::{HostPort, Round, Sent, Source, Tip};
use crate::birthday::Birthday;
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use book::Book;
use jury::{Failure, Juror};
use trail::Trail;
use wire::Wire;

/// How many peers must agree unless the person says otherwise: with one, a single peer could hide a cheat.
pub const REQUIRED: usize = 2;

/// Most peers asked. More cost a connection each and prove nothing new.
pub const REQUIRED_LIMIT: usize = 8;

/// Transactions kept at hand for peers that ask for the parent of one that they were given.
const RECENT: usize = 50;

/// Reports kept until somebody takes them.
const REPORTS: usize = 50;

/// What the source needs to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which network.
    pub network: Network,
    /// The only peers to use. If there are none, peers are found through DNS and remembered.
    pub peers: Vec<HostPort>,
    /// How many must agree; at least one.
    pub required: usize,
    /// A SOCKS5 proxy for every connection.
    pub proxy: Option<SocketAddr>,
    /// When the wallet was made, if that is known.
    pub birthday: Option<Birthday>,
}

/// A block: its height and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The height.
    pub height: u32,
    /// The hash.
    pub hash: BlockHash,
}

/// How peers are reached.
#[derive(Debug, Clone, Copy)]
struct Dial {
    network: Network,
    proxy: Option<SocketAddr>,
}

/// Compact block filters as a chain source.
pub struct FiltersSource {
    settings: Settings,
    endpoint: String,
    store: Arc<Store>,
    book: Mutex<Book>,
    /// Connections that nobody uses now.
    idle: Mutex<Vec<Wire>>,
    /// Where the last whole round of this process ended.
    synced: Mutex<Option<Tip>>,
    recent: Mutex<VecDeque<Transaction>>,
    /// Peers that this round found far behind the others.
    behind: Mutex<Vec<HostPort>>,
    reports: Mutex<Vec<String>>,
    requests: AtomicU64,
    looked_into: AtomicU64,
    floor: Mutex<Option<FeeRate>>,
}

impl FiltersSource {
    /// A source that has not connected yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if fewer peers are named than must agree, or if none are and a proxy forbids to ask
    /// DNS for them; [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub fn new(settings: Settings, store: Arc<Store>) -> Result<Self> {
        let misconfigured =
            |what: String| Err(Error::new(ErrorCode::Misconfigured, format!("filters: {what}")));
        let Settings {
            peers,
            required,
            proxy,
            ..
        } = &settings;
        if !(1..=REQUIRED_LIMIT).contains(required) {
            return misconfigured(format!(
                "{required} peers cannot be made to agree; 1 to {REQUIRED_LIMIT} can"
            ));
        }
        if !peers.is_empty() && peers.len() < *required {
            return misconfigured(format!(
                "{required} peers must agree, and {} are named",
                peers.len()
            ));
        }
        if peers.is_empty() && proxy.is_some() {
            return misconfigured("behind a proxy, peers must be named: DNS would tell who asks".into());
        }
        let book = Book::load(&store)?;
        Ok(Self {
            settings,
            endpoint: "compact block filters".into(),
            store,
            book: Mutex::new(book),
            idle: Mutex::default(),
            synced: Mutex::default(),
            recent: Mutex::default(),
            behind: Mutex::default(),
            reports: Mutex::default(),
            requests: AtomicU64::new(0),
            looked_into: AtomicU64::new(0),
            floor: Mutex::default(),
        })
    }

    fn dial(&self) -> Dial {
        Dial {
            network: self.settings.network,
            proxy: self.settings.proxy,
        }
    }

    /// Something that a person or the wake record should know of.
    fn report(&self, what: String) {
        tracing::warn!(what, "filters");
        let mut reports = lock(&self.reports);
        if reports.len() < REPORTS {
            reports.push(what);
        }
    }

    /// Writes down what went wrong with whom. Only a peer that contradicts itself or the rules is banned.
    fn note(&self, failures: &[Failure]) {
        for (peer, error) in failures {
            if error.code() == ErrorCode::ChainSyncFailed {
                self.banned(peer, error.detail());
            } else {
                tracing::info!(detail = error.detail(), "filters");
                lock(&self.book).failed(peer);
            }
        }
    }

    /// Bans a peer and says why.
    fn banned(&self, peer: &HostPort, why: &str) {
        lock(&self.book).lied(peer, why, clock::now_ms());
        self.report(format!(
            "{peer} was caught in a lie and is not asked again for a day: {why}"
        ));
    }

    /// The book on disk. That it could not be written is no reason to give up what was achieved.
    fn save_book(&self) {
        let book = lock(&self.book).clone();
        if let Err(error) = book.save(&self.store) {
            tracing::warn!(
                detail = error.detail(),
                "the book of filter peers was not written"
            );
        }
    }

    /// Connections for a round, as many as must agree, each asked for its chain above `known`.
    async fn jury(&self, known: &[Place], trail: &Trail) -> Result<Vec<Juror>> {
        let network = self.settings.network;
        let idle = std::mem::take(&mut *lock(&self.idle));
        // A connection that was idle may be long gone, which says nothing of its peer.
        let (mut jurors, _) = jury::hear(idle, known, trail, network).await;
        let behind = lock(&self.behind).clone().into_iter();
        let mut failures: Vec<Failure> = behind
            .map(|peer| {
                let error = wire::fault(
                    &peer,
                    ErrorCode::NetworkUnavailable,
                    "it has not the newest blocks",
                );
                (peer, error)
            })
            .collect();
        let known_behind = failures.len();
        let mut asked_dns = false;
        while jurors.len() < self.settings.required {
            let mut candidates = lock(&self.book).candidates(&self.settings.peers, clock::now_ms());
            candidates.retain(|peer| {
                let seated = jurors.iter().any(|juror| juror.wire.peer() == peer);
                !seated && failures.iter().all(|(failed, _)| failed != peer)
            });
            if candidates.is_empty() && self.settings.peers.is_empty() && !asked_dns {
                asked_dns = true;
                let met = seeds::ask(network).await;
                lock(&self.book).meet(met);
                continue;
            }
            if candidates.is_empty() {
                break;
            }
            let missing = self.settings.required - jurors.len();
            let (wires, unreachable) = jury::seat(Vec::new(), &candidates, missing, &self.dial()).await;
            let (more, unheard) = jury::hear(wires, known, trail, network).await;
            jurors.extend(more);
            failures.extend(unreachable);
            failures.extend(unheard);
        }
        self.note(&failures[known_behind..]);
        if jurors.len() < self.settings.required {
            self.save_book();
            return Err(self.too_few(jurors.len(), &failures));
        }
        Ok(jurors)
    }

    /// Why there are not enough peers: the reason of those that failed, or of those that are not asked any more.
    fn too_few(&self, have: usize, failures: &[Failure]) -> Error {
        let required = self.settings.required;
        let now = clock::now_ms();
        let banned = self.settings.peers.iter().find_map(|peer| {
            let ban = lock(&self.book).ban(peer, now)?.why.clone();
            Some(format!("{peer} is not asked any more: {ban}"))
        });
        let (code, why) = match (failures.last(), banned) {
            (_, Some(banned)) => (ErrorCode::ChainSyncFailed, banned),
            (Some((_, error)), None) => (error.code(), error.detail().to_owned()),
            (None, None) => (ErrorCode::NetworkUnavailable, "no peers are known".to_owned()),
        };
        Error::new(code, format!("filters: {have} of {required} peers; {why}"))
    }

    /// Puts connections back for the next round.
    fn dismiss(&self, jurors: Vec<Juror>) {
        let mut idle = lock(&self.idle);
        idle.clear();
        for mut juror in jurors {
            self.count(&mut juror.wire);
            if juror.wire.usable() && lock(&self.book).ban(juror.wire.peer(), clock::now_ms()).is_none() {
                idle.push(juror.wire);
            }
        }
        // Of the one that asks for least: one taker is enough, and no single peer can make us pay more.
        *lock(&self.floor) = idle.iter().filter_map(Wire::floor).min();
    }

    fn count(&self, wire: &mut Wire) {
        self.requests
            .fetch_add(wire.take_traffic().requests, Ordering::Relaxed);
    }

    /// Hands transactions to every peer at once. Some peer having them is enough: they spread.
    async fn hand_over(&self, transactions: &[Transaction]) -> Result<()> {
        let idle = std::mem::take(&mut *lock(&self.idle));
        let mut new = false;
        let serve: Vec<Transaction> = {
            let mut recent = lock(&self.recent);
            for transaction in transactions {
                if !recent.contains(transaction) {
                    recent.push_back(transaction.clone());
                    new = true;
                }
            }
            let surplus = recent.len().saturating_sub(RECENT);
            recent.drain(..surplus);
            recent.iter().cloned().collect()
        };
        let give = |mut wire: Wire| {
            // Who had it before has its parents, too, and need not be waited for.
            let serve = if new { serve.as_slice() } else { &[] };
            async move {
                let given = wire.hand_over(transactions, serve).await;
                (wire, given)
            }
        };
        let mut given = join_all(idle.into_iter().map(give)).await;
        if !given.iter().any(|(_, given)| given.is_ok()) {
            // Nobody was there, or nobody any more: whoever answers now.
            let candidates = lock(&self.book).candidates(&self.settings.peers, clock::now_ms());
            let (wires, failures) =
                jury::seat(Vec::new(), &candidates, self.settings.required, &self.dial()).await;
            self.note(&failures);
            given = join_all(wires.into_iter().map(give)).await;
        }
        let mut last = Error::new(
            ErrorCode::NetworkUnavailable,
            "filters: no peer to hand a transaction to",
        );
        let mut taken = 0;
        for (mut wire, given) in given {
            self.count(&mut wire);
            match given {
                Ok(()) => {
                    taken += 1;
                    lock(&self.idle).push(wire);
                }
                Err(error) => last = error,
            }
        }
        if taken == 0 { Err(last) } else { Ok(()) }
    }
}

#[async_trait]
impl Source for FiltersSource {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn tip(&self) -> Result<Tip> {
        self.look().await
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        let done = self.follow(round).await;
        self.save_book();
        done
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        // One pass serves both; it is made again only if the wallet is not where the last one ended.
        let synced = *lock(&self.synced);
        let wallet = round.wallet.checkpoint();
        if synced.is_some_and(|tip| tip.hash == wallet.hash()) {
            return Ok(());
        }
        self.sync_lightning(round).await.map(drop)
    }

    async fn fees(&self) -> Result<Option<Estimates>> {
        // Blocks and filters say nothing of what a place in the next block costs.
        Ok(None)
    }

    fn floor(&self) -> Option<FeeRate> {
        *lock(&self.floor)
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        self.hand_over(std::slice::from_ref(transaction)).await?;
        Ok(Sent::Accepted)
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        self.hand_over(transactions).await?;
        Ok(Sent::Accepted)
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn blocks_looked_into(&self) -> u64 {
        self.looked_into.load(Ordering::Relaxed)
    }

    fn take_reports(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.reports))
    }
}
