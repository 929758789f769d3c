//! Partners that cheat: who did, how much is at stake, and whether it was secured.
//!
//! LDK punishes a revoked commitment by itself as soon as it sees it in a block. This file notices that it did, keeps a row
//! of it for the person, and says how it ends. It decides nothing about money.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bitcoin::{Transaction, Txid};
use lightning::chain::channelmonitor::Balance;
use pilotlight_store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::types::ChainMonitor;
use crate::clock;
use crate::error::Result;
use crate::lock::lock;
use crate::models::{Breach, BreachStatus, NodeEvent};
use crate::onchain::OnchainWallet;
use crate::rows::{self, Kind};

/// What is kept of a cheat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    breach: Breach,
    /// The revoked commitment, and what the cheat made of it since: what spends their outputs as a penalty, secures money.
    transactions: Vec<Txid>,
}

/// The cheats there were.
pub struct Breaches {
    store: Arc<Store>,
    events: broadcast::Sender<NodeEvent>,
    /// Makes read-change-write one step.
    turn: Mutex<()>,
}

/// What a monitor has to say of a cheat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Claims {
    /// Revoked outputs that nobody has taken yet, in sat.
    revoked_sat: u64,
    /// Whether something was taken and is not final yet.
    maturing: bool,
    /// Whether the on-chain wallet knows by now what came home.
    wallet_looked: bool,
}

impl Breaches {
    /// The cheats in this store; news are told to `events`.
    pub fn new(store: Arc<Store>, events: broadcast::Sender<NodeEvent>) -> Self {
        Self {
            store,
            events,
            turn: Mutex::new(()),
        }
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn all(&self) -> Result<Vec<Breach>> {
        let mut all: Vec<Breach> = self.rows()?.into_iter().map(|row| row.breach).collect();
        all.sort_by_key(|breach| std::cmp::Reverse(breach.found_at_ms));
        Ok(all)
    }

    /// The transactions of cheats; see [`is_penalty`].
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn transactions(&self) -> Result<HashSet<Txid>> {
        Ok(self
            .rows()?
            .into_iter()
            .flat_map(|row| row.transactions)
            .collect())
    }

    /// Looks for cheats, and how those known stand. After each look at the chain. What came home is read from the on-chain
    /// wallet; `wallet_looked` says whether it was brought to the tip as well, and until it was, nothing is called lost.
    /// Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn look(
        &self,
        chain_monitor: &ChainMonitor,
        wallet: &OnchainWallet,
        wallet_looked: bool,
    ) -> Result<()> {
        let _turn = lock(&self.turn);
        let mut known = self.rows()?;
        for id in chain_monitor.list_monitors() {
            // The lock on the monitor must not be held while the wallet is asked.
            let Ok((balances, peer, funding, watched)) = chain_monitor.get_monitor(id).map(|monitor| {
                (
                    monitor.get_claimable_balances(),
                    monitor.get_counterparty_node_id(),
                    monitor.get_funding_txo().txid,
                    monitor.get_outputs_to_watch(),
                )
            }) else {
                continue;
            };
            let claims = claims(&balances, wallet_looked);
            let channel_id = id.to_string();
            let row = known
                .iter()
                .position(|row| row.breach.channel_id == channel_id)
                .map(|at| known.swap_remove(at));
            if row.is_none() && claims.revoked_sat == 0 {
                continue;
            }
            let row = row.unwrap_or_else(|| {
                tracing::warn!(%peer, channel_id, sat = claims.revoked_sat, "a peer closed with a revoked balance");
                let now = clock::now_ms();
                Row {
                    breach: Breach {
                        channel_id,
                        peer: peer.to_string(),
                        status: BreachStatus::Securing,
                        at_stake_sat: 0,
                        secured_sat: 0,
                        found_at_ms: now,
                        updated_at_ms: now,
                    },
                    transactions: Vec::new(),
                }
            });
            let watched = watched.into_iter().map(|(txid, _)| txid);
            let transactions = watched.filter(|txid| *txid != funding).collect();
            self.judge(&row, claims, transactions, wallet)?;
        }
        // Their monitors are gone: LDK is done with them.
        for row in known {
            let transactions = row.transactions.clone();
            self.judge(&row, claims(&[], wallet_looked), transactions, wallet)?;
        }
        Ok(())
    }

