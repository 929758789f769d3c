//! What the environment says on a desktop: where the files are, which network, which servers. On a phone it says nothing.
//!
//! Who names a network, or anything that belongs to one, settles it; otherwise the person chooses (see `wallets`).

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilotlight_node::chain::networks::Chain;
use pilotlight_node::gossip::Server;
use pilotlight_node::{Config, HostPort, PeerAddress};
use tauri::{AppHandle, Manager};

/// The wallet's folder. Default: the app's own data folder.
const DATA_DIR: &str = "PILOTLIGHT_DATA_DIR";
/// `bitcoin`, `testnet4`, `signet` or `regtest`. Default: what the person chose.
const NETWORK: &str = "PILOTLIGHT_NETWORK";
/// The challenge of a signet of somebody's own, in hex (BIP325). Default: the public signet's.
const CHALLENGE: &str = "PILOTLIGHT_SIGNET_CHALLENGE";
/// Base URL of the only Esplora server to ask. Default: the network's public servers, the first that answers.
const ESPLORA: &str = "PILOTLIGHT_ESPLORA";
/// Bitcoin peers with compact block filters, `HOST:PORT,…`, for a person who wants to ask no server. Default: some that DNS
/// knows.
const FILTERS: &str = "PILOTLIGHT_FILTERS";
/// Base URL of a Rapid Gossip Sync server. Default: the network's public one, if there is one.
const GOSSIP: &str = "PILOTLIGHT_GOSSIP";
/// The liquidity provider, `NODE_ID@HOST:PORT`. Default: none.
const LSP: &str = "PILOTLIGHT_LSP";
/// For developers: the simulated system launches a refresh task every so many seconds, so that there is something to
/// watch. Default: it keeps to the tasks' earliest dates, as a phone would. Release builds do not read it.
const WAKE_EVERY: &str = "PILOTLIGHT_WAKE_EVERY_SECS";

/// What belongs to one network. The wallet that is named by one of these stays the one in use.
const SETTLING: [&str; 7] = [DATA_DIR, NETWORK, CHALLENGE, ESPLORA, FILTERS, GOSSIP, LSP];

/// What the environment, or its silence, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    data_dir: Option<PathBuf>,
    /// The network, unless it is the person's to choose.
    settled: Option<Chain>,
    /// The only server to ask, if there is one.
    esplora_url: Option<String>,
    filter_peers: Vec<HostPort>,
    gossip_url: Option<String>,
    lsp: Option<PeerAddress>,
    wake_every: Option<Duration>,
}

/// What is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The network is none of ours, or the challenge is none of a signet.
    #[error("{NETWORK}={0}: {1}")]
    Network(String, String),
    /// There is no public server of this network.
    #[error("{ESPLORA} must be set for {0}")]
    EsploraMissing(String),
    /// A peer's address is not one.
    #[error("{FILTERS}={0}: must look like HOST:PORT,HOST:PORT")]
    Filters(String),
    /// The liquidity provider's address is not one.
    #[error("{LSP}={0}: must look like NODE_ID@HOST:PORT")]
    Lsp(String),
    /// The time between simulated launches is not one.
    #[error("{WAKE_EVERY}={0}: must be a whole number of seconds, 1 or more")]
    WakeEvery(String),
}

impl Settings {
    /// Reads the environment on desktops; phones have none to speak of.
    ///
    /// # Errors
    /// The first variable that makes no sense.
    pub fn from_environment() -> Result<Self, SettingsError> {
        if cfg!(desktop) {
            Self::read(|name| std::env::var(name).ok())
        } else {
            Self::read(|_| None)
        }
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let is_settled = SETTLING.iter().any(|name| variable(name).is_some());
        let name = variable(NETWORK).unwrap_or_else(|| "signet".to_owned());
        let chain = Chain::named(&name, variable(CHALLENGE).as_deref())
            .map_err(|error| SettingsError::Network(name, error.detail().to_owned()))?;
        let esplora_url = variable(ESPLORA);
        if esplora_url.is_none() && chain.servers().is_empty() {
            return Err(SettingsError::EsploraMissing(chain.to_string()));
        }
        let filter_peers = variable(FILTERS)
            .map(|text| {
                let peers: Result<_, _> = text.split(',').map(str::parse::<HostPort>).collect();
                peers.map_err(|_| SettingsError::Filters(text))
            })
            .transpose()?
            .unwrap_or_default();
        let lsp = variable(LSP)
            .map(|text| text.parse::<PeerAddress>().map_err(|_| SettingsError::Lsp(text)))
            .transpose()?;
        let wake_every = variable(WAKE_EVERY)
            .filter(|_| cfg!(debug_assertions))
            .map(|text| match text.parse::<NonZeroU32>() {
                Ok(secs) => Ok(Duration::from_secs(secs.get().into())),
                Err(_) => Err(SettingsError::WakeEvery(text)),
            })
            .transpose()?;
        Ok(Self {
            data_dir: variable(DATA_DIR).map(PathBuf::from),
            settled: is_settled.then_some(chain),
            esplora_url,
            filter_peers,
            gossip_url: variable(GOSSIP),
            lsp,
            wake_every,
        })
    }

    /// How often the simulated system is to launch a refresh task beside what it does by itself, if at all.
    #[cfg(desktop)]
    pub fn wake_every(&self) -> Option<Duration> {
        self.wake_every
    }

    /// The network, if the environment settles it. `None`: the person chooses.
    pub fn settled(&self) -> Option<&Chain> {
        self.settled.as_ref()
    }

