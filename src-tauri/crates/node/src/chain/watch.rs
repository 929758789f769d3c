//! What LDK wants watched: the one registry, told by LDK and read by whatever chain source there is.
//!
//! LDK registers everything anew when its state is read from disk, and more while it hears of blocks. Nothing is ever
//! taken out: a wallet has few channels, and LDK itself never says that it is done with an output. The registry lives
//! as long as the node, so a chain source may be changed or made anew without anything being forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bitcoin::{OutPoint, Script, ScriptBuf, Txid};
use lightning::chain::{Filter, WatchedOutput};

use crate::lock::lock;

/// The registry.
#[derive(Default)]
pub struct Watch {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    transactions: BTreeMap<Txid, Transaction>,
    outputs: BTreeMap<OutPoint, Output>,
    /// Counts what is new.
    generation: u64,
    /// Counts every registration, also of what is there already.
    registrations: u64,
}

#[derive(Default)]
struct Transaction {
    scripts: BTreeSet<ScriptBuf>,
    registered: u64,
}

struct Output {
    script: ScriptBuf,
    registered: u64,
    sweeper: bool,
}

/// A transaction that LDK wants to know the confirmation of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedTransaction {
    /// Its id.
    pub txid: Txid,
    /// Scripts of outputs by which it can be found; a funding's is the channel's. One of several may be bogus.
    pub scripts: BTreeSet<ScriptBuf>,
    /// When it was last registered, counted in registrations.
    pub registered: u64,
}

/// An output that LDK wants to know the spending of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedCoin {
    /// Which output.
    pub outpoint: OutPoint,
    /// Its script.
    pub script: ScriptBuf,
    /// When it was last registered, counted in registrations.
    pub registered: u64,
    /// Whether the sweeper wants to know. It writes its state at its own pace, so what it was told before this process
    /// began cannot be taken for kept.
    pub sweeper: bool,
}

/// All that was watched at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Transactions, by id.
    pub transactions: Vec<WatchedTransaction>,
    /// Outputs, by outpoint.
    pub outputs: Vec<WatchedCoin>,
    /// See [`Watch::generation`].
    pub generation: u64,
    /// Registrations up to this moment; an entry whose `registered` is larger came later.
    pub registrations: u64,
}

impl Watch {
    /// Grows whenever something is watched that was not before. A source that has scanned a block compares it with the
    /// value from before the block: if it grew, the same block must be scanned again.
    pub fn generation(&self) -> u64 {
        lock(&self.entries).generation
    }

    /// All that is watched now.
    pub fn all(&self) -> Watched {
        let entries = lock(&self.entries);
        let transactions = entries.transactions.iter();
        let outputs = entries.outputs.iter();
        Watched {
            transactions: transactions
                .map(|(txid, transaction)| WatchedTransaction {
                    txid: *txid,
                    scripts: transaction.scripts.clone(),
                    registered: transaction.registered,
                })
                .collect(),
            outputs: outputs
                .map(|(outpoint, output)| WatchedCoin {
                    outpoint: *outpoint,
                    script: output.script.clone(),
                    registered: output.registered,
                    sweeper: output.sweeper,
                })
                .collect(),
            generation: entries.generation,
            registrations: entries.registrations,
        }
    }

    /// Every script by which a block that concerns us can be told from one that does not (BIP158: filters hold the
    /// scripts of a block's outputs and of the outputs it spends).
    pub fn scripts(&self) -> BTreeSet<ScriptBuf> {
        let entries = lock(&self.entries);
        let of_transactions = entries
            .transactions
            .values()
            .flat_map(|t| t.scripts.iter().cloned());
        let of_outputs = entries.outputs.values().map(|output| output.script.clone());
        of_transactions.chain(of_outputs).collect()
    }

    /// Whether a transaction concerns LDK: it is watched itself, or it spends a watched output.
    pub fn wants(&self, txid: &Txid, transaction: &bitcoin::Transaction) -> bool {
        let entries = lock(&self.entries);
        entries.transactions.contains_key(txid)
            || transaction
                .input
                .iter()
                .any(|input| entries.outputs.contains_key(&input.previous_output))
    }

