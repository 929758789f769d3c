//! By which way the person wants the chain to be heard: the choice, the file that keeps it, and the look at a server of
//! their own before it is taken.

use std::path::Path;
use std::sync::Arc;

use bitcoin::constants::genesis_block;
use pilotlight_store::files;
use serde::{Deserialize, Serialize};

use crate::chain::engine::Memory;
use crate::chain::networks::Chain;
use crate::chain::{Checkpoint, Server};
use crate::config::{ChainChoice, Config};
use crate::error::{Error, ErrorCode, Result};

/// In the wallet's folder, so that each network has its own.
const FILE: &str = "connection.json";

/// The file's shape.
const VERSION: u8 = 1;

/// So deep a block is the same on every server of its network; a younger one may have been replaced since.
const SETTLED: u32 = 6;

/// By which way the chain is heard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Connection {
    /// From the network's public servers: the fastest way. Whoever of them is asked can tell which payments are ours.
    #[default]
    Automatic,
    /// By compact block filters, from peers of the Bitcoin network: slower, and nobody can tell.
    Private,
    /// From a server of the person's own.
    Own {
        /// Its address.
        url: String,
    },
}

/// What can be said of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct ConnectionStatus {
    /// What was chosen. A server's address is without what may be a secret in it.
    pub choice: Connection,
    /// Whom `automatic` asks, the first first.
    pub servers: Vec<String>,
    /// Whether there are peers for `private` on this network.
    pub private: bool,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u8,
    choice: Connection,
}

impl Connection {
    /// What was chosen for the wallet in this folder. A file that cannot be understood means [`Self::Private`]: it tells
    /// nobody more than any choice allowed, and the channels are watched.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it cannot be read now.
    pub fn read(data_dir: &Path) -> Result<Self> {
        let read = files::read_if_present(&data_dir.join(FILE));
        let Some(bytes) = read.map_err(|e| failed(&e))? else {
            return Ok(Self::default());
        };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.version == VERSION => Ok(kept.choice),
            other => {
                let error = other.err().map(|error| error.to_string());
                tracing::error!(
                    ?error,
                    "the choice of a connection cannot be read; no server is asked"
                );
                Ok(Self::Private)
            }
        }
    }

    /// Keeps the choice. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        let kept = Kept {
            version: VERSION,
            choice: self.clone(),
        };
        let bytes = serde_json::to_vec(&kept).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        std::fs::create_dir_all(data_dir).map_err(|e| failed(&e))?;
        files::write_atomically(&data_dir.join(FILE), &bytes).map_err(|e| failed(&e))
    }

    /// The configuration with this choice in it. What the app was started with is what `automatic` is.
    pub fn apply(&self, mut config: Config) -> Config {
        match self {
            Self::Automatic => {}
            Self::Private if has_peers(&config) => {
                config.chain = ChainChoice::filters(config.filter_peers.clone(), None);
            }
            Self::Private => {
                tracing::error!("no peers serve filters on this network");
            }
            Self::Own { url } => {
                let servers = Server::typed(url).into_iter().collect();
                config.chain = ChainChoice::Automatic { servers };
            }
        }
        config
    }

    /// The same without what may be a secret.
    #[must_use]
    pub fn public(&self) -> Self {
        match self {
            Self::Own { url } => Self::Own {
                url: Server::typed(url).map_or_else(|_| String::new(), |server| server.name()),
            },
            other => other.clone(),
        }
    }

    /// Whether it can be taken: whether a server of the person's own answers, and tells of this network and of the chain
    /// that the wallet knows.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] and [`ErrorCode::Misconfigured`] for an address that is none, or not safe;
    /// [`ErrorCode::WrongNetwork`]; those of asking.
    pub async fn check(&self, config: &Config, known: Option<Checkpoint>) -> Result<()> {
        match self {
            Self::Automatic => Ok(()),
            Self::Private if has_peers(config) => Ok(()),
            Self::Private => {
                let words = "no peers serve filters on this network";
                Err(Error::new(ErrorCode::Misconfigured, words))
            }
            Self::Own { url } => {
                let memory = Arc::new(Memory::new(None));
                let server = Server::typed(url)?.source(config.network, memory)?;
                let server =
                    server.ok_or_else(|| Error::new(ErrorCode::InvalidInput, "peers are no server"))?;
                let tip = server.tip().await?;
                let genesis = genesis_block(config.network).block_hash();
                let mut same = server.block_at(0).await? == Some(genesis);
                if let Some(known) = known.filter(|known| known.height + SETTLED <= tip.height) {
                    // Two signets begin with the same block.
                    same &= server.block_at(known.height).await? == Some(known.hash);
                }
                if same {
                    Ok(())
                } else {
                    Err(Error::new(
                        ErrorCode::WrongNetwork,
                        "the server is of another network",
                    ))
                }
            }
        }
    }
}

/// Whether `private` has somebody to ask.
pub fn has_peers(config: &Config) -> bool {
    !config.filter_peers.is_empty() || Chain::of(config).has_public_peers()
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::StorageFailed, format!("{FILE}: {error}"))
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;

    use super::*;

    fn own(url: &str) -> Connection {
        Connection::Own { url: url.to_owned() }
    }

    #[test]
    fn a_choice_is_kept_and_a_damaged_one_asks_no_server() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("wallet");
        assert_eq!(Connection::read(&folder).unwrap(), Connection::Automatic);
        for choice in [
            own("https://a:b@example.com"),
            Connection::Private,
            Connection::Automatic,
        ] {
            choice.write(&folder).unwrap();
            assert_eq!(Connection::read(&folder).unwrap(), choice);
        }
        for damaged in ["{", "{\"version\":2,\"choice\":{\"type\":\"automatic\"}}"] {
            std::fs::write(folder.join(FILE), damaged).unwrap();
            assert_eq!(Connection::read(&folder).unwrap(), Connection::Private);
        }
    }

    #[test]
    fn each_choice_asks_whom_it_says() {
        let config = || Config::new("/x", Network::Signet, "https://example.com");
        let names = |choice: &Connection| {
            let config = choice.apply(config());
            config.validate().unwrap();
            let servers = config.chain_servers().into_iter();
            servers.map(|server| server.name()).collect::<Vec<_>>()
        };
        assert_eq!(names(&Connection::Automatic), ["https://example.com"]);
        assert_eq!(names(&Connection::Private), ["compact block filters"]);
        let mine = own("me:secret@home.example:3002");
        assert_eq!(names(&mine), ["https://home.example:3002"]);
        assert_eq!(mine.public(), own("https://home.example:3002"));
        // An address that cannot be read any more: nobody is asked, and certainly nobody else.
        let nobody = own("").apply(config());
        assert!(nobody.chain_servers().is_empty());
    }
}
