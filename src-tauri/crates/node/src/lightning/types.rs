//! LDK's generic types, with our parts filled in.

use std::sync::{Arc, Mutex};

use lightning::chain::chainmonitor;
use lightning::events::bump_transaction;
use lightning::ln::peer_handler::IgnoringMessageHandler;
use lightning::ln::{channelmanager, peer_handler};
use lightning::onion_message::messenger;
use lightning::routing::gossip::{self, NetworkGraph};
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{ProbabilisticScorer, ProbabilisticScoringFeeParameters};
use lightning::routing::utxo::UtxoLookup;
use lightning::sign::InMemorySigner;
use lightning::util::sweep::OutputSweeper;
use lightning_net_tokio::SocketDescriptor;

use super::commit::Commit;
use super::keys::Keys;
use crate::chain::{Broadcaster, Fees, Registrar};
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

/// The map of the network.
pub type Graph = NetworkGraph<Arc<Logger>>;

/// How well the ways through the network work.
pub type Scorer = ProbabilisticScorer<Arc<Graph>, Arc<Logger>>;

/// Finds ways for payments.
pub type Router = DefaultRouter<
    Arc<Graph>,
    Arc<Logger>,
    Arc<Keys>,
    Arc<Mutex<Scorer>>,
    ProbabilisticScoringFeeParameters,
    Scorer,
>;

/// Finds ways for onion messages.
pub type MessageRouter = messenger::DefaultMessageRouter<Arc<Graph>, Arc<Logger>, Arc<Keys>>;

/// The channels.
pub type ChannelManager = channelmanager::ChannelManager<
    Arc<ChainMonitor>,
    Arc<Broadcaster>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<Keys>,
    Arc<Fees>,
    Arc<Router>,
    Arc<MessageRouter>,
    Arc<Logger>,
>;

/// Onion messages.
pub type OnionMessenger = messenger::OnionMessenger<
    Arc<Keys>,
    Arc<Keys>,
    Arc<Logger>,
    Arc<ChannelManager>,
    Arc<MessageRouter>,
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
