//! The chain by way of an Esplora server: `lightning-transaction-sync` for LDK, `bdk_esplora` for the on-chain wallet.
//!
//! `lightning-transaction-sync` says only that it failed; this file finds out why, so that every failure is typed. It
//! also proves the tip's header before anything is told to the node, which that crate does not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bdk_esplora::EsploraAsyncExt;
use bdk_wallet::KeychainKind;
use bdk_wallet::chain::spk_client::{FullScanRequest, FullScanResponse, SyncRequest, SyncResponse};
use bitcoin::block::Header;
use bitcoin::{BlockHash, Script, ScriptBuf, Transaction, Txid};
use esplora_client::AsyncClient;
use lightning::chain::{Confirm, Filter, WatchedOutput};
use lightning::util::logger::{Logger as LdkLogger, Record};
use lightning_transaction_sync::EsploraSyncClient;
use tokio::sync::Notify;

use super::fees::Estimates;
use super::gate::{Closed, Gate};
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

/// Longest piece of a server's own words that is kept in an error.
const QUOTE_LIMIT: usize = 160;

/// Something that follows the chain.
pub type Follower = Arc<dyn Confirm + Send + Sync>;

/// The best block, its header proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The block's hash.
    pub hash: BlockHash,
    /// Its height, in blocks.
    pub height: u32,
    /// Its header.
    pub header: Header,
}

/// What became of a transaction that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// In the server's mempool, or known already.
    Accepted,
    /// Refused, with the server's words.
    Refused(String),
}

/// One Esplora server, one client for the life of the node.
pub struct EsploraSource {
    client: AsyncClient,
    engine: Mutex<Arc<Engine>>,
    watched: Mutex<Watched>,
    tip: Mutex<Option<Tip>>,
}

/// `lightning-transaction-sync`, and the ear on its log.
struct Engine {
    sync: EsploraSyncClient<Arc<Ear>>,
    ear: Arc<Ear>,
}

/// Everything LDK asked to watch, kept so that a fresh engine can be told again.
#[derive(Default)]
struct Watched {
    transactions: Vec<(Txid, ScriptBuf)>,
    outputs: Vec<WatchedOutput>,
}

