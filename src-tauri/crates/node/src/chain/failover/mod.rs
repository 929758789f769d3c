//! Several sources of the chain as one: the first that may be asked is, and when it fails, the next, within the same time.
//!
//! `order` says who is asked, `doubt` whether two of them tell of the same chain; this file asks, notes how each one answered,
//! and says which did not. How long one that failed is left alone is `backoff`'s.
//!
//! # What one source told before it failed
//! It was proved, each thing by itself, or it was not told. So it is true of the chain of some block, and the next source is
//! asked whether that block stands, as after any reorganisation: a round begins with what the followers hold for confirmed.
//! What must not survive a change of source is a note that says "they were told": it is kept for all of them in one memory,
//! under the name of the server that it rests on. A server never believes another's, and whichever makes the followers
//! forget a transaction deletes it for all, on disk, before it does.

mod doubt;
mod order;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{BlockHash, FeeRate, Network, Transaction};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pilotlight_store::Store;
use tokio::time::{Instant, sleep, sleep_until};

use self::doubt::{Said, Verdict, compared, judge};
use self::order::{CALM, SILENCE, Turn, filters_turn, order, share};
use super::engine::Memory;
use super::esplora::EsploraSource;
use super::fees::Estimates;
use super::filters::FiltersSource;
use super::server::Server;
use super::source::{Checkpoint, Depth, Round, Sent, Source, Tip};
use crate::backoff::{Backoffs, Endpoint, Failure};
use crate::birthday;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// Once one server has a transaction, so long the others are waited for. They have it from the network soon; and who sends
/// money should not wait for a server that hangs.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How often the open app looks at a second server's tip. A server that stops, or hides blocks, is found within two blocks'
/// time; and a second server learns no more of us than that we are there.
const DOUBT_EVERY: Duration = Duration::from_secs(10 * 60);

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

/// What sources are made with.
struct Making {
    network: Network,
    /// The folder that has the wallet's birthday in it, for a source that reads every block.
    data_dir: PathBuf,
    store: Arc<Store>,
    memory: Arc<Memory>,
}

/// One of the sources; made when it is first asked.
struct Slot {
    server: Server,
    name: String,
    endpoint: Endpoint,
    source: OnceLock<Arc<dyn Source>>,
    /// The tip that it had when it was first seen to be behind others, and when that was.
    behind: Mutex<Option<(BlockHash, Instant)>>,
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

    /// Whom to hold a server against before it is believed, where there is time for it.
    fn to_doubt<'a>(&self, round: &Round<'_>, slot: &Slot, waiting: &VecDeque<&'a Slot>) -> Option<&'a Slot> {
        if !slot.server.is_one() || !(round.terms.generous || round.depth == Depth::Deep) {
            return None;
        }
        let other = waiting.iter().copied().find(|other| other.server.is_one())?;
        let mut doubted = lock(&self.doubted);
        if doubted.is_some_and(|at| at.elapsed() < DOUBT_EVERY) {
            return None;
        }
        *doubted = Some(Instant::now());
        Some(other)
    }

