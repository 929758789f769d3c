//! One round for LDK's followers: what to ask, when to believe it, in which order to tell it.
//!
//! The guarantees are those of `lightning-transaction-sync`, which the tests hold this against. What is different: many
//! questions at a time, none that earlier rounds have settled, and the best block is told last. A round that is dropped
//! between two passes then leaves the followers at a height at which they know everything, not ahead of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bitcoin::{BlockHash, Txid};
use lightning::chain::Confirm;

use super::ask::{Answer, Ask, Findings, Trouble};
use super::heights::Heights;
use super::proof::lie;
use super::recent::Recent;
use super::seen::{Holds, Memory, Remembered, Seen};
use super::server::{Chain, Server};
use crate::chain::gate::Closed;
use crate::chain::source::{GatedFollower, Round};
use crate::chain::watch::Watched;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// How often one sync may start over because answers did not fit together. Blocks come every ten minutes; three in the
/// seconds of one sync is a source that plays with us.
const ATTEMPTS: usize = 4;

/// How often what was just confirmed may make LDK watch more within one round: a commitment, its HTLC transactions, and
/// what spends those make three.
const PASSES: usize = 20;

/// What is known of the chain of one tip, whenever it was asked: facts that cannot change.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The tip and the blocks under it.
    pub recent: Recent,
    /// Other blocks under it, with their heights.
    pub blocks: BTreeMap<BlockHash, u32>,
}

/// A round over one server.
pub struct Work<'a, 'r> {
    /// The server.
    pub server: &'a dyn Server,
    /// What it has shown before.
    pub memory: &'a Memory,
    /// What the last round learned of the chain.
    pub facts: &'a Mutex<Option<Facts>>,
    /// The heights that were proved.
    pub heights: &'a Heights,
    /// The round.
    pub round: &'a Round<'r>,
}

