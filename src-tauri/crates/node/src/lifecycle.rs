//! The one owner of the node: it decides who may open it, who shares it, and who closes it.
//!
//! Foreground and background never run two nodes. A wake that finds the node up joins it; a person who opens the app during
//! a wake takes the node over as it is. Every change of hands happens under one lock, so no order of events can race.

use std::sync::{Arc, Mutex};

use tokio::sync::broadcast;
use zeroize::Zeroizing;

use crate::capsules::{self, CapsuleRestored, CapsuleSlot};
use crate::config::Config;
use crate::error::{Error, ErrorCode, ErrorReport, Result};
use crate::lock::lock;
use crate::models::{NodeEvent, Overview, WalletState};
use crate::node::Node;
use crate::seed::{Found, Seed, SeedFile, SeedStore, WordCount};
use crate::wake::history::History;
use crate::wake::safety::{Safety, SafetyFile};
use crate::wake::{Grant, Wake, WakeRecord};

/// Events that a slow listener may fall behind before it misses some; it can always fetch the state anew.
const EVENT_BACKLOG: usize = 256;

/// The one owner of the node.
pub struct Lifecycle {
    config: Config,
    seeds: Box<dyn SeedStore>,
    history: History,
    safety: Arc<SafetyFile>,
    events: broadcast::Sender<NodeEvent>,
    state: tokio::sync::Mutex<State>,
    /// One wake at a time; the next waits, within its own grant.
    wake_turn: tokio::sync::Mutex<()>,
    sync_error: Arc<Mutex<Option<ErrorReport>>>,
}

/// The node, if it is up, and who needs it.
#[derive(Default)]
struct State {
    node: Option<Arc<Node>>,
    foreground: bool,
    wake: bool,
    /// Whether records of wakes that an earlier process left open were closed.
    swept_history: bool,
}

impl Lifecycle {
    /// An owner without a node. Touches no file and no socket.
    pub fn new(config: Config) -> Arc<Self> {
        let seeds = Box::new(SeedFile::new(&config.data_dir, config.network));
        Self::with_seeds(config, seeds)
    }

