//! A wallet and somebody in LDK's place, as they were before much happened on a real chain, and what is true of it now.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bdk_wallet::chain::BlockId;
use bitcoin::block::Header;
use bitcoin::{Address, Amount, BlockHash, Network, ScriptBuf, Transaction, Txid};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{Confirm, Filter, WatchedOutput};
use pilotlight_devnet::{Devnet, Options, copy_folder};
use pilotlight_store::Store;

use super::ear::{Ear, Heard};
use super::tape::Tape;
use crate::chain::engine::Memory;
use crate::chain::esplora::EsploraSource;
use crate::chain::{Checkpoint, Depth, Follower, Registrar, Round, Source, Watch};
use crate::onchain::{Amounts, OnchainWallet};
use crate::seed::Seed;

const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// Everything that the rounds need, and nothing of the devnet.
pub struct Scene {
    pub tape: Tape,
    pub url: String,
    /// The wallet's folder, as it was before.
    pub before: tempfile::TempDir,
    pub heard_before: Heard,
    pub checkpoint: Checkpoint,
    /// Watched from the beginning; and what is watched on hearing of a transaction.
    pub watched: Vec<(Txid, ScriptBuf)>,
    pub then: Vec<(Txid, WatchedOutput)>,
    /// What was confirmed in a block that is in no chain any more.
    pub gone: Txid,
    /// What the wallet has in blocks when all is known.
    pub in_blocks: Vec<Line>,
}

impl Scene {
    #[allow(clippy::too_many_lines)] // A story, told in its order.
    pub async fn new() -> Self {
        let options = Options {
            peers: 0,
            ..Options::default()
        };
        let devnet = Devnet::start(options).await.unwrap();
        let url = devnet.plain_esplora_url();
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path());
        let ear = Ear::new(&place.watch);
        let registrar = Registrar::of_monitors(&place.watch);
        let source = EsploraSource::new(&url, Network::Regtest, Some(Arc::clone(&place.store))).unwrap();
        let sync = async |known: Option<Checkpoint>| {
            let follower = Arc::clone(&ear) as Follower;
            let round = place.round(vec![follower], Depth::Deep, known, vec![ear.heard().best]);
            source.sync(&round).await.unwrap()
        };
        let fund = async |sat: u64| {
            let address = place.wallet.new_address().unwrap();
            devnet.fund(&address, Amount::from_sat(sat)).await.unwrap()
        };

        fund(500_000).await;
        devnet.mine(1).await.unwrap();
        sync(None).await;
        // In a block that will be left behind.
        let gone = fund(30_000).await;
        let of_gone = devnet.transaction(&gone).await.unwrap().unwrap().transaction;
        let mut watched = vec![(gone, of_gone.output[0].script_pubkey.clone())];
        registrar.register_tx(&gone, &watched[0].1);
        devnet.mine(1).await.unwrap();
        let tip = sync(None).await;
        let checkpoint = Checkpoint {
            height: tip.height,
            hash: tip.hash,
            at_ms: 1,
        };
        let heard_before = ear.heard();
        // Handed out before, so that they are asked for.
        let mut addresses: Vec<Address> = (0..3).map(|_| place.wallet.new_address().unwrap()).collect();
        let mut changes: Vec<Address> = (0..3).map(|_| place.wallet.change_address().unwrap()).collect();
        place.wallet.persist().unwrap();
        place.store.close().unwrap();
        let before = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), before.path()).unwrap();

        // The same wallet goes on, to make what it has not seen there.
        let place = Place::open(dir.path());
        let source = EsploraSource::new(&url, Network::Regtest, None).unwrap();
        let sync = async || {
            source
                .sync_onchain(&place.round(Vec::new(), Depth::Deep, None, Vec::new()))
                .await
                .unwrap();
        };
        let mut fund = async |sat: u64| {
            let to = addresses.pop().unwrap();
            devnet.fund(&to, Amount::from_sat(sat)).await.unwrap()
        };
        let mut to_self = async || {
            let to = changes.pop().unwrap();
            let rate = bitcoin::FeeRate::from_sat_per_kwu(1_000);
            let transaction = place.wallet.pay(&to, Amounts::All, rate, 0).unwrap();
            devnet.broadcast(&transaction).await.unwrap();
            transaction
        };
        devnet.reorg_empty(1).await.unwrap();
        sync().await;
        let one = to_self().await;
        devnet.mine(1).await.unwrap();
        fund(11_000).await;
        devnet.mine(3).await.unwrap();
        sync().await;
        let two = to_self().await;
        devnet.mine(2).await.unwrap();
        sync().await;
        let three = to_self().await;
        devnet.mine(14).await.unwrap();
        fund(13_000).await;
        devnet.mine(4).await.unwrap();
        fund(17_000).await;
        sync().await;

        // The first spends what the wallet had; each further one spends the one before it.
        watched.push((one.compute_txid(), one.output[0].script_pubkey.clone()));
        let output = |of: &Transaction| WatchedOutput {
            block_hash: None,
            outpoint: lightning::chain::transaction::OutPoint {
                txid: of.compute_txid(),
                index: 0,
            },
            script_pubkey: of.output[0].script_pubkey.clone(),
        };
        let then = vec![
            (one.compute_txid(), output(&one)),
            (two.compute_txid(), output(&two)),
            (three.compute_txid(), output(&three)),
        ];
        let in_blocks = lines(&place.wallet);
        let scripts: Vec<String> = place
            .wallet
            .scripts()
            .iter()
            .map(|script| {
                let hash: bitcoin::hashes::sha256::Hash = bitcoin::hashes::Hash::hash(script.as_bytes());
                format!("/scripthash/{hash}/txs")
            })
            .collect();
        let stale = format!("/block/{}/status", checkpoint.hash);
        let tape = Tape::record(&devnet, scripts.into_iter().chain([stale]).collect()).await;
        place.store.close().unwrap();
        Self {
            tape,
            url,
            before,
            heard_before,
            checkpoint,
            watched,
            then,
            gone,
            in_blocks,
        }
    }
}

