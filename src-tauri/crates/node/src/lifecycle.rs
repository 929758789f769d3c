//! The one owner of the node: it decides who may open it, who shares it, and who closes it.
//!
//! Foreground and background never run two nodes. A wake that finds the node up joins it; a person who opens the app during
//! a wake takes the node over as it is. `owner` makes every change of hands, one at a time; `grace` says how long the node
//! stays up when the app goes.

mod grace;
mod owner;
mod retire;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::backoff::Backoffs;
use crate::birthday::{self, Birthday};
use crate::capsules::{self, CapsuleRestored, CapsuleSlot};
use crate::chain::networks;
use crate::clock;
use crate::config::{ChainServer, Config};
use crate::connection::{self, Connection, ConnectionStatus};
use crate::error::{Error, ErrorCode, Result};
use crate::models::{NodeEvent, Overview, WalletState};
use crate::node::{Node, Vouched, WatchNode};
use crate::seed::{Found, Seed, SeedFile, SeedStore, WordCount};
use crate::wake::history::History;
use crate::wake::instruments::Machine;
use crate::wake::journal::JournalFile;
use crate::wake::safety::{Safety, SafetyFile};
use crate::wake::{Grant, Keep, Level, StageName, Wake, WakeRecord};
use owner::Owner;

pub use grace::{Grace, LINGER, LINGER_FOR_PAYMENT};

/// Events that a slow listener may fall behind before it misses some; it can always fetch the state anew.
const EVENT_BACKLOG: usize = 256;

/// Longest look at a server before it is taken: three small questions. A person waits for it.
const CHECK_LIMIT: Duration = Duration::from_secs(12);

/// So long a change of the connection waits for a wake to end. After that the wake is told that the node stops, and what it
/// did is kept.
const WAKE_PATIENCE: Duration = Duration::from_secs(5);

/// The one owner of the node.
pub struct Lifecycle {
    owner: Arc<Owner>,
    keep: Keep,
    events: broadcast::Sender<NodeEvent>,
    /// One wake at a time; the next waits, within its own grant.
    wake_turn: tokio::sync::Mutex<()>,
    /// Whether a wake of this process, or of an earlier one, may have ended without a word.
    open_records: AtomicBool,
    /// Calls off every wake: another wallet takes this one's place.
    called_off: CancellationToken,
}

impl Lifecycle {
    /// An owner without a node. Touches no file and no socket.
    pub fn new(config: Config) -> Arc<Self> {
        let seeds = Box::new(SeedFile::new(&config.data_dir, config.network));
        Self::with_seeds(config, seeds)
    }

