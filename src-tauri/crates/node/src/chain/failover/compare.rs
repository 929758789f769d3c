//! Asking two servers for the same, so that `doubt` can judge whether they tell of the same chain.

use std::collections::VecDeque;
use std::time::Duration;

use bitcoin::BlockHash;
use tokio::time::Instant;

use super::Failover;
use super::doubt::{Said, Verdict, compared, judge};
use super::slot::Slot;
use crate::chain::source::{Checkpoint, Depth, Round, Source};
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// How often the open app looks at a second server's tip. A server that stops, or hides blocks, is found within two blocks'
/// time; and a second server learns no more of us than that we are there.
const DOUBT_EVERY: Duration = Duration::from_secs(10 * 60);

impl Failover {
    /// Whom to hold a server against before it is believed, where there is time for it.
    pub(super) fn to_doubt<'a>(
        &self,
        round: &Round<'_>,
        slot: &Slot,
        waiting: &VecDeque<&'a Slot>,
    ) -> Option<&'a Slot> {
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
    pub(super) async fn hold_against(
        &self,
        slot: &Slot,
        other: &Slot,
        known: Option<Checkpoint>,
    ) -> Result<()> {
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
}

/// A server's block at a height, if it says.
async fn block(source: &dyn Source, height: u32) -> Option<BlockHash> {
    source.block_at(height).await.ok().flatten()
}