    /// Brings a row up to date, and tells if that is news.
    fn judge(
        &self,
        row: &Row,
        claims: Claims,
        mut transactions: Vec<Txid>,
        wallet: &OnchainWallet,
    ) -> Result<()> {
        transactions.sort_unstable();
        let cheats: HashSet<Txid> = transactions.iter().copied().collect();
        let secured = wallet.spenders_of(&cheats).into_iter();
        let secured =
            secured.filter(|(transaction, confirmed)| *confirmed && is_penalty(transaction, &cheats));
        // A penalty pays to nobody but us.
        let outputs = secured.flat_map(|(transaction, _)| transaction.output);
        let secured_sat = outputs.map(|output| output.value.to_sat()).sum();
        let breach = Breach {
            status: status(claims, secured_sat),
            at_stake_sat: row.breach.at_stake_sat.max(claims.revoked_sat),
            secured_sat,
            ..row.breach.clone()
        };
        let judged = Row { breach, transactions };
        if judged == *row {
            return Ok(());
        }
        let breach = Breach {
            updated_at_ms: clock::now_ms(),
            ..judged.breach
        };
        let judged = Row { breach, ..judged };
        rows::write(&self.store, Kind::Breach, &judged.breach.channel_id, &judged)?;
        // Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::BreachChanged {
            breach: judged.breach,
        });
        Ok(())
    }

    fn rows(&self) -> Result<Vec<Row>> {
        Ok(rows::all(&self.store, Kind::Breach)?
            .into_iter()
            .map(|(_, row)| row)
            .collect())
    }
}

fn claims(balances: &[Balance], wallet_looked: bool) -> Claims {
    let mut claims = Claims {
        wallet_looked,
        ..Claims::default()
    };
    for balance in balances {
        match balance {
            Balance::CounterpartyRevokedOutputClaimable { amount_satoshis } => {
                claims.revoked_sat += amount_satoshis;
            }
            Balance::ClaimableAwaitingConfirmations { .. } => claims.maturing = true,
            _ => {}
        }
    }
    claims
}

/// Over when nothing is left to take and nothing taken can be undone any more.
fn status(claims: Claims, secured_sat: u64) -> BreachStatus {
    if claims.revoked_sat > 0 || claims.maturing {
        BreachStatus::Securing
    } else if secured_sat > 0 {
        BreachStatus::Secured
    } else if !claims.wallet_looked {
        BreachStatus::Securing
    } else {
        BreachStatus::Lost
    }
}

/// Whether a transaction takes money from a cheat, by the witness that BOLT 3 has for it: a signature, then 1 (from the
/// balance or a second stage) or the revocation key (from an HTLC), then the script. Nobody else's spend looks so, and
/// neither does our own balance's.
pub fn is_penalty(transaction: &Transaction, cheats: &HashSet<Txid>) -> bool {
    transaction.input.iter().any(|input| {
        let branch = (input.witness.len() == 3).then(|| input.witness.nth(1)).flatten();
        let penalty = branch.is_some_and(|branch| branch == [1] || branch.len() == 33);
        penalty && cheats.contains(&input.previous_output.txid)
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{OutPoint, TxIn, Witness, absolute};

    use super::*;

    #[test]
    fn it_is_over_when_nothing_is_left_and_all_is_final() {
        let claims = |revoked_sat, maturing| Claims {
            revoked_sat,
            maturing,
            wallet_looked: true,
        };
        let table = [
            (claims(200, false), 0, BreachStatus::Securing),
            (claims(0, true), 0, BreachStatus::Securing),
            (claims(0, true), 150, BreachStatus::Securing),
            (claims(50, false), 150, BreachStatus::Securing),
            (claims(0, false), 150, BreachStatus::Secured),
            (claims(0, false), 0, BreachStatus::Lost),
        ];
        for (claims, secured, expected) in table {
            assert_eq!(status(claims, secured), expected, "{claims:?} {secured}");
        }
        assert_eq!(
            status(Claims::default(), 0),
            BreachStatus::Securing,
            "not known yet"
        );
    }

    #[test]
    fn a_penalty_is_known_by_its_witness() {
        let cheat = Txid::from_byte_array([7; 32]);
        let other = Txid::from_byte_array([8; 32]);
        let cheats = HashSet::from([cheat]);
        let spends = |txid, elements: &[&[u8]]| Transaction {
            version: Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(txid, 0),
                witness: Witness::from_slice(elements),
                ..TxIn::default()
            }],
            output: vec![],
        };
        let (signature, key, script) = ([5; 71], [2; 33], [6; 80]);
        let table: [(&[&[u8]], bool); 6] = [
            (&[&signature, &[1], &script], true),
            (&[&signature, &key, &script], true),
            // The cheat's own, after its wait.
            (&[&signature, &[], &script], false),
            // Its claim of an HTLC, with the preimage.
            (&[&signature, &[9; 32], &script], false),
            // Our own balance in the channel, and a key's.
            (&[&signature, &script], false),
            (&[&signature, &key], false),
        ];
        for (witness, expected) in table {
            assert_eq!(is_penalty(&spends(cheat, witness), &cheats), expected);
            assert!(!is_penalty(&spends(other, witness), &cheats));
        }
    }
}