    /// The same, with another place for the seed.
    pub fn with_seeds(config: Config, seeds: Box<dyn SeedStore>) -> Arc<Self> {
        let events = broadcast::channel(EVENT_BACKLOG).0;
        let safety = SafetyFile::new(&config.data_dir);
        let backoffs = Arc::new(Backoffs::new(&config.data_dir));
        Arc::new(Self {
            keep: Keep {
                history: History::new(&config.data_dir),
                journal: JournalFile::new(&config.data_dir),
                backoffs: Arc::clone(&backoffs),
                sources: Vec::new(),
            },
            owner: Owner::new(config, seeds, safety, backoffs, events.clone()),
            events,
            wake_turn: tokio::sync::Mutex::default(),
            open_records: AtomicBool::new(true),
            called_off: CancellationToken::new(),
        })
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// The wallet at a glance. Never fails, and never waits for a node that opens or stops: what is not known is said to
    /// be so.
    pub async fn overview(&self) -> Overview {
        let node = self.owner.up();
        let config = self.owner.started_with();
        let state = match (&node, self.owner.seeds().load()) {
            (Some(_), _) => WalletState::Running,
            (None, Ok(Found::Nothing)) => WalletState::None,
            // A seed that cannot be read is a wallet all the same.
            (None, Ok(Found::Seed(_)) | Err(_)) => WalletState::Stopped,
            (None, Ok(Found::Unknown)) => WalletState::Locked,
        };
        Overview {
            state,
            network: config.network.to_string(),
            lsp: config.lsp.as_ref().map(ToString::to_string),
            node_id: node.as_ref().map(|node| node.node_id().to_owned()),
            balances: node.as_ref().map(|node| node.balances()),
            syncing: node.as_ref().is_some_and(|node| node.syncing()),
            sync_error: self.owner.sync_error(),
            breaches: node.as_ref().map(|node| node.breaches()).unwrap_or_default(),
            tip_height: node
                .and_then(|node| node.checkpoint())
                .map(|checkpoint| checkpoint.height),
            safe_until: self.safety().safe_until,
        }
    }

    /// Whether there is a wallet. A seed that is there and is damaged is one all the same.
    ///
    /// # Errors
    /// [`ErrorCode::Locked`] or [`ErrorCode::StorageFailed`] if it cannot be known now.
    pub fn has_wallet(&self) -> Result<bool> {
        match self.owner.seeds().load() {
            Ok(Found::Nothing) => Ok(false),
            Ok(Found::Seed(_)) => Ok(true),
            Ok(Found::Unknown) => Err(Error::new(ErrorCode::Locked, "a seed may be kept")),
            Err(error) if error.code() == ErrorCode::StorageCorrupt => Ok(true),
            Err(error) => Err(error),
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
        self.keep(&seed, Some(Birthday::Made(clock::now_ms())))?;
        Ok(seed.words())
    }

    /// Brings a wallet back from its words: the on-chain money, and what channels paid out on-chain.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMnemonic`], and those of [`Self::create_wallet`].
    pub async fn restore_wallet(&self, words: &str, passphrase: Option<&str>) -> Result<()> {
        self.restore_wallet_since(words, passphrase, None).await
    }

    /// The same for somebody who knows that nothing in the blocks up to this height is the wallet's: a source that reads
    /// every block need not read those. `None`: it is not known.
    ///
    /// # Errors
    /// Those of [`Self::restore_wallet`].
    pub async fn restore_wallet_since(
        &self,
        words: &str,
        passphrase: Option<&str>,
        height: Option<u32>,
    ) -> Result<()> {
        self.keep(&Seed::parse(words, passphrase)?, height.map(Birthday::Since))
    }

    fn keep(&self, seed: &Seed, birthday: Option<Birthday>) -> Result<()> {
        networks::claim(self.owner.started_with())?;
        let seeds = self.owner.seeds();
        match seeds.load()? {
            Found::Nothing => {
                // First: one without a seed does no harm, and a seed never finds another's.
                birthday::keep(&self.owner.started_with().data_dir, birthday)?;
                seeds.keep(seed)?;
            }
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
        Ok(self.owner.seed()?.words())
    }

    /// What state capsules there are.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], [`ErrorCode::Locked`], [`ErrorCode::StorageCorrupt`].
    pub async fn inspect_capsules(&self) -> Result<Vec<CapsuleSlot>> {
        capsules::inspect(self.owner.started_with(), &self.owner.seed()?)
    }

    /// Puts the newest state capsule in the place of a database that can no longer be opened. `recorded` is the last
    /// generation that someone else kept a record of. Unless it is proven that nothing is newer, the wallet will not open
    /// on it.
    ///
    /// # Errors
    /// [`ErrorCode::InUse`] while the node is up, [`ErrorCode::StorageCorrupt`] without a capsule,
    /// [`ErrorCode::StorageFailed`], [`ErrorCode::NoWallet`], [`ErrorCode::Locked`].
    pub async fn restore_capsule(&self, recorded: Option<u64>) -> Result<CapsuleRestored> {
        let kept_down = self.owner.keep_down().await?;
        let (config, seed) = (self.owner.started_with().clone(), self.owner.seed()?);
        let restoring = tokio::task::spawn_blocking(move || {
            // Throughout, also if nobody waits for the end: nobody opens the node meanwhile.
            let _kept_down = kept_down;
            capsules::restore(&config, &seed, recorded)
        });
        restoring
            .await
            .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("restoring a capsule: {e}")))?
    }

    /// The app is open: the node is up when this returns, syncs in the background, and stays up. A node that a wake has
    /// brought up, or that has not yet gone since the app was last open, is taken over as it is.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], [`ErrorCode::Locked`], and those of opening the store; [`ErrorCode::Cancelled`] if the app
    /// went again meanwhile.
    pub async fn enter_foreground(&self) -> Result<Arc<Node>> {
        self.owner.person_came();
        self.owner.bring_up().await
    }

    /// The app is closed: the node stops at once, unless a wake still needs it.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the last write failed.
    pub async fn enter_background(&self) -> Result<()> {
        self.enter_background_within(&Grace::none()).await
    }

    /// The same with a time of grace: the node stays up for [`LINGER`], or for [`LINGER_FOR_PAYMENT`] while a payment is
    /// under way, and has stopped before the grace is over. A person who comes back meanwhile finds the node as it was.
    /// Dropping the future ends the grace.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the last write failed.
    pub async fn enter_background_within(&self, grace: &Grace) -> Result<()> {
        let events = self.events.subscribe();
        let Some(goodbye) = self.owner.person_leaves() else {
            return self.owner.let_go_soon().await;
        };
        if let Some(node) = self.owner.up() {
            // Payments may be under way that the last look at the chain did not know of.
            self.owner.keep_safety(&node);
            tokio::select! {
                biased;
                () = goodbye.taken_back() => return Ok(()),
                () = grace::over(&node, grace, events) => {}
            }
            self.owner.keep_safety(&node);
        }
        goodbye.leave().await
    }

    /// How long a grace the node could use now: what to ask the system for when the app goes.
    pub fn wanted_grace(&self) -> Duration {
        let paying = self.owner.up().is_some_and(|node| node.payment_under_way());
        if paying { LINGER_FOR_PAYMENT } else { LINGER }
    }

    /// The running node; waits for one that is being opened.
    ///
    /// # Errors
    /// [`ErrorCode::NoWallet`], or [`ErrorCode::Cancelled`] if it is not running.
    pub async fn node(&self) -> Result<Arc<Node>> {
        if let Some(node) = self.owner.up_soon().await {
            return Ok(node);
        }
        self.owner.seed()?;
        Err(Error::new(ErrorCode::Cancelled, "the node is not running"))
    }

    /// One run of background work, within its grant. Always leaves a record, and always returns one. Dropped, it leaves the
    /// node to whoever else needs it, or stopping.
    pub async fn wake(&self, grant: Grant) -> WakeRecord {
        let (grant, _over) = self.or_called_off(grant);
        let turn = async {
            tokio::select! {
                biased;
                () = grant.cancel.cancelled() => None,
                turn = tokio::time::timeout_at(grant.deadline.into(), self.wake_turn.lock()) => turn.ok(),
            }
        };
        let Some(_turn) = turn.await else {
            // Another wake took all of this one's time; it did the work, so this one only says that it came too late.
            return self.begin(&grant).finish(self.safety(), async { Ok(()) }).await;
        };
        if self.open_records.swap(true, Ordering::SeqCst) {
            self.keep.history.close_open_records();
        }
        let mut wake = self.begin(&grant);
        let _ = self.events.send(NodeEvent::WakeStarted {
            record: wake.record().clone(),
        });
        let need = self.owner.for_a_wake();
        let mut watching = None;
        if wake.level() == Level::Watch && self.owner.up().is_none() {
            let vouched = if wake.opened_before() {
                Vouched::Newest
            } else {
                Vouched::MayBeOld
            };
            watching = self.watch(&mut wake, vouched).await;
        }
        let opening = |_level| async {
            let joined = self.owner.up().is_some();
            Ok((self.owner.bring_up().await?, joined))
        };
        // Unless the monitors were tried already.
        let node = match wake.record().stage(StageName::Open) {
            Some(_) => None,
            None => wake.open(opening).await,
        };
        if let Some(node) = &node {
            wake.work(&**node).await;
            self.owner.keep(node.safety());
        }
        if watching.is_none() && wake.is_unreadable() {
            watching = self.watch(&mut wake, Vouched::MayBeOld).await;
        }
        let put_away = async {
            let watched = match watching {
                Some((node, _kept_down)) => node.close().await,
                None => Ok(()),
            };
            let up = self.owner.up().filter(|_| self.owner.in_foreground());
            let written = match up {
                Some(node) => node.persist().await,
                None => Ok(()),
            };
            // Also of a node that is still being opened for a wake that was called off.
            need.release().await.and(written).and(watched)
        };
        let record = wake.finish(self.safety(), put_away).await;
        self.open_records.store(false, Ordering::SeqCst);
        let _ = self.events.send(NodeEvent::BackgroundSyncCompleted {
            record: record.clone(),
        });
        record
    }

    /// Has the monitors alone look at the chain: all that there is time for, or all that can be done for a wallet that cannot
    /// be opened as a whole. Nobody opens it before what this gives is dropped.
    async fn watch(
        &self,
        wake: &mut Wake<Machine>,
        vouched: Vouched,
    ) -> Option<(Arc<WatchNode>, impl Send + use<>)> {
        let kept_down = self.owner.keep_down().await.ok()?;
        let seed = self.owner.seed();
        let (config, events) = (self.owner.config(), self.events.clone());
        let backoffs = Arc::clone(&self.keep.backoffs);
        let opening = async {
            let (seed, config) = (seed?, config?);
            let watch_only = move || Node::watch_only(&config, &seed, backoffs, events, vouched);
            let node = tokio::task::spawn_blocking(watch_only).await.map_err(|e| {
                // A panic in a library that reads what is on disk must not take the app with it.
                Error::new(
                    ErrorCode::StorageCorrupt,
                    format!("opening the monitors failed: {e}"),
                )
            })??;
            Ok::<_, Error>((Arc::new(node), false))
        };
        let node = if wake.is_unreadable() {
            match opening.await {
                Ok((node, _)) => {
                    wake.fall_back(&*node);
                    node
                }
                Err(error) => {
                    tracing::error!(detail = error.detail(), "the wallet cannot be watched either");
                    return None;
                }
            }
        } else {
            wake.open(|_| opening).await?
        };
        wake.work(&*node).await;
        self.owner.keep(node.safety(self.safety()));
        Some((node, kept_down))
    }

    fn begin(&self, grant: &Grant) -> Wake<Machine> {
        // What cannot be read cannot be left alone either; opening meets the same and says so.
        let sources = self.owner.config().map(|config| config.endpoints());
        let keep = Keep {
            sources: sources.unwrap_or_default(),
            ..self.keep.clone()
        };
        Wake::begin(grant, keep, Machine::start(), &self.safety())
    }

    /// By which way the chain is heard.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it cannot be read now.
    pub fn connection(&self) -> Result<ConnectionStatus> {
        let config = self.owner.started_with();
        let servers = config.chain_servers();
        Ok(ConnectionStatus {
            choice: self.owner.connection()?.public(),
            servers: servers
                .iter()
                .filter(|server| server.is_one())
                .map(ChainServer::name)
                .collect(),
            private: connection::has_peers(config),
        })
    }

    /// Takes another way to hear the chain, once it was seen to be one: a server of the person's own is asked before. Then it
    /// is kept, and a node that is up makes room for one that goes this way; there are never two. A wake under way is given
    /// a moment to end.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`], [`ErrorCode::Misconfigured`], [`ErrorCode::WrongNetwork`], and those of asking the
    /// server: nothing is changed then. [`ErrorCode::StorageFailed`]; those of opening.
    pub async fn choose_connection(&self, choice: Connection) -> Result<()> {
        let known = self.owner.up().and_then(|node| node.checkpoint());
        let check = choice.check(self.owner.started_with(), known);
        let late = |_| Err(Error::new(ErrorCode::SyncTimeout, "the server took too long"));
        tokio::time::timeout(CHECK_LIMIT, check)
            .await
            .unwrap_or_else(late)?;
        let _turn = tokio::time::timeout(WAKE_PATIENCE, self.wake_turn.lock()).await;
        self.owner.choose(choice)?;
        self.owner.renew().await
    }

    /// The records of the last wakes, newest first. A running one is among them.
    ///
    /// # Errors
    /// None today; reading may be refused on a locked device.
    pub async fn history(&self) -> Result<Vec<WakeRecord>> {
        Ok(self.keep.history.read())
    }

    /// How safe the wallet is, as last known; known without opening the node.
    pub fn safety(&self) -> Safety {
        self.owner.safety().read()
    }
}
