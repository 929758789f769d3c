//! The on-chain wallet's part of a round: histories of scripts, many at a time, and the blocks they stand in.
//!
//! A server can always withhold a payment, and show one that waits for a block and never will be in one. What it says is in a
//! block is proved to be there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bdk_wallet::KeychainKind;
use bdk_wallet::chain::spk_client::{
    FullScanRequest, FullScanResponse, SpkWithExpectedTxids, SyncRequest, SyncResponse,
};
use bdk_wallet::chain::{BlockId, CheckPoint, ConfirmationBlockTime, TxUpdate};
use bitcoin::{BlockHash, OutPoint, Script, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::ask::DEEPEST_REORG;
use super::heights::Heights;
use super::proof::lie;
use super::server::{Chain, HistoryItem, Server};
use crate::chain::source::Checkpoint;
use crate::config::STOP_GAP;
use crate::error::Result;
use crate::onchain::OnchainWallet;

/// Conflicting checkpoints after a reorganisation that are looked at. A wallet's chain has ten near its tip and one for
/// each block with something of ours.
const STEPS_BACK: usize = 500;

/// Blocks under the tip that the wallet gets to know: enough to find where it stands after the reorganisations that happen.
const NEWEST_BLOCKS: usize = 16;

/// Questions for the wallet.
pub struct Scan<'a> {
    /// The server.
    pub server: &'a dyn Server,
    /// The heights that were proved.
    pub heights: &'a Heights,
    /// The wallet.
    pub wallet: &'a OnchainWallet,
    /// The last true checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The chain of a tip that was known before the first question: whatever is in later blocks is left for the next round.
    pub chain: Chain<'a>,
    /// What [`Self::lowest_gone`] has found. Blocks from here on are looked at, also where one above them stands.
    pub gone: Option<u32>,
}

