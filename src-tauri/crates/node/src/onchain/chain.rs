//! The on-chain wallet's side of a chain source: what to ask for, and taking in the answers.
//!
//! Two kinds of source: those that answer for scripts (Esplora, Electrum) work through requests; those that read blocks
//! (filters) hand over blocks and headers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bdk_wallet::KeychainKind;
use bdk_wallet::chain::spk_client::{FullScanRequest, FullScanResponse, SyncRequest, SyncResponse};
use bdk_wallet::chain::{BlockId, ChainPosition, CheckPoint, ConfirmationBlockTime};
use bitcoin::{Block, OutPoint, ScriptBuf, Transaction, Txid};

use super::{Inner, OnchainWallet};
use crate::chain::Depth;
use crate::config::STOP_GAP;
use crate::error::{Error, ErrorCode, Result};

/// Scripts in one request: so many can be asked for, applied and written before a wake is cut off.
const CHUNK: usize = 50;

/// The newest addresses handed out that a quick scan asks for even when they were used: someone may pay an address twice,
/// and that happens soon after the first time or never.
const NEWEST: u32 = 3;

/// Of the addresses handed out and never used, a quick scan asks for so many of the newest (BIP44's gap). Somebody who was
/// given an older one is still found when the app is open.
const UNUSED: usize = STOP_GAP;

impl OnchainWallet {
    /// Whether the wallet's history was looked for since it was made or restored.
    pub fn scanned(&self) -> bool {
        self.lock().scanned
    }

    /// The request for a wallet whose history is not known.
    pub fn full_scan_request(&self) -> FullScanRequest<KeychainKind> {
        self.lock().wallet.start_full_scan().build()
    }

    /// The requests for what is new at addresses already handed out, in chunks. Each is applied before the next is sent.
    /// There is always one, so that the wallet learns the tip. `news` says that LDK has heard of transactions since the last
    /// scan: they may pay to addresses that nobody else was given.
    pub fn scan_requests(&self, depth: Depth, news: bool) -> Vec<SyncRequest<(KeychainKind, u32)>> {
        let inner = self.lock();
        let wallet = &inner.wallet;
        let wanted = inner.wanted(depth, news);
        let expected = inner.expected();
        let mut chunks: Vec<&[_]> = wanted.chunks(CHUNK).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let requests = chunks.into_iter().map(|chunk| {
            let scripts: BTreeSet<&ScriptBuf> = chunk.iter().map(|(_, script)| script).collect();
            let expected = expected
                .iter()
                .filter(|(script, _)| scripts.contains(script))
                .cloned();
            SyncRequest::builder()
                .chain_tip(wallet.latest_checkpoint())
                .spks_with_indexes(chunk.iter().cloned())
                .expected_spk_txids(expected)
                .build()
        });
        requests.collect()
    }

    /// Takes in the answer to a full scan. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if it does not connect to our chain, or cannot be true; [`ErrorCode::StorageFailed`].
    pub fn apply_full_scan(&self, mut answer: FullScanResponse<KeychainKind>) -> Result<()> {
        let mut inner = self.lock();
        inner.must_make_sense(&mut answer.tx_update)?;
        inner.apply(answer)?;
        inner.mark_scanned()
    }

    /// Takes in the answer to a scan. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if it does not connect to our chain, or cannot be true; [`ErrorCode::StorageFailed`].
    pub fn apply_scan(&self, mut answer: SyncResponse) -> Result<()> {
        let mut inner = self.lock();
        inner.must_make_sense(&mut answer.tx_update)?;
        inner.apply(answer)
    }

    /// A transaction that the wallet has seen, confirmed or not.
    pub fn transaction(&self, txid: &Txid) -> Option<Arc<Transaction>> {
        self.lock().wallet.tx_graph().get_tx(*txid)
    }

    /// Whether anybody was ever given an address to pay to.
    pub fn address_given(&self) -> bool {
        let inner = self.lock();
        let kinds = [KeychainKind::External, KeychainKind::Internal];
        kinds
            .into_iter()
            .any(|kind| inner.wallet.derivation_index(kind).is_some())
    }

    /// The newest block the wallet knows of, with those before it.
    pub fn checkpoint(&self) -> CheckPoint {
        self.lock().wallet.latest_checkpoint()
    }

    /// Every script that is ours or may become ours next: revealed ones and those looked ahead for. Grows when a block
    /// pays to one of the latter.
    pub fn scripts(&self) -> BTreeSet<ScriptBuf> {
        let inner = self.lock();
        let all = inner.wallet.spk_index().inner().all_spks();
        all.values().cloned().collect()
    }

    /// The outputs that are ours, spent or not: a block that spends one concerns us.
    pub fn coins(&self) -> BTreeSet<OutPoint> {
        let inner = self.lock();
        inner
            .wallet
            .spk_index()
            .outpoints()
            .iter()
            .map(|(_, outpoint)| *outpoint)
            .collect()
    }

    /// Whether whatever a transaction takes from the wallet is taken with our signature.
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if not.
    pub fn must_be_signed(&self, transaction: &Transaction) -> Result<()> {
        self.lock().must_be_signed(transaction, &HashMap::new())
    }

    /// Where a transaction is, if the wallet knows that it is in this block.
    pub fn place_of(&self, txid: &Txid, block: &BlockId) -> Option<ConfirmationBlockTime> {
        let inner = self.lock();
        let node = inner.wallet.tx_graph().get_tx_node(*txid)?;
        let mut anchors = node.anchors.iter();
        anchors.find(|anchor| anchor.block_id == *block).copied()
    }

