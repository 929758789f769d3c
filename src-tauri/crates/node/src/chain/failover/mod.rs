//! Several sources of the chain as one: the first that may be asked is, and when it fails, the next, within the same time.
//!
//! `order` says who is asked, `slot` is one of those that may be; `compare` holds two of them against each other, and `doubt`
//! judges what they said; `send` gives transactions to all. This file asks, notes how each one answered, and says which did
//! not. How long one that failed is left alone is `backoff`'s.
//!
//! # What one source told before it failed
//! It was proved, each thing by itself, or it was not told. So it is true of the chain of some block, and the next source is
//! asked whether that block stands, as after any reorganisation: a round begins with what the followers hold for confirmed.
//! What must not survive a change of source is a note that says "they were told": it is kept for all of them in one memory,
//! under the name of the server that it rests on. A server never believes another's, and whichever makes the followers
//! forget a transaction deletes it for all, on disk, before it does.

mod compare;
mod doubt;
mod order;
mod send;
mod slot;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{FeeRate, Transaction};
use pilotlight_store::Store;
use tokio::time::{Instant, sleep, sleep_until};

use self::order::{CALM, SILENCE, Turn, filters_turn, order, share};
use self::slot::{Making, Slot};
use super::engine::Memory;
use super::esplora::EsploraSource;
use super::fees::Estimates;
use super::source::{Round, Sent, Source, Tip};
use crate::backoff::{Backoffs, Endpoint, Failure};
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// Reports kept until somebody takes them.
const REPORTS: usize = 50;

/// An ordered list of sources.
pub struct Failover {
    name: String,
    slots: Vec<Slot>,
    making: Making,
    backoffs: Arc<Backoffs>,
    /// Asked for fee rates if the source has none.
    fees_from: Option<EsploraSource>,
    /// Whether the last round was one of filters.
    by_filters: Mutex<Option<bool>>,
    /// When two servers were last held against each other.
    doubted: Mutex<Option<Instant>>,
    reports: Mutex<Vec<String>>,
}

/// What is asked of a source in a round.
#[derive(Debug, Clone, Copy)]
enum Job {
    Lightning,
    Onchain,
    Both,
}

impl Failover {
    /// The sources of this configuration, not connected to anybody yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if there are none.
    pub fn new(config: &Config, store: &Arc<Store>, backoffs: Arc<Backoffs>) -> Result<Self> {
        let servers = config.chain_servers();
        if servers.is_empty() {
            return Err(Error::new(ErrorCode::Misconfigured, "no chain server is named"));
        }
        let slots: Vec<Slot> = servers
            .into_iter()
            .map(|server| Slot {
                name: server.name(),
                endpoint: Endpoint::Chain(server.name()),
                server,
                source: OnceLock::new(),
                behind: Mutex::default(),
            })
            .collect();
        let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let fees_from = config.fees_from.as_deref();
        let fees_from = fees_from.map(|url| EsploraSource::new(url, config.network, None));
        Ok(Self {
            name: names.join(", "),
            slots,
            making: Making {
                network: config.network,
                data_dir: config.data_dir.clone(),
                store: Arc::clone(store),
                memory: Arc::new(Memory::new(Some(Arc::clone(store)))),
            },
            backoffs,
            fees_from: fees_from.transpose()?,
            by_filters: Mutex::default(),
            doubted: Mutex::default(),
            reports: Mutex::default(),
        })
    }

    /// The servers to ask now, the first first; and whether they may be, or all are to be left alone.
    fn servers_in_order(&self) -> (VecDeque<&Slot>, bool) {
        let slots: Vec<&Slot> = self.slots.iter().filter(|slot| slot.server.is_one()).collect();
        let standings: Vec<_> = slots
            .iter()
            .map(|slot| self.backoffs.standing(&slot.endpoint))
            .collect();
        let now_ms = clock::now_ms();
        let order = order(&standings, now_ms);
        let free = order.first().is_none_or(|first| {
            let standing = standings.get(*first).copied().flatten();
            standing.is_none_or(|standing| standing.held_back(CALM, now_ms).is_none())
        });
        let servers = order.into_iter().filter_map(|at| slots.get(at).copied());
        (servers.collect(), free)
    }

