//! What a chain source is, and what it is given to work on.
//!
//! Owns the contract between a source (Esplora, Electrum, compact block filters) and the node. Owns no network.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{BlockHash, FeeRate, Transaction};
use futures::future::BoxFuture;
use lightning::chain::Confirm;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fees::Estimates;
use super::gate::{Gate, Gated};
use super::watch::Watch;
use crate::backoff::Endpoint;
use crate::clock;
use crate::error::Result;
use crate::lock::lock;
use crate::onchain::OnchainWallet;

/// Something that follows the chain: the monitors, the channels, the sweeper.
pub type Follower = Arc<dyn Confirm + Send + Sync>;

/// A follower behind the gate of its round.
pub type GatedFollower = Gated<Follower>;

/// The best block, its header proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The block's hash.
    pub hash: BlockHash,
    /// Its height, in blocks.
    pub height: u32,
    /// Its header.
    pub header: Header,
}

/// The chain as it was when all that we knew of it was last on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Height of the best block, in blocks.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
    /// When it was seen, Unix time in ms.
    pub at_ms: u64,
}

/// What became of a transaction that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// In the server's mempool, or known already.
    Accepted,
    /// Refused, with the server's words.
    Refused(String),
}

/// How closely a round looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// For a wake: what earlier rounds proved and wrote down is believed, and of the on-chain wallet only the addresses
    /// are asked for that can have news in a wake (coins, addresses handed out and not used, the last few of each kind).
    Quick,
    /// For an open app, or hours on a charger: everything is asked again, every address ever handed out included.
    Deep,
}

/// What a round may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// When the caller gives up; `None` if it waits for as long as it takes.
    pub until: Option<Instant>,
    /// Minutes, power and data that cost nothing: a processing wake on a charger and an unmetered network.
    pub generous: bool,
}

/// Called with (blocks done, blocks in all), counted from the last checkpoint.
pub type Progress<'a> = Box<dyn Fn(u32, u32) + Send + Sync + 'a>;

/// Called for what the followers hold to be the best blocks now.
pub type Heads<'a> = Box<dyn Fn() -> Vec<(u32, BlockHash)> + Send + Sync + 'a>;

/// Called to make a checkpoint true: when it returns `Ok`, everything that the followers and the on-chain wallet were
/// told up to this block is on disk, and so is the checkpoint.
pub type Barrier<'a> = Box<dyn Fn(Tip) -> BoxFuture<'a, Result<()>> + Send + Sync + 'a>;

/// One round of a source's work: who is to be told, what is known already, and whom to tell of the way.
///
/// A round that is dropped shuts its gate: what a source still says afterwards (from a blocking client that cannot be
/// interrupted) reaches nobody.
pub struct Round<'a> {
    followers: Vec<Follower>,
    gate: Gate,
    /// What LDK wants watched. It grows while followers are told of blocks.
    pub watch: Arc<Watch>,
    /// The on-chain wallet.
    pub wallet: Arc<OnchainWallet>,
    /// How closely to look.
    pub depth: Depth,
    /// The last true checkpoint. Every follower and the wallet may be ahead of it, none is behind it, unless `whole` is
    /// false or a follower is new.
    pub known: Option<Checkpoint>,
    /// The blocks (height and hash) that the followers hold to be the best, each its own, when the round begins. Telling
    /// one of them of a lower block of the same chain is telling it of a reorganisation.
    pub heads: Vec<(u32, BlockHash)>,
    /// Whether everything that follows the chain takes part. If not (monitors alone), a source must not note for later
    /// rounds that "everybody was told".
    pub whole: bool,
    /// What it may take.
    pub terms: Terms,
    heads_now: Option<Heads<'a>>,
    /// The last checkpoint that was made true in this round.
    made_true: Mutex<Option<Checkpoint>>,
    heard: AtomicBool,
    progress: Progress<'a>,
    barrier: Barrier<'a>,
}

