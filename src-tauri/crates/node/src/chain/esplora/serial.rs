//! The same chain server asked in series, by `lightning-transaction-sync` for LDK and `bdk_esplora` for the on-chain
//! wallet: the oracle that tests and benchmarks hold our own engine against. Not in the app.
//!
//! `lightning-transaction-sync` says only that it failed; this file finds out why, so that every failure is typed. It
//! also proves the tip's header before anything is told to the node, which that crate does not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bdk_esplora::EsploraAsyncExt;
use bitcoin::{Transaction, Txid};
use esplora_client::AsyncClient;
use lightning::chain::{Filter, WatchedOutput};
use lightning::util::logger::{Logger as LdkLogger, Record};
use lightning_transaction_sync::EsploraSyncClient;
use tokio::sync::Notify;

use crate::chain::engine::proof::has_it;
use crate::chain::engine::{lie, quote};
use crate::chain::fees::Estimates;
use crate::chain::gate::{Closed, Gate};
use crate::chain::source::{Round, Sent, Source, Tip};
use crate::chain::watch::{Watch, Watched};
use crate::config::{PARALLEL_REQUESTS, REQUEST_RETRIES, REQUEST_TIMEOUT, STOP_GAP};
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::log::Logger;

/// How often one sync may start over because a block was found meanwhile. Blocks come every ten minutes; three in the
/// seconds of one sync is a source that plays with us.
const TIP_MOVES: usize = 3;

/// How often the source may contradict itself within one sync. `lightning-transaction-sync` 0.2 would go on for ever;
/// later versions give up at ten.
const INCONSISTENCIES: u32 = 10;

/// One Esplora server, one client for the life of the node. Counts calls, not the requests that its libraries make.
pub struct SerialEsplora {
    url: String,
    client: AsyncClient,
    engine: Mutex<Arc<Engine>>,
    tip: Mutex<Option<Tip>>,
    requests: AtomicU64,
}

/// `lightning-transaction-sync`, the ear on its log, and how many registrations it was told of.
struct Engine {
    sync: EsploraSyncClient<Arc<Ear>>,
    ear: Arc<Ear>,
    told: AtomicU64,
}