    fn filters(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.server.is_one())
    }

    /// The sources to ask in a round.
    fn in_order(&self, round: &Round<'_>) -> VecDeque<&Slot> {
        let (mut sources, free) = self.servers_in_order();
        let since = round.known.map(|known| {
            let since = clock::now_ms().saturating_sub(known.at_ms);
            Duration::from_millis(since)
        });
        let turn = if self.slots.iter().any(|slot| slot.server.is_one()) {
            filters_turn(round.depth, &round.terms, since)
        } else {
            // There is nobody else, and the person wants it so.
            Turn::First
        };
        for slot in self.filters() {
            match turn {
                Turn::First => sources.push_front(slot),
                // Before servers that are to be left alone, for those cannot be counted on.
                Turn::Last if !free => sources.push_front(slot),
                Turn::Last => sources.push_back(slot),
                Turn::Never => {}
            }
        }
        sources
    }

    /// The sources for a question without a round: filters only if there is nothing else.
    fn for_a_question(&self) -> VecDeque<&Slot> {
        let (servers, _) = self.servers_in_order();
        if servers.is_empty() {
            self.filters().collect()
        } else {
            servers
        }
    }

    fn source(&self, slot: &Slot) -> Result<Arc<dyn Source>> {
        if let Some(source) = slot.source.get() {
            return Ok(Arc::clone(source));
        }
        let made = self.making.make(&slot.server)?;
        // Another task may have been quicker; then its source is everybody's.
        Ok(Arc::clone(slot.source.get_or_init(|| made)))
    }

    /// Those that were asked for something already.
    fn made(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.slots.iter().filter_map(|slot| slot.source.get())
    }

    /// Brings a round to its end with the first source that can.
    async fn follow(&self, round: &Round<'_>, job: Job) -> Result<Option<Tip>> {
        let mut waiting = self.in_order(round);
        let mut faults = Vec::new();
        while let Some(slot) = waiting.pop_front() {
            if let Some(other) = self.to_doubt(round, slot, &waiting) {
                let doubted = self.hold_against(slot, other, round.known).await;
                if let Err(error) = doubted {
                    self.backoffs.failed(&slot.endpoint, &error);
                    faults.push((slot, error));
                    continue;
                }
            }
            self.turn_to(slot)?;
            let attempt = round.again();
            let left = round
                .terms
                .until
                .map(|until| until.saturating_duration_since(Instant::now()));
            let share = share(left, waiting.len()).map(|share| Instant::now() + share);
            let source = self.source(slot)?;
            let work = async {
                match job {
                    Job::Lightning => source.sync_lightning(&attempt).await.map(Some),
                    Job::Onchain => source.sync_onchain(&attempt).await.map(|()| None),
                    Job::Both => source.sync(&attempt).await.map(Some),
                }
            };
            // A scan of the wallet's addresses says nothing before its end.
            let listening = slot.server.is_one() && !matches!(job, Job::Onchain);
            let heard = || !listening || attempt.heard();
            let done = self
                .first_to_speak(work, heard, waiting.front().copied(), share)
                .await;
            if let Some(done) = self.noted(slot, done, &mut faults) {
                self.say_who_failed(&faults, slot);
                return done;
            }
        }
        Err(all_failed(faults))
    }

    /// Asks the first source that can answer.
    async fn ask<T, F>(&self, question: impl Fn(Arc<dyn Source>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut waiting = self.for_a_question();
        let mut faults = Vec::new();
        while let Some(slot) = waiting.pop_front() {
            let work = question(self.source(slot)?);
            let done = self
                .first_to_speak(work, || false, waiting.front().copied(), None)
                .await;
            if let Some(done) = self.noted(slot, done, &mut faults) {
                self.say_who_failed(&faults, slot);
                return done;
            }
        }
        Err(all_failed(faults))
    }

    /// Does a source's work, unless it stays silent while the next one speaks, or takes longer than its share. Never are two
    /// at work for the same followers: the next one is asked for its tip, and no more.
    async fn first_to_speak<T>(
        &self,
        work: impl Future<Output = Result<T>>,
        heard: impl Fn() -> bool,
        next: Option<&Slot>,
        share: Option<Instant>,
    ) -> Result<T> {
        let overtaken = async {
            let Some(next) = next.filter(|next| next.server.is_one()) else {
                return std::future::pending().await;
            };
            sleep(SILENCE).await;
            if !heard()
                && let Ok(next) = self.source(next)
                && next.tip().await.is_ok()
                && !heard()
            {
                return;
            }
            std::future::pending::<()>().await;
        };
        let over = async {
            match share {
                Some(share) => sleep_until(share).await,
                None => std::future::pending().await,
            }
        };
        let late = |words: &str| Err(Error::new(ErrorCode::SyncTimeout, words));
        tokio::select! {
            biased;
            done = work => done,
            () = overtaken => late("it said nothing while another answered"),
            () = over => late("it took more than its share of the time"),
        }
    }

    /// Notes how a source answered. `None`: it failed, and another may do better.
    fn noted<'a, T>(
        &'a self,
        slot: &'a Slot,
        done: Result<T>,
        faults: &mut Vec<(&'a Slot, Error)>,
    ) -> Option<Result<T>> {
        if slot.server.is_one() {
            self.backoffs.learn(&slot.endpoint, &done);
        }
        match done {
            // A fault of ours would be met with every source.
            Err(error) if Failure::of(&error).is_some() => {
                tracing::info!(server = slot.name, code = ?error.code(), detail = error.detail(), "chain server failed");
                faults.push((slot, error));
                None
            }
            done => Some(done),
        }
    }

    /// Before a source is asked: what servers have shown means nothing once somebody else tells the followers.
    fn turn_to(&self, slot: &Slot) -> Result<()> {
        let filters = !slot.server.is_one();
        if lock(&self.by_filters).replace(filters) != Some(filters) && filters {
            self.making.memory.forget()?;
        }
        Ok(())
    }

    fn say_who_failed(&self, faults: &[(&Slot, Error)], instead: &Slot) {
        for (slot, error) in faults {
            self.report(format!(
                "{}: {} {} was asked instead.",
                slot.name,
                error.message(),
                instead.name
            ));
        }
    }

    fn report(&self, what: String) {
        tracing::warn!(what, "chain");
        let mut reports = lock(&self.reports);
        if reports.len() < REPORTS {
            reports.push(what);
        }
    }
}

