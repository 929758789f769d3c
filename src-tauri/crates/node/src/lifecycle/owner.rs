//! Up and down: who needs the node, whether it is up, and the one task at a time that makes the second fit the first.
//!
//! Needs change at once and without waiting. What follows from them (opening, stopping, beginning again after a death)
//! is done by tasks of their own, one after the other: a caller that stops waiting, or is dropped, leaves nothing half
//! done, and two callers never race. How the node stands can be read at any time, also while it opens or stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoffs;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode, ErrorReport, Result};
use crate::lock::lock;
use crate::models::NodeEvent;
use crate::node::Node;
use crate::seed::{Found, Seed, SeedStore};
use crate::wake::safety::{Safety, SafetyFile};

/// Longest that a caller waits for the node to stop. The stop itself goes on; but the system wants its time back, and
/// what is durable is durable.
const STOP_WAIT: Duration = Duration::from_millis(1_400);

/// A node that dies is made anew by itself so often within [`DEATHS_COUNTED`]; then it stays down until somebody asks
/// for it. What kills it again and again (a peer's message, a full disk) must not burn the battery.
const DEATHS: usize = 3;
const DEATHS_COUNTED: Duration = Duration::from_secs(10 * 60);

/// How the node stands.
#[derive(Clone)]
enum Phase {
    Down,
    Opening,
    Up(Arc<Node>),
    Stopping,
}

/// Who needs the node.
#[derive(Default)]
struct Needs {
    /// The person has the app open.
    foreground: bool,
    /// Counts comings and goings of the app, so that a goodbye knows whether it is still the last word.
    visit: u64,
    /// Ends the goodbye under way.
    staying: CancellationToken,
    /// How many wakes are at work.
    wakes: usize,
}

impl Needs {
    fn any(&self) -> bool {
        self.foreground || self.wakes > 0
    }
}

/// The right to change something, and when the node died, lately.
type Turn = OwnedMutexGuard<Vec<Instant>>;

/// The node, and everything about having it or not.
pub struct Owner {
    /// As the app was started.
    config: Config,
    /// What the person chose, once it was read.
    connection: Mutex<Option<Connection>>,
    seeds: Box<dyn SeedStore>,
    events: broadcast::Sender<NodeEvent>,
    safety: SafetyFile,
    /// How servers and peers stand; every node of this process shares it.
    backoffs: Arc<Backoffs>,
    phase: watch::Sender<Phase>,
    needs: Mutex<Needs>,
    /// One change at a time.
    turn: Arc<tokio::sync::Mutex<Vec<Instant>>>,
    sync_error: Mutex<Option<ErrorReport>>,
    /// Another wallet has taken this one's place: nothing is opened any more.
    retired: AtomicBool,
}

