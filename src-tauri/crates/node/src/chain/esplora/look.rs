//! Where watched transactions are and what spends watched outputs, by Esplora's indexes of transactions and of what spends them.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{BlockHash, OutPoint, Txid};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::api::{Api, Spend};
use crate::chain::engine::{Answer, Chain, Findings, Found, Trouble, lie};
use crate::chain::watch::{WatchedCoin, WatchedTransaction};
use crate::config::PARALLEL_REQUESTS;

/// Questions about the chain of one tip.
pub struct Look<'a> {
    /// The server.
    pub api: &'a Api,
    /// The chain.
    pub chain: Chain<'a>,
}

impl Look<'_> {
    /// Looks for these transactions and for what spends these outputs.
    pub async fn at(&self, transactions: &[WatchedTransaction], outputs: &[WatchedCoin]) -> Answer<Findings> {
        let ids: Vec<Txid> = transactions.iter().map(|watched| watched.txid).collect();
        let watched = stream::iter(ids)
            .map(|txid| self.find(txid))
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_collect::<Vec<_>>();
        let (mut found, spends) = tokio::try_join!(watched, self.spends(outputs))?;

        let mut findings = Findings::default();
        let known: BTreeSet<Txid> = found.iter().flatten().map(|found| found.txid).collect();
        let mut spenders = BTreeMap::new();
        for (outpoint, spend) in spends {
            if spend
                .as_ref()
                .is_some_and(|spend| spend.spent && spend.txid.is_none())
            {
                return Err(lie(&format!("{outpoint} is spent by nobody")).into());
            }
            let place = spend.filter(|spend| spend.spent).and_then(|spend| {
                let status = spend.status.filter(|status| status.confirmed)?;
                Some((spend.txid?, status.block_hash?, status.block_height?))
            });
            findings.spenders.insert(outpoint, place.map(|(txid, ..)| txid));
            if let Some((txid, block, height)) = place {
                let before = spenders.insert(txid, (block, height));
                if before.is_some_and(|before| before != (block, height)) {
                    return Err(Trouble::Unclear(format!("transaction {txid} is in two places")));
                }
            }
        }
        // Those that are watched themselves are in both.
        spenders.retain(|txid, _| !known.contains(txid));
        let spenders = stream::iter(spenders)
            .map(|(txid, (block, height))| self.find_in(txid, block, height))
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_collect::<Vec<_>>()
            .await?;
        found.extend(spenders.into_iter().map(Some));

        findings.confirmed = found.into_iter().flatten().collect();
        Ok(findings)
    }

    /// Whether and by what each output is spent. Outputs of one transaction are asked about together.
    async fn spends(&self, outputs: &[WatchedCoin]) -> Answer<Vec<(OutPoint, Option<Spend>)>> {
        let mut by_transaction: BTreeMap<Txid, Vec<u32>> = BTreeMap::new();
        for output in outputs {
            let OutPoint { txid, vout } = output.outpoint;
            by_transaction.entry(txid).or_default().push(vout);
        }
        let answers = stream::iter(by_transaction).map(|(txid, vouts)| async move {
            if let [vout] = vouts[..] {
                let outpoint = OutPoint { txid, vout };
                return Ok::<_, Trouble>(vec![(outpoint, self.api.spend(&outpoint).await?)]);
            }
            let all = self.api.spends(&txid).await?;
            let Some(all) = all else {
                return Ok(vouts
                    .into_iter()
                    .map(|vout| (OutPoint { txid, vout }, None))
                    .collect());
            };
            let mut spends = Vec::new();
            for vout in vouts {
                let spend = usize::try_from(vout).ok().and_then(|at| all.get(at));
                let Some(spend) = spend else {
                    return Err(lie(&format!(
                        "transaction {txid} lacks the output {vout} that we watch"
                    ))
                    .into());
                };
                spends.push((OutPoint { txid, vout }, Some(spend.clone())));
            }
            Ok(spends)
        });
        let answers = answers.buffer_unordered(PARALLEL_REQUESTS);
        let spends: Vec<Vec<_>> = answers.try_collect().await?;
        Ok(spends.into_iter().flatten().collect())
    }

    /// A watched transaction, if it is in a block of the best chain.
    async fn find(&self, txid: Txid) -> Answer<Option<Found>> {
        let Some(place) = self.api.place(&txid).await? else {
            return Ok(None);
        };
        let block = place.header.block_hash();
        let height = async {
            if let Some(height) = self
                .chain
                .known
                .get(&block)
                .copied()
                .or(self.chain.recent.height_of(&block))
            {
                return Ok(height);
            }
            let status = self.api.block_status(&block).await?;
            let height = status.height.filter(|_| status.in_best_chain);
            height
                .ok_or_else(|| Trouble::Unclear(format!("{txid} is in block {block}, which is in no chain")))
        };
        let transaction = async { Ok::<_, Trouble>(self.api.transaction(&txid).await?) };
        let (transaction, height) = tokio::try_join!(transaction, height)?;
        let transaction = transaction
            .ok_or_else(|| Trouble::Unclear(format!("transaction {txid} is confirmed and not there")))?;
        Ok(Some(Found {
            txid,
            transaction,
            header: place.header,
            position: place.position,
            height,
        }))
    }

    /// A transaction that is said to be in this block, at this height.
    async fn find_in(&self, txid: Txid, block: BlockHash, height: u32) -> Answer<Found> {
        let (place, transaction) = tokio::try_join!(self.api.place(&txid), self.api.transaction(&txid))?;
        let (Some(place), Some(transaction)) = (place, transaction) else {
            return Err(Trouble::Unclear(format!(
                "transaction {txid} is confirmed and not there"
            )));
        };
        if place.header.block_hash() != block {
            return Err(Trouble::Unclear(format!("transaction {txid} is in two blocks")));
        }
        Ok(Found {
            txid,
            transaction,
            header: place.header,
            position: place.position,
            height,
        })
    }
}
