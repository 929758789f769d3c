//! A wallet, an ear and a source on a devnet of their own, which can be cut off and begun again from disk.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bitcoin::hashes::Hash;
use bitcoin::{Address, Amount, Network, ScriptBuf, Transaction, Txid, WPubkeyHash};
use lightning::chain::Filter;
use pilotlight_devnet::{Devnet, Options};
use pilotlight_store::Store;
use serde_json::{Value, json};

use super::ear::Ear;
use crate::chain::filters::{FiltersSource, Settings};
use crate::chain::{Checkpoint, Follower, Registrar, Round, Source, Tip, Watch};
use crate::error::Result;
use crate::onchain::{Amounts, OnchainWallet};
use crate::seed::Seed;

const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

pub struct Scene {
    pub devnet: Devnet,
    dir: tempfile::TempDir,
    pub ear: Arc<Ear>,
    checkpoint: Mutex<Option<Checkpoint>>,
    /// Blocks reported done, of all rounds.
    pub done: Mutex<Vec<(u32, u32)>>,
    registered: Mutex<Vec<(Txid, ScriptBuf)>>,
    pub process: Process,
}

/// What ends with the process.
pub struct Process {
    store: Arc<Store>,
    pub wallet: Arc<OnchainWallet>,
    pub watch: Arc<Watch>,
    pub source: FiltersSource,
}

impl Process {
    fn begin(dir: &std::path::Path, peers: &[SocketAddr], required: usize) -> Self {
        let store = Arc::new(Store::open(dir.join("store")).unwrap());
        let keys = Seed::parse(WORDS, None).unwrap().keys(Network::Regtest).unwrap();
        let wallet = OnchainWallet::open(Arc::clone(&store), keys.onchain, Network::Regtest).unwrap();
        let settings = Settings {
            network: Network::Regtest,
            peers: peers.iter().map(|peer| (*peer).into()).collect(),
            required,
            proxy: None,
            birthday: None,
        };
        Self {
            source: FiltersSource::new(settings, Arc::clone(&store)).unwrap(),
            store,
            wallet: Arc::new(wallet),
            watch: Arc::default(),
        }
    }
}

impl Scene {
    pub async fn new() -> Self {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let options = Options {
            peers: 0,
            ..Options::default()
        };
        let devnet = Devnet::start(options).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let process = Process::begin(dir.path(), &[devnet.p2p_address()], 1);
        Self {
            devnet,
            dir,
            ear: Ear::new(&process.watch),
            checkpoint: Mutex::default(),
            done: Mutex::default(),
            registered: Mutex::default(),
            process,
        }
    }

    /// Another process on the same files, with these peers. What was not made true is forgotten.
    pub fn restart(mut self, peers: &[SocketAddr], required: usize) -> Self {
        self.process.store.close().unwrap();
        let dir = self.dir.path().to_owned();
        drop(self.process);
        self.process = Process::begin(&dir, peers, required);
        self.ear.restart(&self.process.watch);
        let registrar = Registrar::of_monitors(&self.process.watch);
        for (txid, script) in self.registered.lock().unwrap().iter() {
            registrar.register_tx(txid, script);
        }
        self
    }

    pub async fn sync(&self) -> Result<Tip> {
        let round = self.round();
        self.process.source.sync(&round).await
    }