impl Owner {
    pub fn new(
        config: Config,
        seeds: Box<dyn SeedStore>,
        safety: SafetyFile,
        backoffs: Arc<Backoffs>,
        events: broadcast::Sender<NodeEvent>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            connection: Mutex::default(),
            seeds,
            events,
            safety,
            backoffs,
            phase: watch::channel(Phase::Down).0,
            needs: Mutex::default(),
            turn: Arc::default(),
            sync_error: Mutex::default(),
            retired: AtomicBool::new(false),
        })
    }

    /// The configuration, with what the person chose.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the choice cannot be read now.
    pub fn config(&self) -> Result<Config> {
        Ok(self.connection()?.apply(self.config.clone()))
    }

    /// The configuration as the app was started with it.
    pub fn started_with(&self) -> &Config {
        &self.config
    }

    /// By which way the person wants the chain to be heard.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it cannot be read now.
    pub fn connection(&self) -> Result<Connection> {
        let mut known = lock(&self.connection);
        if let Some(choice) = &*known {
            return Ok(choice.clone());
        }
        let choice = Connection::read(&self.config.data_dir)?;
        Ok(known.insert(choice).clone())
    }

    /// Keeps what the person chose. The node that is up goes on as it is; see [`Self::renew`].
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn choose(&self, choice: Connection) -> Result<()> {
        let mut known = lock(&self.connection);
        choice.write(&self.config.data_dir)?;
        *known = Some(choice);
        Ok(())
    }

    /// Puts a new node in the place of the one that is up: stops the one, whoever needs it, and only then opens the other.
    /// What was under way is on disk, and goes on with the new one.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn renew(self: &Arc<Self>) -> Result<()> {
        let renewed = self.change(|owner, _turn| async move {
            owner.put_down().await;
            *lock(&owner.sync_error) = None;
            owner.open_if_needed().await
        });
        renewed.await.map(drop)
    }

    /// Nothing is opened from now on, whoever needs it. What is up stays up until [`Self::end`].
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Stops the node, whoever needs it. Returns when it is down; after [`Self::retire`] for good.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] after a panic.
    pub async fn end(self: &Arc<Self>) -> Result<()> {
        let ended = self.change(|owner, _turn| async move {
            owner.put_down().await;
            Ok(())
        });
        ended.await
    }

    async fn put_down(self: &Arc<Self>) {
        let up = self.phase.borrow().clone();
        let Phase::Up(node) = up else {
            return;
        };
        let _stopping = self.passing(Phase::Stopping);
        if let Err(error) = node.stop().await {
            // What was durable stays so, and that is what is opened next.
            tracing::error!(code = ?error.code(), detail = error.detail(), "stopping the node");
        }
    }

    fn refuse_retired(&self) -> Result<()> {
        if self.retired.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorCode::Cancelled, "another wallet is in use now"));
        }
        Ok(())
    }

    pub fn seeds(&self) -> &dyn SeedStore {
        &*self.seeds
    }

    pub fn safety(&self) -> &SafetyFile {
        &self.safety
    }

    pub fn sync_error(&self) -> Option<ErrorReport> {
        lock(&self.sync_error).clone()
    }

    pub fn seed(&self) -> Result<Seed> {
        match self.seeds.load()? {
            Found::Seed(seed) => Ok(seed),
            Found::Nothing => Err(Error::new(ErrorCode::NoWallet, "no seed is kept")),
            Found::Unknown => Err(Error::new(ErrorCode::Locked, "the seed cannot be read now")),
        }
    }

    /// The node, if it is up and well. Never waits.
    pub fn up(&self) -> Option<Arc<Node>> {
        match &*self.phase.borrow() {
            Phase::Up(node) if node.is_alive() => Some(Arc::clone(node)),
            _ => None,
        }
    }

    /// The same, after an opening that is under way.
    pub async fn up_soon(&self) -> Option<Arc<Node>> {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as this does.
        let _ = phase.wait_for(|phase| !matches!(phase, Phase::Opening)).await;
        self.up()
    }

    /// Everything that must not happen while the node is up, or comes up: it does not while this is held.
    ///
    /// # Errors
    /// [`ErrorCode::InUse`] while it is up; [`ErrorCode::Cancelled`] after [`Self::retire`].
    pub async fn keep_down(&self) -> Result<Turn> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.refuse_retired()?;
        match &*self.phase.borrow() {
            Phase::Down => Ok(turn),
            _ => Err(Error::new(ErrorCode::InUse, "the node is up")),
        }
    }

    /// The app is open from now on.
    pub fn person_came(&self) {
        let mut needs = lock(&self.needs);
        needs.foreground = true;
        needs.visit += 1;
        needs.staying.cancel();
    }

    /// The app is about to go. `None`: it was not open.
    pub fn person_leaves(self: &Arc<Self>) -> Option<Goodbye> {
        let mut needs = lock(&self.needs);
        if !needs.foreground {
            return None;
        }
        needs.visit += 1;
        needs.staying.cancel();
        needs.staying = CancellationToken::new();
        Some(Goodbye {
            owner: Arc::clone(self),
            visit: needs.visit,
            stay: needs.staying.clone(),
            over: false,
        })
    }

    /// Whether the person has the app open.
    pub fn in_foreground(&self) -> bool {
        lock(&self.needs).foreground
    }

    /// A wake needs the node until this is dropped.
    pub fn for_a_wake(self: &Arc<Self>) -> WakeNeed {
        lock(&self.needs).wakes += 1;
        WakeNeed {
            owner: Arc::clone(self),
            over: false,
        }
    }

    /// Brings the node up if somebody needs it, and gives it. The opening goes on when nobody waits any more.
    ///
    /// # Errors
    /// Those of opening; [`ErrorCode::Cancelled`] if nobody needs it any more; [`ErrorCode::Internal`] after a panic.
    pub async fn bring_up(self: &Arc<Self>) -> Result<Arc<Node>> {
        let up = self.change(|owner, mut turn| async move {
            if let Err(error) = owner.let_go(&mut turn).await {
                // What was durable stays so, and that is what is opened next.
                tracing::error!(code = ?error.code(), detail = error.detail(), "stopping the node");
            }
            owner.open_if_needed().await
        });
        let nobody = || Error::new(ErrorCode::Cancelled, "nobody needs the node any more");
        up.await?.ok_or_else(nobody)
    }

    /// Stops the node if nobody needs it, and waits a moment for that.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it could not write, or did not stop in time (it goes on stopping).
    pub async fn let_go_soon(self: &Arc<Self>) -> Result<()> {
        let stopped = self.change(|owner, mut turn| async move { owner.let_go(&mut turn).await });
        tokio::time::timeout(STOP_WAIT, stopped)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorCode::StorageFailed,
                    "the node did not stop in time; it goes on stopping",
                ))
            })
    }

    /// The same when nobody waits. Without a runtime the process is ending, and the node with it.
    fn let_go_unasked(self: &Arc<Self>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let owner = Arc::clone(self);
            runtime.spawn(async move {
                if let Err(error) = owner.let_go_soon().await {
                    tracing::error!(code = ?error.code(), detail = error.detail(), "stopping the node");
                }
            });
        }
    }

    /// Makes a change when its turn comes, in a task of its own.
    async fn change<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>, Turn) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let owner = Arc::clone(self);
        let changing = tokio::spawn(async move {
            let turn = Arc::clone(&owner.turn).lock_owned().await;
            work(owner, turn).await
        });
        changing
            .await
            .map_err(|e| Error::new(ErrorCode::Internal, format!("opening or stopping: {e}")))?
    }

    /// Stops the node if nobody needs it, or if it died.
    async fn let_go(self: &Arc<Self>, turn: &mut Turn) -> Result<()> {
        let Phase::Up(node) = self.phase.borrow().clone() else {
            return Ok(());
        };
        let needed = lock(&self.needs).any();
        if needed && node.is_alive() {
            self.settle_foreground(&node);
            return Ok(());
        }
        if !node.is_alive() {
            turn.push(Instant::now());
        }
        let _stopping = self.passing(Phase::Stopping);
        node.stop().await
    }

    async fn open_if_needed(self: &Arc<Self>) -> Result<Option<Arc<Node>>> {
        if let Phase::Up(node) = &*self.phase.borrow() {
            return Ok(Some(Arc::clone(node)));
        }
        self.refuse_retired()?;
        if !lock(&self.needs).any() {
            return Ok(None);
        }
        let opening = self.passing(Phase::Opening);
        let node = self.open().await?;
        opening.into(Phase::Up(Arc::clone(&node)));
        self.settle_foreground(&node);
        Ok(Some(node))
    }

    /// Enters a phase that does not last.
    fn passing(&self, phase: Phase) -> Passing<'_> {
        self.enter(phase);
        Passing {
            owner: self,
            next: Phase::Down,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        // Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::OverviewChanged);
    }

    /// Opening reads from disk and derives keys, so it has a thread of its own.
    async fn open(self: &Arc<Self>) -> Result<Arc<Node>> {
        let seed = self.seed()?;
        let (config, events) = (self.config()?, self.events.clone());
        let backoffs = Arc::clone(&self.backoffs);
        let opening = tokio::task::spawn_blocking(move || Node::open(&config, &seed, backoffs, events));
        let node = opening.await.map_err(|e| {
            // A panic in a library that reads what is on disk must not take the app with it.
            Error::new(ErrorCode::StorageCorrupt, format!("opening the node failed: {e}"))
        })??;
        node.start();
        self.watch_over(&node);
        Ok(node)
    }

    /// Sees to it that a node that dies does not lie about.
    fn watch_over(self: &Arc<Self>, node: &Node) {
        let Some(died) = node.died() else {
            return;
        };
        let (owner, stopped) = (Arc::downgrade(self), node.stopped());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = died.cancelled() => {
                    if let Some(owner) = owner.upgrade() {
                        owner.revive().await;
                    }
                }
                () = stopped.cancelled() => {}
            }
        });
    }

    /// After a death: buries the node, and makes a new one if somebody needs it and it did not die too often.
    async fn revive(self: Arc<Self>) {
        let revived = self.change(|owner, mut turn| async move {
            turn.retain(|died_at| died_at.elapsed() < DEATHS_COUNTED);
            owner.let_go(&mut turn).await?;
            if turn.len() > DEATHS {
                return Err(Error::new(ErrorCode::Internal, "the node died again and again"));
            }
            owner.open_if_needed().await
        });
        if let Err(error) = revived.await {
            tracing::error!(code = ?error.code(), detail = error.detail(), "the node does not come back");
            *lock(&self.sync_error) = Some(error.report());
            // Nobody may be listening, which is fine.
            let _ = self.events.send(NodeEvent::OverviewChanged);
        }
    }

    /// Begins or ends the rounds of the open app.
    fn settle_foreground(self: &Arc<Self>, node: &Arc<Node>) {
        if !self.in_foreground() {
            node.leave_foreground();
            return;
        }
        // Not for as long as the rounds live: they end with the node.
        let owner = Arc::clone(self);
        node.enter_foreground(move |node, synced| {
            *lock(&owner.sync_error) = synced.err().map(|error| error.report());
            owner.keep_safety(node);
            let _ = owner.events.send(NodeEvent::OverviewChanged);
        });
    }

    /// Keeps how safe the wallet is now; whether that is news.
    pub fn keep(&self, safety: Safety) -> bool {
        self.safety.write(safety).unwrap_or_else(|error| {
            // It is known until the process ends, and the wake record has it too.
            tracing::error!(detail = error.detail(), "the safe-until moment was not kept");
            true
        })
    }

    /// The same for a node that the person has open, and says so.
    pub fn keep_safety(&self, node: &Node) {
        let safety = node.safety();
        if self.keep(safety) {
            let safe_until = safety.safe_until;
            // Nobody may be listening, which is fine.
            let _ = self.events.send(NodeEvent::SafeUntilChanged { safe_until });
        }
    }
}

