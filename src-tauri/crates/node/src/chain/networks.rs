//! The Bitcoin networks: how each is named, where its wallet lives, whom it asks by default; and the mark by which a
//! wallet's folder knows its own.

use std::fmt;
use std::path::Path;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Network, ScriptBuf};
use pilotlight_store::files;
use serde::{Deserialize, Serialize};

use super::server::{FilterPeers, Server};
use crate::chain::filters;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};

/// Longest challenge that is taken, in bytes: the most that a script can be (Bitcoin Core's `MAX_SCRIPT_SIZE`).
const LONGEST_CHALLENGE: usize = 10_000;

/// The file in a wallet's folder that says which network the wallet is of.
const MARK: &str = "network.json";

/// A Bitcoin network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// Real money.
    Bitcoin,
    /// The public test network.
    Testnet4,
    /// The public signet, whose coins are given away.
    Signet,
    /// A signet of somebody's own, by its challenge (BIP325).
    CustomSignet(ScriptBuf),
    /// A network on this machine.
    Regtest,
}

impl Chain {
    /// The network of this name; a challenge, in hex, makes a signet another one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if there is none, or the challenge is none, or belongs to no signet.
    pub fn named(name: &str, challenge: Option<&str>) -> Result<Self> {
        let bad = |words: &str| Error::new(ErrorCode::InvalidInput, format!("network: {words}"));
        let chain = match name {
            "bitcoin" => Self::Bitcoin,
            "testnet4" => Self::Testnet4,
            "signet" => Self::Signet,
            "regtest" => Self::Regtest,
            _ => return Err(bad("must be bitcoin, testnet4, signet or regtest")),
        };
        match challenge {
            None => Ok(chain),
            Some(_) if chain != Self::Signet => Err(bad("only a signet has a challenge")),
            Some(hex) => {
                let script = ScriptBuf::from_hex(hex).map_err(|_| bad("the challenge is not hex"))?;
                if script.is_empty() || script.len() > LONGEST_CHALLENGE {
                    return Err(bad("the challenge is no script"));
                }
                Ok(Self::CustomSignet(script))
            }
        }
    }

    /// By whose rules and addresses.
    pub fn network(&self) -> Network {
        match self {
            Self::Bitcoin => Network::Bitcoin,
            Self::Testnet4 => Network::Testnet4,
            Self::Signet | Self::CustomSignet(_) => Network::Signet,
            Self::Regtest => Network::Regtest,
        }
    }

    /// The name of the folder in which its wallet lives, beside those of other networks. A signet of somebody's own has the
    /// hash of its challenge in it: its blocks mean nothing on another one.
    pub fn folder(&self) -> String {
        self.to_string()
    }

    /// The servers that are asked if nobody says otherwise, the first first: those that their operators offer to everybody.
    /// For networks of somebody's own there are none.
    pub fn servers(&self) -> Vec<Server> {
        let esplora: &[&str] = match self {
            Self::Bitcoin => &["https://blockstream.info/api", "https://mempool.space/api"],
            Self::Testnet4 => &["https://mempool.space/testnet4/api"],
            Self::Signet => &[
                "https://blockstream.info/signet/api",
                "https://mempool.space/signet/api",
            ],
            Self::CustomSignet(_) | Self::Regtest => &[],
        };
        // Another protocol, and for mainnet another of the operators' machines.
        let electrum = match self {
            Self::Bitcoin => Some("ssl://electrum.blockstream.info:50002"),
            Self::Testnet4 => Some("ssl://mempool.space:40002"),
            Self::Signet => Some("ssl://mempool.space:60602"),
            Self::CustomSignet(_) | Self::Regtest => None,
        };
        let servers = esplora.iter().map(|url| Server::esplora(*url));
        let servers = servers.chain(electrum.map(|url| Server::electrum(url, None)));
        // After all servers, and before them when data cost nothing: `failover::order` says when.
        servers.chain(self.filter_peers().map(Server::Filters)).collect()
    }

    /// Whether there are peers that are found by themselves. A signet of somebody's own has none that DNS knows, and speaks with
    /// a magic of its own, which the filters' peer-to-peer code cannot.
    pub fn has_public_peers(&self) -> bool {
        matches!(self, Self::Bitcoin | Self::Testnet4 | Self::Signet)
    }

    fn filter_peers(&self) -> Option<FilterPeers> {
        self.has_public_peers().then(|| FilterPeers {
            peers: Vec::new(),
            required: filters::REQUIRED,
            proxy: None,
        })
    }