    /// Takes in a block that matters, connected to a block that the wallet knows. Blocks in between may be left out if
    /// nothing in them is ours. Not durable before [`Self::persist`].
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if it does not connect to our chain.
    pub fn apply_block(&self, block: &Block, height: u32, connected_to: BlockId) -> Result<()> {
        let mut inner = self.lock();
        let applied = inner.wallet.apply_block_connected_to(block, height, connected_to);
        applied.map_err(|e| Error::new(ErrorCode::ChainSyncFailed, format!("on-chain wallet: {e}")))
    }

    /// Moves the wallet's chain to this one, which must share a block with it: forward over blocks in which nothing is
    /// ours, or onto another branch after a reorganisation. Not durable before [`Self::persist`].
    ///
    /// # Errors
    /// [`ErrorCode::ChainSyncFailed`] if the two have no block in common.
    pub fn apply_chain(&self, chain: CheckPoint) -> Result<()> {
        let update = bdk_wallet::Update {
            chain: Some(chain),
            ..Default::default()
        };
        let applied = self.lock().wallet.apply_update(update);
        applied.map_err(|e| Error::new(ErrorCode::ChainSyncFailed, format!("on-chain wallet: {e}")))
    }

    /// Says that the wallet's whole history was looked for, by a source that read every block since the wallet was made.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn mark_scanned(&self) -> Result<()> {
        self.lock().mark_scanned()
    }

    /// The blocks from a height on that hold something of ours, as far as the wallet knows.
    pub fn blocks_of_ours(&self, from: u32) -> BTreeSet<BlockId> {
        let inner = self.lock();
        let blocks = inner
            .wallet
            .transactions()
            .filter_map(|tx| match tx.chain_position {
                ChainPosition::Confirmed { anchor, .. } => Some(anchor.block_id),
                ChainPosition::Unconfirmed { .. } => None,
            });
        blocks.filter(|block| block.height >= from).collect()
    }

    /// What is ours in blocks, whatever is in no block yet: each transaction's id, its block, and what it takes from the
    /// wallet and brings to it, in sat.
    #[cfg(feature = "oracle")]
    pub fn in_blocks(&self) -> Vec<(bitcoin::Txid, BlockId, u64, u64)> {
        let inner = self.lock();
        let placed = inner.wallet.transactions().filter_map(|tx| {
            let ChainPosition::Confirmed { anchor, .. } = tx.chain_position else {
                return None;
            };
            let (sent, received) = inner.wallet.sent_and_received(&tx.tx_node.tx);
            Some((tx.tx_node.txid, anchor.block_id, sent.to_sat(), received.to_sat()))
        });
        placed.collect()
    }

    /// Writes what changed. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn persist(&self) -> Result<()> {
        self.lock().persist()
    }
}

impl Inner {
    /// The scripts to ask for, with their places in the wallet.
    fn wanted(&self, depth: Depth, news: bool) -> Vec<((KeychainKind, u32), ScriptBuf)> {
        let index = self.wallet.spk_index();
        let revealed = index.revealed_spks(..);
        if depth == Depth::Deep {
            return revealed.collect();
        }
        let coins: BTreeSet<(KeychainKind, u32)> = self
            .wallet
            .list_unspent()
            .map(|coin| (coin.keychain, coin.derivation_index))
            .collect();
        let paid = |tx: &Transaction| -> Vec<(KeychainKind, u32)> {
            let outputs = tx.output.iter();
            outputs
                .filter_map(|out| index.index_of_spk(out.script_pubkey.clone()).copied())
                .collect()
        };
        // A payment of ours that is in no block yet pays to its addresses and takes from them; both may change. One that was
        // replaced leaves its addresses as if they had never been used.
        let (mut pending, mut used) = (BTreeSet::new(), BTreeSet::new());
        for tx in self.wallet.transactions() {
            if tx.chain_position.is_confirmed() {
                used.extend(paid(&tx.tx_node.tx));
                continue;
            }
            let inputs = tx.tx_node.tx.input.iter().map(|input| input.previous_output);
            pending.extend(inputs.filter_map(|coin| index.txout(coin).map(|(place, _)| place)));
            pending.extend(paid(&tx.tx_node.tx));
        }
        let all: Vec<((KeychainKind, u32), ScriptBuf)> = revealed.collect();
        let unused = all.iter().rev().map(|(place, _)| *place);
        let unused: BTreeSet<(KeychainKind, u32)> = unused
            .filter(|(keychain, at)| *keychain == KeychainKind::External && !used.contains(&(*keychain, *at)))
            .take(UNUSED)
            .collect();
        let newest = index.last_revealed_index(KeychainKind::External);
        all.into_iter()
            .filter(|((keychain, at), _)| {
                let place = (*keychain, *at);
                let matters = match keychain {
                    KeychainKind::External => {
                        unused.contains(&place) || newest.is_some_and(|newest| at + NEWEST > newest)
                    }
                    // Only our own transactions pay here: change, sweeps, and what channels leave when they close.
                    KeychainKind::Internal => news && !used.contains(&place),
                };
                matters || coins.contains(&place) || pending.contains(&place)
            })
            .collect()
    }

    fn mark_scanned(&mut self) -> Result<()> {
        self.change_sets.mark_scanned()?;
        self.scanned = true;
        Ok(())
    }
}
