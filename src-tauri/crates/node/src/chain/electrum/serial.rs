//! The same kind of server asked in series, by `lightning-transaction-sync` for LDK and `bdk_electrum` for the on-chain wallet, as
//! ldk-node does: an oracle that tests and benchmarks hold our own engine against. Not in the app.
//!
//! Its client blocks, so it runs on threads of its own; a round that is dropped shuts its gate, and what comes later reaches
//! nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bdk_electrum::BdkElectrumClient;
use bdk_electrum::electrum_client::{Client, ConfigBuilder, ElectrumApi};
use bitcoin::Transaction;
use lightning::chain::{Filter, WatchedOutput};
use lightning_transaction_sync::ElectrumSyncClient;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::chain::engine::quote;
use crate::chain::fees::Estimates;
use crate::chain::source::{Round, Sent, Source, Tip};
use crate::chain::watch::Watch;
use crate::config::{REQUEST_RETRIES, REQUEST_TIMEOUT, STOP_GAP};
use crate::error::{Error, ErrorCode, Result};
use crate::log::Logger;

/// Scripts in one batch: ldk-node's figure.
const BATCH: usize = 5;

/// One Electrum server, one blocking client for the life of the node. Counts calls, not the requests that its libraries make.
pub struct SerialElectrum {
    url: String,
    engine: OnceCell<Arc<Engine>>,
    requests: AtomicU64,
}

struct Engine {
    client: Arc<Client>,
    lightning: ElectrumSyncClient<Arc<Logger>>,
    onchain: BdkElectrumClient<Arc<Client>>,
    told: AtomicU64,
}

impl SerialElectrum {
    /// A client that has not connected yet.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            engine: OnceCell::new(),
            requests: AtomicU64::new(0),
        }
    }

    /// Runs something on the connected client, on a thread where it may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> std::result::Result<T, String> + Send + 'static,
    ) -> Result<T> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let connecting = self.engine.get_or_try_init(|| async {
            let url = self.url.clone();
            let engine = spawn_blocking(move || Engine::connect(&url)).await;
            engine.map_err(|e| failed(&e.to_string()))?.map(Arc::new)
        });
        let engine = Arc::clone(connecting.await?);
        let done = spawn_blocking(move || work(&engine)).await;
        done.map_err(|e| failed(&e.to_string()))?.map_err(|e| failed(&e))
    }
}

fn failed(why: &str) -> Error {
    Error::new(
        ErrorCode::NetworkUnavailable,
        format!("chain server: {}", quote(why)),
    )
}

impl Engine {
    fn connect(url: &str) -> Result<Self> {
        let seconds = u8::try_from(REQUEST_TIMEOUT.as_secs()).unwrap_or(u8::MAX);
        let config = ConfigBuilder::new()
            .timeout(Some(seconds))
            .retry(u8::try_from(REQUEST_RETRIES).unwrap_or(1))
            .build();
        let client = Client::from_config(url, config).map_err(|e| failed(&e.to_string()))?;
        let client = Arc::new(client);
        let lightning = ElectrumSyncClient::from_client(Arc::clone(&client), Arc::new(Logger))
            .map_err(|e| failed(&e.to_string()))?;
        Ok(Self {
            onchain: BdkElectrumClient::new(Arc::clone(&client)),
            client,
            lightning,
            told: AtomicU64::new(0),
        })
    }

    fn tip(&self) -> std::result::Result<Tip, String> {
        let top = self.client.block_headers_subscribe().map_err(|e| e.to_string())?;
        Ok(Tip {
            hash: top.header.block_hash(),
            height: u32::try_from(top.height).map_err(|e| e.to_string())?,
            header: top.header,
        })
    }

    /// Tells it what was registered since it was last told, and gives how many registrations that makes.
    fn tell(&self, watch: &Watch) -> u64 {
        let watched = watch.all();
        let told = self.told.swap(watched.registrations, Ordering::SeqCst);
        for transaction in watched.transactions.iter().filter(|t| t.registered > told) {
            for script in &transaction.scripts {
                self.lightning.register_tx(&transaction.txid, script);
            }
        }
        for output in watched.outputs.into_iter().filter(|o| o.registered > told) {
            // LDK's own outpoints have 16 bits; this one came from LDK.
            let Ok(index) = u16::try_from(output.outpoint.vout) else {
                continue;
            };
            self.lightning.register_output(WatchedOutput {
                block_hash: None,
                outpoint: lightning::chain::transaction::OutPoint {
                    txid: output.outpoint.txid,
                    index,
                },
                script_pubkey: output.script,
            });
        }
        watched.registrations
    }
}

#[async_trait]
impl Source for SerialElectrum {
    fn endpoint(&self) -> &str {
        &self.url
    }

    async fn tip(&self) -> Result<Tip> {
        self.run(Engine::tip).await
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        let (watch, followers) = (Arc::clone(&round.watch), round.followers());
        let tip = self
            .run(move |engine| {
                loop {
                    let told = engine.tell(&watch);
                    let followers = followers.iter().collect();
                    engine.lightning.sync(followers).map_err(|e| e.to_string())?;
                    // What was confirmed may have made LDK watch more.
                    if watch.all().registrations == told {
                        return engine.tip();
                    }
                }
            })
            .await?;
        round.checkpoint(tip).await?;
        Ok(tip)
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        let wallet = &round.wallet;
        if !wallet.scanned() {
            let request = wallet.full_scan_request();
            let scan = move |engine: &Engine| {
                let answer = engine.onchain.full_scan(request, STOP_GAP, BATCH, true);
                answer.map_err(|e| e.to_string())
            };
            return wallet.apply_full_scan(self.run(scan).await?);
        }
        for request in wallet.scan_requests(round.depth, true) {
            let scan = move |engine: &Engine| {
                let answer = engine.onchain.sync(request, BATCH, true);
                answer.map_err(|e| e.to_string())
            };
            wallet.apply_scan(self.run(scan).await?)?;
        }
        Ok(())
    }

    async fn fees(&self) -> Result<Option<Estimates>> {
        Ok(None)
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        let transaction = transaction.clone();
        self.run(move |engine| {
            Ok(match engine.client.transaction_broadcast(&transaction) {
                Ok(_) => Sent::Accepted,
                Err(error) => Sent::Refused(quote(&error.to_string())),
            })
        })
        .await
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        self.send_one_by_one(transactions).await
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