impl SerialEsplora {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`] if no client can be made of the URL.
    pub fn new(url: &str) -> Result<Self> {
        let client = esplora_client::Builder::new(url)
            .timeout(REQUEST_TIMEOUT.as_secs())
            .max_retries(REQUEST_RETRIES)
            .build_async()
            .map_err(|e| Error::new(ErrorCode::Misconfigured, format!("chain server: {e}")))?;
        let engine = Mutex::new(Arc::new(Engine::new(client.clone())));
        Ok(Self {
            url: url.to_owned(),
            client,
            engine,
            tip: Mutex::default(),
            requests: AtomicU64::new(0),
        })
    }

    /// The client, for one more request.
    fn ask(&self) -> &AsyncClient {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &self.client
    }

    /// Makes a new engine that knows nothing of earlier rounds. It will be told all that is to be watched.
    fn renew(&self) {
        *lock(&self.engine) = Arc::new(Engine::new(self.client.clone()));
    }

    /// Asks again what a failed sync asked, to learn what was wrong with the answers.
    async fn diagnose(&self, watched: &Watched) -> Error {
        match self.ask_again(watched).await {
            Err(error) => error,
            Ok(()) => Error::new(
                ErrorCode::NetworkUnavailable,
                "a sync failed, but the same questions were answered well right after it",
            ),
        }
    }

    async fn ask_again(&self, watched: &Watched) -> Result<()> {
        self.tip().await?;
        for transaction in &watched.transactions {
            self.prove(&transaction.txid).await?;
        }
        for output in &watched.outputs {
            let status = self
                .ask()
                .get_output_status(&output.outpoint.txid, u64::from(output.outpoint.vout))
                .await
                .map_err(|e| classify(&e))?;
            if let Some(txid) = status.and_then(|status| status.txid) {
                self.prove(&txid).await?;
            }
        }
        Ok(())
    }

    /// Checks what the server says of one transaction: proof, content, block.
    async fn prove(&self, txid: &Txid) -> Result<()> {
        let Some(proof) = self
            .ask()
            .get_merkle_block(txid)
            .await
            .map_err(|e| classify(&e))?
        else {
            return Ok(());
        };
        let (mut matches, mut indexes) = (Vec::new(), Vec::new());
        let root = proof.txn.extract_matches(&mut matches, &mut indexes);
        if root.ok() != Some(proof.header.merkle_root) || matches != [*txid] {
            return Err(lie(&format!(
                "the proof for transaction {txid} proves something else"
            )));
        }
        match self.ask().get_tx(txid).await.map_err(|e| classify(&e))? {
            Some(tx) if tx.compute_txid() != *txid => {
                return Err(lie(&format!(
                    "asked for transaction {txid}, got {}",
                    tx.compute_txid()
                )));
            }
            _ => {}
        }
        self.ask()
            .get_block_status(&proof.header.block_hash())
            .await
            .map_err(|e| classify(&e))?;
        Ok(())
    }
}

#[async_trait]
impl Source for SerialEsplora {
    fn endpoint(&self) -> &str {
        &self.url
    }

    async fn tip(&self) -> Result<Tip> {
        let hash = self.ask().get_tip_hash().await.map_err(|e| classify(&e))?;
        let known = *lock(&self.tip);
        if let Some(tip) = known.filter(|tip| tip.hash == hash) {
            return Ok(tip);
        }
        let header = self
            .ask()
            .get_header_by_hash(&hash)
            .await
            .map_err(|e| classify(&e))?;
        if header.block_hash() != hash {
            return Err(lie(&format!(
                "asked for the header of {hash}, got that of {}",
                header.block_hash()
            )));
        }
        if header.validate_pow(header.target()).is_err() {
            return Err(lie(&format!("the tip {hash} has no proof of work")));
        }
        let status = self
            .ask()
            .get_block_status(&hash)
            .await
            .map_err(|e| classify(&e))?;
        let (true, Some(height)) = (status.in_best_chain, status.height) else {
            return Err(lie(&format!("the tip {hash} is not in the best chain")));
        };
        let tip = Tip { hash, height, header };
        *lock(&self.tip) = Some(tip);
        Ok(tip)
    }

    async fn sync_lightning(&self, round: &Round<'_>) -> Result<Tip> {
        for _ in 0..=TIP_MOVES {
            let tip = self.tip().await?;
            let gate = Gate::to(tip.hash);
            let engine = Arc::clone(&lock(&self.engine));
            engine.ear.inconsistencies.store(0, Ordering::SeqCst);
            let syncing = async {
                loop {
                    let told = engine.tell(&round.watch);
                    let followers = round.followers().into_iter();
                    let gated = followers
                        .map(|follower| Box::new(gate.before(Box::new(follower))))
                        .collect();
                    let done = engine.sync.sync(gated).await;
                    // What was confirmed may have made LDK watch more.
                    if done.is_err() || gate.closed().is_some() || round.watch.all().registrations == told {
                        return done;
                    }
                }
            };
            let done = tokio::select! {
                done = syncing => done,
                () = engine.ear.enough.notified() => {
                    self.renew();
                    return Err(lie("it contradicted itself ten times in one sync"));
                }
            };
            match (gate.closed(), done) {
                (None, Ok(())) => {
                    round.checkpoint(tip).await?;
                    tracing::debug!(height = tip.height, confirmed = gate.confirmed(), "chain synced");
                    return Ok(tip);
                }
                (None, Err(_)) => return Err(self.diagnose(&round.watch.all()).await),
                (Some(Closed::TipMoved), _) => self.renew(),
                (Some(Closed::Lie(what)), _) => {
                    self.renew();
                    return Err(lie(&what));
                }
            }
        }
        Err(lie("its tip moved in every round of one sync"))
    }

    async fn sync_onchain(&self, round: &Round<'_>) -> Result<()> {
        let wallet = &round.wallet;
        if !wallet.scanned() {
            let request = wallet.full_scan_request();
            let answer = self.ask().full_scan(request, STOP_GAP, PARALLEL_REQUESTS).await;
            return wallet.apply_full_scan(answer.map_err(|e| classify(&e))?);
        }
        for request in wallet.scan_requests(round.depth, true) {
            let answer = self.ask().sync(request, PARALLEL_REQUESTS).await;
            wallet.apply_scan(answer.map_err(|e| classify(&e))?)?;
        }
        Ok(())
    }

    async fn fees(&self) -> Result<Option<Estimates>> {
        let answer = self.ask().get_fee_estimates().await;
        answer.map(Some).map_err(|e| classify(&e))
    }

    async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        match self.ask().broadcast(transaction).await {
            Ok(()) => Ok(Sent::Accepted),
            Err(esplora_client::Error::HttpResponse { status: 400, message }) => {
                if has_it(&message) {
                    Ok(Sent::Accepted)
                } else {
                    Ok(Sent::Refused(quote(&message)))
                }
            }
            Err(e) => Err(classify(&e)),
        }
    }

    async fn send_package(&self, transactions: &[Transaction]) -> Result<Sent> {
        match self.ask().submit_package(transactions, None, None).await {
            Ok(answer) if answer.package_msg == "success" => Ok(Sent::Accepted),
            Ok(answer) => Ok(Sent::Refused(quote(&answer.package_msg))),
            Err(esplora_client::Error::HttpResponse { status: 400, message }) => {
                Ok(Sent::Refused(quote(&message)))
            }
            Err(e) => Err(classify(&e)),
        }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Engine {
    fn new(client: AsyncClient) -> Self {
        let ear = Arc::new(Ear::default());
        Self {
            sync: EsploraSyncClient::from_client(client, Arc::clone(&ear)),
            ear,
            told: AtomicU64::new(0),
        }
    }

    /// Tells it what was registered since it was last told, and gives how many registrations that makes. It takes out
    /// what is done, so it must not be told twice.
    fn tell(&self, watch: &Watch) -> u64 {
        let watched = watch.all();
        let now = watched.registrations;
        let told = self.told.swap(now, Ordering::SeqCst);
        for transaction in watched.transactions.iter().filter(|t| t.registered > told) {
            for script in &transaction.scripts {
                self.sync.register_tx(&transaction.txid, script);
            }
        }
        for output in watched
            .outputs
            .into_iter()
            .filter(|output| output.registered > told)
        {
            let (txid, index) = (output.outpoint.txid, output.outpoint.vout);
            // LDK's own outpoints have 16 bits; this one came from LDK.
            let Ok(index) = u16::try_from(index) else { continue };
            self.sync.register_output(WatchedOutput {
                block_hash: None,
                outpoint: lightning::chain::transaction::OutPoint { txid, index },
                script_pubkey: output.script,
            });
        }
        now
    }
}

/// Passes the engine's log on, and counts how often it had to start over.
#[derive(Default)]
struct Ear {
    inconsistencies: AtomicU32,
    enough: Notify,
}

impl LdkLogger for Ear {
    fn log(&self, record: Record) {
        if record
            .args
            .to_string()
            .contains("Encountered inconsistency during transaction sync")
            && self.inconsistencies.fetch_add(1, Ordering::SeqCst) + 1 == INCONSISTENCIES
        {
            self.enough.notify_one();
        }
        Logger.log(record);
    }
}

/// What went wrong with a request, by the four faces.
fn classify(error: &esplora_client::Error) -> Error {
    use esplora_client::Error as E;
    let code = match error {
        E::Reqwest(e) if e.is_timeout() => ErrorCode::SyncTimeout,
        // A body that ended early is the network's fault; one that is whole and makes no sense is the server's.
        E::Reqwest(e) if e.is_decode() && source_is::<serde_json::Error>(e) => ErrorCode::ChainSyncFailed,
        E::Reqwest(_) | E::HttpResponse { status: 500.., .. } => ErrorCode::NetworkUnavailable,
        E::HttpResponse { status: 429, .. } => ErrorCode::RateLimited,
        _ => ErrorCode::ChainSyncFailed,
    };
    let detail = match error {
        E::Reqwest(e) => full_story(e),
        E::HttpResponse { status, message } => format!("HTTP {status}: {message}"),
        other => format!("{other:?}"),
    };
    Error::new(code, format!("chain server: {}", quote(&detail)))
}

fn source_is<T: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |e| e.source())
        .any(<dyn std::error::Error>::is::<T>)
}

fn full_story(error: &reqwest::Error) -> String {
    std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