/// The wallet, and what ends with the process.
pub struct Place {
    pub store: Arc<Store>,
    pub wallet: Arc<OnchainWallet>,
    pub watch: Arc<Watch>,
    pub memory: Arc<Memory>,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    pub fn open(dir: &Path) -> Self {
        let store = Arc::new(Store::open(dir.join("store")).unwrap());
        let keys = Seed::parse(WORDS, None).unwrap().keys(Network::Regtest).unwrap();
        let wallet = OnchainWallet::open(Arc::clone(&store), keys.onchain, Network::Regtest).unwrap();
        Self {
            memory: Arc::new(Memory::new(Some(Arc::clone(&store)))),
            store,
            wallet: Arc::new(wallet),
            watch: Arc::default(),
            _dir: None,
        }
    }

    /// A copy, where writing is quick if there is such a place.
    pub fn copy_of(from: &Path) -> Self {
        let quick = PathBuf::from("/dev/shm");
        let dir = if quick.is_dir() {
            tempfile::tempdir_in(quick).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        copy_folder(from, dir.path()).unwrap();
        let place = Self::open(dir.path());
        Self {
            _dir: Some(dir),
            ..place
        }
    }

    pub fn round(
        &self,
        followers: Vec<Follower>,
        depth: Depth,
        known: Option<Checkpoint>,
        heads: Vec<(u32, BlockHash)>,
    ) -> Round<'_> {
        let barrier = move |_| -> futures::future::BoxFuture<'_, crate::error::Result<()>> {
            Box::pin(async move { self.wallet.persist() })
        };
        Round::new(followers, Arc::clone(&self.watch), Arc::clone(&self.wallet))
            .depth(depth)
            .heads(heads)
            .whole(known, Box::new(barrier))
    }
}

/// A transaction of the wallet in a block: what it takes from the wallet and brings to it, in sat.
pub type Line = (Txid, BlockId, u64, u64);

/// What the wallet has in blocks.
pub fn lines(wallet: &OnchainWallet) -> Vec<Line> {
    let mut lines = wallet.in_blocks();
    lines.sort_unstable_by_key(|(txid, ..)| *txid);
    lines
}

/// Hears what LDK would hear, and whether it is true.
pub struct Witness {
    pub ear: Arc<Ear>,
    scene: Arc<Scene>,
    pub lies: Mutex<Vec<String>>,
}

impl Witness {
    pub fn new(scene: &Arc<Scene>, watch: &Arc<Watch>) -> Arc<Self> {
        let registrar = Registrar::of_monitors(watch);
        for (txid, script) in &scene.watched {
            registrar.register_tx(txid, script);
        }
        let ear = Ear::with(watch, scene.heard_before.clone());
        for (txid, output) in &scene.then {
            ear.on(*txid, output.clone());
        }
        Arc::new(Self {
            ear,
            scene: Arc::clone(scene),
            lies: Mutex::default(),
        })
    }

    fn lie(&self, what: String) {
        self.lies.lock().unwrap().push(what);
    }
}

impl Confirm for Witness {
    fn transactions_confirmed(&self, header: &Header, txdata: &TransactionData, height: u32) {
        for (position, transaction) in txdata {
            let txid = transaction.compute_txid();
            if let Some(what) = self.scene.tape.denies(&txid, header, height, *position) {
                self.lie(what);
            }
            if transaction.input.iter().any(|input| input.witness.is_empty()) {
                self.lie(format!("{txid} without its witnesses"));
            }
        }
        self.ear.transactions_confirmed(header, txdata, height);
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        if *txid != self.scene.gone {
            self.lie(format!("{txid} in no block any more"));
        }
        self.ear.transaction_unconfirmed(txid);
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        if self.scene.tape.headers.get(height as usize) != Some(header) {
            self.lie(format!("best block {} at {height}", header.block_hash()));
        }
        self.ear.best_block_updated(header, height);
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        self.ear.get_relevant_txids()
    }
}
