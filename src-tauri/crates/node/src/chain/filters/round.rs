//! One round: where it begins, who is asked, whether the chain was reorganised, and one `pass` or more up to the tip.

use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use tokio::time::timeout;

use super::birth::first_block;
use super::jury::{self, AHEAD_LIMIT, Branch, Juror};
use super::pass::Pass;
use super::read::{self, Reading};
use super::trail::{Mark, Trail, locator};
use super::{FiltersSource, Place};
use crate::chain::{Round, Tip};
use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// How often one round may begin anew because the peers' chain changed under it.
const TURNS: usize = 3;

/// Longest wait for enough peers to be connected and to say what their chain is, all tries together. A third of a
/// refresh grant: who has found nobody by then had better say so.
const SEATING: Duration = Duration::from_secs(12);

/// The wallet's blocks that are named to peers beside the trail, for a reorganisation deeper than that.
const WALLETS_PLACES: usize = 16;

/// What became of an attempt.
enum Attempt {
    /// At the tip.
    Done(Tip),
    /// At the last block that the peers were asked for at once, and there are more above it.
    More,
    /// The chain, or a peer, is not what it was; what was read is kept.
    Again,
}

/// Where a round begins.
struct Resume {
    /// Everything up to here was read, and is on disk.
    at: Place,
    /// The highest block that LDK was told is the best.
    told: Vec<Place>,
}

impl FiltersSource {
    /// Brings everybody in the round to the tip.
    pub(super) async fn follow(&self, round: &Round<'_>) -> Result<Tip> {
        lock(&self.behind).clear();
        let mut reached = self.begin(round).await?;
        let (mut turns, from_birth) = (0, reached.is_some());
        while turns <= TURNS {
            match self.attempt(round, &mut reached, from_birth).await? {
                Attempt::Done(tip) => {
                    *lock(&self.synced) = Some(tip);
                    return Ok(tip);
                }
                Attempt::More => {}
                Attempt::Again => turns += 1,
            }
        }
        Err(Error::new(
            ErrorCode::ChainSyncFailed,
            "filters: the peers' chain changed in every try",
        ))
    }

    /// The peers' best block.
    pub(super) async fn look(&self) -> Result<Tip> {
        let trail = Trail::load(&self.store)?;
        let start = first_block(self.settings.network);
        let at = trail.tip().map_or(start, Mark::place);
        let known = locator(trail.places().chain([start]));
        let mut jurors = self.seated(&known, &trail).await?;
        let tip = match jury::best(&jurors, &trail, at) {
            Some(branch) => tip_of(&branch, branch.height()),
            None => None,
        };
        let tip = match tip {
            Some(tip) => tip,
            None => self.tip_at(&mut jurors, &trail, at).await?,
        };
        self.dismiss(jurors);
        Ok(tip)
    }

    /// Lets a wallet that knows nothing of the chain begin where it was born. Everybody stands there then, on disk too.
    async fn begin(&self, round: &Round<'_>) -> Result<Option<Place>> {
        let known = Trail::load(&self.store)?;
        let Some(trail) = self.born_above(round, &known).await? else {
            return Ok(None);
        };
        let Some(mark) = trail.tip() else {
            return Ok(None);
        };
        let place = mark.place();
        tracing::info!(height = place.height, "filters: nothing can be ours below");
        Reading::new(round).reached(&tip(mark.header, mark.height))?;
        round.checkpoint(tip(mark.header, mark.height)).await?;
        trail.save(&self.store)?;
        Ok(Some(place))
    }

    /// One try. `reached` is the last block that was made true in this round.
    async fn attempt(
        &self,
        round: &Round<'_>,
        reached: &mut Option<Place>,
        from_birth: bool,
    ) -> Result<Attempt> {
        let mut trail = Trail::load(&self.store)?;
        let start = first_block(self.settings.network);
        let resume = match *reached {
            None => resume(round, &trail, start),
            Some(at) => Resume { at, told: vec![at] },
        };
        let mut known = vec![resume.at, start];
        known.extend(
            sure(round, &trail)
                .into_iter()
                .filter(|place| place.height <= resume.at.height),
        );
        let known = locator(known);
        let mut jurors = self.seated(&known, &trail).await?;
        let Some(branch) = jury::best(&jurors, &trail, resume.at) else {
            let tip = self.tip_at(&mut jurors, &trail, resume.at).await?;
            self.finish(round, from_birth || resume.at == start, jurors)?;
            return Ok(Attempt::Done(tip));
        };
        let reading = Reading::new(round);
        self.turn(round, &reading, &resume, &branch, &mut trail, &mut jurors)
            .await?;
        let done = Pass {
            source: self,
            round,
            reading,
            branch: &branch,
            reached,
            trail,
            jurors: &mut jurors,
            line: None,
            lines: 0,
            barren: 0,
            // Telling LDK of a best block below the one it knows is telling it of a reorganisation.
            floor: floor(&resume, &branch),
        }
        .run()
        .await;
        match done {
            Ok(Some(_)) if branch.headers.len() >= AHEAD_LIMIT => {
                self.dismiss(jurors);
                Ok(Attempt::More)
            }
            Ok(Some(tip)) => {
                self.finish(round, from_birth || resume.at == start, jurors)?;
                Ok(Attempt::Done(tip))
            }
            Ok(None) => {
                self.dismiss(jurors);
                Ok(Attempt::Again)
            }
            Err(error) => {
                self.dismiss(jurors);
                Err(error)
            }
        }
    }