impl<'a> Round<'a> {
    /// A quick round for these followers, who are told in this order: the monitors first, because what they have to say
    /// is worth most. It knows nothing, reports to nobody and keeps nothing; see the other methods.
    pub fn new(followers: Vec<Follower>, watch: Arc<Watch>, wallet: Arc<OnchainWallet>) -> Self {
        Self {
            followers,
            gate: Gate::default(),
            watch,
            wallet,
            depth: Depth::Quick,
            known: None,
            heads: Vec::new(),
            whole: false,
            terms: Terms::default(),
            heads_now: None,
            made_true: Mutex::default(),
            heard: AtomicBool::new(false),
            progress: Box::new(|_, _| {}),
            barrier: Box::new(|_| Box::pin(std::future::ready(Ok(())))),
        }
    }

    /// Sets how closely to look.
    #[must_use]
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// Says that everything that follows the chain takes part, where the last checkpoint was, and how to make the next
    /// one true.
    #[must_use]
    pub fn whole(mut self, known: Option<Checkpoint>, barrier: Barrier<'a>) -> Self {
        self.whole = true;
        self.known = known;
        self.barrier = barrier;
        self
    }

    /// Says which blocks the followers hold to be the best.
    #[must_use]
    pub fn heads(mut self, heads: Vec<(u32, BlockHash)>) -> Self {
        self.heads = heads;
        self
    }

    /// The same, in a way that can be asked again once the followers were told more.
    #[must_use]
    pub fn heads_from(mut self, heads: impl Fn() -> Vec<(u32, BlockHash)> + Send + Sync + 'a) -> Self {
        self.heads = heads();
        self.heads_now = Some(Box::new(heads));
        self
    }

    /// Says what it may take.
    #[must_use]
    pub fn terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// The same round once more, for another source after one that failed: what followers were told meanwhile is known
    /// to it, and it has a gate of its own. The gate of the one before is shut with that one's attempt, so that nothing
    /// it still says reaches anybody.
    pub fn again(&self) -> Round<'_> {
        let now = self.heads_now.as_ref();
        Round {
            followers: self.followers.clone(),
            gate: Gate::default(),
            watch: Arc::clone(&self.watch),
            wallet: Arc::clone(&self.wallet),
            depth: self.depth,
            known: lock(&self.made_true).or(self.known),
            heads: now.map_or_else(|| self.heads.clone(), |heads| heads()),
            whole: self.whole,
            terms: self.terms,
            heads_now: None,
            made_true: Mutex::default(),
            heard: AtomicBool::new(false),
            progress: Box::new(|done, total| self.report(done, total)),
            barrier: Box::new(|tip| Box::pin(self.checkpoint(tip))),
        }
    }

    /// Whether the source has said anything in this round.
    pub fn heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst)
    }

    /// Says who wants to know of the progress.
    #[must_use]
    pub fn progress(mut self, progress: Progress<'a>) -> Self {
        self.progress = progress;
        self
    }

    /// The followers behind the round's gate: nothing gets through after the round was dropped, and no block whose
    /// header does not carry its work. In the order in which they must be told.
    pub fn followers(&self) -> Vec<GatedFollower> {
        let followers = self.followers.iter();
        followers
            .map(|follower| self.gate.before(Arc::clone(follower)))
            .collect()
    }

    /// The gate itself, to ask whether it has closed, and why.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Reports (blocks done, blocks in all); the first time as soon as the source knows the tip.
    pub fn report(&self, done: u32, total: u32) {
        self.heard.store(true, Ordering::SeqCst);
        (self.progress)(done, total);
    }

    /// The persist barrier. Only after the followers were told `best_block_updated` of this very block, and of every
    /// transaction that is watched up to it. A source keeps its own rows (its "I told them so") after this, never
    /// before: what is on disk of the followers may be newer than the source's notes, but never older.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`]; the checkpoint is not true then.
    pub async fn checkpoint(&self, tip: Tip) -> Result<()> {
        (self.barrier)(tip).await?;
        *lock(&self.made_true) = Some(Checkpoint {
            height: tip.height,
            hash: tip.hash,
            at_ms: clock::now_ms(),
        });
        Ok(())
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.gate.shut();
    }
}