impl EsploraSource {
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
            client,
            engine,
            watched: Mutex::default(),
            tip: Mutex::default(),
        })
    }

    /// The best block as the server has it, its header proved.
    ///
    /// # Errors
    /// Typed by cause; [`ErrorCode::ChainSyncFailed`] if the header is not that block's or carries no work.
    pub async fn tip(&self) -> Result<Tip> {
        let hash = self.client.get_tip_hash().await.map_err(|e| classify(&e))?;
        let known = *lock(&self.tip);
        if let Some(tip) = known.filter(|tip| tip.hash == hash) {
            return Ok(tip);
        }
        let header = self
            .client
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
            .client
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

    /// Brings every follower to the server's tip. May be dropped at any await: what was told is true, and the next call
    /// asks for everything that was not.
    ///
    /// # Errors
    /// Typed by cause. After an error the followers may have part of the news; do not act on it.
    pub async fn sync(&self, followers: &[Follower]) -> Result<Tip> {
        for _ in 0..=TIP_MOVES {
            let tip = self.tip().await?;
            let gate = Gate::new(tip.hash);
            let engine = Arc::clone(&lock(&self.engine));
            let gated = followers
                .iter()
                .map(|follower| Box::new(gate.before(Arc::clone(follower))))
                .collect();
            engine.ear.inconsistencies.store(0, Ordering::SeqCst);
            let done = tokio::select! {
                done = engine.sync.sync(gated) => done,
                () = engine.ear.enough.notified() => {
                    self.renew();
                    return Err(lie("it contradicted itself ten times in one sync"));
                }
            };
            match (gate.closed(), done) {
                (None, Ok(())) => {
                    tracing::debug!(height = tip.height, confirmed = gate.confirmed(), "chain synced");
                    return Ok(tip);
                }
                (None, Err(_)) => return Err(self.diagnose().await),
                (Some(Closed::TipMoved), _) => self.renew(),
                (Some(Closed::Lie(what)), _) => {
                    self.renew();
                    return Err(lie(&what));
                }
            }
        }
        Err(lie("its tip moved in every round of one sync"))
    }

    /// Scans the addresses of a wallet whose history is not known.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn full_scan(
        &self,
        request: FullScanRequest<KeychainKind>,
    ) -> Result<FullScanResponse<KeychainKind>> {
        self.client
            .full_scan(request, STOP_GAP, PARALLEL_REQUESTS)
            .await
            .map_err(|e| classify(&e))
    }

    /// Asks for what is new at the addresses already handed out.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn scan(&self, request: SyncRequest<(KeychainKind, u32)>) -> Result<SyncResponse> {
        self.client
            .sync(request, PARALLEL_REQUESTS)
            .await
            .map_err(|e| classify(&e))
    }

    /// The server's fee estimates.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn fees(&self) -> Result<Estimates> {
        self.client.get_fee_estimates().await.map_err(|e| classify(&e))
    }

    /// Sends a transaction.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether the server has it.
    pub async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        match self.client.broadcast(transaction).await {
            Ok(()) => Ok(Sent::Accepted),
            Err(esplora_client::Error::HttpResponse { status: 400, message }) => {
                // Bitcoin Core's words for "I have it" (in the mempool, or in a block).
                let known = [
                    "already in mempool",
                    "already-in-mempool",
                    "already known",
                    "already-known",
                    "already in utxo",
                    "already in block chain",
                ];
                if known.iter().any(|words| message.to_lowercase().contains(words)) {
                    Ok(Sent::Accepted)
                } else {
                    Ok(Sent::Refused(quote(&message)))
                }
            }
            Err(e) => Err(classify(&e)),
        }
    }

    /// Makes a new engine that knows nothing of earlier rounds, and tells it all that is to be watched.
    fn renew(&self) {
        let engine = Engine::new(self.client.clone());
        let watched = lock(&self.watched);
        for (txid, script) in &watched.transactions {
            engine.sync.register_tx(txid, script);
        }
        for output in &watched.outputs {
            engine.sync.register_output(output.clone());
        }
        *lock(&self.engine) = Arc::new(engine);
    }

    /// Asks again what a failed sync asked, to learn what was wrong with the answers.
    async fn diagnose(&self) -> Error {
        match self.ask_again().await {
            Err(error) => error,
            Ok(()) => Error::new(
                ErrorCode::NetworkUnavailable,
                "a sync failed, but the same questions were answered well right after it",
            ),
        }
    }

    async fn ask_again(&self) -> Result<()> {
        self.tip().await?;
        let (transactions, outputs) = {
            let watched = lock(&self.watched);
            let transactions: Vec<Txid> = watched.transactions.iter().map(|(txid, _)| *txid).collect();
            (transactions, watched.outputs.clone())
        };
        for txid in transactions {
            self.prove(&txid).await?;
        }
        for output in outputs {
            let status = self
                .client
                .get_output_status(&output.outpoint.txid, u64::from(output.outpoint.index))
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
            .client
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
        match self.client.get_tx(txid).await.map_err(|e| classify(&e))? {
            Some(tx) if tx.compute_txid() != *txid => {
                return Err(lie(&format!(
                    "asked for transaction {txid}, got {}",
                    tx.compute_txid()
                )));
            }
            _ => {}
        }
        self.client
            .get_block_status(&proof.header.block_hash())
            .await
            .map_err(|e| classify(&e))?;
        Ok(())
    }
}

impl Filter for EsploraSource {
    fn register_tx(&self, txid: &Txid, script: &Script) {
        let mut watched = lock(&self.watched);
        if !watched.transactions.iter().any(|(known, _)| known == txid) {
            watched.transactions.push((*txid, script.to_owned()));
        }
        lock(&self.engine).sync.register_tx(txid, script);
    }

    fn register_output(&self, output: WatchedOutput) {
        let mut watched = lock(&self.watched);
        if !watched
            .outputs
            .iter()
            .any(|known| known.outpoint == output.outpoint)
        {
            watched.outputs.push(output.clone());
        }
        lock(&self.engine).sync.register_output(output);
    }
}

impl Engine {
    fn new(client: AsyncClient) -> Self {
        let ear = Arc::new(Ear::default());
        Self {
            sync: EsploraSyncClient::from_client(client, Arc::clone(&ear)),
            ear,
        }
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

fn quote(words: &str) -> String {
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(QUOTE_LIMIT)
        .collect()
}

fn lie(what: &str) -> Error {
    Error::new(ErrorCode::ChainSyncFailed, format!("chain server: {what}"))
}