    /// Enough peers, each asked for its chain above what is known.
    pub(super) async fn seated(&self, known: &[Place], trail: &Trail) -> Result<Vec<Juror>> {
        timeout(SEATING, self.jury(known, trail))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorCode::SyncTimeout,
                    "filters: not enough peers answered in time",
                ))
            })
    }

    /// Goes back to where the best chain leaves the one that was told, if it does.
    async fn turn(
        &self,
        round: &Round<'_>,
        reading: &Reading<'_, '_>,
        resume: &Resume,
        branch: &Branch,
        trail: &mut Trail,
        jurors: &mut [Juror],
    ) -> Result<()> {
        let wrong = resume.told.iter().any(|place| read::contradicts(branch, *place));
        // Also without a turn: a process that ended in the middle of one left its marks.
        let gone = reading.unconfirm(branch);
        if wrong || branch.fork.height < resume.at.height {
            tracing::info!(
                fork = branch.fork.height,
                was = resume.at.height,
                gone,
                "filters: the chain was reorganised"
            );
            let fork = self.tip_at(jurors, trail, branch.fork).await?;
            reading.reached(&fork)?;
            // On disk before the wallet's chain moves, which may go to blocks above the fork.
            round.checkpoint(fork).await?;
            trail.cut(branch.fork.height);
            if round.whole {
                trail.save(&self.store)?;
            }
        }
        reading.turn_wallet(branch)
    }

    /// A block that we know, with its header.
    async fn tip_at(&self, jurors: &mut [Juror], trail: &Trail, place: Place) -> Result<Tip> {
        let genesis = genesis_block(self.settings.network).header;
        let header = match trail.at(place) {
            Some(mark) => mark.header,
            None if genesis.block_hash() == place.hash => genesis,
            None => {
                let (block, failures) = jury::block(jurors, place).await;
                self.note(&failures);
                block?.header
            }
        };
        Ok(tip(header, place.height))
    }

    /// The end of a round that came to the tip; `whole_life` if it read all that the wallet can have.
    fn finish(&self, round: &Round<'_>, whole_life: bool, jurors: Vec<Juror>) -> Result<()> {
        let now = clock::now_ms();
        for juror in &jurors {
            let peer = juror.wire.peer();
            let mut book = lock(&self.book);
            if book.ban(peer, now).is_none() {
                book.good(peer, now);
            }
        }
        self.dismiss(jurors);
        if round.whole && !round.wallet.scanned() && whole_life {
            round.wallet.mark_scanned()?;
        }
        Ok(())
    }
}

/// Where to begin: at the lowest block that anybody who takes part has heard of, or the next one below that everybody did.
fn resume(round: &Round<'_>, trail: &Trail, start: Place) -> Resume {
    let heads = round.heads.iter();
    let told: Vec<Place> = heads
        .map(|(height, hash)| Place {
            height: *height,
            hash: *hash,
        })
        .collect();
    let wallet = round.wallet.checkpoint().height();
    let lowest = told
        .iter()
        .map(|place| place.height)
        .chain([wallet])
        .min()
        .unwrap_or(0);
    let below = sure(round, trail)
        .into_iter()
        .filter(|place| place.height <= lowest);
    let at = below.max_by_key(|place| place.height).unwrap_or(start);
    Resume { at, told }
}

/// Blocks up to which everybody was told of everything.
///
/// Not where the followers stand: monitors may have gone ahead without the manager, onto another branch even, and where
/// they stand there, the manager never was. Nor the wallet's blocks, for the same reason, but for those below all that is
/// kept here, which are too old for that.
fn sure(round: &Round<'_>, trail: &Trail) -> Vec<Place> {
    let known = round.known.map(|known| Place {
        height: known.height,
        hash: known.hash,
    });
    let lowest = trail
        .lowest()
        .map(|mark| mark.height)
        .or(known.map(|known| known.height));
    let wallet = round.wallet.checkpoint();
    let old = wallet.iter().map(|block| read::place(&block));
    let old = old
        .filter(|place| lowest.is_some_and(|lowest| place.height < lowest))
        .take(WALLETS_PLACES);
    trail.places().chain(known).chain(old).collect()
}

/// Below this height LDK is not told of a best block: it knows a better one of the same chain.
fn floor(resume: &Resume, branch: &Branch) -> u32 {
    let right = resume
        .told
        .iter()
        .filter(|place| !read::contradicts(branch, **place));
    let highest = right.map(|place| place.height).max().unwrap_or(0);
    let wrong = resume.told.iter().any(|place| read::contradicts(branch, *place));
    if wrong { 0 } else { highest }
}

/// A block as a tip.
pub fn tip(header: Header, height: u32) -> Tip {
    Tip {
        hash: header.block_hash(),
        height,
        header,
    }
}

/// The branch's block at a height.
pub fn tip_of(branch: &Branch, height: u32) -> Option<Tip> {
    read::header_at(branch, height).map(|header| tip(*header, height))
}