    /// The folder of all that the app keeps.
    ///
    /// # Errors
    /// If the system does not know where an app keeps its data.
    pub fn folder(&self, app: &AppHandle) -> tauri::Result<PathBuf> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => app.path().app_data_dir(),
        }
    }

    /// The folder of a network's wallet, in the folder of all. A folder that the environment names is the wallet's itself.
    fn wallet_folder(&self, folder: &Path, chain: &Chain) -> PathBuf {
        match &self.data_dir {
            Some(dir) => dir.clone(),
            None => folder.join(chain.folder()),
        }
    }

    /// The configuration of a network's wallet, in the folder of all.
    pub fn config(&self, folder: &Path, chain: &Chain) -> Config {
        let (data_dir, network) = (self.wallet_folder(folder, chain), chain.network());
        let mut config = match &self.esplora_url {
            Some(url) => Config::new(data_dir, network, url.clone()),
            None => Config::asking(data_dir, network, chain.servers()),
        };
        if let Chain::CustomSignet(challenge) = chain {
            config.challenge = Some(challenge.clone());
        }
        config.filter_peers.clone_from(&self.filter_peers);
        config.lsp.clone_from(&self.lsp);
        if let Some(base) = &self.gossip_url {
            config.gossip = Some(Server::at(base));
        }
        config
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What an environment with these variables says.
    pub fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn silence_leaves_the_network_to_the_person_and_asks_its_public_servers() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.settled(), None);
        for chain in [Chain::Bitcoin, Chain::Signet, Chain::Testnet4] {
            let config = settings.config(Path::new("/x"), &chain);
            assert_eq!(config.data_dir, Path::new("/x").join(chain.folder()));
            assert_eq!(config.chain_servers(), chain.servers());
            config.validate().unwrap();
        }
        assert_eq!(
            (settings.data_dir, settings.lsp, settings.wake_every),
            (None, None, None)
        );
        assert_eq!(read(&[(NETWORK, "")]).unwrap().settled(), None);
        assert_eq!(read(&[(WAKE_EVERY, "9")]).unwrap().settled(), None);
    }

    #[test]
    fn whoever_names_what_belongs_to_a_network_settles_it() {
        let lsp = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798@127.0.0.1:9735";
        for (variables, chain) in [
            (&[(NETWORK, "bitcoin")][..], Chain::Bitcoin),
            (&[(NETWORK, "signet")], Chain::Signet),
            (&[(DATA_DIR, "/x")], Chain::Signet),
            (&[(ESPLORA, "https://signet.example")], Chain::Signet),
            (&[(FILTERS, "127.0.0.1:38333")], Chain::Signet),
            (&[(GOSSIP, "https://rgs.example")], Chain::Signet),
            (&[(LSP, lsp)], Chain::Signet),
            (&[(NETWORK, "testnet4"), (DATA_DIR, "/x")], Chain::Testnet4),
        ] {
            let settings = read(variables).unwrap();
            assert_eq!(settings.settled(), Some(&chain), "{variables:?}");
        }
        // The folder that was named is the wallet's own, as it always was.
        let named = read(&[(DATA_DIR, "/x")]).unwrap();
        assert_eq!(
            named.config(Path::new("/x"), &Chain::Signet).data_dir,
            Path::new("/x")
        );
    }

    #[test]
    fn the_environment_is_taken_at_its_word() {
        let lsp = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798@127.0.0.1:9735";
        let settings = read(&[
            (NETWORK, "regtest"),
            (ESPLORA, "http://127.0.0.1:3002"),
            (FILTERS, "127.0.0.1:18444,localhost:1"),
            (LSP, lsp),
            (DATA_DIR, "/x"),
            (WAKE_EVERY, "45"),
        ])
        .unwrap();
        assert_eq!(settings.settled(), Some(&Chain::Regtest));
        let config = settings.config(Path::new("/x"), &Chain::Regtest);
        assert_eq!(config.esplora_url, "http://127.0.0.1:3002");
        assert_eq!((config.chain_servers().len(), config.filter_peers.len()), (1, 2));
        assert_eq!(settings.lsp.unwrap().to_string(), lsp);
        assert_eq!(settings.data_dir, Some(PathBuf::from("/x")));
        assert_eq!(settings.wake_every, Some(Duration::from_secs(45)));
    }

    #[test]
    fn a_signet_of_ones_own_has_its_own_folder_and_needs_a_server() {
        assert_eq!(
            read(&[(CHALLENGE, "51")]),
            Err(SettingsError::EsploraMissing("signet-4ae81572f06e1b88".into()))
        );
        let settings = read(&[(CHALLENGE, "51"), (ESPLORA, "https://signet.example")]).unwrap();
        let chain = settings.settled().unwrap();
        let config = settings.config(Path::new("/x"), chain);
        assert_ne!(config.data_dir, Path::new("/x").join(Chain::Signet.folder()));
        assert!(config.challenge.is_some());
    }

    #[test]
    fn nonsense_is_named() {
        for network in [
            &[(NETWORK, "mainnet")][..],
            &[(NETWORK, "bitcoin"), (CHALLENGE, "51")],
        ] {
            assert!(
                matches!(read(network), Err(SettingsError::Network(..))),
                "{network:?}"
            );
        }
        assert_eq!(
            read(&[(NETWORK, "regtest")]),
            Err(SettingsError::EsploraMissing("regtest".into()))
        );
        assert_eq!(read(&[(FILTERS, "x")]), Err(SettingsError::Filters("x".into())));
        assert_eq!(read(&[(LSP, "here")]), Err(SettingsError::Lsp("here".into())));
        for nonsense in ["0", "-1", "1.5", "soon", "4294967296"] {
            assert_eq!(
                read(&[(WAKE_EVERY, nonsense)]),
                Err(SettingsError::WakeEvery(nonsense.into()))
            );
        }
    }
}
