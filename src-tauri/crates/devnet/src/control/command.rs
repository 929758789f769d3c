//! What a devnet can be told from outside, and the doing of it.

use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, Amount, Network};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::gossip::{Size, day_later, synthetic};
use crate::{Devnet, Error, Fault};

/// The same network each time.
const NETWORK_SEED: u64 = 1;

/// One thing to do. In JSON the variant's name is the value of `do`, in snake case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Everything somebody needs to know to use the devnet.
    Info,
    /// Mine blocks and wait for the peers.
    Mine {
        /// How many.
        blocks: u32,
    },
    /// Mine this far, if the chain is not as long yet.
    MineTo {
        /// The height.
        height: u32,
    },
    /// Pay an address from the faucet.
    Fund {
        /// A regtest address.
        address: Address<NetworkUnchecked>,
        /// Satoshis.
        sats: u64,
    },
    /// Give a transaction to the mempool.
    Broadcast {
        /// In hex.
        tx: String,
    },
    /// Leave blocks behind for others.
    Reorg {
        /// How many.
        depth: u32,
        /// Leave their transactions in the mempool.
        #[serde(default)]
        empty: bool,
    },
    /// Wait until the peers know the best block.
    Settle,
    /// An invoice of a peer.
    Invoice {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// Without, the payer chooses.
        amount_msat: Option<u64>,
        /// What it is for.
        #[serde(default)]
        description: String,
    },
    /// Let a peer pay an invoice.
    Pay {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// BOLT11.
        invoice: String,
        /// For invoices without an amount.
        amount_msat: Option<u64>,
        /// Wait this long for the outcome; 0 not at all.
        #[serde(default)]
        wait_secs: u64,
    },
    /// How a peer's payment stands.
    Payment {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// Payment hash in hex.
        hash: String,
        /// Wait this long for the outcome; 0 not at all.
        #[serde(default)]
        wait_secs: u64,
    },
    /// All payments of a peer.
    Payments {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// Let a peer open a channel.
    Open {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// The other end.
        node_id: PublicKey,
        /// Where the other end listens.
        address: SocketAddr,
        /// The channel's size.
        sats: u64,
        /// How much of it the other end gets.
        #[serde(default)]
        push_msat: u64,
        /// Announce it to the network.
        #[serde(default)]
        announce: bool,
    },
    /// Let a peer close a channel.
    Close {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// As `channels` says.
        user_channel_id: String,
        /// The other end.
        counterparty: PublicKey,
        /// Without asking the other end.
        #[serde(default)]
        force: bool,
    },
    /// A peer's channels.
    Channels {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// What a peer owns.
    Balances {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// A fresh on-chain address of a peer.
    Address {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// Let a peer connect to another node.
    Connect {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// The other node.
        node_id: PublicKey,
        /// Where it listens.
        address: SocketAddr,
    },
    /// Let a peer hang up on another node.
    Disconnect {
        /// `lsp`, `alice` or `bob`.
        peer: String,
        /// The other node.
        node_id: PublicKey,
    },
    /// Stop a peer: it cannot be reached until it is started again.
    StopPeer {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// Start a peer, again or for the first time.
    StartPeer {
        /// `lsp`, `alice` or `bob`.
        peer: String,
    },
    /// Make requests of the wallet's Esplora listener go wrong.
    SetFault {
        /// How, where, how often.
        fault: Fault,
    },
    /// Take one fault away.
    RemoveFault {
        /// As `set_fault` returned.
        id: u64,
    },
    /// Take all faults away.
    ClearFaults,
    /// All faults set.
    Faults,
    /// Change the round-trip time of the wallet's Esplora listener.
    SetRtt {
        /// Milliseconds.
        ms: u64,
    },
    /// Let the gossip server tell of a made-up network of mainnet's size.
    PublishNetwork {
        /// So many days after it was made up.
        #[serde(default)]
        days: u64,
        /// As of so many hours ago.
        hours_ago: u64,
    },
    /// What the wallet's Esplora listener carried.
    Traffic {
        /// Start counting anew.
        #[serde(default)]
        reset: bool,
    },
    /// End the devnet.
    Stop,
}

impl Command {
    /// Does it. [`Command::Stop`] is the server's to do; here it only answers.
    pub(super) async fn run(self, devnet: &Devnet) -> Result<Value, Error> {
        Ok(match self {
            Self::Info => json!(devnet.info().await?),
            Self::Mine { blocks } => json!({ "height": devnet.mine(blocks).await? }),
            Self::MineTo { height } => {
                let missing = height.saturating_sub(devnet.height().await?);
                json!({ "height": devnet.mine(missing).await? })
            }
            Self::Fund { address, sats } => {
                let address = address
                    .require_network(Network::Regtest)
                    .map_err(|_| Error::Input("that address is of another network than regtest".into()))?;
                json!({ "txid": devnet.fund(&address, Amount::from_sat(sats)).await? })
            }
            Self::Broadcast { tx } => {
                let tx = deserialize_hex(&tx).map_err(|e| Error::Input(format!("not a transaction: {e}")))?;
                json!({ "txid": devnet.broadcast(&tx).await? })
            }
            Self::Reorg { depth, empty: false } => json!(devnet.reorg(depth).await?),
            Self::Reorg { depth, empty: true } => json!(devnet.reorg_empty(depth).await?),
            Self::Settle => {
                devnet.settle().await?;
                json!({ "height": devnet.height().await? })
            }
            Self::SetFault { fault } => json!({ "id": devnet.faults().set(fault) }),
            Self::RemoveFault { id } => json!({ "struck": devnet.faults().remove(id) }),
            Self::ClearFaults => {
                devnet.faults().clear();
                json!({})
            }
            Self::Faults => json!(devnet.faults().list()),
            Self::SetRtt { ms } => {
                devnet.set_rtt(Duration::from_millis(ms));
                json!({ "rtt_ms": ms })
            }
            Self::PublishNetwork { days, hours_ago } => {
                let made_up = synthetic(Size::MAINNET, NETWORK_SEED);
                let network = (1..=days).fold(made_up, |network, day| day_later(&network, day));
                let (nodes, channels) = (Size::MAINNET.nodes, network.channels.len());
                devnet
                    .gossip()
                    .publish(network, Duration::from_secs(hours_ago * 60 * 60));
                json!({ "nodes": nodes, "channels": channels })
            }
            Self::Traffic { reset } => {
                let traffic = devnet.traffic();
                if reset {
                    devnet.reset_traffic();
                }
                json!(traffic)
            }
            Self::Stop => json!({ "stopping": true }),
            of_a_peer => of_a_peer.run_at_peer(devnet).await?,
        })
    }

    async fn run_at_peer(self, devnet: &Devnet) -> Result<Value, Error> {
        Ok(match self {
            Self::Invoice {
                peer,
                amount_msat,
                description,
            } => {
                json!({ "invoice": devnet.peer(&peer)?.invoice(amount_msat, &description).await? })
            }
            Self::Pay {
                peer,
                invoice,
                amount_msat,
                wait_secs,
            } => {
                let peer = devnet.peer(&peer)?;
                let hash = peer.pay(&invoice, amount_msat).await?;
                payment(&peer, &hash, wait_secs).await?
            }
            Self::Payment {
                peer,
                hash,
                wait_secs,
            } => payment(&devnet.peer(&peer)?, &hash, wait_secs).await?,
            Self::Payments { peer } => json!(devnet.peer(&peer)?.payments()),
            Self::Open {
                peer,
                node_id,
                address,
                sats,
                push_msat,
                announce,
            } => {
                let peer = devnet.peer(&peer)?;
                json!(
                    peer.open_channel(node_id, address, sats, push_msat, announce)
                        .await?
                )
            }
            Self::Close {
                peer,
                user_channel_id,
                counterparty,
                force,
            } => {
                let peer = devnet.peer(&peer)?;
                if force {
                    peer.force_close_channel(&user_channel_id, counterparty).await?;
                } else {
                    peer.close_channel(&user_channel_id, counterparty).await?;
                }
                json!({})
            }
            Self::Channels { peer } => json!(devnet.peer(&peer)?.channels()),
            Self::Balances { peer } => json!(devnet.peer(&peer)?.balances().await?),
            Self::Address { peer } => json!({ "address": devnet.peer(&peer)?.new_address().await? }),
            Self::Connect {
                peer,
                node_id,
                address,
            } => {
                devnet.peer(&peer)?.connect(node_id, address).await?;
                json!({})
            }
            Self::Disconnect { peer, node_id } => {
                devnet.peer(&peer)?.disconnect(node_id).await?;
                json!({})
            }
            Self::StopPeer { peer } => {
                devnet.peer(&peer)?.stop().await?;
                json!({})
            }
            Self::StartPeer { peer } => {
                let peer = devnet.ensure_peer(&peer).await?;
                if !peer.is_running() {
                    peer.start().await?;
                }
                json!(peer.info())
            }
            other => return Err(Error::Input(format!("{other:?} is not a peer's"))),
        })
    }
}

async fn payment(peer: &crate::Peer, hash: &str, wait_secs: u64) -> Result<Value, Error> {
    let payment = if wait_secs > 0 {
        Some(peer.wait_payment(hash, Duration::from_secs(wait_secs)).await?)
    } else {
        peer.payment(hash)
    };
    let unknown = || Error::Input(format!("{} knows no payment {hash}", peer.name()));
    Ok(json!(payment.ok_or_else(unknown)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_a_plain_json_form() {
        let read = |text| serde_json::from_str::<Command>(text);
        assert_eq!(
            read(r#"{"do":"mine","blocks":6}"#).unwrap(),
            Command::Mine { blocks: 6 }
        );
        let fault = r#"{"do":"set_fault","fault":{"path":"/tx","times":1,"kind":{"status":{"code":429,"retry_after_secs":3}}}}"#;
        assert!(matches!(read(fault).unwrap(), Command::SetFault { .. }));
        assert!(read(r#"{"do":"mine"}"#).is_err());
        assert!(
            read(r#"{"do":"mine","blocks":6,"block":7}"#).is_err(),
            "a typing error is not ignored"
        );
    }
}
