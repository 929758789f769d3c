//! The on-chain wallet's part of a round: histories of scripts, many at a time, and the blocks they stand in.
//!
//! A transaction's id is proved; whether its place is depends on the kind of server. A server can always withhold a payment;
//! some can show one that is not there. Money that came so is not spendable on the real chain, and another server says so.

use std::collections::{BTreeMap, HashSet};

use bdk_wallet::KeychainKind;
use bdk_wallet::chain::spk_client::{
    FullScanRequest, FullScanResponse, SpkWithExpectedTxids, SyncRequest, SyncResponse,
};
use bdk_wallet::chain::{BlockId, CheckPoint, ConfirmationBlockTime, TxUpdate};
use bitcoin::{BlockHash, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::proof::lie;
use super::server::{Chain, HistoryItem, Server};
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
    /// The wallet.
    pub wallet: &'a OnchainWallet,
    /// The chain of a tip that was known before the first question: whatever is in later blocks is left for the next round.
    pub chain: Chain<'a>,
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
        let histories = stream::iter(scripts).map(|script| async move {
            let items = self.server.history(self.chain, &script.spk, self.wallet).await?;
            let there: HashSet<Txid> = items.iter().map(|item| item.txid).collect();
            let gone = script.expected_txids.difference(&there).copied().collect();
            Ok((items, gone))
        });
        histories.buffered(self.server.parallel()).try_collect().await
    }

    /// The wallet's chain, moved to the tip: it shares a block with what the wallet has, and has a block for each new
    /// transaction.
    async fn moved_to_tip(
        &self,
        tip: Option<CheckPoint>,
        update: &TxUpdate<ConfirmationBlockTime>,
    ) -> Result<Option<CheckPoint>> {
        let Some(local) = tip else { return Ok(None) };
        let mut conflicts = Vec::new();
        let mut shared = None;
        for checkpoint in local.iter().take(STEPS_BACK) {
            let height = checkpoint.height();
            if height > self.chain.recent.tip.height {
                continue;
            }
            let there = if self.chain.known.get(&checkpoint.hash()) == Some(&height) {
                checkpoint.hash()
            } else {
                self.block_at(height).await?
            };
            if there == checkpoint.hash() {
                shared = Some(checkpoint);
                break;
            }
            conflicts.push(BlockId { height, hash: there });
        }
        let shared = shared.ok_or_else(|| lie("its chain shares no block with ours"))?;
        let mut blocks: BTreeMap<u32, BlockHash> = conflicts
            .into_iter()
            .map(|block| (block.height, block.hash))
            .collect();
        for (anchor, _) in &update.anchors {
            let BlockId { height, .. } = anchor.block_id;
            let there = blocks.contains_key(&height) || shared.get(height).is_some();
            if !there && height <= self.chain.recent.tip.height {
                blocks.insert(height, self.block_at(height).await?);
            }
        }
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
