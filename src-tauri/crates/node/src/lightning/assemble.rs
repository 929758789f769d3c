//! Reads LDK's state from the store in the one order that is safe, and writes it down again.
//!
//! The order is that of `ChannelManagerReadArgs`: monitors first, then the manager with references to them, then every
//! monitor to the chain monitor, and only then anything else.

use std::sync::Arc;

use bitcoin::{BlockHash, Network};
use lightning::chain::chainmonitor::Persist;
use lightning::chain::channelmonitor::ChannelMonitor;
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus};
use lightning::events::bump_transaction::Wallet as BumpWallet;
use lightning::ln::channelmanager::{
    ChainParameters, ChannelManager as LdkChannelManager, ChannelManagerReadArgs,
};
use lightning::ln::msgs::DecodeError;
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler};
use lightning::sign::{EntropySource, InMemorySigner, NodeSigner};
use lightning::util::config::UserConfig;
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE, KVStoreSync, OUTPUT_SWEEPER_PERSISTENCE_KEY,
    OUTPUT_SWEEPER_PERSISTENCE_PRIMARY_NAMESPACE, OUTPUT_SWEEPER_PERSISTENCE_SECONDARY_NAMESPACE,
};
use lightning::util::ser::ReadableArgs;
use pilotlight_store::Store;

use super::commit::Commit;
use super::keys::Keys;
use super::message_router::WakeMessageRouter;
use super::router::LazyRouter;
use super::types::{ChainMonitor, ChannelManager, FeeBumper, OnionMessenger, PeerManager, Sweeper};
use crate::chain::{Broadcaster, Fees, Registrar, Watch};
use crate::clock;
use crate::config::OUR_TO_SELF_DELAY;
use crate::error::{Error, ErrorCode, Result};
use crate::gossip::Gossip;
use crate::log::Logger;
use crate::onchain::OnchainWallet;
use crate::rows;

/// Confirmations we ask of a channel that a peer opens to us, in blocks.
const MINIMUM_DEPTH: u32 = 3;

/// What LDK is put together from.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<Store>,
    /// Our keys.
    pub keys: Arc<Keys>,
    /// What is to be watched on the chain.
    pub watch: Arc<Watch>,
    /// Where transactions go.
    pub broadcaster: Arc<Broadcaster>,
    /// Fee rates.
    pub fees: Arc<Fees>,
    /// The on-chain wallet.
    pub wallet: Arc<OnchainWallet>,
    /// Which network.
    pub network: Network,
}

/// LDK, put together.
pub struct Lightning {
    /// Watches the chain for every channel.
    pub chain_monitor: Arc<ChainMonitor>,
    /// The channels.
    pub channels: Arc<ChannelManager>,
    /// The connections.
    pub peers: Arc<PeerManager>,
    /// Onion messages.
    pub onion: Arc<OnionMessenger>,
    /// Ways for payments.
    pub router: Arc<LazyRouter>,
    /// The map of the network, on which they are found.
    pub gossip: Arc<Gossip>,
    /// Outputs on their way home.
    pub sweeper: Arc<Sweeper>,
    /// Fees of closings.
    pub fee_bumper: Arc<FeeBumper>,
    /// How all of it reaches the store.
    pub commit: Arc<Commit>,
}

impl Lightning {
    /// Reads the state, or begins it on the first start. Nothing is connected and nothing is sent. Routes are found with
    /// `gossip`.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] if the state is damaged or its parts contradict each other.
    pub fn open(parts: &Parts, gossip: &Arc<Gossip>) -> Result<Self> {
        let keys = &parts.keys;
        let logger = Arc::new(Logger);
        let commit = Arc::new(new_commit(parts));
        let monitors = commit.monitors()?;
        let chain_monitor = Arc::new(new_chain_monitor(parts, &commit));

        let router = Arc::new(LazyRouter::new(Arc::clone(keys), Arc::clone(gossip)));
        let message_router = Arc::new(WakeMessageRouter::new(Arc::clone(keys), Arc::clone(gossip)));

        let references = monitors.iter().collect();
        let channels = open_channels(parts, &chain_monitor, &router, &message_router, references)?;
        let channels = Arc::new(channels);

        load_monitors(&chain_monitor, monitors)?;

        let onion = Arc::new(OnionMessenger::new(
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(&logger),
            Arc::clone(&channels),
            message_router,
            Arc::clone(&channels),
            Arc::clone(&channels),
            IgnoringMessageHandler {},
            IgnoringMessageHandler {},
        ));
        let handlers = MessageHandler {
            chan_handler: Arc::clone(&channels),
            route_handler: Arc::new(IgnoringMessageHandler {}),
            onion_message_handler: Arc::clone(&onion),
            custom_message_handler: Arc::new(IgnoringMessageHandler {}),
            send_only_message_handler: Arc::clone(&chain_monitor),
        };
        let peers = Arc::new(PeerManager::new(
            handlers,
            u32::try_from(clock::since_epoch().as_secs()).unwrap_or(u32::MAX),
            &keys.get_secure_random_bytes(),
            Arc::clone(&logger),
            Arc::clone(keys),
        ));

        let sweeper = Arc::new(open_sweeper(parts, channels.current_best_block(), &commit)?);
        let fee_bumper = Arc::new(new_fee_bumper(parts));
        commit.attach(&channels, &chain_monitor);
        Ok(Self {
            chain_monitor,
            channels,
            peers,
            onion,
            router,
            gossip: Arc::clone(gossip),
            sweeper,
            fee_bumper,
            commit,
        })
    }

