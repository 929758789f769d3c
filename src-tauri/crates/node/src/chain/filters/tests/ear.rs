//! Somebody in LDK's place: hears what LDK would hear, keeps it, and breaks the test where LDK would panic or close channels.

#![allow(dead_code)] // Each test that uses this file uses its own part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bitcoin::block::Header;
use bitcoin::{BlockHash, Network, Txid};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{Confirm, Filter, WatchedOutput};

use crate::chain::{Registrar, Watch};

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub best: (u32, BlockHash),
    pub confirmed: BTreeMap<Txid, (u32, BlockHash)>,
}

pub struct Ear {
    heard: Mutex<Heard>,
    saved: Mutex<Heard>,
    /// On hearing of the transaction, watch the output.
    then: Mutex<Vec<(Txid, WatchedOutput)>>,
    registrar: Mutex<Arc<Registrar>>,
    pub told: Mutex<Vec<(Txid, u32)>>,
}

impl Ear {
    pub fn new(watch: &Arc<Watch>) -> Arc<Self> {
        let genesis = bitcoin::constants::genesis_block(Network::Regtest).block_hash();
        let heard = Heard {
            best: (0, genesis),
            confirmed: BTreeMap::new(),
        };
        Arc::new(Self {
            heard: Mutex::new(heard.clone()),
            saved: Mutex::new(heard),
            then: Mutex::default(),
            registrar: Mutex::new(Registrar::of_monitors(watch)),
            told: Mutex::default(),
        })
    }

    /// Somebody who has heard this already.
    pub fn with(watch: &Arc<Watch>, heard: Heard) -> Arc<Self> {
        let ear = Self::new(watch);
        *ear.heard.lock().unwrap() = heard;
        ear
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    pub fn save(&self) {
        *self.saved.lock().unwrap() = self.heard();
    }

    /// As a new process would find it.
    pub fn restart(&self, watch: &Arc<Watch>) {
        *self.heard.lock().unwrap() = self.saved.lock().unwrap().clone();
        *self.registrar.lock().unwrap() = Registrar::of_monitors(watch);
    }

    pub fn on(&self, txid: Txid, output: WatchedOutput) {
        self.then.lock().unwrap().push((txid, output));
    }
}

impl Confirm for Ear {
    fn transactions_confirmed(&self, header: &Header, txdata: &TransactionData, height: u32) {
        let mut heard = self.heard.lock().unwrap();
        let hash = header.block_hash();
        for (_, transaction) in txdata {
            let txid = transaction.compute_txid();
            if let Some((_, before)) = heard.confirmed.insert(txid, (height, hash)) {
                // LDK asserts the same.
                assert_eq!(
                    before, hash,
                    "confirmed again, in another block, without a reorganisation"
                );
            }
            self.told.lock().unwrap().push((txid, height));
            for (after, output) in self.then.lock().unwrap().iter() {
                if *after == txid {
                    self.registrar.lock().unwrap().register_output(output.clone());
                }
            }
        }
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        self.heard.lock().unwrap().confirmed.remove(txid);
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        let mut heard = self.heard.lock().unwrap();
        let hash = header.block_hash();
        if height < heard.best.0 {
            // Only a reorganisation may do this, and it takes back first what is not there any more.
            let above = heard.confirmed.values().filter(|(at, _)| *at > height);
            assert_eq!(above.count(), 0, "a lower best block, and transactions above it");
        }
        heard.best = (height, hash);
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        let heard = self.heard.lock().unwrap();
        let all = heard.confirmed.iter();
        all.map(|(txid, (height, hash))| (*txid, *height, Some(*hash)))
            .collect()
    }
}
