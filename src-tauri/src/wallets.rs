//! The wallet in use: which of the networks' wallets it is, and how another takes its place.
//!
//! There is one [`Lifecycle`] at a time. Which one is read from disk when it is first needed, not at the app's start: iOS
//! starts processes on phones that were never unlocked, whose files cannot be read. For as long as it is not known nobody
//! gets a wallet, and least of all a wake. [`choice`] owns the file, [`rules`] what may be chosen.

pub mod choice;
pub mod rules;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use pilotlight_node::chain::networks::Chain;
use pilotlight_node::{
    Config, Error, ErrorCode, ErrorReport, Grace, Lifecycle, NodeEvent, Overview, Result, WalletState,
    WordCount,
};
use serde::Serialize;
use tauri::async_runtime::{self, JoinHandle};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// Events that a slow listener may fall behind before it misses some; as many as a node keeps for one.
const EVENT_BACKLOG: usize = 256;

/// What wallets need of the kind of device they are on.
pub trait Home: Send + Sync {
    /// The owner of a wallet's node. Touches no file and no Keychain.
    fn lifecycle(&self, config: Config) -> Arc<Lifecycle>;

    /// Makes a folder, readable for wakes and in no backup, unless that was done before.
    fn prepare(&self, folder: &Path);

    /// Whether a file that is not found is certainly not there.
    fn sees_files(&self) -> bool;

    /// Whether the recovery words of real money can be kept here.
    fn keeps_real_money(&self) -> bool;
}

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, specta::Type)]
pub struct Networks {
    /// The network of the wallet in use.
    pub current: String,
    /// Whether that was settled when the app was started. Then nothing is offered.
    pub settled: bool,
    /// What the person can choose from: practice first.
    pub offered: Vec<NetworkOffer>,
}

/// A network that the person can choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, specta::Type)]
pub struct NetworkOffer {
    /// Its name.
    pub network: String,
    /// Whether its money is real.
    pub real: bool,
    /// Why it cannot be chosen now. `null`: it can, or is in use.
    pub refused: Option<ErrorReport>,
}

/// The wallet in use.
pub struct Wallets {
    settings: Settings,
    /// Of all that the app keeps.
    folder: PathBuf,
    home: Box<dyn Home>,
    /// `None`: it was not read yet, or could not be.
    in_use: Mutex<Option<InUse>>,
    /// One change at a time: a wallet is made, or another takes its place.
    changing: tokio::sync::Mutex<()>,
    /// Whether the person has the app open.
    open: AtomicBool,
    events: broadcast::Sender<NodeEvent>,
    me: Weak<Self>,
}

struct InUse {
    chain: Chain,
    lifecycle: Arc<Lifecycle>,
    forwarding: JoinHandle<()>,
}