    /// The persist barrier: when it returns, all that LDK knows is on disk. Chain syncs alone do not write every monitor.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub async fn persist(&self) -> Result<()> {
        persist(&self.chain_monitor, &self.commit).await
    }
}

/// The monitors without the channels: enough to watch the chain and to claim what is ours, and no more. There is no channel
/// manager and nobody to talk to, so nothing here can act as a live channel.
pub struct Watching {
    /// Watches the chain for every channel.
    pub chain_monitor: Arc<ChainMonitor>,
    /// Outputs on their way home.
    pub sweeper: Arc<Sweeper>,
    /// Fees of claims.
    pub fee_bumper: Arc<FeeBumper>,
    commit: Arc<Commit>,
}

impl Watching {
    /// Reads the monitors and the sweeper. The channel manager is not touched: it may be unreadable, and it is never written.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] if a monitor or the sweeper is damaged.
    pub fn open(parts: &Parts) -> Result<Self> {
        let commit = Arc::new(new_commit(parts));
        let monitors = commit.monitors()?;
        let highest = monitors
            .iter()
            .map(ChannelMonitor::current_best_block)
            .max_by_key(|best| best.height);
        let best_block = highest.unwrap_or_else(|| BestBlock::from_network(parts.network));
        let chain_monitor = Arc::new(new_chain_monitor(parts, &commit));
        load_monitors(&chain_monitor, monitors)?;
        let sweeper = Arc::new(open_sweeper(parts, best_block, &commit)?);
        commit.attach_monitors(&chain_monitor);
        Ok(Self {
            chain_monitor,
            sweeper,
            fee_bumper: Arc::new(new_fee_bumper(parts)),
            commit,
        })
    }

    /// The persist barrier: when it returns, all that the monitors know is on disk.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub async fn persist(&self) -> Result<()> {
        persist(&self.chain_monitor, &self.commit).await
    }
}

async fn persist(chain_monitor: &ChainMonitor, commit: &Commit) -> Result<()> {
    for id in chain_monitor.list_monitors() {
        let Ok(monitor) = chain_monitor.get_monitor(id) else {
            continue;
        };
        // Only queued here, so it cannot fail; the commit below writes it.
        let _ = commit.update_persisted_channel(monitor.persistence_key(), None, &monitor);
    }
    commit.commit().await.map_err(|e| rows::storage(&e))
}

fn new_commit(parts: &Parts) -> Commit {
    Commit::new(
        Arc::clone(&parts.store),
        &parts.keys,
        &parts.broadcaster,
        &parts.fees,
    )
}

fn new_chain_monitor(parts: &Parts, commit: &Arc<Commit>) -> ChainMonitor {
    ChainMonitor::new(
        Some(Registrar::of_monitors(&parts.watch)),
        Arc::clone(&parts.broadcaster),
        Arc::new(Logger),
        Arc::clone(&parts.fees),
        Arc::clone(commit),
        Arc::clone(&parts.keys),
        parts.keys.get_peer_storage_key(),
    )
}

fn load_monitors(chain_monitor: &ChainMonitor, monitors: Vec<ChannelMonitor<InMemorySigner>>) -> Result<()> {
    for monitor in monitors {
        let id = monitor.channel_id();
        match chain_monitor.load_existing_monitor(id, monitor) {
            Ok(ChannelMonitorUpdateStatus::Completed) => {}
            Ok(_) => return Err(Error::new(ErrorCode::StorageFailed, format!("monitor of {id}"))),
            Err(()) => {
                return Err(Error::new(
                    ErrorCode::StorageCorrupt,
                    format!("two monitors for {id}"),
                ));
            }
        }
    }
    Ok(())
}

