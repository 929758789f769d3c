//! What a wake drives: one call for each stage. The node is one driver's seat; tests put another there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bitcoin::BlockHash;
use tokio::sync::watch;

use super::plan::{Chores, Step};
use super::policy::Stakes;
use super::record::{GrantKind, Level};
use super::{Blocks, WakeProgress};
use crate::backoff::Asker;
use crate::chain::Terms;
use crate::error::Result;
use crate::node::Checkpoint;

/// What of our channels can be seen to move: usable or not, and the money on our side.
pub type Channels = BTreeMap<String, (bool, u64, u64)>;

/// What a look at the chain is given.
pub struct Look<'a> {
    /// The tip that all on disk is at, as the journal has it: if it is still the best, there is nothing more to look at.
    pub known: Option<BlockHash>,
    /// What it may take.
    pub terms: Terms,
    /// Where to say how many blocks it worked off.
    pub counter: &'a BlockCounter,
}

/// How much a stage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// All there was to do.
    All,
    /// There was nothing to do.
    Nothing,
    /// Nothing, because what is known still holds.
    Held,
}

/// A wallet that is up, as a wake sees it. Every future may be dropped at any await, but for [`Work::persist`], which the
/// engine never drops.
pub trait Work: Send + Sync {
    /// How much of the wallet is up.
    fn level(&self) -> Level;

    /// The chain as last seen.
    fn checkpoint(&self) -> Option<Checkpoint>;

    /// Our channels.
    fn channels(&self) -> Channels;

    /// What is at stake.
    fn stakes(&self) -> Stakes;

    /// What waits to be done.
    fn chores(&self) -> Chores;

    /// Requests and connections made since the wallet is up.
    fn requests(&self) -> u64;

    /// What a person should know of and no error says, each once: [`crate::chain::Source::take_reports`].
    fn take_reports(&self) -> Vec<String>;

    /// Looks at the chain, first of all at its tip.
    fn chain(&self, look: &Look<'_>) -> impl Future<Output = Result<Did>> + Send;

    /// Brings the channels up: connects and re-establishes. A peer that failed of late is left alone as `asker` must.
    fn peers(&self, asker: Asker) -> impl Future<Output = Result<Did>> + Send;

    /// Lets what is under way settle.
    fn events(&self) -> impl Future<Output = Result<Did>> + Send;

    /// Brings claimable outputs home.
    fn sweep(&self) -> impl Future<Output = Result<Did>> + Send;

    /// Looks for the on-chain wallet's coins; beyond the last used address if the step is wide.
    fn onchain(&self, step: &Step) -> impl Future<Output = Result<Did>> + Send;

    /// Fetches news of the network's graph, and applies them in a processing wake. Gives the channels that changed.
    fn gossip(
        &self,
        kind: GrantKind,
        step: &Step,
        asker: Asker,
    ) -> impl Future<Output = Result<(Did, u32)>> + Send;

    /// Writes the store anew.
    fn compact(&self) -> impl Future<Output = Result<Did>> + Send;

    /// The persist barrier: when it returns, all that is known is on disk.
    fn persist(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Where the chain stage says how many blocks it worked off.
#[derive(Debug, Clone, Default)]
pub struct BlockCounter {
    counts: Arc<(AtomicU32, AtomicU32)>,
    progress: Option<watch::Sender<WakeProgress>>,
}

impl BlockCounter {
    /// A counter that passes on what it hears.
    pub fn new(progress: Option<watch::Sender<WakeProgress>>) -> Self {
        Self {
            counts: Arc::default(),
            progress,
        }
    }

    /// So many blocks of so many are worked off.
    pub fn set(&self, done: u32, total: u32) {
        self.counts.0.store(done, Ordering::Relaxed);
        self.counts.1.store(total, Ordering::Relaxed);
        if let Some(progress) = &self.progress {
            progress.send_modify(|progress| progress.blocks = self.get());
        }
    }

    /// What was last said.
    pub fn get(&self) -> Blocks {
        Blocks {
            done: self.counts.0.load(Ordering::Relaxed),
            total: self.counts.1.load(Ordering::Relaxed),
        }
    }
}
