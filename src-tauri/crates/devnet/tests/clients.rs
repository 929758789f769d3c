//! The libraries a wallet stands on, against the face: `bdk_esplora` and `lightning-transaction-sync`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bdk_esplora::EsploraAsyncExt;
use bdk_wallet::{KeychainKind, Wallet};
use bitcoin::bip32::Xpriv;
use bitcoin::block::Header;
use bitcoin::{Amount, BlockHash, Network, OutPoint, Psbt, Transaction, Txid};
use esplora_client::Builder;
use lightning::chain::transaction::TransactionData;
use lightning::chain::{Confirm, Filter, WatchedOutput};
use lightning::util::logger::{Logger, Record};
use lightning_transaction_sync::EsploraSyncClient;
use pilotlight_devnet::{Devnet, Fault, FaultKind, Options};

fn esplora(devnet: &Devnet) -> esplora_client::AsyncClient {
    Builder::new(&devnet.esplora_url())
        .timeout(10)
        .max_retries(0)
        .build_async()
        .unwrap()
}

fn wallet() -> (Wallet, Xpriv) {
    let key = Xpriv::new_master(Network::Regtest, &rand::random::<[u8; 32]>()).unwrap();
    let wallet = Wallet::create(
        format!("wpkh({key}/84'/1'/0'/0/*)"),
        format!("wpkh({key}/84'/1'/0'/1/*)"),
    )
    .network(Network::Regtest)
    .create_wallet_no_persist()
    .unwrap();
    (wallet, key)
}

fn signed(wallet: &Wallet, key: &Xpriv, mut psbt: Psbt) -> Transaction {
    psbt.sign(key, wallet.secp_ctx()).unwrap();
    assert!(
        wallet
            .finalize_psbt(&mut psbt, bdk_wallet::SignOptions::default())
            .unwrap()
    );
    psbt.extract_tx().unwrap()
}

async fn sync(wallet: &mut Wallet, devnet: &Devnet) {
    let request = wallet.start_sync_with_revealed_spks().build();
    let update = esplora(devnet).sync(request, 4).await.unwrap();
    wallet.apply_update(update).unwrap();
}

#[tokio::test]
async fn a_bdk_wallet_scans_and_syncs() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut wallet, key) = wallet();
    let first = wallet.reveal_next_address(KeychainKind::External).address;
    // More than a page on one address, and one behind a gap.
    for _ in 0..30 {
        devnet.fund(&first, Amount::from_sat(10_000)).await.unwrap();
    }
    let far = wallet
        .reveal_addresses_to(KeychainKind::External, 15)
        .last()
        .unwrap()
        .address;
    devnet.fund(&far, Amount::from_sat(10_000)).await.unwrap();
    let height = devnet.mine(1).await.unwrap();
    devnet.fund(&first, Amount::from_sat(5_000)).await.unwrap();

    let scan = wallet.start_full_scan().build();
    let update = esplora(&devnet).full_scan(scan, 20, 4).await.unwrap();
    wallet.apply_update(update).unwrap();
    let balance = wallet.balance();
    assert_eq!(balance.confirmed, Amount::from_sat(310_000));
    assert_eq!(balance.untrusted_pending, Amount::from_sat(5_000));
    assert_eq!(wallet.latest_checkpoint().height(), height);
    assert_eq!(wallet.latest_checkpoint().hash(), devnet.tip().await.unwrap().1);

    // A reorganisation that confirms nothing: everything is pending again.
    devnet.reorg_empty(1).await.unwrap();
    sync(&mut wallet, &devnet).await;
    assert_eq!(wallet.balance().confirmed, Amount::ZERO);
    assert_eq!(wallet.balance().untrusted_pending, Amount::from_sat(315_000));
    assert_eq!(wallet.latest_checkpoint().hash(), devnet.tip().await.unwrap().1);

    devnet.mine(1).await.unwrap();
    sync(&mut wallet, &devnet).await;
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(315_000));

    // It can spend, too.
    let psbt = {
        let mut builder = wallet.build_tx();
        builder.add_recipient(far.script_pubkey(), Amount::from_sat(100_000));
        builder.finish().unwrap()
    };
    let tx = signed(&wallet, &key, psbt);
    esplora(&devnet).broadcast(&tx).await.unwrap();
    devnet.mine(1).await.unwrap();
    sync(&mut wallet, &devnet).await;
    let fee = wallet.calculate_fee(&tx).unwrap();
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(315_000) - fee);
}

struct Silent;

impl Logger for Silent {
    fn log(&self, _: Record) {}
}

/// Writes down what it is told, and wants to know about what it was told was confirmed.
#[derive(Default)]
struct Notes {
    confirmed: Mutex<BTreeMap<Txid, (u32, BlockHash)>>,
    best: Mutex<Option<(BlockHash, u32)>>,
}

