//! LDK's generic types, with our parts filled in.

use std::sync::Arc;

use lightning::chain::chainmonitor;
use lightning::events::bump_transaction;
use lightning::ln::peer_handler::IgnoringMessageHandler;
use lightning::ln::{channelmanager, peer_handler};
use lightning::onion_message::messenger;
use lightning::routing::gossip;
use lightning::routing::utxo::UtxoLookup;
use lightning::sign::InMemorySigner;
use lightning::util::sweep::OutputSweeper;
use lightning_net_tokio::SocketDescriptor;

use super::commit::Commit;
use super::keys::Keys;
use super::message_router::WakeMessageRouter;
use super::router::LazyRouter;
use crate::chain::{Broadcaster, Fees, Registrar};
use crate::gossip::ldk::Graph;
use crate::log::Logger;
use crate::onchain::OnchainWallet;

/// Watches the chain for every channel.
pub type ChainMonitor = chainmonitor::ChainMonitor<
    InMemorySigner,
    Arc<Registrar>,
    Arc<Broadcaster>,
    Arc<Fees>,
    Arc<Logger>,
    Arc<Commit>,
    Arc<Keys>,
>;

/// The channels.
pub type ChannelManager = channelmanager::ChannelManager<
    Arc<ChainMonitor>,
    Arc<Broadcaster>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<Fees>,
    Arc<LazyRouter>,
    Arc<WakeMessageRouter>,
    Arc<Logger>,
>;

/// Onion messages.
pub type OnionMessenger = messenger::OnionMessenger<
    Arc<Keys>,
    Arc<Keys>,
    Arc<Logger>,
    Arc<ChannelManager>,
    Arc<WakeMessageRouter>,
    Arc<ChannelManager>,
    Arc<ChannelManager>,
    IgnoringMessageHandler,
    IgnoringMessageHandler,
>;

/// The connections.
pub type PeerManager = peer_handler::PeerManager<
    SocketDescriptor,
    Arc<ChannelManager>,
    Arc<IgnoringMessageHandler>,
    Arc<OnionMessenger>,
    Arc<Logger>,
    Arc<IgnoringMessageHandler>,
    Arc<Keys>,
    Arc<ChainMonitor>,
>;

/// Brings outputs of closed channels home.
pub type Sweeper = OutputSweeper<
    Arc<Broadcaster>,
    Arc<Keys>,
    Arc<Fees>,
    Arc<Registrar>,
    Arc<Commit>,
    Arc<Logger>,
    Arc<Keys>,
>;

/// Pays the fees of anchor channels' closings from the on-chain wallet.
pub type FeeBumper = bump_transaction::BumpTransactionEventHandler<
    Arc<Broadcaster>,
    Arc<bump_transaction::Wallet<Arc<OnchainWallet>, Arc<Logger>>>,
    Arc<Keys>,
    Arc<Logger>,
>;

type NoLookup = Arc<dyn UtxoLookup + Send + Sync>;

/// What the background processor is told about gossip: nothing, so that it can never write a graph over the real one.
pub type GossipSync = lightning_background_processor::GossipSync<
    Arc<gossip::P2PGossipSync<Arc<Graph>, NoLookup, Arc<Logger>>>,
    Arc<lightning_rapid_gossip_sync::RapidGossipSync<Arc<Graph>, Arc<Logger>>>,
    Arc<Graph>,
    NoLookup,
    Arc<Logger>,
>;