    pub fn round(&self) -> Round<'_> {
        let heard = self.ear.heard();
        let known = *self.checkpoint.lock().unwrap();
        let barrier = move |tip: Tip| -> futures::future::BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                self.process.wallet.persist()?;
                // A barrier takes its time; whoever cuts us off may do it here.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                self.ear.save();
                *self.checkpoint.lock().unwrap() = Some(Checkpoint {
                    height: tip.height,
                    hash: tip.hash,
                    at_ms: 1,
                });
                Ok(())
            })
        };
        let follower = Arc::clone(&self.ear) as Follower;
        let process = &self.process;
        Round::new(
            vec![follower],
            Arc::clone(&process.watch),
            Arc::clone(&process.wallet),
        )
        .heads(vec![heard.best])
        .whole(known, Box::new(barrier))
        .progress(Box::new(|done, total| {
            self.done.lock().unwrap().push((done, total));
        }))
    }

    /// Lets the ear watch a transaction, now and after restarts.
    pub fn watch(&self, transaction: &Transaction) {
        let (txid, script) = (
            transaction.compute_txid(),
            transaction.output[0].script_pubkey.clone(),
        );
        Registrar::of_monitors(&self.process.watch).register_tx(&txid, &script);
        self.registered.lock().unwrap().push((txid, script));
    }

    /// Watches a transaction's first output, as LDK does with what is in its state.
    pub fn rewatch(&self, transaction: &Transaction) {
        Registrar::of_monitors(&self.process.watch).register_output(lightning::chain::WatchedOutput {
            block_hash: None,
            outpoint: lightning::chain::transaction::OutPoint {
                txid: transaction.compute_txid(),
                index: 0,
            },
            script_pubkey: transaction.output[0].script_pubkey.clone(),
        });
    }

    /// Forgets who was banned.
    pub fn forgive(&self) {
        *self.process.source.book.lock().unwrap() = crate::chain::filters::book::Book::default();
    }

    /// A payment to the wallet, in no block yet; the ear watches it, too.
    pub async fn pay_in(&self, sat: u64) -> Transaction {
        let address = self.process.wallet.new_address().unwrap();
        let txid = self.devnet.fund(&address, Amount::from_sat(sat)).await.unwrap();
        let hex: String = self
            .devnet
            .rpc()
            .call("getrawtransaction", json!([txid]))
            .await
            .unwrap();
        let transaction: Transaction = bitcoin::consensus::encode::deserialize_hex(&hex).unwrap();
        let place = transaction
            .output
            .iter()
            .position(|out| out.script_pubkey == address.script_pubkey());
        let script = transaction.output[place.unwrap()].script_pubkey.clone();
        Registrar::of_monitors(&self.process.watch).register_tx(&txid, &script);
        self.registered.lock().unwrap().push((txid, script));
        transaction
    }

    /// A payment of the wallet to itself, in the mempool: all it has.
    pub async fn to_self(&self) -> Transaction {
        let wallet = &self.process.wallet;
        let to = wallet.change_address().unwrap();
        let rate = bitcoin::FeeRate::from_sat_per_kwu(1_000);
        let transaction = wallet.pay(&to, Amounts::All, rate, 0).unwrap();
        self.devnet.broadcast(&transaction).await.unwrap();
        transaction
    }

    /// Many blocks, quickly.
    pub async fn blocks(&self, count: u32) {
        // Where coins go that nobody needs.
        let nobody = ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros());
        let nobody = Address::from_script(&nobody, Network::Regtest).unwrap();
        let mut left = count;
        while left > 0 {
            let now = left.min(200);
            let _: Value = self
                .devnet
                .rpc()
                .call("generatetoaddress", json!([now, nobody]))
                .await
                .unwrap();
            left -= now;
        }
        // Waits until the indexes have followed.
        self.devnet.mine(1).await.unwrap();
    }

    /// The height of the last true checkpoint.
    pub fn height_made_true(&self) -> u32 {
        self.checkpoint.lock().unwrap().map_or(0, |known| known.height)
    }

    /// The blocks between one report and the next.
    pub fn steps(&self) -> Vec<u32> {
        let done = self.done.lock().unwrap();
        let before = std::iter::once(0).chain(done.iter().map(|(done, _)| *done));
        done.iter()
            .zip(before)
            .map(|((done, _), before)| done - before)
            .collect()
    }

    pub fn confirmed_sat(&self) -> u64 {
        self.process.wallet.balance().confirmed_sat
    }

    /// Whether everybody is at the devnet's tip, and knows exactly these transactions as confirmed.
    pub async fn assert_at_tip(&self, confirmed: &[&Transaction]) {
        let tip = self.devnet.tip().await.unwrap();
        let heard = self.ear.heard();
        assert_eq!(heard.best, tip);
        let mut expected: Vec<Txid> = confirmed.iter().map(|tx| tx.compute_txid()).collect();
        expected.sort_unstable();
        assert_eq!(heard.confirmed.keys().copied().collect::<Vec<_>>(), expected);
        for (height, hash) in heard.confirmed.values() {
            let there: String = self
                .devnet
                .rpc()
                .call("getblockhash", json!([height]))
                .await
                .unwrap();
            assert_eq!(there, hash.to_string());
        }
        let checkpoint = self.process.wallet.checkpoint();
        assert_eq!((checkpoint.height(), checkpoint.hash()), tip);
        assert_eq!(self.checkpoint.lock().unwrap().unwrap().hash, tip.1);
    }
}