#[async_trait]
impl Source for Failover {
    fn endpoint(&self) -> &str {
        &self.name
    }

    fn servers(&self) -> Vec<Endpoint> {
        let servers = self.slots.iter().filter(|slot| slot.server.is_one());
        servers.map(|slot| slot.endpoint.clone()).collect()
    }

    fn has_more(&self) -> bool {
        let servers = self.servers().len();
        servers > 0 && servers < self.slots.len()
    }

    async fn tip(&self) -> Result<Tip> {
        self.ask(|source| async move { source.tip().await }).await
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        tip_of(self.follow(round, Job::Lightning).await?)
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        self.follow(round, Job::Onchain).await.map(drop)
    }

    async fn sync(&self, round: &Round<'_>) -> Result<Tip> {
        tip_of(self.follow(round, Job::Both).await?)
    }

    async fn fees(&self) -> Result<Option<Estimates>> {
        // Not noted: what a server says of the chain is what it is judged by.
        let mut last = Ok(None);
        for slot in self.for_a_question() {
            match self.source(slot)?.fees().await {
                Ok(Some(estimates)) => return Ok(Some(estimates)),
                Ok(None) => {}
                Err(error) => last = Err(error),
            }
        }
        match &self.fees_from {
            Some(server) => server.fees().await,
            None => last,
        }
    }

    fn floor(&self) -> Option<FeeRate> {
        self.made().find_map(|source| source.floor())
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        self.hand_over(|source| async move { source.send(transaction).await })
            .await
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        self.hand_over(|source| async move { source.send_package(transactions).await })
            .await
    }

    fn requests(&self) -> u64 {
        let fees = self.fees_from.as_ref().map_or(0, Source::requests);
        self.made().map(|source| source.requests()).sum::<u64>() + fees
    }

    fn blocks_looked_into(&self) -> u64 {
        self.made().map(|source| source.blocks_looked_into()).sum()
    }

    fn take_reports(&self) -> Vec<String> {
        let mut reports = std::mem::take(&mut *lock(&self.reports));
        reports.extend(self.made().flat_map(|source| source.take_reports()));
        reports
    }
}

/// One error for all of them: that of the server that was nearest to an answer, because where somebody answers, there is
/// a network.
fn all_failed(mut faults: Vec<(&Slot, Error)>) -> Error {
    if faults.len() == 1
        && let Some((_, error)) = faults.pop()
    {
        return error;
    }
    let rank = |code| match code {
        ErrorCode::ChainSyncFailed => 3,
        ErrorCode::RateLimited => 2,
        ErrorCode::SyncTimeout => 1,
        _ => 0,
    };
    let details: Vec<String> = faults
        .iter()
        .map(|(slot, error)| format!("{}: {}", slot.name, error.detail()))
        .collect();
    let worst = faults.iter().max_by_key(|(_, error)| rank(error.code()));
    let code = worst.map_or(ErrorCode::NetworkUnavailable, |(_, error)| error.code());
    let waits: Option<Vec<Duration>> = faults.iter().map(|(_, error)| error.retry_after()).collect();
    let wait = waits.and_then(|waits| waits.into_iter().min());
    Error::new(code, details.join("; ")).with_retry_after(wait)
}

fn tip_of(tip: Option<Tip>) -> Result<Tip> {
    tip.ok_or_else(|| Error::new(ErrorCode::Internal, "a round for LDK ended without a tip"))
}
