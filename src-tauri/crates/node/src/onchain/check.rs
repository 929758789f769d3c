//! What of a chain server's word about the wallet's transactions is believed.
//!
//! That a transaction is in a block is proved before it comes here, by whoever asked; its witnesses are not. One that waits for a
//! block has no proof but itself: anybody can make up one that pays to us, which is why such a coin is not spent. But nobody
//! can make up one that spends our coins, because we would have had to sign it.

use std::collections::{HashMap, HashSet};

use bdk_wallet::chain::{ConfirmationBlockTime, TxUpdate};
use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::key::CompressedPublicKey;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::SighashCache;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, ecdsa};

use super::Inner;
use crate::error::{Error, ErrorCode, Result};

impl Inner {
    /// Whether this is what a server can have to say about our scripts. What it says of the coins of others is kept if it can be
    /// true; of our own coins we know more than it does.
    pub(super) fn must_make_sense(&self, update: &mut TxUpdate<ConfirmationBlockTime>) -> Result<()> {
        let index = self.wallet.spk_index();
        let ours = |script: &ScriptBuf| index.index_of_spk(script.clone()).is_some();
        let mut coins: HashMap<OutPoint, TxOut> = HashMap::new();
        for transaction in &update.txs {
            let txid = transaction.compute_txid();
            for (vout, output) in (0u32..).zip(&transaction.output) {
                if ours(&output.script_pubkey) {
                    coins.insert(OutPoint { txid, vout }, output.clone());
                }
            }
        }
        let paying: HashSet<Txid> = coins.keys().map(|coin| coin.txid).collect();
        for transaction in &update.txs {
            let txid = transaction.compute_txid();
            let mut inputs = transaction.input.iter().map(|input| input.previous_output);
            let concerns_us = paying.contains(&txid)
                || inputs.any(|coin| coins.contains_key(&coin) || index.txout(coin).is_some());
            if !concerns_us {
                return Err(lie(&format!(
                    "transaction {txid} has nothing to do with the wallet"
                )));
            }
            self.must_be_signed(transaction, &coins)?;
        }
        // What the wallet has already, it has with the witnesses it was signed with, which an id does not prove.
        let graph = self.wallet.tx_graph();
        update
            .txs
            .retain(|transaction| graph.get_tx(transaction.compute_txid()).is_none());
        update
            .txouts
            .retain(|_, output| output.value <= Amount::MAX_MONEY && !ours(&output.script_pubkey));
        Ok(())
    }

    /// Whether whatever a transaction takes from us is taken with our signature; `coins` are ours besides those that the wallet
    /// knows.
    pub(super) fn must_be_signed(
        &self,
        transaction: &Transaction,
        coins: &HashMap<OutPoint, TxOut>,
    ) -> Result<()> {
        let index = self.wallet.spk_index();
        for (at, input) in transaction.input.iter().enumerate() {
            let coin = &input.previous_output;
            let known = index.txout(*coin).map(|(_, output)| output);
            let ours = coins.get(coin).or(known);
            if ours.is_some_and(|output| !self.is_signed(transaction, at, output)) {
                let txid = transaction.compute_txid();
                return Err(lie(&format!(
                    "transaction {txid} spends our coin, and we did not sign it"
                )));
            }
        }
        Ok(())
    }

    /// Whether an input that spends a coin of ours was signed with our key. All our scripts are P2WPKH.
    fn is_signed(&self, transaction: &Transaction, at: usize, coin: &TxOut) -> bool {
        let mut witness = transaction.input[at].witness.iter();
        let (Some(signature), Some(key), None) = (witness.next(), witness.next(), witness.next()) else {
            return false;
        };
        let (Ok(signature), Ok(key)) = (
            ecdsa::Signature::from_slice(signature),
            CompressedPublicKey::from_slice(key),
        ) else {
            return false;
        };
        if ScriptBuf::new_p2wpkh(&key.wpubkey_hash()) != coin.script_pubkey {
            return false;
        }
        let hash = SighashCache::new(transaction).p2wpkh_signature_hash(
            at,
            &coin.script_pubkey,
            coin.value,
            signature.sighash_type,
        );
        hash.is_ok_and(|hash| {
            let secp = self.wallet.secp_ctx();
            key.verify(secp, &Message::from(hash), &signature).is_ok()
        })
    }

    /// Whether a coin may be spent before it is in a block: change of a transaction that takes from nobody but us.
    pub(super) fn is_safe(&self, coin: &LocalOutput) -> bool {
        if coin.chain_position.is_confirmed() {
            return true;
        }
        let index = self.wallet.spk_index();
        let made_by_us = self.wallet.get_tx(coin.outpoint.txid).is_some_and(|tx| {
            let mut inputs = tx.tx_node.tx.input.iter();
            inputs.all(|input| index.txout(input.previous_output).is_some())
        });
        coin.keychain == KeychainKind::Internal && made_by_us
    }

    /// Transactions that a server should know of, by the scripts of ours that they touch: all that the wallet has, also those that are
    /// passed over now for another that takes the same coins, so that nobody can fill the wallet with a line of them.
    /// Those that were missing when they were last asked for are not asked for again.
    pub(super) fn expected(&self) -> Vec<(ScriptBuf, Txid)> {
        let (graph, index) = (self.wallet.tx_graph(), self.wallet.spk_index());
        let missing = |txid: Txid, last_seen: Option<u64>| {
            let evicted = graph.get_last_evicted(txid);
            evicted.is_some() && evicted >= last_seen
        };
        let mut expected = Vec::new();
        for node in graph.full_txs() {
            if missing(node.txid, node.last_seen) && node.anchors.is_empty() {
                continue;
            }
            let paid = node.tx.output.iter().map(|output| &output.script_pubkey);
            let spent = node.tx.input.iter().filter_map(|input| {
                let (_, output) = index.txout(input.previous_output)?;
                Some(&output.script_pubkey)
            });
            let ours = paid
                .chain(spent)
                .filter(|script| index.index_of_spk((*script).clone()).is_some());
            expected.extend(ours.map(|script| (script.clone(), node.txid)));
        }
        expected
    }
}

fn lie(what: &str) -> Error {
    Error::new(ErrorCode::ChainSyncFailed, format!("chain server: {what}"))
}