impl Confirm for Notes {
    fn transactions_confirmed(&self, header: &Header, txs: &TransactionData, height: u32) {
        for (_, tx) in txs {
            let tx: &Transaction = tx;
            self.confirmed
                .lock()
                .unwrap()
                .insert(tx.compute_txid(), (height, header.block_hash()));
        }
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        self.confirmed.lock().unwrap().remove(txid);
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        *self.best.lock().unwrap() = Some((header.block_hash(), height));
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        self.confirmed
            .lock()
            .unwrap()
            .iter()
            .map(|(txid, (h, hash))| (*txid, *h, Some(*hash)))
            .collect()
    }
}

struct Watcher {
    client: EsploraSyncClient<Arc<Silent>>,
    notes: Arc<Notes>,
}

impl Watcher {
    fn new(devnet: &Devnet) -> Self {
        let client = EsploraSyncClient::from_client(esplora(devnet), Arc::new(Silent));
        Self {
            client,
            notes: Arc::default(),
        }
    }

    async fn sync(&self) -> Result<(), lightning_transaction_sync::TxSyncError> {
        self.client.sync(vec![Arc::clone(&self.notes)]).await
    }

    fn confirmed(&self, txid: &Txid) -> Option<u32> {
        self.notes
            .confirmed
            .lock()
            .unwrap()
            .get(txid)
            .map(|(height, _)| *height)
    }
}

#[tokio::test]
async fn ldk_learns_of_confirmations_spends_and_reorganisations() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut wallet, key) = wallet();
    let address = wallet.reveal_next_address(KeychainKind::External).address;
    let funding = devnet.fund(&address, Amount::from_sat(200_000)).await.unwrap();
    let funding_tx = esplora(&devnet).get_tx_no_opt(&funding).await.unwrap();
    let vout = funding_tx
        .output
        .iter()
        .position(|o| o.script_pubkey == address.script_pubkey())
        .unwrap();
    let outpoint = OutPoint::new(funding, u32::try_from(vout).unwrap());

    let watcher = Watcher::new(&devnet);
    watcher.client.register_tx(&funding, &address.script_pubkey());
    watcher.client.register_output(WatchedOutput {
        block_hash: None,
        outpoint: lightning::chain::transaction::OutPoint {
            txid: funding,
            index: u16::try_from(outpoint.vout).unwrap(),
        },
        script_pubkey: address.script_pubkey(),
    });
    watcher.sync().await.unwrap();
    assert_eq!(watcher.confirmed(&funding), None);
    let height = devnet.mine(1).await.unwrap();
    watcher.sync().await.unwrap();
    assert_eq!(watcher.confirmed(&funding), Some(height));
    let (_, tip) = devnet.tip().await.unwrap();
    assert_eq!(*watcher.notes.best.lock().unwrap(), Some((tip, height)));

    sync(&mut wallet, &devnet).await;
    let psbt = {
        let mut builder = wallet.build_tx();
        builder.drain_wallet().drain_to(address.script_pubkey());
        builder.finish().unwrap()
    };
    let spend = signed(&wallet, &key, psbt);
    devnet.broadcast(&spend).await.unwrap();
    devnet.mine(3).await.unwrap();
    watcher.sync().await.unwrap();
    assert_eq!(
        watcher.confirmed(&spend.compute_txid()),
        Some(height + 1),
        "it was found through the output"
    );

    devnet.reorg_empty(3).await.unwrap();
    watcher.sync().await.unwrap();
    assert_eq!(
        watcher.confirmed(&spend.compute_txid()),
        None,
        "unconfirmed by the reorganisation"
    );
    assert_eq!(watcher.confirmed(&funding), Some(height));
    let height = devnet.mine(1).await.unwrap();
    watcher.sync().await.unwrap();
    assert_eq!(watcher.confirmed(&spend.compute_txid()), Some(height));
}

/// What this is for: a lie must not get past the library, and the next honest sync must succeed.
#[tokio::test]
async fn ldk_sees_through_lies_and_recovers() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let address = wallet().0.reveal_next_address(KeychainKind::External).address;
    let txid = devnet.fund(&address, Amount::from_sat(100_000)).await.unwrap();
    let watcher = Watcher::new(&devnet);
    watcher.client.register_tx(&txid, &address.script_pubkey());
    let height = devnet.mine(1).await.unwrap();

    devnet.faults().set(Fault::new("/", FaultKind::WrongMerkle));
    assert!(watcher.sync().await.is_err());
    assert_eq!(watcher.confirmed(&txid), None);
    assert!(devnet.faults().list()[0].struck > 0);
    devnet.faults().clear();
    watcher.sync().await.unwrap();
    assert_eq!(watcher.confirmed(&txid), Some(height));
}