    /// Holds a server's chain against another's.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if it should not be believed; that of its tip if it has none to tell.
    async fn hold_against(&self, slot: &Slot, other: &Slot, known: Option<Checkpoint>) -> Result<()> {
        let (source, second) = (self.source(slot)?, self.source(other)?);
        let (own, theirs) = tokio::join!(source.tip(), second.tip());
        let own = own?;
        self.backoffs.learn(&other.endpoint, &theirs);
        let Ok(theirs) = theirs else { return Ok(()) };
        let height = compared(&own, &theirs);
        let deep = if own.hash == theirs.hash {
            (None, None)
        } else {
            tokio::join!(block(&*source, height), block(&*second, height))
        };
        let said = Said {
            own,
            other: theirs,
            deep,
            behind_for: slot.behind_for(&own),
        };
        let verdict = judge(&said, self.making.network);
        let behind = theirs.height.saturating_sub(own.height);
        if verdict != Verdict::Behind && verdict != Verdict::Stale {
            *lock(&slot.behind) = None;
        }
        let what = match verdict {
            Verdict::Fine | Verdict::Behind => return Ok(()),
            Verdict::Stale => format!("it is {behind} blocks behind {}", other.name),
            Verdict::Cheap => format!("its blocks took far less work than those of {}", other.name),
            Verdict::Split => {
                if let Some(known) = known
                    && block(&*source, known.height).await == Some(known.hash)
                    && block(&*second, known.height).await != Some(known.hash)
                {
                    // What we know speaks for this one.
                    let what = format!("at height {height} it has another block than {}", slot.name);
                    let error = Error::new(ErrorCode::ChainSyncFailed, &what);
                    self.backoffs.failed(&other.endpoint, &error);
                    self.report(format!("{}: {what}.", other.name));
                    return Ok(());
                }
                format!("at height {height} it has another block than {}", other.name)
            }
        };
        self.report(format!("{}: {what}.", slot.name));
        Err(Error::new(
            ErrorCode::ChainSyncFailed,
            format!("{}: {what}", slot.name),
        ))
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

    /// Who is given a transaction: every server that may be asked, and peers that are there already. Peers that must be found
    /// first take longer than the network needs to pass it on; unless there is nobody else.
    fn takers(&self) -> VecDeque<&Slot> {
        let mut takers = self.for_a_question();
        let asked = self.filters().filter(|slot| slot.source.get().is_some());
        let more: Vec<&Slot> = asked
            .filter(|slot| takers.iter().all(|taker| taker.name != slot.name))
            .collect();
        takers.extend(more);
        takers
    }

    /// Hands transactions to every source that may be asked; enough if one takes them.
    async fn hand_over<F>(&self, give: impl Fn(Arc<dyn Source>) -> F) -> Result<Sent>
    where
        F: Future<Output = Result<Sent>>,
    {
        let mut handing = FuturesUnordered::new();
        for slot in self.takers() {
            let given = give(self.source(slot)?);
            handing.push(async move { (slot, given.await) });
        }
        let mut outcome = Outcome::default();
        let mut patience: Option<Instant> = None;
        loop {
            let next = async {
                match patience {
                    Some(until) => tokio::time::timeout_at(until, handing.next())
                        .await
                        .ok()
                        .flatten(),
                    None => handing.next().await,
                }
            };
            let Some((slot, given)) = next.await else {
                return outcome.end();
            };
            match &given {
                Ok(Sent::Accepted) => {
                    patience.get_or_insert_with(|| Instant::now() + STRAGGLERS);
                }
                Ok(Sent::Refused(why)) => tracing::info!(server = slot.name, why, "refused by one"),
                Err(error) => tracing::info!(server = slot.name, detail = error.detail(), "not sent by one"),
            }
            outcome.take(given);
        }
    }
}

/// What became of a transaction that was given to several.
#[derive(Debug, Default)]
struct Outcome {
    accepted: bool,
    refused: Option<String>,
    failed: Option<Error>,
}

impl Outcome {
    fn take(&mut self, given: Result<Sent>) {
        match given {
            Ok(Sent::Accepted) => self.accepted = true,
            Ok(Sent::Refused(why)) => self.refused = self.refused.take().or(Some(why)),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// Taken by one is taken. Refused is only what nobody may have: one of whom nothing is known may have it, and who believes
    /// it to be refused would pay a second time.
    fn end(self) -> Result<Sent> {
        match self {
            Self { accepted: true, .. } => Ok(Sent::Accepted),
            Self {
                failed: Some(error), ..
            } => Err(error),
            Self {
                refused: Some(why), ..
            } => Ok(Sent::Refused(why)),
            Self { .. } => Err(Error::new(ErrorCode::NetworkUnavailable, "nobody was asked")),
        }
    }
}

impl Slot {
    /// For how long it has had this tip while another server had more.
    fn behind_for(&self, tip: &Tip) -> Duration {
        let mut behind = lock(&self.behind);
        match *behind {
            Some((hash, since)) if hash == tip.hash => since.elapsed(),
            _ => {
                *behind = Some((tip.hash, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

impl Making {
    fn make(&self, server: &Server) -> Result<Arc<dyn Source>> {
        if let Server::Filters(peers) = server {
            // When the wallet was made matters only to a source that reads every block.
            let settings = peers.settings(self.network, birthday::read(&self.data_dir));
            return Ok(Arc::new(FiltersSource::new(settings, Arc::clone(&self.store))?));
        }
        let source = server.source(self.network, Arc::clone(&self.memory))?;
        source.ok_or_else(|| Error::new(ErrorCode::Internal, "a server without a source"))
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

/// A server's block at a height, if it says.
async fn block(source: &dyn Source, height: u32) -> Option<BlockHash> {
    source.block_at(height).await.ok().flatten()
}

fn tip_of(tip: Option<Tip>) -> Result<Tip> {
    tip.ok_or_else(|| Error::new(ErrorCode::Internal, "a round for LDK ended without a tip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Given = fn() -> Result<Sent>;

    #[test]
    fn a_transaction_is_refused_only_if_nobody_may_have_it() {
        let accepted = || Ok(Sent::Accepted);
        let refused = || Ok(Sent::Refused("no".into()));
        let failed = || Err(Error::new(ErrorCode::SyncTimeout, "?"));
        let table: [(&[Given], Option<bool>); 6] = [
            (&[refused, accepted], Some(true)),
            (&[failed, accepted], Some(true)),
            (&[refused, refused], Some(false)),
            (&[refused, failed], None),
            (&[failed], None),
            (&[], None),
        ];
        for (given, expected) in table {
            let mut outcome = Outcome::default();
            for given in given {
                outcome.take(given());
            }
            let end = outcome.end().ok().map(|sent| sent == Sent::Accepted);
            assert_eq!(end, expected, "{expected:?}");
        }
    }
}