impl Wallets {
    /// Touches no file, no Keychain and no socket.
    pub fn new(settings: Settings, folder: PathBuf, home: Box<dyn Home>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            settings,
            folder,
            home,
            in_use: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            open: AtomicBool::new(false),
            events: broadcast::channel(EVENT_BACKLOG).0,
            me: me.clone(),
        })
    }

    /// The events of whichever wallet is in use, from now on.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// The wallet in use, if it is known. Reads nothing.
    pub fn known(&self) -> Option<Arc<Lifecycle>> {
        self.slot().as_ref().map(|in_use| Arc::clone(&in_use.lifecycle))
    }

    /// The wallet in use; reads which one it is if that is not known yet.
    ///
    /// # Errors
    /// [`ErrorCode::Locked`] or [`ErrorCode::StorageFailed`] if it cannot be known now.
    pub fn in_use(&self) -> Result<Arc<Lifecycle>> {
        self.look().map(|(_, lifecycle)| lifecycle)
    }

    /// The wallet for a wake. One that is being exchanged is waited for.
    ///
    /// # Errors
    /// Those of [`Self::in_use`]: nothing may be woken in its place. [`ErrorCode::InsufficientTime`] and
    /// [`ErrorCode::Cancelled`] if the exchange took all of the wake's time.
    pub async fn for_a_wake(&self, deadline: Instant, cancel: &CancellationToken) -> Result<Arc<Lifecycle>> {
        let turn = tokio::time::timeout_at(deadline.into(), self.changing.lock());
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::new(ErrorCode::Cancelled, "called off before it began")),
            turn = turn => match turn {
                Ok(_turn) => {
                    self.prepare();
                    self.in_use()
                }
                Err(_) => Err(Error::new(ErrorCode::InsufficientTime, "another wallet is being put in place")),
            },
        }
    }

    /// Whether this is the wallet in use: what is told of another must not be told to the person.
    pub fn is_in_use(&self, lifecycle: &Arc<Lifecycle>) -> bool {
        let is_it = |in_use: &InUse| Arc::ptr_eq(&in_use.lifecycle, lifecycle);
        self.slot().as_ref().is_some_and(is_it)
    }

    /// Sees to the folders that are known, if that did not succeed before.
    pub fn prepare(&self) {
        self.home.prepare(&self.folder);
        let chain = self.slot().as_ref().map(|in_use| in_use.chain.clone());
        if let Some(chain) = chain {
            self.home.prepare(&self.config(&chain).data_dir);
        }
    }

    /// The wallet at a glance.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it is not known which one it is. On a locked phone that is no error.
    pub async fn overview(&self) -> Result<Overview> {
        match self.in_use() {
            Ok(lifecycle) => Ok(lifecycle.overview().await),
            Err(error) if error.code() == ErrorCode::Locked => Ok(locked()),
            Err(error) => Err(error),
        }
    }

    /// Makes a wallet on the network in use and gives its words, which are on disk when this returns. Its node comes up by
    /// itself.
    ///
    /// # Errors
    /// Those of [`Self::in_use`] and [`Lifecycle::create_wallet`].
    pub async fn create_wallet(&self, words: WordCount, passphrase: Option<&str>) -> Result<Vec<String>> {
        let _alone = self.changing.lock().await;
        let lifecycle = self.settle_here()?;
        let words = lifecycle.create_wallet(words, passphrase).await?;
        self.bring_up_soon(lifecycle);
        Ok(words.split_whitespace().map(str::to_owned).collect())
    }

    /// Restores a wallet on the network in use.
    ///
    /// # Errors
    /// Those of [`Self::in_use`] and [`Lifecycle::restore_wallet`].
    pub async fn restore_wallet(&self, words: &str, passphrase: Option<&str>) -> Result<()> {
        let _alone = self.changing.lock().await;
        let lifecycle = self.settle_here()?;
        lifecycle.restore_wallet(words, passphrase).await?;
        self.bring_up_soon(lifecycle);
        Ok(())
    }

    /// The wallet in use, which from now on is so by choice: where a wallet is made, no later default of another version of the
    /// app leads away from it, and no Keychain must be asked.
    fn settle_here(&self) -> Result<Arc<Lifecycle>> {
        let (chain, lifecycle) = self.look()?;
        if self.settings.settled().is_none() {
            self.home.prepare(&self.folder);
            choice::write(&self.folder, &chain)?;
        }
        Ok(lifecycle)
    }

    /// What can be chosen, and why not.
    ///
    /// # Errors
    /// Those of [`Self::in_use`].
    pub fn networks(&self) -> Result<Networks> {
        let (current, lifecycle) = self.look()?;
        let settled = self.settings.settled().is_some();
        let offer = |chain: Chain| NetworkOffer {
            network: chain.to_string(),
            real: rules::is_real(&chain),
            refused: self
                .may_move(&current, &lifecycle, &chain)
                .err()
                .map(|error| error.report()),
        };
        let offered = if settled {
            Vec::new()
        } else {
            [choice::DEFAULT, Chain::Bitcoin].map(offer).into()
        };
        Ok(Networks {
            current: current.to_string(),
            settled,
            offered,
        })
    }

    /// Puts another network's wallet in the place of the one in use, if that may be. The choice is on disk first, then the
    /// one node stops, and only then the other may come up: there are never two. A wallet that is there already is opened as
    /// it is. A wake under way is given a moment to end.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`], [`ErrorCode::Misconfigured`] if the environment settled it,
    /// [`ErrorCode::RealMoneyStays`], [`ErrorCode::RealMoneyElsewhere`], [`ErrorCode::Locked`],
    /// [`ErrorCode::StorageFailed`]: nothing is changed then.
    pub async fn choose(&self, network: &str) -> Result<()> {
        let to = choice::public(network)?;
        if self.settings.settled().is_some() {
            let words = "the network was settled when the app was started";
            return Err(Error::new(ErrorCode::Misconfigured, words));
        }
        let me = self.me.upgrade().ok_or_else(|| internal("the app ends"))?;
        // In a task of its own: a page that goes away does not leave it half done.
        let exchange = async_runtime::spawn(async move { me.exchange(to).await });
        exchange.await.map_err(internal)?
    }

    async fn exchange(&self, to: Chain) -> Result<()> {
        let _alone = self.changing.lock().await;
        let (from, lifecycle) = self.look()?;
        self.may_move(&from, &lifecycle, &to)?;
        if from == to {
            return Ok(());
        }
        self.home.prepare(&self.folder);
        choice::write(&self.folder, &to)?;
        tracing::info!(%from, %to, "another network's wallet is put in place");
        if let Err(error) = lifecycle.retire().await {
            // A panic in its last steps. It is opened no more, and the wallet that was chosen must not go unwatched for that.
            tracing::error!(code = ?error.code(), detail = error.detail(), "the other wallet did not stop well");
        }
        let mut slot = self.slot();
        let safe_until = self.install(&mut slot, to).safety().safe_until;
        // What was said of the other wallet holds no more. Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::OverviewChanged);
        let _ = self.events.send(NodeEvent::SafeUntilChanged { safe_until });
        Ok(())
    }

    fn may_move(&self, from: &Chain, lifecycle: &Lifecycle, to: &Chain) -> Result<()> {
        rules::may_move(from, || lifecycle.has_wallet(), to, self.home.keeps_real_money())
    }

    /// The app is open: the wallet's node comes up, if there is a wallet and it can be known which. Says on the log, not to
    /// the caller, if it does not: the overview shows it.
    pub async fn enter_foreground(&self) {
        self.open.store(true, Ordering::SeqCst);
        match self.in_use() {
            Ok(lifecycle) => self.bring_up(lifecycle).await,
            // It comes up as soon as it is known.
            Err(error) => tracing::error!(code = ?error.code(), detail = error.detail(), "no wallet to open"),
        }
    }

    /// The app is closed: as [`Lifecycle::enter_background_within`].
    ///
    /// # Errors
    /// Those of [`Lifecycle::enter_background_within`].
    pub async fn enter_background_within(&self, grace: &Grace) -> Result<()> {
        self.open.store(false, Ordering::SeqCst);
        match self.known() {
            Some(lifecycle) => lifecycle.enter_background_within(grace).await,
            None => Ok(()),
        }
    }

    fn bring_up_soon(&self, lifecycle: Arc<Lifecycle>) {
        if let Some(me) = self.me.upgrade().filter(|me| me.open.load(Ordering::SeqCst)) {
            async_runtime::spawn(async move { me.bring_up(lifecycle).await });
        }
    }

    async fn bring_up(&self, lifecycle: Arc<Lifecycle>) {
        // The person may have gone while this wallet was put in place, and nobody would put it away then.
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        match lifecycle.enter_foreground().await {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::NoWallet => {}
            Err(error) => {
                tracing::error!(code = ?error.code(), detail = error.detail(), "the node does not start");
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<InUse>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self, chain: &Chain) -> Config {
        self.settings.config(&self.folder, chain)
    }

    fn look(&self) -> Result<(Chain, Arc<Lifecycle>)> {
        let mut slot = self.slot();
        if let Some(in_use) = &*slot {
            return Ok((in_use.chain.clone(), Arc::clone(&in_use.lifecycle)));
        }
        let chain = if let Some(chain) = self.settings.settled() {
            chain.clone()
        } else {
            let choice = choice::read(&self.folder, || self.home.sees_files())?;
            let real = || self.home.lifecycle(self.config(&Chain::Bitcoin)).has_wallet();
            rules::in_use(choice, real)?
        };
        self.home.prepare(&self.folder);
        let lifecycle = self.install(&mut slot, chain.clone());
        Ok((chain, lifecycle))
    }

    fn install(&self, slot: &mut Option<InUse>, chain: Chain) -> Arc<Lifecycle> {
        let config = self.config(&chain);
        self.home.prepare(&config.data_dir);
        let lifecycle = self.home.lifecycle(config);
        let forward = forward(self.me.clone(), Arc::clone(&lifecycle), lifecycle.events());
        let forwarding = async_runtime::spawn(forward);
        let in_use = InUse {
            chain,
            lifecycle: Arc::clone(&lifecycle),
            forwarding,
        };
        if let Some(before) = slot.replace(in_use) {
            before.forwarding.abort();
        }
        self.bring_up_soon(Arc::clone(&lifecycle));
        lifecycle
    }

    /// Passes on what a wallet says, unless it is not the one in use any more.
    fn tell(&self, lifecycle: &Arc<Lifecycle>, event: NodeEvent) {
        let slot = self.slot();
        if slot
            .as_ref()
            .is_some_and(|in_use| Arc::ptr_eq(&in_use.lifecycle, lifecycle))
        {
            // Nobody may be listening, which is fine.
            let _ = self.events.send(event);
        }
    }
}

async fn forward(
    wallets: Weak<Wallets>,
    lifecycle: Arc<Lifecycle>,
    mut events: broadcast::Receiver<NodeEvent>,
) {
    loop {
        let event = events.recv().await;
        let Some(wallets) = wallets.upgrade() else {
            return;
        };
        match event {
            Ok(event) => wallets.tell(&lifecycle, event),
            // Some were missed. What they said is in the overview and the lists, so have them read again.
            Err(RecvError::Lagged(_)) => {
                let safe_until = lifecycle.safety().safe_until;
                wallets.tell(&lifecycle, NodeEvent::OverviewChanged);
                wallets.tell(&lifecycle, NodeEvent::ChannelsChanged);
                wallets.tell(&lifecycle, NodeEvent::SafeUntilChanged { safe_until });
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// What is known of a wallet of which it is not known which one it is.
fn locked() -> Overview {
    Overview {
        state: WalletState::Locked,
        network: String::new(),
        lsp: None,
        node_id: None,
        balances: None,
        syncing: false,
        sync_error: None,
        tip_height: None,
        safe_until: None,
        breaches: Vec::new(),
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::Internal, error)
}
