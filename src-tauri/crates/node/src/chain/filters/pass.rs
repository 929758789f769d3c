//! One way up a branch of the chain: agree on a run of filters, look into them, read the blocks that concern us, and make
//! it true on disk chunk by chunk.
//!
//! Where a way begins, and what happens before it, is in `round`.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bip157::IndexedFilter;
use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, ScriptBuf};

use super::court::{Finding, judge};
use super::jury::{self, Agreed, Branch, Juror};
use super::line::Line;
use super::read::Reading;
use super::round::{tip, tip_of};
use super::trail::{Mark, Trail};
use super::{FiltersSource, Place};
use crate::chain::host::HostPort;
use crate::chain::{Round, Tip};
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// Blocks after which what was read is made true. A day and a half; a wake that is cut off repeats no more than this.
pub const CHUNK_BLOCKS: u32 = 250;

/// The same by the clock: on a slow network a chunk of blocks could take longer than a wake has.
const CHUNK_TIME: Duration = Duration::from_secs(2);

/// Blocks in one run that are read whole for want of agreement, 2 MB each. Two for the last blocks, which one peer may
/// have before the other, and some for a lie or two; more than that is a peer that must be replaced.
const UNVOUCHED_LIMIT: usize = 12;

/// A peer that lacks so many of the newest blocks is named. Two are found within a few minutes now and then, and are no
/// reason to speak of anybody.
const LAGGING: usize = 3;

/// Lines that may break without having brought a filter, in one round.
const BARREN_LINES: u32 = 3;

/// One way up a branch.
pub struct Pass<'p, 'r, 'a> {
    pub source: &'p FiltersSource,
    pub round: &'r Round<'a>,
    pub reading: Reading<'r, 'a>,
    pub branch: &'p Branch,
    pub reached: &'p mut Option<Place>,
    pub trail: Trail,
    pub jurors: &'p mut Vec<Juror>,
    pub line: Option<Line>,
    pub lines: usize,
    pub barren: u32,
    pub floor: u32,
}