    fn add_transaction(&self, txid: &Txid, script: &Script) {
        let mut entries = lock(&self.entries);
        entries.registrations += 1;
        let registered = entries.registrations;
        let transaction = entries.transactions.entry(*txid).or_default();
        transaction.registered = registered;
        if transaction.scripts.insert(script.to_owned()) {
            entries.generation += 1;
        }
    }

    fn add_output(&self, output: &WatchedOutput, sweeper: bool) {
        let mut entries = lock(&self.entries);
        entries.registrations += 1;
        let registered = entries.registrations;
        let outpoint = output.outpoint.into_bitcoin_outpoint();
        if let Some(known) = entries.outputs.get_mut(&outpoint) {
            known.registered = registered;
            known.sweeper |= sweeper;
            return;
        }
        let script = output.script_pubkey.clone();
        let entry = Output {
            script,
            registered,
            sweeper,
        };
        entries.outputs.insert(outpoint, entry);
        entries.generation += 1;
    }
}

/// Through which LDK registers: one for the monitors, one for the sweeper.
pub struct Registrar {
    watch: Arc<Watch>,
    sweeper: bool,
}

impl Registrar {
    /// The monitors' way to the registry.
    pub fn of_monitors(watch: &Arc<Watch>) -> Arc<Self> {
        let (watch, sweeper) = (Arc::clone(watch), false);
        Arc::new(Self { watch, sweeper })
    }

    /// The sweeper's way to the same registry.
    pub fn of_sweeper(watch: &Arc<Watch>) -> Arc<Self> {
        let (watch, sweeper) = (Arc::clone(watch), true);
        Arc::new(Self { watch, sweeper })
    }
}

impl Filter for Registrar {
    fn register_tx(&self, txid: &Txid, script: &Script) {
        self.watch.add_transaction(txid, script);
    }

    fn register_output(&self, output: WatchedOutput) {
        self.watch.add_output(&output, self.sweeper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn output(n: u8) -> WatchedOutput {
        WatchedOutput {
            block_hash: None,
            outpoint: lightning::chain::transaction::OutPoint {
                txid: Txid::from_byte_array([n; 32]),
                index: 0,
            },
            script_pubkey: ScriptBuf::from_bytes(vec![n]),
        }
    }

    #[test]
    fn only_what_is_new_makes_it_grow_and_every_registration_is_counted() {
        let watch = Arc::new(Watch::default());
        let ldk = Registrar::of_monitors(&watch);
        ldk.register_output(output(1));
        let before = watch.all();
        ldk.register_output(output(1));
        assert_eq!(watch.generation(), before.generation, "known already");
        let after = watch.all();
        assert!(
            after.outputs[0].registered > before.registrations,
            "but asked for anew"
        );
        ldk.register_output(output(2));
        assert!(watch.generation() > before.generation);

        // One funding for two channels: the second channel's script is news, though the transaction is not.
        let txid = Txid::from_byte_array([7; 32]);
        ldk.register_tx(&txid, Script::from_bytes(&[1]));
        let one = watch.generation();
        ldk.register_tx(&txid, Script::from_bytes(&[2]));
        assert!(watch.generation() > one);
        assert_eq!(watch.all().transactions[0].scripts.len(), 2);
        assert_eq!(watch.scripts().len(), 2, "scripts of both kinds, each once");
    }

    #[test]
    fn an_output_that_the_sweeper_wants_stays_the_sweepers() {
        let watch = Arc::new(Watch::default());
        let ldk = Registrar::of_monitors(&watch);
        Registrar::of_sweeper(&watch).register_output(output(1));
        ldk.register_output(output(1));
        ldk.register_output(output(2));
        let sweepers: Vec<bool> = watch.all().outputs.iter().map(|output| output.sweeper).collect();
        assert_eq!(sweepers, [true, false]);
    }
}
