//! Making a peer: ldk-node's settings and why they are so.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::SecretKey;
use ldk_node::bitcoin::Network;
use ldk_node::config::{Config, EsploraSyncConfig};
use ldk_node::lightning::sign::KeysManager;
use ldk_node::liquidity::LSPS2ServiceConfig;
use ldk_node::{Builder, DynStore};
use rand::RngCore;
use tokio::runtime::Handle;

use super::log::LogFile;
use super::store::MemoryStore;
use super::{Peer, PeerInfo};
use crate::Error;
use crate::esplora::Face;

/// A free port may be taken by somebody else between our choice and the node's bind; then another is chosen.
const PORT_TRIES: usize = 8;

/// What the LSP offers. Fees are clearly above zero, so that a wallet that forgets them is found out.
const LIQUIDITY: LSPS2ServiceConfig = LSPS2ServiceConfig {
    require_token: None,
    advertise_service: true,
    channel_opening_fee_ppm: 10_000,
    channel_over_provisioning_ppm: 500_000,
    min_channel_opening_fee_msat: 100_000,
    min_channel_lifetime: 4_320,
    // A phone sleeps long: Pilotlight asks for the longest delay there is.
    max_client_to_self_delay: 2_016,
    min_payment_size_msat: 1_000,
    max_payment_size_msat: 10_000_000_000,
    client_trusts_lsp: false,
};

/// What a peer is made of, apart from its state.
#[derive(Clone)]
pub(super) struct Recipe {
    name: String,
    dir: PathBuf,
    esplora_url: String,
    seed: [u8; ldk_node::config::WALLET_KEYS_SEED_LEN],
    log: Arc<LogFile>,
    runtime: Handle,
}

/// Starts a peer that follows the chain at `esplora_url`. Its log goes to `dir`.
pub(crate) async fn start(
    name: &str,
    dir: &Path,
    esplora_url: &str,
    face: Arc<Face>,
    runtime: Handle,
) -> Result<Peer, Error> {
    let mut seed = [0; ldk_node::config::WALLET_KEYS_SEED_LEN];
    rand::thread_rng().fill_bytes(&mut seed);
    let recipe = Recipe {
        name: name.to_owned(),
        dir: dir.to_owned(),
        esplora_url: esplora_url.to_owned(),
        seed,
        log: Arc::new(LogFile::create(dir)?),
        runtime,
    };
    let store = Arc::new(MemoryStore::default());
    let mut last = String::new();
    for _ in 0..PORT_TRIES {
        let address = free_address()?;
        match recipe.start(&store, Some(address)).await {
            Ok(node) => {
                let info = PeerInfo {
                    name: name.to_owned(),
                    node_id: node.node_id(),
                    address,
                };
                return Ok(Peer::new(info, node, recipe, store, face));
            }
            // What it says when its port is taken.
            Err(Failure::Start(e @ ldk_node::NodeError::InvalidSocketAddress)) => last = e.to_string(),
            Err(failure) => return Err(recipe.failed(&failure)),
        }
    }
    Err(recipe.failed(&Failure::Build(format!(
        "no free port after {PORT_TRIES} tries: {last}"
    ))))
}

impl Recipe {
    /// A node with this state, running. Without an address it listens nowhere.
    pub(super) async fn start(
        &self,
        store: &Arc<MemoryStore>,
        address: Option<SocketAddr>,
    ) -> Result<ldk_node::Node, Failure> {
        let build = |e: &dyn std::fmt::Display| Failure::Build(e.to_string());
        let mut builder = Builder::from_config(Config {
            network: Network::Regtest,
            storage_dir_path: self.dir.display().to_string(),
            ..Config::default()
        });
        builder
            .set_runtime(self.runtime.clone())
            .set_entropy_seed_bytes(self.seed)
            .set_custom_logger(Arc::<LogFile>::clone(&self.log))
            // No syncing in the background: the devnet knows when there is something new, and an idle peer costs
            // nothing. Esplora rather than bitcoind's RPC, because it jumps over thousands of empty blocks at once.
            .set_chain_source_esplora(
                self.esplora_url.clone(),
                Some(EsploraSyncConfig {
                    background_sync_config: None,
                }),
            )
            .set_gossip_source_p2p();
        if self.name == "lsp" {
            builder.set_liquidity_provider_lsps2(LIQUIDITY);
        }
        if let Some(address) = address {
            // Alias and address are what ldk-node wants before it announces channels.
            builder.set_node_alias(self.name.clone()).map_err(|e| build(&e))?;
            builder
                .set_listening_addresses(vec![address.into()])
                .map_err(|e| build(&e))?;
        }
        let store: Arc<DynStore> = Arc::<MemoryStore>::clone(store);
        self.runtime
            .spawn_blocking(move || {
                let node = builder
                    .build_with_store(store)
                    .map_err(|e| Failure::Build(e.to_string()))?;
                node.start().map_err(Failure::Start)?;
                Ok(node)
            })
            .await
            .map_err(|e| build(&e))?
    }

    /// The secret half of the node's id, as ldk-node derives it.
    pub(super) fn key(&self) -> Result<SecretKey, Error> {
        let master = Xpriv::new_master(Network::Regtest, &self.seed)
            .map_err(|e| self.failed(&Failure::Build(e.to_string())))?;
        // The time only makes other keys differ from start to start.
        let keys = KeysManager::new(&master.private_key.secret_bytes(), 0, 0, true);
        Ok(keys.get_node_secret_key())
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn failed(&self, failure: &Failure) -> Error {
        let reason = match failure {
            Failure::Build(e) => format!("it cannot be built: {e}"),
            Failure::Start(e) => format!("it does not start: {e}"),
        };
        Error::Peer {
            peer: self.name.clone(),
            reason,
        }
    }
}

/// Why a node did not come up.
pub(super) enum Failure {
    Build(String),
    Start(ldk_node::NodeError),
}

fn free_address() -> Result<SocketAddr, Error> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("looking for a free port"))?;
    listener
        .local_addr()
        .map_err(Error::io("looking for a free port"))
}
