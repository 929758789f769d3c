//! The on-chain wallet: BDK, its change sets in our store, and the reserve that channels need.
//!
//! Knows nothing of a network. `chain.rs` takes in what a chain source says, `check.rs` says what of it is believed; `source.rs` lends coins to LDK for fee bumps.

mod chain;
mod check;
mod rows;
mod source;

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use bdk_wallet::chain::ChainPosition;
use bdk_wallet::error::CreateTxError;
use bdk_wallet::template::Bip84;
use bdk_wallet::{KeychainKind, SignOptions, Wallet};
use bitcoin::address::NetworkUnchecked;
use bitcoin::bip32::Xpriv;
use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, Psbt, ScriptBuf, Transaction, Txid};
use pilotlight_store::Store;

use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::models::{Direction, Payment, PaymentKind, PaymentStatus};
use rows::ChangeSets;

/// Confirmations after which an on-chain payment is called final, in blocks (LDK's `ANTI_REORG_DELAY`).
const FINAL_AFTER: u32 = 6;

/// How much to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amounts {
    /// So many sat, the fee on top.
    Exactly(u64),
    /// All that the reserve leaves, the fee out of it.
    All,
}

/// What is in the wallet, in sat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnchainBalance {
    /// In a block.
    pub confirmed_sat: u64,
    /// Seen, or made by us, but not in a block yet.
    pub pending_sat: u64,
}

/// The on-chain wallet.
pub struct OnchainWallet {
    inner: Mutex<Inner>,
    master: Xpriv,
    network: Network,
}

struct Inner {
    wallet: Wallet,
    change_sets: ChangeSets,
    /// Fundings of channels that are not broadcast yet; their coins are promised.
    promised: HashMap<Txid, Transaction>,
    scanned: bool,
}

impl OnchainWallet {
    /// Loads the wallet, or makes it on the first start.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] if what was kept does not fit these keys.
    pub fn open(store: Arc<Store>, master: Xpriv, network: Network) -> Result<Self> {
        let (change_sets, kept) = ChangeSets::load(store)?;
        let external = Bip84(master, KeychainKind::External);
        let internal = Bip84(master, KeychainKind::Internal);
        let corrupt = |e: &dyn std::fmt::Display| {
            Error::new(ErrorCode::StorageCorrupt, format!("on-chain wallet: {e}"))
        };
        let wallet = match kept.change_set {
            Some(change_set) => Wallet::load()
                .descriptor(KeychainKind::External, Some(external))
                .descriptor(KeychainKind::Internal, Some(internal))
                .check_network(network)
                .load_wallet_no_persist(change_set)
                .map_err(|e| corrupt(&e))?
                .ok_or_else(|| corrupt(&"the kept changes are empty"))?,
            None => Wallet::create(external, internal)
                .network(network)
                .create_wallet_no_persist()
                .map_err(|e| Error::new(ErrorCode::Internal, format!("on-chain wallet: {e}")))?,
        };
        let mut inner = Inner {
            wallet,
            change_sets,
            promised: HashMap::new(),
            scanned: kept.scanned,
        };
        inner.persist()?;
        Ok(Self {
            inner: Mutex::new(inner),
            master,
            network,
        })
    }

    /// A fresh address to receive on.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`]; an address that is not kept is not given out.
    pub fn new_address(&self) -> Result<Address> {
        self.address(KeychainKind::External)
    }