impl Work<'_, '_> {
    /// Brings every follower to the tip.
    pub async fn sync(&self) -> Result<Recent> {
        let mut unclear = String::new();
        for _ in 0..ATTEMPTS {
            match self.attempt().await {
                Ok(recent) => return Ok(recent),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Unclear(why)) => {
                    tracing::debug!(why, "the chain moved, or the server contradicts itself");
                    unclear = why;
                }
            }
        }
        Err(lie(&format!(
            "it contradicted itself {ATTEMPTS} times: {unclear}"
        )))
    }

    async fn attempt(&self) -> Answer<Recent> {
        let endpoint = self.server.endpoint();
        let recalled = self.memory.recall(endpoint, self.round.depth);
        let (recent, holds) = self.stand(recalled.as_ref()).await?;
        let tip = recent.tip;
        if let Some(known) = self.round.known.filter(|known| known.height > tip.height) {
            let behind = known.height - tip.height;
            return Err(lie(&format!("it is {behind} blocks behind what was seen before")).into());
        }
        let earlier = recalled.zip(holds);
        let total = self.round.known.map_or(0, |known| tip.height - known.height);
        self.round.report(0, total);

        let followers = self.round.followers();
        let mut seen = Seen::at(endpoint, &tip);
        seen.news = earlier
            .as_ref()
            .is_some_and(|(remembered, _)| remembered.seen.news);
        let mut told = false;
        let mut pass = self.first_questions(earlier.as_ref(), &mut seen);
        for _ in 0..PASSES {
            let relevant = relevant(&followers)?;
            let known = earlier
                .as_ref()
                .map(|(remembered, _)| remembered.seen.blocks.clone());
            let known: BTreeMap<BlockHash, u32> =
                known.into_iter().flatten().chain(seen.blocks.clone()).collect();
            let ask = Ask {
                server: self.server,
                heights: self.heights,
                chain: Chain {
                    recent: &recent,
                    known: &known,
                },
            };
            let blocks: BTreeSet<(BlockHash, u32)> = relevant
                .iter()
                .map(|(_, height, block)| (*block, *height))
                .collect();
            let asked = !pass.transactions.is_empty()
                || !pass.outputs.is_empty()
                || blocks
                    .iter()
                    .any(|(block, height)| ask.stands(block, *height).is_none());
            let height = async {
                let proving = self.heights.prove_tip(self.server, &recent, self.round.known);
                proving.await.map_err(Trouble::from)
            };
            let (standing, findings, ()) = tokio::try_join!(
                ask.standing(blocks),
                ask.look(&pass.transactions, &pass.outputs),
                height
            )?;
            for found in &findings.confirmed {
                // A transaction's id does not prove its witnesses, and LDK panics over a funding of ours that has none.
                self.round.wallet.must_be_signed(&found.transaction)?;
            }
            // Answers are about the chain of this tip only if it was the tip before and after them.
            if asked && self.server.tip_hash().await? != tip.hash {
                return Err(Trouble::Unclear("a block was found meanwhile".into()));
            }
            // From here to the end of the pass nothing is awaited: it is told whole or not at all.
            seen.blocks.extend(standing);
            told |= self.tell(&followers, &relevant, &findings, &mut seen)?;
            note(&pass, &findings, &mut seen);
            let before = pass.registrations;
            pass = self.round.watch.all();
            pass.transactions.retain(|watched| watched.registered > before);
            pass.outputs.retain(|watched| watched.registered > before);
            if pass.transactions.is_empty() && pass.outputs.is_empty() {
                let fresh_process = earlier
                    .as_ref()
                    .is_none_or(|(remembered, _)| remembered.registrations.is_none());
                if told || fresh_process || holds != Some(Holds::Whole) {
                    self.conclude(&followers, &recent, seen, pass.registrations)
                        .await?;
                }
                *lock(self.facts) = Some(facts(recent.clone(), known, recalled_block(earlier.as_ref())));
                self.round.report(total, total);
                return Ok(recent);
            }
        }
        Err(Error::new(ErrorCode::Internal, "what is watched grows without end").into())
    }

    /// The tip, and how much of what was seen before holds in its chain.
    async fn stand(&self, recalled: Option<&Remembered>) -> Answer<(Recent, Option<Holds>)> {
        let Some(Remembered { seen, registrations }) = recalled else {
            return Ok((self.server.recent().await?, None));
        };
        if registrations.is_some() {
            // The same process: most often nothing has happened, and one small answer says so.
            let facts = lock(self.facts).clone();
            let known = facts
                .map(|facts| facts.recent)
                .filter(|recent| recent.tip.hash == seen.hash);
            if let Some(recent) = known
                && self.server.tip_hash().await? == recent.tip.hash
            {
                return Ok((recent, Some(Holds::Whole)));
            }
            let recent = self.server.recent().await?;
            if recent.height_of(&seen.hash).is_some() {
                return Ok(held(recent, seen, false));
            }
            let height = self.server.height_of(&seen.hash, seen.height).await?;
            return Ok(held(recent, seen, height == Some(seen.height)));
        }
        let both = self.server.recent_and_height_of(&seen.hash, seen.height);
        let (recent, height) = both.await?;
        Ok(held(recent, seen, height == Some(seen.height)))
    }

    /// What must be asked, and in `seen` what need not be.
    fn first_questions(&self, earlier: Option<&(Remembered, Holds)>, seen: &mut Seen) -> Watched {
        let mut watched = self.round.watch.all();
        let Some((
            Remembered {
                seen: before,
                registrations,
            },
            holds,
        )) = earlier
        else {
            return watched;
        };
        let old = |registered: u64| registrations.is_none_or(|known| registered <= known);
        watched.transactions.retain(|item| {
            let settled = old(item.registered) && before.settles_transaction(item, *holds);
            if settled {
                seen.keep_transaction(item, before);
            }
            !settled
        });
        watched.outputs.retain(|item| {
            let settled = old(item.registered) && before.settles_output(item, *holds);
            if settled {
                seen.keep_output(item.outpoint, before);
            }
            !settled
        });
        watched
    }

    /// Tells the followers: first what is in no block any more, then what is in one, by height and position.
    fn tell(
        &self,
        followers: &[GatedFollower],
        relevant: &BTreeSet<(Txid, u32, BlockHash)>,
        findings: &Findings,
        seen: &mut Seen,
    ) -> Answer<bool> {
        let places: BTreeMap<Txid, BlockHash> = findings
            .confirmed
            .iter()
            .map(|found| (found.txid, found.header.block_hash()))
            .collect();
        for (txid, _, block) in relevant {
            if !seen.blocks.contains_key(block) && places.get(txid) == Some(block) {
                return Err(Trouble::Unclear(format!(
                    "block {block} is gone, and {txid} is in it"
                )));
            }
        }
        // LDK panics when a transaction is confirmed in one block and then in another.
        let gone: BTreeSet<Txid> = relevant
            .iter()
            .filter(|(txid, _, block)| {
                !seen.blocks.contains_key(block) || places.get(txid).is_some_and(|place| place != block)
            })
            .map(|(txid, ..)| *txid)
            .collect();
        if !gone.is_empty() {
            self.memory.forget()?;
            seen.told.retain(|txid, _| !gone.contains(txid));
        }
        for txid in &gone {
            tracing::info!(%txid, "in no block any more");
            for follower in followers {
                follower.transaction_unconfirmed(txid);
            }
        }
        for found in &findings.confirmed {
            let data = [(found.position, &found.transaction)];
            for follower in followers {
                follower.transactions_confirmed(&found.header, &data, found.height);
            }
            let block = found.header.block_hash();
            seen.blocks.insert(block, found.height);
            seen.told.insert(found.txid, block);
        }
        let told = !gone.is_empty() || !findings.confirmed.is_empty();
        seen.news |= told;
        self.gate_open()?;
        Ok(told)
    }

    /// The best block, the persist barrier, and only then the note that everybody was told.
    async fn conclude(
        &self,
        followers: &[GatedFollower],
        recent: &Recent,
        mut seen: Seen,
        registrations: u64,
    ) -> Answer<()> {
        for follower in followers {
            follower.best_block_updated(&recent.tip.header, recent.tip.height);
        }
        self.gate_open()?;
        self.round.checkpoint(recent.tip).await?;
        if self.round.whole {
            let needed: BTreeSet<BlockHash> = relevant(followers)?
                .into_iter()
                .map(|(.., block)| block)
                .collect();
            let told: BTreeSet<BlockHash> = seen.told.values().copied().collect();
            seen.blocks
                .retain(|block, _| needed.contains(block) || told.contains(block));
            self.memory.keep(seen, registrations, self.round.depth)?;
        }
        Ok(())
    }

    fn gate_open(&self) -> Result<()> {
        match self.round.gate().closed() {
            None => Ok(()),
            Some(Closed::Lie(what)) => Err(lie(&what)),
            Some(Closed::TipMoved) => Err(lie("its tip moved")),
        }
    }
}