impl Pass<'_, '_, '_> {
    /// Up to the branch's tip; `None` if it must be begun anew.
    pub async fn run(mut self) -> Result<Option<Tip>> {
        let total = self.branch.height() - self.branch.fork.height;
        let mut filter_header = self
            .trail
            .at(self.branch.fork)
            .and_then(|mark| mark.filter_header);
        self.name_laggards();
        let (mut done, mut chunk) = (0u32, Chunk::new());
        while done < total {
            let required = self.source.settings.required;
            let (agreed, failures) = jury::agree(self.jurors, self.branch, done as usize, required).await;
            self.source.note(&failures);
            let failed: Vec<HostPort> = failures.into_iter().map(|(peer, _)| peer).collect();
            self.dismiss(&failed);
            if let Some(known) = filter_header {
                let breaking = agreed.breaks_with(known);
                let why = format!(
                    "its filter headers up to block {} are not those that were agreed on before",
                    agreed.first - 1
                );
                for peer in &breaking {
                    self.source.banned(peer, &why);
                }
                self.dismiss(&breaking);
                if agreed.before.is_some_and(|before| before != known) {
                    let what = "all peers' filter headers contradict those that were agreed on before; they agree now, and are followed";
                    self.source.report(what.into());
                    filter_header = None;
                }
            }
            if self.jurors.len() < required {
                // Others may be found; what was read is kept.
                return self.replaced(&chunk, done).await;
            }
            if agreed.unvouched() > UNVOUCHED_LIMIT {
                self.sort_out(&agreed).await?;
                return self.replaced(&chunk, done).await;
            }
            let mut filter_header_at = filter_header.or(agreed.before);
            for at in 0..agreed.headers.len() {
                let (header, height) = (
                    agreed.headers[at],
                    agreed.first + u32::try_from(at).unwrap_or(u32::MAX),
                );
                let Some(filter) = self.filter(height, &header, done).await? else {
                    return Ok(None);
                };
                self.look_into(&agreed, at, filter).await?;
                filter_header_at = next_filter_header(filter_header_at, agreed.hashes[at]);
                self.trail.push(Mark {
                    height,
                    header,
                    filter_header: filter_header_at,
                });
                done += 1;
                chunk.blocks += 1;
                if chunk.full() || done == total {
                    self.make_true(tip(header, height)).await?;
                    chunk = Chunk::new();
                    self.round.report(done, total);
                }
            }
            filter_header = filter_header_at;
        }
        Ok(tip_of(self.branch, self.branch.height()))
    }

    /// The next filter, from whichever line holds; `None` if the peers' chain is not this branch any more.
    async fn filter(&mut self, height: u32, header: &Header, done: u32) -> Result<Option<IndexedFilter>> {
        loop {
            if self.line.is_none() {
                let above = match done {
                    0 => self.branch.fork,
                    _ => Place {
                        height: height - 1,
                        hash: header.prev_blockhash,
                    },
                };
                let known = self.trail.at(above).map(|mark| mark.header);
                let peer = self.carrier();
                self.lines += 1;
                let (network, proxy) = (self.source.settings.network, self.source.settings.proxy);
                self.source.requests.fetch_add(1, Ordering::Relaxed);
                self.line = Some(Line::start(network, &peer, proxy, above, known));
            }
            let Some(line) = &mut self.line else { continue };
            match line.next().await {
                Ok(filter) if filter.height() < height => {}
                Ok(filter) if filter.height() == height && filter.header() == *header => {
                    self.barren = 0;
                    return Ok(Some(filter));
                }
                // Another chain: one was found while we read this one.
                Ok(_) => return Ok(None),
                Err(error) => {
                    tracing::info!(detail = error.detail(), height, "filters: a line broke");
                    self.line = None;
                    self.barren += 1;
                    if self.barren > BARREN_LINES {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whom to get filters from: those with the whole branch, in turn.
    fn carrier(&self) -> HostPort {
        let whole: Vec<&Juror> = self
            .jurors
            .iter()
            .filter(|juror| juror.reaches(self.branch))
            .collect();
        let jurors: Vec<&Juror> = if whole.is_empty() {
            self.jurors.iter().collect()
        } else {
            whole
        };
        jurors[self.lines % jurors.len()].wire.peer().clone()
    }

    /// Reads a block if its filter says so, or if nobody can say what its filter is.
    async fn look_into(&mut self, agreed: &Agreed, at: usize, filter: IndexedFilter) -> Result<()> {
        let (height, hash) = (filter.height(), filter.block_hash());
        self.source.looked_into.fetch_add(1, Ordering::Relaxed);
        let content = filter.into_contents();
        let vouched = agreed.hashes[at].is_some_and(|hash| hash == FilterHash::hash(&content));
        if vouched && let Ok(false) = self.reading.concerns_us(&content, &hash) {
            return Ok(());
        }
        let block = self.block(Place { height, hash }).await?;
        self.reading.read(&block, height)?;
        if !vouched {
            self.hold_court(agreed, at, &block).await;
        }
        Ok(())
    }

    async fn block(&mut self, place: Place) -> Result<Block> {
        let (block, failures) = jury::block(self.jurors, place).await;
        self.source.note(&failures);
        let withheld = failures
            .iter()
            .filter(|(_, error)| block.is_ok() && error.code() != ErrorCode::ChainSyncFailed);
        for (peer, _) in withheld {
            let height = place.height;
            self.source
                .report(format!("{peer} did not give block {height}; another peer did"));
        }
        block
    }

    /// Says who does not show blocks that another peer has: late, or hiding something.
    fn name_laggards(&self) {
        for juror in self.jurors.iter() {
            let behind = juror.behind(self.branch);
            if behind >= LAGGING {
                self.source.report(format!(
                    "{} does not show the newest {behind} blocks; another peer does",
                    juror.wire.peer()
                ));
            }
        }
    }

    /// Finds out who of those that disagree lied.
    async fn hold_court(&mut self, agreed: &Agreed, at: usize, block: &Block) {
        let height = agreed.first + u32::try_from(at).unwrap_or(u32::MAX);
        let claims: Vec<(&HostPort, FilterHash)> = agreed
            .votes
            .iter()
            .filter_map(|vote| Some((&vote.peer, *vote.hashes.get(at)?)))
            .collect();
        if claims.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            // Too few voices, but no dispute.
            return;
        }
        let watched: HashMap<OutPoint, ScriptBuf> = self
            .round
            .watch
            .all()
            .outputs
            .into_iter()
            .map(|coin| (coin.outpoint, coin.script))
            .collect();
        let mut found = false;
        for (peer, claimed) in claims {
            let Some(juror) = self.jurors.iter_mut().find(|juror| juror.wire.peer() == peer) else {
                continue;
            };
            let finding = match juror.wire.filter(height, block.block_hash(), claimed).await {
                Ok(filter) => judge(block, &filter, claimed, &watched),
                Err(error) if error.code() == ErrorCode::ChainSyncFailed => {
                    Finding::Lie(error.detail().to_owned())
                }
                Err(_) => continue,
            };
            if let Finding::Lie(what) = finding {
                found = true;
                self.source.banned(peer, &format!("{what} (block {height})"));
            }
        }
        if !found {
            let names: Vec<String> = agreed.votes.iter().map(|vote| vote.peer.to_string()).collect();
            let names = names.join(" and ");
            self.source.report(format!(
                "{names} disagree on the filter of block {height}; the block was read whole"
            ));
        }
    }

    /// Too much is disputed to read it all: looks at the first disputed blocks to see who is to be replaced.
    async fn sort_out(&mut self, agreed: &Agreed) -> Result<()> {
        let disputed: Vec<usize> = (0..agreed.hashes.len())
            .filter(|at| agreed.hashes[*at].is_none())
            .collect();
        let now = clock::now_ms();
        for at in disputed.into_iter().take(UNVOUCHED_LIMIT) {
            let height = agreed.first + u32::try_from(at).unwrap_or(u32::MAX);
            let hash = agreed.headers[at].block_hash();
            let block = self.block(Place { height, hash }).await?;
            self.hold_court(agreed, at, &block).await;
            let liars: Vec<HostPort> = self
                .jurors
                .iter()
                .map(|juror| juror.wire.peer().clone())
                .filter(|peer| lock(&self.source.book).ban(peer, now).is_some())
                .collect();
            if !liars.is_empty() {
                self.dismiss(&liars);
                return Ok(());
            }
        }
        // Nobody was caught: whoever lags behind, or they cannot be told apart.
        let behind: Vec<HostPort> = self
            .jurors
            .iter()
            .filter(|juror| !juror.reaches(self.branch))
            .map(|juror| juror.wire.peer().clone())
            .collect();
        if behind.is_empty() {
            let what = "filters: the peers disagree on too many blocks, and none can be shown to lie";
            return Err(Error::new(ErrorCode::ChainSyncFailed, what));
        }
        for peer in &behind {
            lock(&self.source.book).failed(peer);
            lock(&self.source.behind).push(peer.clone());
        }
        self.dismiss(&behind);
        Ok(())
    }

    /// Sends peers away for this round.
    fn dismiss(&mut self, peers: &[HostPort]) {
        self.jurors.retain(|juror| !peers.contains(juror.wire.peer()));
    }

    /// Keeps what was read, so that the round can be begun anew with other peers.
    async fn replaced(&mut self, chunk: &Chunk, done: u32) -> Result<Option<Tip>> {
        if chunk.blocks > 0
            && let Some(reached) = tip_of(self.branch, self.branch.fork.height + done)
        {
            self.make_true(reached).await?;
        }
        Ok(None)
    }

    /// The end of a chunk: everybody is told how far we are, all of it is put on disk, and last of all the trail.
    async fn make_true(&mut self, tip: Tip) -> Result<()> {
        if tip.height >= self.floor {
            self.reading.reached(&tip)?;
        }
        self.round.checkpoint(tip).await?;
        *self.reached = Some(Place {
            height: tip.height,
            hash: tip.hash,
        });
        if self.round.whole {
            self.trail.save(&self.source.store)?;
        } else {
            // Nobody else keeps it; the monitors keep themselves.
            self.round.wallet.persist()?;
        }
        Ok(())
    }
}

/// What was read since the last true checkpoint.
struct Chunk {
    blocks: u32,
    since: Instant,
}

impl Chunk {
    fn new() -> Self {
        Self {
            blocks: 0,
            since: Instant::now(),
        }
    }

    fn full(&self) -> bool {
        self.blocks >= CHUNK_BLOCKS || self.since.elapsed() >= CHUNK_TIME
    }
}

fn next_filter_header(before: Option<FilterHeader>, hash: Option<FilterHash>) -> Option<FilterHeader> {
    Some(hash?.filter_header(&before?))
}