    /// A fresh address for our own change.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn change_address(&self) -> Result<Address> {
        self.address(KeychainKind::Internal)
    }

    fn address(&self, keychain: KeychainKind) -> Result<Address> {
        let mut inner = self.lock();
        let address = inner.wallet.reveal_next_address(keychain).address;
        inner.persist()?;
        Ok(address)
    }

    /// An address of a stranger, checked for our network.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] or [`ErrorCode::WrongNetwork`].
    pub fn parse_address(&self, text: &str) -> Result<Address> {
        Address::<NetworkUnchecked>::from_str(text)
            .map_err(|e| Error::new(ErrorCode::InvalidInput, format!("address: {e}")))?
            .require_network(self.network)
            .map_err(|e| Error::new(ErrorCode::WrongNetwork, e))
    }

    /// What is in the wallet.
    pub fn balance(&self) -> OnchainBalance {
        let balance = self.lock().wallet.balance();
        OnchainBalance {
            confirmed_sat: balance.confirmed.to_sat(),
            pending_sat: (balance.trusted_pending + balance.untrusted_pending).to_sat(),
        }
    }

    /// What can be spent: confirmed coins and our own change, in sat.
    pub fn spendable_sat(&self) -> u64 {
        let inner = self.lock();
        let coins = inner.wallet.list_unspent().filter(|coin| inner.is_safe(coin));
        coins.map(|coin| coin.txout.value.to_sat()).sum()
    }

    /// Makes and signs a payment, and counts it as spent. Durable when it returns; not sent yet.
    ///
    /// # Errors
    /// [`ErrorCode::InsufficientFunds`], the reserve (in sat) included; [`ErrorCode::InvalidInput`] for dust.
    pub fn pay(&self, to: &Address, amount: Amounts, rate: FeeRate, reserve_sat: u64) -> Result<Transaction> {
        let mut inner = self.lock();
        let script = to.script_pubkey();
        let spendable = inner.spendable_now_sat();
        let psbt = match amount {
            Amounts::Exactly(sat) => {
                let psbt = inner.build(script, Amount::from_sat(sat), rate, false)?;
                let fee = psbt
                    .fee()
                    .map_err(|e| Error::new(ErrorCode::Internal, e))?
                    .to_sat();
                let needed = sat.saturating_add(fee).saturating_add(reserve_sat);
                if needed > spendable {
                    return Err(insufficient(needed, spendable));
                }
                psbt
            }
            Amounts::All => inner.build_all(script, rate, reserve_sat)?,
        };
        let transaction = inner.sign(psbt, &self.master)?;
        inner
            .wallet
            .apply_unconfirmed_txs([(transaction.clone(), clock::since_epoch().as_secs())]);
        inner.persist()?;
        Ok(transaction)
    }

    /// Makes and signs a channel's funding, from confirmed coins only, and promises them to it until this process ends
    /// or [`Self::release`] is called.
    ///
    /// # Errors
    /// [`ErrorCode::InsufficientFunds`].
    pub fn fund_channel(&self, script: ScriptBuf, amount: Amount, rate: FeeRate) -> Result<Transaction> {
        let mut inner = self.lock();
        let psbt = inner.build(script, amount, rate, true)?;
        let transaction = inner.sign(psbt, &self.master)?;
        inner
            .promised
            .insert(transaction.compute_txid(), transaction.clone());
        inner.persist()?;
        Ok(transaction)
    }

    /// Gives back the coins of a funding that will not be.
    pub fn release(&self, txid: &Txid) {
        self.lock().promised.remove(txid);
    }

    /// Counts a funding as spent: the peer has signed, and LDK sends it. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn funded(&self, txid: &Txid) -> Result<()> {
        let mut inner = self.lock();
        if let Some(transaction) = inner.promised.remove(txid) {
            inner
                .wallet
                .apply_unconfirmed_txs([(transaction, clock::since_epoch().as_secs())]);
            inner.persist()?;
        }
        Ok(())
    }

    /// Forgets a payment that every server refused, so that its coins can be spent again.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn forget(&self, txid: Txid) -> Result<()> {
        let mut inner = self.lock();
        inner
            .wallet
            .apply_evicted_txs([(txid, clock::since_epoch().as_secs())]);
        inner.persist()
    }

    /// Whether a transaction is in the wallet already.
    pub fn knows(&self, txid: &Txid) -> bool {
        self.lock().wallet.get_tx(*txid).is_some()
    }

    /// Whether a transaction that pays to or from the wallet spends this output.
    pub fn spends(&self, output: &OutPoint) -> bool {
        let inner = self.lock();
        let mut transactions = inner.wallet.transactions();
        transactions.any(|tx| {
            tx.tx_node
                .tx
                .input
                .iter()
                .any(|input| input.previous_output == *output)
        })
    }

    /// The wallet's transactions that spend an output of one of these, and whether they are in a block.
    pub fn spenders_of(&self, transactions: &HashSet<Txid>) -> Vec<(Transaction, bool)> {
        let inner = self.lock();
        let all = inner.wallet.transactions();
        let spenders = all.filter(|tx| {
            let mut inputs = tx.tx_node.tx.input.iter();
            inputs.any(|input| transactions.contains(&input.previous_output.txid))
        });
        spenders
            .map(|tx| (tx.tx_node.tx.as_ref().clone(), tx.chain_position.is_confirmed()))
            .collect()
    }

    /// Our own transactions that are in no block yet, to be sent again.
    pub fn unconfirmed(&self) -> Vec<Transaction> {
        let inner = self.lock();
        let pending = inner
            .wallet
            .transactions()
            .filter(|tx| !tx.chain_position.is_confirmed());
        pending
            .filter(|tx| inner.wallet.sent_and_received(&tx.tx_node.tx).0 > Amount::ZERO)
            .map(|tx| tx.tx_node.tx.as_ref().clone())
            .collect()
    }

    /// The on-chain part of the activity list. `opens_channel` knows which transactions are fundings of channels.
    pub fn activity(&self, opens_channel: impl Fn(&Txid) -> bool) -> Vec<Payment> {
        let inner = self.lock();
        let tip = inner.wallet.latest_checkpoint().height();
        inner
            .wallet
            .transactions()
            .map(|tx| {
                let (sent, received) = inner.wallet.sent_and_received(&tx.tx_node.tx);
                let ours = sent > Amount::ZERO;
                let fee = if ours {
                    inner.wallet.calculate_fee(&tx.tx_node.tx).ok()
                } else {
                    None
                };
                let (direction, amount) = if sent > received {
                    (
                        Direction::Sent,
                        sent - received - fee.unwrap_or(Amount::ZERO).min(sent - received),
                    )
                } else {
                    (Direction::Received, received - sent)
                };
                let (status, at_ms) = match tx.chain_position {
                    ChainPosition::Confirmed { anchor, .. } => {
                        let deep = tip + 1 >= anchor.block_id.height + FINAL_AFTER;
                        let status = if deep {
                            PaymentStatus::Succeeded
                        } else {
                            PaymentStatus::Pending
                        };
                        (status, anchor.confirmation_time.saturating_mul(1000))
                    }
                    ChainPosition::Unconfirmed {
                        first_seen,
                        last_seen,
                    } => {
                        let seen = first_seen.or(last_seen).unwrap_or(0);
                        (PaymentStatus::Pending, seen.saturating_mul(1000))
                    }
                };
                let txid = tx.tx_node.txid;
                Payment {
                    id: txid.to_string(),
                    kind: if opens_channel(&txid) {
                        PaymentKind::ChannelFunding
                    } else {
                        PaymentKind::Onchain
                    },
                    direction,
                    status,
                    amount_msat: Some(amount.to_sat() * 1000),
                    fee_msat: fee.map(|fee| fee.to_sat() * 1000),
                    description: None,
                    failure: None,
                    created_at_ms: at_ms,
                    updated_at_ms: at_ms,
                }
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    /// Writes what changed since the last time. Durable when it returns.
    fn persist(&mut self) -> Result<()> {
        match self.wallet.staged() {
            Some(change) => self.change_sets.append(change)?,
            None => return Ok(()),
        }
        // Only now: a change that could not be written stays staged for the next try.
        self.wallet.take_staged();
        Ok(())
    }

    fn apply(&mut self, update: impl Into<bdk_wallet::Update>) -> Result<()> {
        self.wallet
            .apply_update(update)
            .map_err(|e| Error::new(ErrorCode::ChainSyncFailed, format!("on-chain wallet: {e}")))?;
        self.persist()
    }

    fn promised(&self, coin: &OutPoint) -> bool {
        self.promised
            .values()
            .flat_map(|tx| &tx.input)
            .any(|input| input.previous_output == *coin)
    }

    /// Coins that must not be spent: promised ones, and unconfirmed ones that a stranger could take back.
    fn untouchable(&self, confirmed_only: bool) -> Vec<OutPoint> {
        self.wallet
            .list_unspent()
            .filter(|coin| {
                let unconfirmed = !coin.chain_position.is_confirmed();
                self.promised(&coin.outpoint) || unconfirmed && (confirmed_only || !self.is_safe(coin))
            })
            .map(|coin| coin.outpoint)
            .collect()
    }

    fn spendable_now_sat(&self) -> u64 {
        let untouchable: HashSet<OutPoint> = self.untouchable(false).into_iter().collect();
        let coins = self
            .wallet
            .list_unspent()
            .filter(|coin| !untouchable.contains(&coin.outpoint));
        coins.map(|coin| coin.txout.value.to_sat()).sum()
    }

    fn build(&mut self, to: ScriptBuf, amount: Amount, rate: FeeRate, confirmed_only: bool) -> Result<Psbt> {
        let untouchable = self.untouchable(confirmed_only);
        let mut builder = self.wallet.build_tx();
        builder
            .add_recipient(to, amount)
            .fee_rate(rate)
            .unspendable(untouchable);
        builder.finish().map_err(|e| creation(&e))
    }

    /// All to one address, but for a reserve that goes back to us if there must be one.
    fn build_all(&mut self, to: ScriptBuf, rate: FeeRate, reserve_sat: u64) -> Result<Psbt> {
        let untouchable = self.untouchable(false);
        let reserve_script = (reserve_sat > 0).then(|| {
            self.wallet
                .next_unused_address(KeychainKind::Internal)
                .address
                .script_pubkey()
        });
        let mut builder = self.wallet.build_tx();
        builder
            .drain_wallet()
            .drain_to(to)
            .fee_rate(rate)
            .unspendable(untouchable);
        if let Some(script) = reserve_script {
            builder.add_recipient(script, Amount::from_sat(reserve_sat));
        }
        builder.finish().map_err(|e| creation(&e))
    }

    fn sign(&self, mut psbt: Psbt, master: &Xpriv) -> Result<Transaction> {
        let failed = |e: &dyn std::fmt::Display| Error::new(ErrorCode::Internal, format!("signing: {e}"));
        psbt.sign(master, self.wallet.secp_ctx())
            .map_err(|(_, e)| failed(&format!("{e:?}")))?;
        let whole = self
            .wallet
            .finalize_psbt(&mut psbt, SignOptions::default())
            .map_err(|e| failed(&e))?;
        if !whole {
            return Err(failed(&"an input is not ours"));
        }
        psbt.extract_tx().map_err(|e| failed(&e))
    }
}

fn insufficient(needed: u64, spendable: u64) -> Error {
    Error::new(
        ErrorCode::InsufficientFunds,
        format!("needed {needed} sat, spendable {spendable} sat"),
    )
}

fn creation(error: &CreateTxError) -> Error {
    let code = match error {
        CreateTxError::CoinSelection(_) | CreateTxError::NoUtxosSelected => ErrorCode::InsufficientFunds,
        CreateTxError::OutputBelowDustLimit(_) | CreateTxError::NoRecipients => ErrorCode::InvalidInput,
        _ => ErrorCode::Internal,
    };
    Error::new(code, format!("transaction: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use bdk_wallet::chain::{BlockId, ConfirmationBlockTime};
    use bitcoin::hashes::Hash;
    use bitcoin::{TxIn, TxOut, absolute, transaction};

    const WORDS: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn open(dir: &std::path::Path) -> OnchainWallet {
        let store = Arc::new(Store::open(dir.join("store")).unwrap());
        let keys = Seed::parse(WORDS, None).unwrap().keys(Network::Regtest).unwrap();
        OnchainWallet::open(store, keys.onchain, Network::Regtest).unwrap()
    }

    /// A payment to us in block 1 of a chain that we make up.
    fn receive(wallet: &OnchainWallet, sat: u64) {
        let address = wallet.new_address().unwrap();
        let tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::from_byte_array([9; 32]), 0),
                ..TxIn::default()
            }],
            output: vec![TxOut {
                value: Amount::from_sat(sat),
                script_pubkey: address.script_pubkey(),
            }],
        };
        let block_id = BlockId {
            height: 1,
            hash: bitcoin::BlockHash::from_byte_array([1; 32]),
        };
        let chain = wallet.lock().wallet.latest_checkpoint().insert(block_id);
        let mut update = bdk_wallet::Update {
            chain: Some(chain),
            ..Default::default()
        };
        update.tx_update.anchors = [(
            ConfirmationBlockTime {
                block_id,
                confirmation_time: 1,
            },
            tx.compute_txid(),
        )]
        .into();
        update.tx_update.txs.push(Arc::new(tx));
        wallet.lock().apply(update).unwrap();
    }

    #[test]
    fn first_address_is_that_of_bip84_and_nothing_is_lost_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = open(dir.path());
        // BIP84 gives bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu for these words; the same key on regtest at coin type 1
        // is what ldk-node derives there.
        let first = wallet.new_address().unwrap();
        assert_eq!(first.to_string(), "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk");
        receive(&wallet, 50_000);
        drop(wallet);
        let wallet = open(dir.path());
        assert_eq!(
            wallet.balance(),
            OnchainBalance {
                confirmed_sat: 50_000,
                pending_sat: 0
            }
        );
        assert_ne!(
            wallet.new_address().unwrap(),
            first,
            "an address is given out once"
        );
    }

    #[test]
    fn the_reserve_stays_and_all_means_all_but_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = open(dir.path());
        receive(&wallet, 100_000);
        let to = wallet
            .parse_address("bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk")
            .unwrap();
        let rate = FeeRate::from_sat_per_kwu(250);
        let too_much = wallet
            .pay(&to, Amounts::Exactly(90_000), rate, 25_000)
            .unwrap_err();
        assert_eq!(too_much.code(), ErrorCode::InsufficientFunds);
        let foreign = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
        let to = wallet.parse_address(foreign).unwrap();
        let tx = wallet.pay(&to, Amounts::All, rate, 25_000).unwrap();
        let kept: u64 = tx
            .output
            .iter()
            .filter(|o| o.script_pubkey != to.script_pubkey())
            .map(|o| o.value.to_sat())
            .sum();
        assert_eq!(kept, 25_000);
        assert_eq!(
            wallet.balance().pending_sat,
            25_000,
            "what was spent is not counted any more"
        );
    }

    #[test]
    fn coins_promised_to_a_channel_are_not_spent_twice() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = open(dir.path());
        receive(&wallet, 100_000);
        let rate = FeeRate::from_sat_per_kwu(250);
        let script = wallet
            .parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
            .unwrap()
            .script_pubkey();
        let funding = wallet
            .fund_channel(script.clone(), Amount::from_sat(60_000), rate)
            .unwrap();
        let again = wallet
            .fund_channel(script.clone(), Amount::from_sat(20_000), rate)
            .unwrap_err();
        assert_eq!(again.code(), ErrorCode::InsufficientFunds);
        wallet.release(&funding.compute_txid());
        wallet
            .fund_channel(script, Amount::from_sat(20_000), rate)
            .unwrap();
    }

    #[test]
    fn addresses_of_other_networks_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = open(dir.path());
        let code = |text: &str| wallet.parse_address(text).unwrap_err().code();
        assert_eq!(
            code("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
            ErrorCode::WrongNetwork
        );
        assert_eq!(code("nonsense"), ErrorCode::InvalidInput);
    }
}
