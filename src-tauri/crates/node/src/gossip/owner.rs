//! The one owner of the map: what is on disk, what is in memory, and what may be done when.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bitcoin::Network;
use lightning::routing::gossip::{NetworkUpdate, NodeId};
use lightning::routing::router::Path as PaymentPath;
use pilotlight_store::files;
use tokio::sync::broadcast;

use super::apply::{self, KEEPS};
use super::client::Client;
use super::file::{self, Header, ReadError};
use super::map::Map;
use super::scores::{Lesson, Scorer, Scores};
use super::server::Server;
use super::spool::{self, Incoming, KeepError, News};
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::models::{MapStep, NodeEvent};

/// The server makes snapshots this often; asking more often brings nothing.
const SERVERS_PACE: Duration = Duration::from_secs(3 * 60 * 60);

/// After a longer gap the whole network is fetched anew: the server keeps deltas for three weeks.
const LONGEST_GAP: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// How far a server's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest download for which a person waits: the whole network is 1.5 MB, packed.
const PERSONS_PATIENCE: Duration = Duration::from_secs(60);

/// How often the open app looks whether it is time for news.
const QUIET_PACE: Duration = Duration::from_secs(20 * 60);

/// Others' scores change slowly, and are some hundred kilobytes.
const SCORES_PACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The map of the network, on disk and in memory.
pub struct Gossip {
    network: Network,
    server: Option<Server>,
    dir: PathBuf,
    client: OnceLock<Client>,
    held: Mutex<Held>,
    scores: Mutex<Option<Scores>>,
    /// Reading the map takes milliseconds; twice at once it would take twice the memory.
    loading: Mutex<()>,
    /// Whether the node is up for a wake only: then nothing is loaded.
    asleep: AtomicBool,
    /// One fetch or apply at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    requests: AtomicU64,
    events: broadcast::Sender<NodeEvent>,
}

#[derive(Default)]
struct Held {
    map: Option<Arc<Map>>,
    /// Channels that a payment found closed. Forgotten with the map: by then the server will have heard of it.
    closed: HashSet<u64>,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// There is no server for this network.
    NoServer,
    /// What we have is as new as what the server has.
    Fresh,
    /// The whole network is needed, and is left for a network that costs nothing, or for a person who asks.
    Postponed,
    /// News wait to be applied.
    Spooled(Spooled),
}

/// News that wait to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled {
    /// Channels they tell of.
    pub channels: u32,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Whether they are the whole network.
    pub full: bool,
}

/// News that were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Channels they told of.
    pub channels: u32,
    /// Channels on the map now.
    pub known: u32,
    /// Whether they were the whole network.
    pub full: bool,
}

impl Gossip {
    /// The map of this wallet. Touches no file and no socket, and sleeps until [`Self::wake_up`].
    pub fn new(config: &Config, events: broadcast::Sender<NodeEvent>) -> Self {
        Self {
            network: config.network,
            server: config.gossip.clone(),
            dir: config.data_dir.join("gossip"),
            client: OnceLock::new(),
            held: Mutex::default(),
            scores: Mutex::default(),
            loading: Mutex::default(),
            asleep: AtomicBool::new(true),
            turn: Arc::default(),
            requests: AtomicU64::new(0),
            events,
        }
    }