impl Scan<'_> {
    /// Answers a request for scripts handed out.
    pub async fn sync(&self, mut request: SyncRequest<(KeychainKind, u32)>) -> Result<SyncResponse> {
        let (start, tip) = (request.start_time(), request.chain_tip());
        let scripts: Vec<SpkWithExpectedTxids> = request.iter_spks_with_expected_txids().collect();
        let mut tx_update = TxUpdate::default();
        for (items, gone) in self.histories(scripts).await? {
            add(&mut tx_update, items, gone, start);
        }
        let chain_update = self.moved_to_tip(tip, &tx_update).await?;
        Ok(SyncResponse {
            tx_update,
            chain_update,
        })
    }

    /// Answers a request for a wallet whose history is not known.
    pub async fn full_scan(
        &self,
        mut request: FullScanRequest<KeychainKind>,
    ) -> Result<FullScanResponse<KeychainKind>> {
        let (start, tip) = (request.start_time(), request.chain_tip());
        let at_once = self.server.parallel().min(STOP_GAP);
        let mut tx_update = TxUpdate::default();
        let mut last_active_indices = BTreeMap::new();
        for keychain in request.keychains() {
            let revealed = request.last_revealed(&keychain);
            let mut unused = 0;
            while unused < STOP_GAP {
                let next: Vec<_> = request.iter_spks(keychain).take(at_once).collect();
                if next.is_empty() {
                    break;
                }
                let indices: Vec<u32> = next.iter().map(|(index, _)| *index).collect();
                let scripts = next.into_iter().map(|(_, script)| script.into()).collect();
                for (index, (items, gone)) in indices.into_iter().zip(self.histories(scripts).await?) {
                    if !items.is_empty() {
                        last_active_indices.insert(keychain, index);
                        unused = 0;
                    } else if revealed.is_none_or(|revealed| index > revealed) {
                        unused += 1;
                    }
                    add(&mut tx_update, items, gone, start);
                }
            }
        }
        let chain_update = self.moved_to_tip(tip, &tx_update).await?;
        Ok(FullScanResponse {
            tx_update,
            last_active_indices,
            chain_update,
        })
    }

    /// The histories of scripts, in their order, with the transactions that were expected and are not there.
    async fn histories(
        &self,
        scripts: Vec<SpkWithExpectedTxids>,
    ) -> Result<Vec<(Vec<HistoryItem>, HashSet<Txid>)>> {
        let ours = &self.wallet.coins();
        let histories = stream::iter(scripts).map(|script| async move {
            let items = self.server.history(self.chain, &script.spk, self.wallet).await?;
            must_concern(&script.spk, &items, ours)?;
            let there: HashSet<Txid> = items.iter().map(|item| item.txid).collect();
            let gone = script.expected_txids.difference(&there).copied().collect();
            Ok((items, gone))
        });
        histories.buffered(self.server.parallel()).try_collect().await
    }

    /// The height of the lowest block with something of ours that is in the chain no more, as deep as reorganisations go, on the
    /// server's word. Where the wallet stood when it was told of a reorganisation is a server's word as well, and blocks under
    /// that are not looked at again: one that was falsely said to stand would hold a payment that is in no block for ever.
    pub async fn lowest_gone(&self) -> Result<Option<u32>> {
        let newest = self.chain.recent.tip.height;
        let of_ours = self.wallet.blocks_of_ours(newest.saturating_sub(DEEPEST_REORG));
        let of_ours = of_ours.into_iter().filter(|block| block.height <= newest);
        let doubtful = self.chain.unseen(of_ours.map(|block| (block.hash, block.height)));
        let gone = stream::iter(doubtful)
            .map(|(hash, height)| async move { Ok((height, self.block_at(height).await? != hash)) })
            .buffer_unordered(self.server.parallel())
            .try_filter_map(|(height, gone)| std::future::ready(Ok(gone.then_some(height))));
        let gone: Vec<u32> = gone.try_collect().await?;
        Ok(gone.into_iter().min())
    }

    /// The wallet's chain, moved to the tip: it shares a block with what the wallet has, and has a block for each new
    /// transaction.
    async fn moved_to_tip(
        &self,
        tip: Option<CheckPoint>,
        update: &TxUpdate<ConfirmationBlockTime>,
    ) -> Result<Option<CheckPoint>> {
        let Some(local) = tip else { return Ok(None) };
        let newest = &self.chain.recent.tip;
        let mut above = Vec::new();
        let mut shared = None;
        for checkpoint in local.iter().take(STEPS_BACK) {
            let height = checkpoint.height();
            if height > newest.height {
                continue;
            }
            let is_above_gone = self.gone.is_some_and(|gone| height >= gone);
            let stands = !is_above_gone
                && (self.chain.known.get(&checkpoint.hash()) == Some(&height)
                    || self.block_at(height).await? == checkpoint.hash());
            if stands {
                shared = Some(checkpoint);
                break;
            }
            // Lies below this could go on for as long as the wallet's chain.
            if newest.height - height > DEEPEST_REORG {
                return Err(lie(&format!("it calls our block at height {height} gone")));
            }
            above.push(height);
        }
        let shared = shared.ok_or_else(|| lie("its chain shares no block with ours"))?;
        // Which blocks are in the places of ours is not taken on the server's word.
        let mut blocks: BTreeMap<u32, BlockHash> = BTreeMap::new();
        if let Some(lowest) = above.last() {
            let shown = self.server.extended(self.chain.recent, *lowest).await?;
            blocks.extend(
                above
                    .iter()
                    .filter_map(|height| Some((*height, shown.at(*height)?))),
            );
        }
        let mut places = BTreeSet::new();
        for (anchor, txid) in &update.anchors {
            let BlockId { height, hash } = anchor.block_id;
            // Whatever is in later blocks is left for the next round.
            if height > newest.height {
                continue;
            }
            let known = blocks.get(&height).copied();
            let known = known.or_else(|| shared.get(height).map(|block| block.hash()));
            let in_place = match known {
                Some(in_place) => in_place,
                None => self.block_at(height).await?,
            };
            if in_place != hash {
                return Err(lie(&format!(
                    "{txid} is in block {hash}, and another one is in its place"
                )));
            }
            if known.is_none() {
                places.insert((hash, height));
            }
            blocks.insert(height, hash);
        }
        let places = self.chain.unseen(places.into_iter());
        self.heights.prove(self.server, places).await?;
        self.heights
            .prove_tip(self.server, self.chain.recent, self.checkpoint)
            .await?;
        blocks.extend(self.chain.recent.descending().take(NEWEST_BLOCKS));
        let mut chain = shared;
        for (height, hash) in blocks {
            chain = chain.insert(BlockId { height, hash });
        }
        Ok(Some(chain))
    }

    async fn block_at(&self, height: u32) -> Result<BlockHash> {
        if let Some(hash) = self.chain.recent.at(height) {
            return Ok(hash);
        }
        let hash = self.server.block_at(height).await?;
        hash.ok_or_else(|| lie(&format!("it has no block at height {height}, under its tip")))
    }
}

/// Whether every transaction of a script's history pays to it or takes from it. A server that does not know a script, because
/// nobody ever paid to it, can show nothing; so a restored wallet's search has an end.
fn must_concern(script: &Script, items: &[HistoryItem], ours: &BTreeSet<OutPoint>) -> Result<()> {
    let paid = |item: &HistoryItem| {
        item.transaction
            .output
            .iter()
            .any(|output| *output.script_pubkey == *script)
    };
    let paying: HashSet<Txid> = items
        .iter()
        .filter(|item| paid(item))
        .map(|item| item.txid)
        .collect();
    for item in items {
        let mut inputs = item.transaction.input.iter().map(|input| input.previous_output);
        let concerns = paying.contains(&item.txid)
            || inputs.any(|coin| paying.contains(&coin.txid) || ours.contains(&coin));
        if !concerns {
            let txid = item.txid;
            return Err(lie(&format!(
                "transaction {txid} is no part of the history it is shown in"
            )));
        }
    }
    Ok(())
}

fn add(
    update: &mut TxUpdate<ConfirmationBlockTime>,
    items: Vec<HistoryItem>,
    gone: HashSet<Txid>,
    start: u64,
) {
    for item in items {
        match item.place {
            Some(anchor) => {
                update.anchors.insert((anchor, item.txid));
            }
            None => {
                update.seen_ats.insert((item.txid, start));
            }
        }
        update.txouts.extend(item.spent);
        update.txs.push(item.transaction);
    }
    update
        .evicted_ats
        .extend(gone.into_iter().map(|txid| (txid, start)));
}