    /// The same, with another place for the seed.
    pub fn with_seeds(config: Config, seeds: Box<dyn SeedStore>) -> Arc<Self> {
        Arc::new(Self {
            history: History::new(&config.data_dir),
            safety: Arc::new(SafetyFile::new(&config.data_dir)),
            config,
            seeds,
            events: broadcast::channel(EVENT_BACKLOG).0,
            state: tokio::sync::Mutex::default(),
            wake_turn: tokio::sync::Mutex::default(),
            sync_error: Arc::default(),
        })
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// The wallet at a glance. Never fails: what is not known is said to be so.
    pub async fn overview(&self) -> Overview {
        let node = self.state.lock().await.node.clone();
        let state = match (&node, self.seeds.load()) {
            (Some(_), _) => WalletState::Running,
            (None, Ok(Found::Nothing)) => WalletState::None,
            // A seed that cannot be read is a wallet all the same.
            (None, Ok(Found::Seed(_)) | Err(_)) => WalletState::Stopped,
            (None, Ok(Found::Unknown)) => WalletState::Locked,
        };
        Overview {
            state,
            network: self.config.network.to_string(),
            lsp: self.config.lsp.as_ref().map(ToString::to_string),
            node_id: node.as_ref().map(|node| node.node_id().to_owned()),
            balances: node.as_ref().map(|node| node.balances()),
            syncing: node.as_ref().is_some_and(|node| node.syncing()),
            sync_error: lock(&self.sync_error).clone(),
            tip_height: node
                .and_then(|node| node.checkpoint())
                .map(|checkpoint| checkpoint.height),
            safe_until: self.safety.read().safe_until,
        }
    }

    /// Makes a wallet and gives its recovery words. It is on disk when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::WalletExists`], [`ErrorCode::StorageFailed`], [`ErrorCode::Misconfigured`].
    pub async fn create_wallet(
        &self,
        words: WordCount,
        passphrase: Option<&str>,
    ) -> Result<Zeroizing<String>> {
        let seed = Seed::generate(words, passphrase)?;
        self.keep(&seed)?;
        Ok(seed.words())
    }

    /// Brings a wallet back from its words: the on-chain money, and what channels paid out on-chain.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMnemonic`], and those of [`Self::create_wallet`].
    pub async fn restore_wallet(&self, words: &str, passphrase: Option<&str>) -> Result<()> {
        self.keep(&Seed::parse(words, passphrase)?)
    }

    fn keep(&self, seed: &Seed) -> Result<()> {
        match self.seeds.load()? {
            Found::Nothing => self.seeds.keep(seed)?,
            Found::Seed(_) => return Err(Error::new(ErrorCode::WalletExists, "a seed is kept already")),
            Found::Unknown => return Err(Error::new(ErrorCode::Locked, "a seed may be kept already")),
        }
        // Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::OverviewChanged);
        Ok(())
    }

    /// The recovery words, for a person who asked to see them.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], [`ErrorCode::Locked`], [`ErrorCode::StorageCorrupt`].
    pub async fn reveal_words(&self) -> Result<Zeroizing<String>> {
        Ok(self.seed()?.words())
    }

    /// What state capsules there are.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], [`ErrorCode::Locked`], [`ErrorCode::StorageCorrupt`].
    pub async fn inspect_capsules(&self) -> Result<Vec<CapsuleSlot>> {
        capsules::inspect(&self.config, &self.seed()?)
    }

    /// Puts the newest state capsule in the place of a database that can no longer be opened. `recorded` is the last
    /// generation that someone else kept a record of. Unless it is proven that nothing is newer, the wallet will not open
    /// on it.
    ///
    /// # Errors
    /// [`ErrorCode::InUse`] while the node is up, [`ErrorCode::StorageCorrupt`] without a capsule,
    /// [`ErrorCode::StorageFailed`], [`ErrorCode::NoWallet`], [`ErrorCode::Locked`].
    pub async fn restore_capsule(&self, recorded: Option<u64>) -> Result<CapsuleRestored> {
        // Held throughout: nobody opens the node meanwhile.
        let state = self.state.lock().await;
        if state.node.is_some() {
            return Err(Error::new(ErrorCode::InUse, "the node is up"));
        }
        let (config, seed) = (self.config.clone(), self.seed()?);
        let restoring = tokio::task::spawn_blocking(move || capsules::restore(&config, &seed, recorded));
        restoring
            .await
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("restoring a capsule: {e}")))?
    }

    /// The app is open: the node is up when this returns, syncs in the background, and stays up.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], [`ErrorCode::Locked`], and those of opening the store.
    pub async fn enter_foreground(self: &Arc<Self>) -> Result<Arc<Node>> {
        let mut state = self.state.lock().await;
        let node = self.opened(&mut state).await?;
        state.foreground = true;
        let (sync_error, events) = (Arc::clone(&self.sync_error), self.events.clone());
        let safety = Arc::clone(&self.safety);
        node.enter_foreground(move |node, synced| {
            let report = synced.err().map(|error| error.report());
            *lock(&sync_error) = report;
            keep_safety(&safety, node, &events);
            let _ = events.send(NodeEvent::OverviewChanged);
        });
        Ok(node)
    }

    /// The app is closed: the node stops, unless a wake still needs it.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the last write failed.
    pub async fn enter_background(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.foreground = false;
        if let Some(node) = &state.node {
            node.leave_foreground();
            // Payments may be under way that the last look at the chain did not know of.
            keep_safety(&self.safety, node, &self.events);
        }
        close_if_unneeded(&mut state).await
    }

    /// The running node.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], or [`ErrorCode::Cancelled`] if it is not running.
    pub async fn node(&self) -> Result<Arc<Node>> {
        if let Some(node) = &self.state.lock().await.node {
            return Ok(Arc::clone(node));
        }
        self.seed()?;
        Err(Error::new(ErrorCode::Cancelled, "the node is not running"))
    }

    /// One run of background work, within its grant. Always leaves a record, and always returns one.
    pub async fn wake(self: &Arc<Self>, grant: Grant) -> WakeRecord {
        let turn = tokio::time::timeout_at(grant.deadline.into(), self.wake_turn.lock()).await;
        let Ok(_turn) = turn else {
            // Another wake took all of this one's time; it did the work, so this one only says that it came too late.
            return Wake::begin(&grant, self.history.clone())
                .finish(None, self.safety.read(), async { Ok(()) })
                .await;
        };
        {
            let mut state = self.state.lock().await;
            if !std::mem::replace(&mut state.swept_history, true) {
                self.history.close_open_records();
            }
        }
        let mut wake = Wake::begin(&grant, self.history.clone());
        let _ = self.events.send(NodeEvent::WakeStarted {
            record: wake.record().clone(),
        });
        let opening = async {
            let mut state = self.state.lock().await;
            let joined = state.node.is_some();
            let node = self.opened(&mut state).await?;
            state.wake = true;
            Ok((node, joined))
        };
        let node = wake.open(opening).await;
        if let Some(node) = &node {
            wake.work(node).await;
            keep(&self.safety, node.safety());
        }
        let opened = node.is_some();
        let put_away = async {
            if !opened {
                return Ok(());
            }
            let mut state = self.state.lock().await;
            state.wake = false;
            if state.foreground
                && let Some(node) = &state.node
            {
                return node.persist().await;
            }
            close_if_unneeded(&mut state).await
        };
        let record = wake.finish(node, self.safety.read(), put_away).await;
        let _ = self.events.send(NodeEvent::BackgroundSyncCompleted {
            record: record.clone(),
        });
        record
    }

    /// The records of the last wakes, newest first. A running one is among them.
    ///
    /// # Errors
    /// None today; reading may be refused on a locked device.
    pub async fn history(&self) -> Result<Vec<WakeRecord>> {
        Ok(self.history.read())
    }

    /// How safe the wallet is, as last known; known without opening the node.
    pub fn safety(&self) -> Safety {
        self.safety.read()
    }

    fn seed(&self) -> Result<Seed> {
        match self.seeds.load()? {
            Found::Seed(seed) => Ok(seed),
            Found::Nothing => Err(Error::new(ErrorCode::NoWallet, "no seed is kept")),
            Found::Unknown => Err(Error::new(ErrorCode::Locked, "the seed cannot be read now")),
        }
    }

    /// The node, opened if it is not up. Opening reads from disk, so it has a thread of its own.
    async fn opened(&self, state: &mut State) -> Result<Arc<Node>> {
        if let Some(node) = &state.node {
            return Ok(Arc::clone(node));
        }
        let seed = self.seed()?;
        let (config, events) = (self.config.clone(), self.events.clone());
        let opening = tokio::task::spawn_blocking(move || Node::open(&config, &seed, events));
        let node = opening.await.map_err(|e| {
            // A panic in a library that reads what is on disk must not take the app with it.
            Error::new(ErrorCode::StorageCorrupt, format!("opening the node failed: {e}"))
        })??;
        node.start();
        state.node = Some(Arc::clone(&node));
        Ok(node)
    }
}

/// Keeps how safe the wallet is now; whether that is news.
fn keep(file: &SafetyFile, safety: Safety) -> bool {
    file.write(safety).unwrap_or_else(|error| {
        // It is known until the process ends, and the wake record has it too.
        tracing::error!(detail = error.detail(), "the safe-until moment was not kept");
        true
    })
}

/// The same for a node that the person has open, and says so.
fn keep_safety(file: &SafetyFile, node: &Node, events: &broadcast::Sender<NodeEvent>) {
    let safety = node.safety();
    if keep(file, safety) {
        let safe_until = safety.safe_until;
        // Nobody may be listening, which is fine.
        let _ = events.send(NodeEvent::SafeUntilChanged { safe_until });
    }
}

/// Stops the node if neither the foreground nor a wake needs it.
async fn close_if_unneeded(state: &mut State) -> Result<()> {
    if state.foreground || state.wake {
        return Ok(());
    }
    match state.node.take() {
        Some(node) => node.stop().await,
        None => Ok(()),
    }
}