/// Where the chain is heard from.
///
/// # The contract of every source
/// * **Order.** Within a round, what is no longer in the best chain is told first (`transaction_unconfirmed`), then
///   confirmations by height and position, `best_block_updated` last or, as LDK allows, of the tip before them. A
///   source that reads block by block calls `best_block_updated` at least at the end of each chunk.
/// * **Proof.** Nothing is told that was not proved: headers by their hash and work, transactions by their id and a
///   merkle proof (or the whole block), and the best chain by asking again at the end whether the tip still stands.
/// * **Growth.** Outputs that are registered because of a block are looked for in that block and in all after it,
///   within the same round. [`Watch::generation`] says whether there are any.
/// * **Dropping.** Every future may be dropped at every await. What was told is true, and the next round finds out
///   whatever was not. No lock is held over an await that is not released by the drop.
/// * **Bounds.** Every await ends by itself ([`crate::config::REQUEST_TIMEOUT`] for one answer), memory is bounded
///   whatever the other side sends, and a source that contradicts itself is given up after a few attempts with
///   [`crate::ErrorCode::ChainSyncFailed`].
/// * **Errors** are typed by their cause. After one, the followers may have part of the news: do not act on it.
#[async_trait]
pub trait Source: Send + Sync {
    /// How records, logs and backoff name it: a URL, or what kind of source it is. No secrets.
    fn endpoint(&self) -> &str;

    /// The servers behind it that can be left alone, each by itself. None for one that asks whoever is there.
    fn servers(&self) -> Vec<Endpoint> {
        vec![Endpoint::Chain(self.endpoint().to_owned())]
    }

    /// Whether a round asks somebody whom a question about the tip does not.
    fn has_more(&self) -> bool {
        false
    }

    /// The best block, its header proved.
    ///
    /// # Errors
    /// Typed by cause.
    async fn tip(&self) -> Result<Tip>;

    /// The block at a height of its best chain; `None` if there is none, or this kind of source cannot say.
    ///
    /// # Errors
    /// Typed by cause.
    async fn block_at(&self, _height: u32) -> Result<Option<BlockHash>> {
        Ok(None)
    }

    /// Brings every follower to the tip. A source that reads whole blocks brings the on-chain wallet along in the same
    /// pass.
    ///
    /// # Errors
    /// Typed by cause.
    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip>;

    /// Brings the on-chain wallet to the tip, durable step by step. Nothing is left to do for a source that did so in
    /// [`Self::sync_lightning`] just before.
    ///
    /// # Errors
    /// Typed by cause.
    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()>;

    /// Both. One after the other unless the source can do better.
    ///
    /// # Errors
    /// Typed by cause; that of the followers, if both failed.
    async fn sync(&self, round: &Round<'_>) -> Result<Tip> {
        let tip = self.sync_lightning(round).await?;
        self.sync_onchain(round).await?;
        Ok(tip)
    }

    /// Fee estimates; `None` if this kind of source has none, and the last known rates must do.
    ///
    /// # Errors
    /// Typed by cause.
    async fn fees(&self) -> Result<Option<Estimates>>;

    /// The lowest rate at which a transaction is passed on at all, if this source has heard of one.
    fn floor(&self) -> Option<FeeRate> {
        None
    }

    /// Sends a transaction.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether it arrived.
    async fn send(&self, transaction: &Transaction) -> Result<Sent>;

    /// Sends transactions that are accepted together or not at all, parents first (a child that pays for its parent).
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether they arrived.
    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent>;

    /// The same by a server that knows no packages: a parent that pays too little by itself is refused.
    ///
    /// # Errors
    /// As [`Self::send_package`].
    async fn send_one_by_one(&self, transactions: &[Transaction]) -> Result<Sent> {
        let mut outcome = Sent::Accepted;
        for transaction in transactions {
            if let refused @ Sent::Refused(_) = self.send(transaction).await? {
                outcome = refused;
            }
        }
        Ok(outcome)
    }

    /// Requests made since the source was made, to be put into wake records as differences.
    fn requests(&self) -> u64;

    /// Blocks whose filter, or all of them, was looked into so far, each time that it was. None by a source that is told
    /// which blocks concern us.
    fn blocks_looked_into(&self) -> u64 {
        0
    }

    /// What a person or the wake record should know of and no error says: a peer that was caught in a lie, for one. Each is
    /// given once.
    fn take_reports(&self) -> Vec<String> {
        Vec::new()
    }
}