/// How much of what was seen holds at this tip; `stands` says that the block of then is in the chain.
fn held(recent: Recent, seen: &Seen, stands: bool) -> (Recent, Option<Holds>) {
    let holds = if recent.tip.hash == seen.hash {
        (recent.tip.height == seen.height).then_some(Holds::Whole)
    } else if recent.at(seen.height).map_or(stands, |block| block == seen.hash) {
        Some(Holds::Blocks)
    } else {
        None
    };
    (recent, holds)
}

/// What the followers hold for confirmed and not yet for final, with heights and blocks.
fn relevant(followers: &[GatedFollower]) -> Result<BTreeSet<(Txid, u32, BlockHash)>> {
    let all = followers.iter().flat_map(Confirm::get_relevant_txids);
    all.map(|(txid, height, block)| match block {
        Some(block) => Ok((txid, height, block)),
        // Channels of LDK before 0.0.113, which this wallet never ran.
        None => Err(Error::new(
            ErrorCode::Internal,
            format!("{txid} is confirmed in an unknown block"),
        )),
    })
    .collect()
}

/// Notes what was asked and found.
fn note(asked: &Watched, findings: &Findings, seen: &mut Seen) {
    for watched in &asked.transactions {
        seen.note_transaction(watched);
    }
    for (outpoint, spender) in &findings.spenders {
        seen.note_output(*outpoint, *spender);
    }
}

fn recalled_block(earlier: Option<&(Remembered, Holds)>) -> Option<(BlockHash, u32)> {
    earlier.map(|(remembered, _)| (remembered.seen.hash, remembered.seen.height))
}

fn facts(recent: Recent, mut blocks: BTreeMap<BlockHash, u32>, more: Option<(BlockHash, u32)>) -> Facts {
    blocks.extend(more);
    Facts { recent, blocks }
}
