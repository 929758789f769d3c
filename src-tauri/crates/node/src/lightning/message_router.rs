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
