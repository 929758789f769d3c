//! What payments have taught about channels, and what others have learned, if a server tells.
//!
//! The scorer is LDK's. It asks a graph for the capacity of the channels it learns of; it gets one of its own, with no more in
//! it than the channels of our own payments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use lightning::routing::router::Path as PaymentPath;
use lightning::routing::scoring::{
    ChannelLiquidities, CombinedScorer, ProbabilisticScorer, ProbabilisticScoringDecayParameters, ScoreUpdate,
};
use lightning::util::ser::{Readable, ReadableArgs, Writeable};
use pilotlight_store::files;

use super::ldk::{self, Dated, Graph};
use super::map::Map;
use crate::log::Logger;

/// LDK's scorer with our parts filled in.
pub type Scorer = CombinedScorer<Arc<Graph>, Arc<Logger>>;

/// Largest file of scores that is read, in bytes: some hundred for each of today's channels, and room.
const MOST: u64 = 32 << 20;

/// What a payment taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// It failed at this channel.
    FailedAt(u64),
    /// It came as far as the payee, who refused it.
    Reached,
    /// It arrived.
    Arrived,
}

/// The scores, and whether they are on disk.
pub struct Scores {
    scorer: Scorer,
    known: Arc<Graph>,
    file: PathBuf,
    changed: bool,
}

impl Scores {
    /// Reads our own scores, and others' if there are some. What cannot be read is learned anew: it costs no more than a few
    /// tries.
    pub fn open(ours: &Path, theirs: &Path, network: Network, now: Duration) -> Self {
        let known = ldk::empty(network);
        let (decay, logger) = (ProbabilisticScoringDecayParameters::default(), Arc::new(Logger));
        let parts = (decay, Arc::clone(&known), Arc::clone(&logger));
        let local = sealed(ours)
            .and_then(|bytes| ProbabilisticScorer::read(&mut bytes.as_slice(), parts).ok())
            .unwrap_or_else(|| ProbabilisticScorer::new(decay, Arc::clone(&known), logger));
        let mut scorer = CombinedScorer::new(local);
        if let Some(theirs) = small(theirs).and_then(|bytes| liquidities(&bytes)) {
            scorer.merge(theirs, now);
        }
        scorer.time_passed(now);
        Self {
            scorer,
            known,
            file: ours.to_owned(),
            changed: false,
        }
    }

    /// The scorer, for a search.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Learns from a payment; only about channels that are on the map.
    pub fn learn(&mut self, map: &Map, path: &PaymentPath, lesson: Lesson, now: Duration) {
        let date = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        for hop in &path.hops {
            if let Some(channel) = map.find_channel(hop.short_channel_id) {
                ldk::put(&self.known, map, channel, Dated::At(date));
            }
        }
        match lesson {
            Lesson::FailedAt(scid) => self.scorer.payment_path_failed(path, scid, now),
            Lesson::Reached => self.scorer.probe_successful(path, now),
            Lesson::Arrived => self.scorer.payment_path_successful(path, now),
        }
        self.changed = true;
    }

    /// Writes our own scores, if they have changed.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&mut self) -> std::io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut bytes = self.scorer.encode();
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        files::write_atomically(&self.file, &bytes)?;
        self.changed = false;
        Ok(())
    }
}

/// Others' scores, if that is what the bytes are.
pub fn liquidities(bytes: &[u8]) -> Option<ChannelLiquidities> {
    Readable::read(&mut &*bytes).ok()
}

fn small(path: &Path) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > MOST {
        return None;
    }
    std::fs::read(path).ok()
}

fn sealed(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = small(path)?;
    let at = bytes.len().checked_sub(4)?;
    let sum = bytes.split_off(at);
    (crc32c::crc32c(&bytes).to_le_bytes() == sum.as_slice()).then_some(bytes)
}