    /// The network of a configuration.
    pub fn of(config: &Config) -> Self {
        match (config.network, &config.challenge) {
            (Network::Signet, Some(challenge)) => Self::CustomSignet(challenge.clone()),
            (Network::Bitcoin, _) => Self::Bitcoin,
            (Network::Signet, None) => Self::Signet,
            (Network::Regtest, _) => Self::Regtest,
            // The old testnet is not supported; nobody can choose it.
            (Network::Testnet | Network::Testnet4, _) => Self::Testnet4,
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bitcoin => f.write_str("bitcoin"),
            Self::Testnet4 => f.write_str("testnet4"),
            Self::Signet => f.write_str("signet"),
            Self::CustomSignet(challenge) => {
                let hash = sha256::Hash::hash(challenge.as_bytes()).to_string();
                // Sixty-four bits: nobody has two signets that share them.
                write!(f, "signet-{}", &hash[..16])
            }
            Self::Regtest => f.write_str("regtest"),
        }
    }
}

/// What stands in the mark.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    version: u8,
    network: String,
}

/// Makes a wallet's folder the configured network's, or finds that it is. A folder without a mark is from before there were
/// marks, or new.
///
/// # Errors
/// [`ErrorCode::WrongNetwork`] if it is another network's; [`ErrorCode::StorageFailed`].
pub fn claim(config: &Config) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(ErrorCode::StorageFailed, format!("{MARK}: {e}"));
    let path = config.data_dir.join(MARK);
    let network = Chain::of(config).to_string();
    let Some(bytes) = files::read_if_present(&path).map_err(failed)? else {
        std::fs::create_dir_all(&config.data_dir).map_err(failed)?;
        return write(&path, network);
    };
    match serde_json::from_slice::<Mark>(&bytes) {
        Ok(mark) if mark.network == network => Ok(()),
        Ok(mark) => {
            let words = format!(
                "the wallet in this folder is of {}, not of {network}",
                mark.network
            );
            Err(Error::new(ErrorCode::WrongNetwork, words))
        }
        // It guards against a mix-up of folders. Money must not go unwatched because a guard is damaged.
        Err(error) => {
            tracing::error!(%error, "the mark of the wallet's folder is damaged; made anew");
            write(&path, network)
        }
    }
}

fn write(path: &Path, network: String) -> Result<()> {
    let mark = Mark { version: 1, network };
    let bytes = serde_json::to_vec(&mark).map_err(|e| Error::new(ErrorCode::Internal, e))?;
    files::write_atomically(path, &bytes)
        .map_err(|e| Error::new(ErrorCode::StorageFailed, format!("{MARK}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_a_name_a_folder_and_servers_that_are_tls() {
        let own = Some("51");
        for (name, challenge, folder, servers) in [
            ("bitcoin", None, "bitcoin", 4),
            ("testnet4", None, "testnet4", 3),
            ("signet", None, "signet", 4),
            ("signet", own, "signet-4ae81572f06e1b88", 0),
            ("regtest", None, "regtest", 0),
        ] {
            let chain = Chain::named(name, challenge).unwrap();
            assert_eq!(
                (chain.folder().as_str(), chain.servers().len()),
                (folder, servers)
            );
            for server in chain.servers() {
                server.validate().unwrap();
            }
            let mut config = Config::new("/x", chain.network(), "https://example.com");
            if let Chain::CustomSignet(challenge) = &chain {
                config.challenge = Some(challenge.clone());
            }
            assert_eq!(Chain::of(&config), chain);
        }
        for (name, challenge) in [
            ("mainnet", None),
            ("bitcoin", own),
            ("signet", Some("")),
            ("signet", Some("xy")),
        ] {
            let error = Chain::named(name, challenge).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{name} {challenge:?}");
        }
    }

    #[test]
    fn a_folder_stays_with_its_network() {
        let dir = tempfile::tempdir().unwrap();
        let config = |network, challenge: Option<&str>| {
            let mut config = Config::new(dir.path().join("wallet"), network, "https://example.com");
            config.challenge = challenge.map(|hex| ScriptBuf::from_hex(hex).unwrap());
            config
        };
        let first = config(Network::Signet, None);
        claim(&first).unwrap();
        claim(&first).unwrap();
        for other in [
            config(Network::Bitcoin, None),
            config(Network::Regtest, None),
            config(Network::Signet, Some("51")),
        ] {
            assert_eq!(claim(&other).unwrap_err().code(), ErrorCode::WrongNetwork);
        }
        std::fs::write(first.data_dir.join(MARK), b"{").unwrap();
        claim(&first).unwrap();
        let other = config(Network::Bitcoin, None);
        assert_eq!(claim(&other).unwrap_err().code(), ErrorCode::WrongNetwork);
    }
}