    /// The person is here: from now on the map is loaded when it is needed.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// The person is gone: what was learned is written, the map is dropped, and nothing is loaded any more. A search that
    /// is under way keeps its own until it ends.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        self.release();
    }

    /// Writes what was learned and gives the memory back. The next search loads the map again.
    pub fn release(&self) {
        if let Some(mut scores) = lock(&self.scores).take()
            && let Err(error) = scores.save()
        {
            // They are experience, not money: it will be made again.
            tracing::warn!(%error, "scores not written");
        }
        *lock(&self.held) = Held::default();
    }

    /// Which network's.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Whether nothing may be loaded, because the node is up for a wake only.
    pub fn asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// The server that is asked, if there is one.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Requests made for news so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether news wait to be applied. Reads only the first bytes of their file.
    pub fn waiting(&self) -> bool {
        matches!(spool::look(&self.spool(), self.network), Ok(Some(_)))
    }

    /// How many channels the map on disk has; `None` without one. Reads only the file's first bytes.
    pub fn channels_on_disk(&self) -> Option<u32> {
        let header = self.read_file(file::read_header(&self.map_file(), self.network));
        header.map(|header| header.channels)
    }

    /// Whether the map is in memory.
    pub fn loaded(&self) -> bool {
        lock(&self.held).map.is_some()
    }

    /// The map, loaded from disk if it is not in memory and nobody sleeps. Takes some tens of milliseconds then.
    pub fn map(&self) -> Option<Arc<Map>> {
        if let Some(map) = lock(&self.held).map.clone() {
            return Some(map);
        }
        if self.asleep() {
            return None;
        }
        let _one = lock(&self.loading);
        if let Some(map) = lock(&self.held).map.clone() {
            return Some(map);
        }
        let (_, map) = self.read_file(file::read(&self.map_file(), self.network))?;
        let map = Arc::new(map);
        lock(&self.held).map = Some(Arc::clone(&map));
        Some(map)
    }

    /// Channels that payments found closed since the map was loaded.
    pub fn closed(&self) -> Vec<u64> {
        lock(&self.held).closed.iter().copied().collect()
    }

    /// Searches with the scores.
    pub fn scored<T>(&self, search: impl FnOnce(&Scorer) -> T) -> T {
        let mut scores = lock(&self.scores);
        search(scores.get_or_insert_with(|| self.open_scores()).scorer())
    }

    /// Learns from a payment's end. Without the map there is nothing to learn about.
    pub fn learn(&self, path: &PaymentPath, lesson: Lesson) {
        if let Some(map) = self.map() {
            let mut scores = lock(&self.scores);
            let scores = scores.get_or_insert_with(|| self.open_scores());
            scores.learn(&map, path, lesson, clock::since_epoch());
        }
    }

    /// Learns what a node on a payment's way said of the network.
    pub fn heard(&self, update: &NetworkUpdate) {
        let Some(map) = self.map() else { return };
        let mut held = lock(&self.held);
        match update {
            NetworkUpdate::ChannelFailure {
                short_channel_id,
                is_permanent: true,
            } => {
                held.closed.insert(*short_channel_id);
            }
            NetworkUpdate::NodeFailure {
                node_id,
                is_permanent: true,
            } => {
                if let Some(node) = map.find_node(&NodeId::from_pubkey(node_id)) {
                    let channels = map.channels_of(node).iter();
                    held.closed
                        .extend(channels.map(|at| map.channels()[*at as usize].scid));
                }
            }
            NetworkUpdate::ChannelFailure { .. } | NetworkUpdate::NodeFailure { .. } => {}
        }
    }

    /// Makes sure that there is a map, for a person who wants to pay: fetches one if there is none, and says how far it is.
    /// Where no server is known there is nothing to wait for.
    ///
    /// # Errors
    /// [`ErrorCode::GraphNotReady`], with what kept it from being fetched.
    pub async fn ready(self: &Arc<Self>) -> Result<()> {
        if self.loaded() || self.server.is_none() {
            return Ok(());
        }
        if self.asleep() {
            return Err(Error::new(
                ErrorCode::GraphNotReady,
                "nobody is here who could pay",
            ));
        }
        let done = self.get_ready().await;
        let step = if done.is_ok() {
            MapStep::Ready
        } else {
            MapStep::Failed
        };
        self.tell(step);
        done.map_err(|error| {
            let detail = format!("{:?}: {}", error.code(), error.detail());
            Error::new(ErrorCode::GraphNotReady, detail)
        })
    }

    async fn get_ready(self: &Arc<Self>) -> Result<()> {
        if self.load().await? {
            return Ok(());
        }
        self.tell(MapStep::Fetching);
        self.fetch(true, Instant::now() + PERSONS_PATIENCE).await?;
        self.tell(MapStep::Applying);
        self.apply().await?;
        if self.load().await? {
            Ok(())
        } else {
            Err(Error::new(ErrorCode::GossipFailed, "no map came of it"))
        }
    }

    /// Loads the map on a thread of its own; whether there is one.
    async fn load(self: &Arc<Self>) -> Result<bool> {
        let gossip = Arc::clone(self);
        blocking(move || Ok(gossip.map().is_some())).await
    }

    /// Fetches the news since the map on disk, in one request, and keeps them for [`Self::apply`]. The whole network only
    /// if that is allowed (`full`): on a network that costs nothing, on power, or because a person asks.
    ///
    /// May be dropped at any await: what was fetched by then is forgotten.
    ///
    /// # Errors
    /// [`ErrorCode::NetworkUnavailable`], [`ErrorCode::RateLimited`], [`ErrorCode::SyncTimeout`];
    /// [`ErrorCode::GossipFailed`] if what came is no snapshot of this network, [`ErrorCode::StorageFailed`].
    pub async fn fetch(&self, full: bool, deadline: Instant) -> Result<Fetched> {
        let Some(server) = &self.server else {
            return Ok(Fetched::NoServer);
        };
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let now = clock::since_epoch();
        let base = self.base(server, now);
        let waiting = spool::look(&self.spool(), self.network).map_err(|e| disk(&e))?;
        let newest = waiting
            .filter(|news| fits(news, base, server))
            .map_or(base, |news| news.timestamp);
        if newest != 0 && age(newest, now) < SERVERS_PACE {
            return Ok(Fetched::Fresh);
        }
        if base == 0 && !full {
            return Ok(Fetched::Postponed);
        }
        files::create_private_directory(&self.dir).map_err(|e| disk(&e))?;
        let mut incoming = Incoming::begin(&self.spool()).map_err(|e| disk(&e))?;
        let client = self.client()?;
        let url = format!("{}{base}", server.v2);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut received = client.download(&url, incoming.body(), deadline).await?;
        if let (None, Some(v1)) = (&received, &server.v1) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            received = client
                .download(&format!("{v1}{base}"), incoming.body(), deadline)
                .await?;
        }
        let Some(received) = received else {
            let words = "the gossip server has no snapshots there";
            return Err(Error::new(ErrorCode::GossipFailed, words));
        };
        let (path, network, mark) = (self.spool(), self.network, server.mark());
        let latest = now.saturating_add(AHEAD).as_secs();
        let news = blocking(move || {
            // Held to the end, also if nobody waits for it any more.
            let _turn = turn;
            incoming
                .keep(&path, network, base, mark, latest)
                .map_err(|error| match error {
                    KeepError::Disk(error) => disk(&error),
                    KeepError::Format(error) => Error::new(ErrorCode::GossipFailed, error),
                })
        })
        .await?;
        Ok(Fetched::Spooled(Spooled {
            channels: news.channels,
            bytes: received.packed,
            full: base == 0,
        }))
    }

    /// Applies the news that wait, and replaces the map on disk. `None` if none wait, or none that fit.
    ///
    /// Takes about a second and, while it runs, some 150 MB: not for a refresh wake. Once begun it ends by itself, also if
    /// this future is dropped.
    ///
    /// # Errors
    /// [`ErrorCode::GossipFailed`] if the news are no good; they are dropped then. [`ErrorCode::StorageFailed`]. The map is as
    /// it was.
    pub async fn apply(self: &Arc<Self>) -> Result<Option<Applied>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let gossip = Arc::clone(self);
        let applied = blocking(move || {
            // Held to the end, also if nobody waits for it any more.
            let _turn = turn;
            gossip.apply_now()
        });
        let applied = applied.await;
        if let Err(error) = &applied
            && error.code() == ErrorCode::GossipFailed
        {
            // They will not get better. The next fetch begins where this one did.
            files::remove_if_present(&self.spool()).map_err(|e| disk(&e))?;
        }
        applied
    }

    fn apply_now(&self) -> Result<Option<Applied>> {
        let Some(server) = &self.server else {
            return Ok(None);
        };
        let now = clock::since_epoch();
        let spool = self.spool();
        let Some((news, snapshot)) = spool::take(&spool, self.network).map_err(|e| disk(&e))? else {
            return files::remove_if_present(&spool)
                .map(|()| None)
                .map_err(|e| disk(&e));
        };
        let base = self.base(server, now);
        if !fits(&news, base, server) || age(news.timestamp, now) > KEEPS {
            tracing::info!(base, ?news, "news that do not fit the map are dropped");
            return files::remove_if_present(&spool)
                .map(|()| None)
                .map_err(|e| disk(&e));
        }
        let old = if base == 0 {
            None
        } else {
            // Not `self.map()`: this must work while everybody sleeps, and leaves nothing in memory.
            let held = lock(&self.held).map.clone();
            held.or_else(|| {
                let read = self.read_file(file::read(&self.map_file(), self.network));
                read.map(|(_, map)| Arc::new(map))
            })
        };
        if base != 0 && old.is_none() {
            let words = "the map can no longer be read";
            return Err(Error::new(ErrorCode::GossipFailed, words));
        }
        let map = apply::apply(old.as_deref(), &snapshot, self.network, now)?;
        file::write(&self.map_file(), &map, news.server).map_err(|e| disk(&e))?;
        files::remove_if_present(&spool).map_err(|e| disk(&e))?;
        let applied = Applied {
            channels: news.channels,
            known: u32::try_from(map.channels().len()).unwrap_or(u32::MAX),
            full: base == 0,
        };
        let mut held = lock(&self.held);
        if held.map.is_some() {
            held.map = Some(Arc::new(map));
            held.closed.clear();
        }
        Ok(Some(applied))
    }

    /// Fetches and applies, for the open app: the first map at once, later ones as `full` allows. Others' scores too.
    ///
    /// # Errors
    /// Those of [`Self::fetch`] and [`Self::apply`].
    pub async fn tend(self: &Arc<Self>, full: bool, deadline: Instant) -> Result<Option<Applied>> {
        let header = file::read_header(&self.map_file(), self.network);
        let first = !matches!(header, Ok(Some(_)));
        self.fetch(full || first, deadline).await?;
        let applied = self.apply().await?;
        if let Err(error) = self.fetch_scores(deadline).await {
            // Ways are found without them too.
            tracing::info!(detail = error.detail(), "others' scores not fetched");
        }
        Ok(applied)
    }

    /// Keeps the map as new as the server has it, quietly, for as long as the app is open. Ends never; may be dropped at any
    /// await.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            let deadline = Instant::now() + PERSONS_PATIENCE;
            match self.tend(false, deadline).await {
                Ok(Some(applied)) => tracing::info!(?applied, "the map of the network is fresh"),
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(code = ?error.code(), detail = error.detail(), "no news of the network");
                }
            }
            tokio::time::sleep(QUIET_PACE).await;
        }
    }

    async fn fetch_scores(&self, deadline: Instant) -> Result<()> {
        let Some(url) = self.server.as_ref().and_then(|server| server.scores.as_ref()) else {
            return Ok(());
        };
        let path = self.dir.join("scores.theirs");
        let age = std::fs::metadata(&path)
            .and_then(|data| data.modified())
            .ok()
            .and_then(|written| written.elapsed().ok());
        if age.is_some_and(|age| age < SCORES_PACE) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.client()?.download(url, &mut bytes, deadline).await?;
        if super::scores::liquidities(&bytes).is_none() {
            return Err(Error::new(ErrorCode::GossipFailed, "these are no scores"));
        }
        files::create_private_directory(&self.dir)
            .and_then(|()| files::write_atomically(&path, &bytes))
            .map_err(|e| disk(&e))?;
        // Merged in when they are opened the next time.
        if let Some(mut scores) = lock(&self.scores).take() {
            scores.save().map_err(|e| disk(&e))?;
        }
        Ok(())
    }

    /// What news are to be asked from: the map's timestamp, or 0 if there is no map that news of this server could be
    /// applied to.
    fn base(&self, server: &Server, now: Duration) -> u32 {
        let header = self.read_file(file::read_header(&self.map_file(), self.network));
        header
            .filter(|header: &Header| {
                header.server == server.mark()
                    && age(header.timestamp, now) <= LONGEST_GAP
                    && u64::from(header.timestamp) <= now.saturating_add(AHEAD).as_secs()
            })
            .map_or(0, |header| header.timestamp)
    }

    /// A file that is damaged is worse than none: news would go on being asked for it. Removed, it is fetched again.
    fn read_file<T>(&self, read: std::result::Result<Option<T>, ReadError>) -> Option<T> {
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, network = %self.network, "the map's file");
            if matches!(error, ReadError::Damaged(_))
                && let Err(error) = files::remove_if_present(&self.map_file())
            {
                tracing::warn!(%error, "the damaged map stays");
            }
            None
        })
    }

    fn open_scores(&self) -> Scores {
        let (ours, theirs) = (self.dir.join("scores.ours"), self.dir.join("scores.theirs"));
        Scores::open(&ours, &theirs, self.network, clock::since_epoch())
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new()?;
        Ok(self.client.get_or_init(|| client))
    }

    fn map_file(&self) -> PathBuf {
        self.dir.join("map")
    }

    fn spool(&self) -> PathBuf {
        self.dir.join("news")
    }

    fn tell(&self, step: MapStep) {
        // Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::MapProgress { step });
    }
}

/// Whether news can be applied to a map with this timestamp (0: to none).
fn fits(news: &News, base: u32, server: &Server) -> bool {
    news.server == server.mark() && news.base == base
}

/// How old a timestamp is; nothing, if it is ahead of our clock.
fn age(timestamp: u32, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_secs(timestamp.into()))
}

fn disk(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::StorageFailed, format!("gossip: {error}"))
}

/// Runs work that reads, writes and reckons on a thread of its own. A panic in a library that reads what a stranger sent
/// must not take the app with it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorCode::GossipFailed, format!("gossip work died: {e}")))?
}
