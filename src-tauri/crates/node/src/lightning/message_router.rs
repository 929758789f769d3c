//! Finding ways for onion messages without the map of the network.
//!
//! A message goes to a peer we are connected to or it does not go; blinded paths to us begin at our peers. LDK's own message
//! router refuses both when its graph is empty and there is more than one peer.

use std::sync::Arc;

use bitcoin::secp256k1::{PublicKey, Secp256k1, Signing, Verification};
use lightning::blinded_path::message::{BlindedMessagePath, MessageContext, MessageForwardNode};
use lightning::blinded_path::{Direction, IntroductionNode};
use lightning::onion_message::messenger::{
    DefaultMessageRouter, Destination, MessageRouter, OnionMessagePath,
};
use lightning::sign::ReceiveAuthKey;

use super::keys::Keys;
use crate::clock;
use crate::gossip::Gossip;
use crate::gossip::ldk::{self, Dated};

/// Blinded paths given out at most, as LDK does.
const MOST_PATHS: usize = 3;

/// Ways for onion messages, from our own peers.
pub struct WakeMessageRouter {
    keys: Arc<Keys>,
    gossip: Arc<Gossip>,
}

impl WakeMessageRouter {
    /// A router that loads nothing yet.
    pub fn new(keys: Arc<Keys>, gossip: Arc<Gossip>) -> Self {
        Self { keys, gossip }
    }
}

impl MessageRouter for WakeMessageRouter {
    fn find_path(
        &self,
        sender: PublicKey,
        peers: Vec<PublicKey>,
        destination: Destination,
    ) -> Result<OnionMessagePath, ()> {
        // LDK's router does this well with a graph that has what it looks up: the channel by which a blinded path names its
        // first node, if it does.
        let graph = ldk::empty(self.gossip.network());
        if let Destination::BlindedPath(path) = &destination
            && let IntroductionNode::DirectedShortChannelId(Direction::NodeOne | Direction::NodeTwo, scid) =
                path.introduction_node()
        {
            let map = self.gossip.map().ok_or(())?;
            let channel = map.find_channel(*scid).ok_or(())?;
            let now = u32::try_from(clock::since_epoch().as_secs()).unwrap_or(u32::MAX);
            ldk::put(&graph, &map, channel, Dated::At(now));
        }
        DefaultMessageRouter::new(graph, Arc::clone(&self.keys)).find_path(sender, peers, destination)
    }

    fn create_blinded_paths<T: Signing + Verification>(
        &self,
        recipient: PublicKey,
        local_node_receive_key: ReceiveAuthKey,
        context: MessageContext,
        mut peers: Vec<MessageForwardNode>,
        secp_ctx: &Secp256k1<T>,
    ) -> Result<Vec<BlindedMessagePath>, ()> {
        // Peers with a channel first: they have a reason to keep the connection, and their channel's number is shorter than
        // their key.
        peers.sort_by_key(|peer| peer.short_channel_id.is_none());
        let paths: Vec<BlindedMessagePath> = peers
            .into_iter()
            .take(MOST_PATHS)
            .map(|peer| {
                BlindedMessagePath::new(
                    &[peer],
                    recipient,
                    local_node_receive_key,
                    context.clone(),
                    &*self.keys,
                    secp_ctx,
                )
            })
            .collect();
        // We are not announced, so a path that begins at ourselves would lead nobody to us.
        if paths.is_empty() { Err(()) } else { Ok(paths) }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;
    use lightning::blinded_path::message::OffersContext;
    use lightning::offers::nonce::Nonce;
    use pilotlight_store::Store;

    use super::*;
    use crate::config::Config;
    use crate::onchain::OnchainWallet;
    use crate::seed::{Seed, WordCount};

    fn peer(number: u8, short_channel_id: Option<u64>) -> MessageForwardNode {
        let secret = bitcoin::secp256k1::SecretKey::from_slice(&[number; 32]).unwrap();
        let node_id = PublicKey::from_secret_key(&Secp256k1::new(), &secret);
        MessageForwardNode {
            node_id,
            short_channel_id,
        }
    }

    #[test]
    fn with_two_peers_and_no_map_ldk_builds_no_path_and_we_do() {
        let dir = tempfile::tempdir().unwrap();
        let seed = Seed::generate(WordCount::Twelve, None).unwrap();
        let seed = seed.keys(Network::Regtest).unwrap();
        let store = Arc::new(Store::open(dir.path().join("store")).unwrap());
        let wallet = Arc::new(OnchainWallet::open(store, seed.onchain, Network::Regtest).unwrap());
        let keys = Arc::new(Keys::new(&seed.lightning, wallet));
        let config = Config::new(dir.path(), Network::Regtest, "http://127.0.0.1:1");
        let gossip = Arc::new(Gossip::new(&config, tokio::sync::broadcast::channel(1).0));

        let secp = Secp256k1::new();
        let us = peer(9, None).node_id;
        let nonce = Nonce::from_entropy_source(&*keys);
        let context = MessageContext::Offers(OffersContext::InvoiceRequest { nonce });
        let peers = vec![peer(1, None), peer(2, Some(7))];
        let receive_key = || ReceiveAuthKey([3; 32]);
        let stock = DefaultMessageRouter::new(ldk::empty(Network::Regtest), Arc::clone(&keys));
        let refused = stock.create_blinded_paths(us, receive_key(), context.clone(), peers.clone(), &secp);
        assert!(refused.is_err());
        let ours = WakeMessageRouter::new(Arc::clone(&keys), gossip);
        let paths = ours
            .create_blinded_paths(us, receive_key(), context, peers, &secp)
            .unwrap();
        let begins: Vec<_> = paths
            .iter()
            .map(|path| path.introduction_node().clone())
            .collect();
        // The peer with a channel first.
        let expected = [2, 1].map(|number| IntroductionNode::NodeId(peer(number, None).node_id));
        assert_eq!(begins, expected);
        // A message to a peer, and to somebody of whom nothing is known, who may be connected to.
        for node in [peer(1, None).node_id, peer(5, None).node_id] {
            let path = ours.find_path(us, vec![peer(1, None).node_id], Destination::Node(node));
            assert!(path.unwrap().intermediate_nodes.is_empty());
        }
    }
}