fn new_fee_bumper(parts: &Parts) -> FeeBumper {
    let logger = Arc::new(Logger);
    FeeBumper::new(
        Arc::clone(&parts.broadcaster),
        Arc::new(BumpWallet::new(Arc::clone(&parts.wallet), Arc::clone(&logger))),
        Arc::clone(&parts.keys),
        logger,
    )
}

/// What we ask of every channel.
pub fn user_config() -> UserConfig {
    let mut config = UserConfig {
        manually_accept_inbound_channels: true,
        // A BOLT12 invoice may arrive in a wake, where nothing can be routed.
        manually_handle_bolt12_invoices: true,
        ..UserConfig::default()
    };
    let handshake = &mut config.channel_handshake_config;
    handshake.our_to_self_delay = OUR_TO_SELF_DELAY;
    handshake.minimum_depth = MINIMUM_DEPTH;
    handshake.negotiate_anchors_zero_fee_htlc_tx = true;
    handshake.announce_for_forwarding = false;
    // A wallet has few channels and wants to use the whole of each.
    handshake.max_inbound_htlc_value_in_flight_percent_of_channel = 100;
    config.channel_handshake_limits.force_announced_channel_preference = true;
    config
}

fn open_channels(
    parts: &Parts,
    chain_monitor: &Arc<ChainMonitor>,
    router: &Arc<LazyRouter>,
    message_router: &Arc<WakeMessageRouter>,
    monitors: Vec<&ChannelMonitor<InMemorySigner>>,
) -> Result<ChannelManager> {
    let Parts {
        store,
        keys,
        broadcaster,
        fees,
        network,
        ..
    } = parts;
    let logger = Arc::new(Logger);
    let kept = read_if_present(
        store,
        CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_KEY,
    )?;
    if let Some(bytes) = kept {
        let read_args = ChannelManagerReadArgs::new(
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(fees),
            Arc::clone(chain_monitor),
            Arc::clone(broadcaster),
            Arc::clone(router),
            Arc::clone(message_router),
            Arc::clone(&logger),
            user_config(),
            monitors,
        );
        let (_, channels) = <(BlockHash, ChannelManager)>::read(&mut bytes.as_slice(), read_args)
            .map_err(|e| undecodable("channel manager", &e))?;
        Ok(channels)
    } else if monitors.is_empty() {
        Ok(LdkChannelManager::new(
            Arc::clone(fees),
            Arc::clone(chain_monitor),
            Arc::clone(broadcaster),
            Arc::clone(router),
            Arc::clone(message_router),
            Arc::clone(&logger),
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(keys),
            user_config(),
            ChainParameters {
                network: *network,
                best_block: BestBlock::from_network(*network),
            },
            u32::try_from(clock::since_epoch().as_secs()).unwrap_or(u32::MAX),
        ))
    } else {
        Err(Error::new(
            ErrorCode::StorageCorrupt,
            "there are monitors, but no channel manager",
        ))
    }
}

/// `best_block` is where a sweeper that was never written begins.
fn open_sweeper(parts: &Parts, best_block: BestBlock, commit: &Arc<Commit>) -> Result<Sweeper> {
    let logger = Arc::new(Logger);
    let kept = read_if_present(
        &parts.store,
        OUTPUT_SWEEPER_PERSISTENCE_PRIMARY_NAMESPACE,
        OUTPUT_SWEEPER_PERSISTENCE_SECONDARY_NAMESPACE,
        OUTPUT_SWEEPER_PERSISTENCE_KEY,
    )?;
    let (broadcaster, fees) = (Arc::clone(&parts.broadcaster), Arc::clone(&parts.fees));
    let watch = Some(Registrar::of_sweeper(&parts.watch));
    let (keys, commit) = (&parts.keys, Arc::clone(commit));
    match kept {
        Some(bytes) => {
            let args = (
                broadcaster,
                fees,
                watch,
                Arc::clone(keys),
                Arc::clone(keys),
                commit,
                logger,
            );
            let (_, sweeper) = <(BestBlock, Sweeper)>::read(&mut bytes.as_slice(), args)
                .map_err(|e| undecodable("sweeper", &e))?;
            Ok(sweeper)
        }
        None => Ok(Sweeper::new(
            best_block,
            broadcaster,
            fees,
            watch,
            Arc::clone(keys),
            Arc::clone(keys),
            commit,
            logger,
        )),
    }
}

fn read_if_present(store: &Store, primary: &str, secondary: &str, key: &str) -> Result<Option<Vec<u8>>> {
    match KVStoreSync::read(store, primary, secondary, key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == lightning::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(rows::storage(&e)),
    }
}

fn undecodable(what: &str, error: &DecodeError) -> Error {
    Error::new(ErrorCode::StorageCorrupt, format!("{what}: {error:?}"))
}