/// A phase that does not last: `next` follows, also after an error, a panic, or a call-off.
struct Passing<'a> {
    owner: &'a Owner,
    next: Phase,
}

impl Passing<'_> {
    /// Ends it with another phase than [`Phase::Down`].
    fn into(mut self, next: Phase) {
        self.next = next;
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.owner.enter(std::mem::replace(&mut self.next, Phase::Down));
    }
}

/// A wake's need of the node. Dropped (by a wake that was called off, or was itself dropped), it lets the node go.
pub struct WakeNeed {
    owner: Arc<Owner>,
    over: bool,
}

impl WakeNeed {
    /// Lets the node go, and waits a moment for it to stop.
    ///
    /// # Errors
    /// Those of [`Owner::let_go_soon`].
    pub async fn release(mut self) -> Result<()> {
        self.end();
        self.owner.let_go_soon().await
    }

    /// Whether it ended now.
    fn end(&mut self) -> bool {
        let ended = !std::mem::replace(&mut self.over, true);
        if ended {
            lock(&self.owner.needs).wakes -= 1;
        }
        ended
    }
}

impl Drop for WakeNeed {
    fn drop(&mut self) {
        if self.end() {
            self.owner.let_go_unasked();
        }
    }
}

/// The app on its way out. Dropped, it is gone.
pub struct Goodbye {
    owner: Arc<Owner>,
    visit: u64,
    stay: CancellationToken,
    over: bool,
}

impl Goodbye {
    /// Waits until the person is back, or says goodbye another time.
    pub async fn taken_back(&self) {
        self.stay.cancelled().await;
    }

    /// The app is gone, unless the person is back. Waits a moment for the node to stop.
    ///
    /// # Errors
    /// Those of [`Owner::let_go_soon`].
    pub async fn leave(mut self) -> Result<()> {
        self.end();
        self.owner.let_go_soon().await
    }

    /// Whether the app is gone by this.
    fn end(&mut self) -> bool {
        let mut needs = lock(&self.owner.needs);
        let last_word = !std::mem::replace(&mut self.over, true) && needs.visit == self.visit;
        if last_word {
            needs.foreground = false;
        }
        last_word
    }
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        if self.end() {
            self.owner.let_go_unasked();
        }
    }
}
