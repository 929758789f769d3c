//! Where watched transactions are, what spends watched outputs, and what a script's history is: Electrum knows scripts alone,
//! so all three are found in the histories of scripts, and proved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bdk_wallet::chain::{BlockId, ConfirmationBlockTime};
use bitcoin::block::Header;
use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::api::{Api, Entry};
use super::client::PIPELINE;
use super::known::{Known, Place, Wanted};
use super::proof;
use crate::chain::engine::{Answer, Chain, Findings, Found, HistoryItem, Trouble, lie};
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::error::Result;
use crate::onchain::OnchainWallet;

/// Transactions that may spend a watched output are proved at once with being read, if they are so few. A script of a channel
/// has two transactions in its life; more are somebody's game.
const FEW: usize = 16;

/// How often a script's history is asked for if it does not fit its proofs: a reorganisation between the questions.
const TRIES: usize = 3;

/// Bytes of unconfirmed transactions of one script that are looked at: the largest that nodes pass on have 400,000.
const UNCONFIRMED: usize = 1_000_000;

/// Questions about the chain of one tip.
pub struct Look<'a> {
    /// The server.
    pub api: &'a Api,
    /// What it has proved already.
    pub known: &'a Known,
    /// The chain.
    pub chain: Chain<'a>,
}

impl Look<'_> {
    /// Looks for these transactions and for what spends these outputs.
    pub async fn at(&self, transactions: &[WatchedTransaction], outputs: &[WatchedCoin]) -> Answer<Findings> {
        let of_transactions = transactions.iter().flat_map(|watched| &watched.scripts);
        let of_outputs = outputs.iter().map(|watched| &watched.script);
        let scripts = of_transactions.chain(of_outputs).cloned().collect();
        let mut histories = self.histories(scripts).await?;
        let more = self.scripts_of_others(transactions, &histories).await?;
        histories.extend(self.histories(more).await?);
        let heights = heights(&histories)?;

        let watched: BTreeSet<Txid> = transactions
            .iter()
            .map(|watched| watched.txid)
            .filter(|txid| heights.contains_key(txid))
            .collect();
        // What may spend an output: everything confirmed in the history of its script, but the transaction that it is of.
        let suspects: BTreeMap<OutPoint, BTreeSet<Txid>> = outputs
            .iter()
            .map(|output| {
                let entries = histories.get(&output.script).into_iter().flatten();
                let confirmed = entries.filter(|entry| entry.height.is_some());
                let others = confirmed.filter(|entry| entry.txid != output.outpoint.txid);
                (output.outpoint, others.map(|entry| entry.txid).collect())
            })
            .collect();
        let suspected: BTreeSet<Txid> = suspects.values().flatten().copied().collect();
        let wanted: BTreeSet<Txid> = watched.union(&suspected).copied().collect();
        let at_once = if suspected.len() <= FEW { &wanted } else { &watched };
        let asked: BTreeSet<OutPoint> = suspects.keys().copied().collect();
        // What proves to be nothing of ours is not kept: a server can name any number of transactions.
        let ours = |txid: &Txid, read: &Transaction| {
            let mut inputs = read.input.iter();
            watched.contains(txid) || inputs.any(|input| asked.contains(&input.previous_output))
        };
        let (read, mut places) =
            tokio::try_join!(self.transactions(&wanted, &ours), self.places(at_once, &heights))?;

        let mut findings = Findings::default();
        for (outpoint, suspects) in suspects {
            let spends = |txid: &Txid| {
                let mut inputs = read.get(txid).into_iter().flat_map(|read| &read.input);
                inputs.any(|input| input.previous_output == outpoint)
            };
            let spenders: Vec<Txid> = suspects.into_iter().filter(spends).collect();
            if spenders.len() > 1 {
                return Err(lie(&format!("{outpoint} is spent twice")).into());
            }
            findings.spenders.insert(outpoint, spenders.first().copied());
        }
        let found: BTreeSet<Txid> = findings
            .spenders
            .values()
            .flatten()
            .chain(&watched)
            .copied()
            .collect();
        let unproved: BTreeSet<Txid> = found
            .iter()
            .filter(|txid| !places.contains_key(*txid))
            .copied()
            .collect();
        places.extend(self.places(&unproved, &heights).await?);
        for txid in found {
            let (Some(read), Some(place)) = (read.get(&txid), places.get(&txid)) else {
                return Err(missing(&txid));
            };
            findings.confirmed.push(Found {
                txid,
                transaction: Transaction::clone(read),
                header: place.header,
                position: place.position,
                height: place.height,
            });
        }
        Ok(findings)
    }

    async fn histories(&self, scripts: BTreeSet<ScriptBuf>) -> Answer<BTreeMap<ScriptBuf, Vec<Entry>>> {
        let histories = stream::iter(scripts).map(|script| async move {
            let entries = self.api.history(&script).await?;
            Ok((script, entries))
        });
        histories.buffer_unordered(PIPELINE).try_collect().await
    }

    /// A script of each watched transaction that no history tells of, if the server has it: the script that it was watched for may
    /// be none of its own.
    async fn scripts_of_others(
        &self,
        transactions: &[WatchedTransaction],
        histories: &BTreeMap<ScriptBuf, Vec<Entry>>,
    ) -> Answer<BTreeSet<ScriptBuf>> {
        let told: BTreeSet<Txid> = histories.values().flatten().map(|entry| entry.txid).collect();
        let untold: Vec<Txid> = transactions
            .iter()
            .map(|watched| watched.txid)
            .filter(|txid| !told.contains(txid))
            .collect();
        let scripts = stream::iter(untold).map(|txid| async move {
            let transaction = self.api.transaction(&txid).await?;
            let outputs = transaction.into_iter().flat_map(|transaction| transaction.output);
            // Servers do not follow what nobody can spend.
            let mut scripts = outputs.map(|output| output.script_pubkey);
            Ok::<_, Trouble>(scripts.find(|script| !script.is_op_return()))
        });
        let scripts: Vec<Option<ScriptBuf>> = scripts.buffer_unordered(PIPELINE).try_collect().await?;
        let scripts = scripts.into_iter().flatten();
        Ok(scripts.filter(|script| !histories.contains_key(script)).collect())
    }

    /// The history of a script, each place proved.
    pub async fn history(&self, script: &Script, wallet: &OnchainWallet) -> Result<Vec<HistoryItem>> {
        let mut unclear = String::new();
        for _ in 0..TRIES {
            match self.history_once(script, wallet).await {
                Ok(items) => return Ok(items),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Unclear(why)) => unclear = why,
            }
        }
        Err(lie(&unclear))
    }

    async fn history_once(&self, script: &Script, wallet: &OnchainWallet) -> Answer<Vec<HistoryItem>> {
        let mut entries = self.api.history(script).await?;
        let mut there = BTreeSet::new();
        entries.retain(|entry| there.insert(entry.txid));
        let items = stream::iter(entries).map(|Entry { txid, height }| async move {
            // Later blocks are left for the next round.
            let height = height.filter(|height| *height <= self.chain.recent.tip.height);
            let place = async {
                match height {
                    Some(height) => self.place(txid, height).await.map(Some),
                    None => Ok(None),
                }
            };
            let transaction = async {
                match wallet.transaction(&txid) {
                    Some(transaction) => Ok(transaction),
                    None => self.transaction(txid).await,
                }
            };
            let (transaction, place) = tokio::try_join!(transaction, place)?;
            let place = place.map(|place| ConfirmationBlockTime {
                block_id: BlockId {
                    height: place.height,
                    hash: place.header.block_hash(),
                },
                confirmation_time: u64::from(place.header.time),
            });
            Ok::<_, Trouble>(HistoryItem {
                txid,
                transaction,
                spent: Vec::new(),
                place,
            })
        });
        let mut items = items.buffered(PIPELINE);
        let (mut kept, mut unconfirmed) = (Vec::new(), 0);
        while let Some(item) = items.try_next().await? {
            if item.place.is_none() {
                unconfirmed += item.transaction.total_size();
            }
            // What is in no block costs a server nothing to make up. Whatever is left out is found once it is in one.
            if item.place.is_some() || unconfirmed <= UNCONFIRMED {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    /// Reads these transactions, and gives those that are ours.
    async fn transactions(
        &self,
        txids: &BTreeSet<Txid>,
        ours: &(impl Fn(&Txid, &Transaction) -> bool + Sync),
    ) -> Answer<BTreeMap<Txid, Arc<Transaction>>> {
        let read = stream::iter(txids.clone())
            .map(|txid| async move { Ok::<_, Trouble>((txid, self.transaction(txid).await?)) })
            .buffer_unordered(PIPELINE)
            .try_filter(|(txid, read)| std::future::ready(ours(txid, read)));
        read.try_collect().await
    }

    async fn transaction(&self, txid: Txid) -> Answer<Arc<Transaction>> {
        let turn = self.known.turn(&txid, Wanted::Transaction);
        let _turn = turn.lock().await;
        if let Some(known) = self.known.transaction(&txid) {
            return Ok(known);
        }
        let transaction = self.api.transaction(&txid).await?;
        let transaction = Arc::new(transaction.ok_or_else(|| missing(&txid))?);
        self.known.keep_transaction(txid, &transaction);
        Ok(transaction)
    }

    async fn places(
        &self,
        txids: &BTreeSet<Txid>,
        heights: &BTreeMap<Txid, u32>,
    ) -> Answer<BTreeMap<Txid, Place>> {
        let said = txids.iter().filter_map(|txid| Some((*txid, *heights.get(txid)?)));
        let places = stream::iter(said.collect::<Vec<_>>())
            .map(|(txid, height)| async move { Ok((txid, self.place(txid, height).await?)) })
            .buffer_unordered(PIPELINE);
        places.try_collect().await
    }

    /// The proved place of a transaction that is said to be at this height.
    async fn place(&self, txid: Txid, height: u32) -> Answer<Place> {
        let recent = self.chain.recent;
        if height > recent.tip.height {
            return Err(Trouble::Unclear(format!("transaction {txid} is above the tip")));
        }
        let turn = self.known.turn(&txid, Wanted::Place);
        let _turn = turn.lock().await;
        if let Some(known) = self.known.place(recent, &txid, height) {
            return Ok(known);
        }
        let branch = async { Ok::<_, Trouble>(self.api.branch(&txid, height).await?) };
        let (header, branch) = tokio::try_join!(self.header(height), branch)?;
        let branch = branch
            .ok_or_else(|| Trouble::Unclear(format!("transaction {txid} is not where its history says")))?;
        if proof::root(&txid, branch.pos, &branch.merkle) != Some(header.merkle_root) {
            return Err(Trouble::Unclear(format!(
                "the proof for transaction {txid} proves something else"
            )));
        }
        let position = usize::try_from(branch.pos).map_err(|_| lie("a position beyond all blocks"))?;
        let place = Place {
            header,
            height,
            position,
        };
        self.known.keep_place(recent, txid, place);
        Ok(place)
    }

    async fn header(&self, height: u32) -> Answer<Header> {
        if let Some(header) = self.chain.recent.header_at(height) {
            return Ok(header);
        }
        let header = self.api.header(height).await?;
        header.ok_or_else(|| Trouble::Unclear(format!("no block at height {height}, under the tip")))
    }
}

/// Where everything in these histories is confirmed, if it is.
fn heights(histories: &BTreeMap<ScriptBuf, Vec<Entry>>) -> Answer<BTreeMap<Txid, u32>> {
    let mut heights = BTreeMap::new();
    for entry in histories.values().flatten() {
        let Some(height) = entry.height else { continue };
        if heights
            .insert(entry.txid, height)
            .is_some_and(|before| before != height)
        {
            return Err(Trouble::Unclear(format!(
                "transaction {} is in two places",
                entry.txid
            )));
        }
    }
    Ok(heights)
}

fn missing(txid: &Txid) -> Trouble {
    Trouble::Unclear(format!("transaction {txid} is in a history and not there"))
}
