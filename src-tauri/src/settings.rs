//! Which wallet this is: where its files are, which network, which servers. On desktops the environment may say.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use pilotlight_node::gossip::Server;
use pilotlight_node::{Config, PeerAddress};
use tauri::{AppHandle, Manager};

/// The wallet's folder. Default: the app's own data folder.
const DATA_DIR: &str = "PILOTLIGHT_DATA_DIR";
/// `bitcoin`, `testnet4`, `signet` or `regtest`. Default: signet, until the app was reviewed for real money.
const NETWORK: &str = "PILOTLIGHT_NETWORK";
/// Base URL of an Esplora server. Default: a public one of the network.
const ESPLORA: &str = "PILOTLIGHT_ESPLORA";
/// Base URL of a Rapid Gossip Sync server. Default: the network's public one, if there is one.
const GOSSIP: &str = "PILOTLIGHT_GOSSIP";
/// The liquidity provider, `NODE_ID@HOST:PORT`. Default: none.
const LSP: &str = "PILOTLIGHT_LSP";
/// For developers: the simulated system launches a refresh task every so many seconds, so that there is something to
/// watch. Default: it keeps to the tasks' earliest dates, as a phone would. Release builds do not read it.
const WAKE_EVERY: &str = "PILOTLIGHT_WAKE_EVERY_SECS";

/// What the environment, or its silence, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    data_dir: Option<PathBuf>,
    network: &'static Network,
    esplora_url: String,
    gossip_url: Option<String>,
    lsp: Option<PeerAddress>,
    wake_every: Option<Duration>,
}

/// What is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The network is none of ours.
    #[error("{NETWORK}={0}: must be bitcoin, testnet4, signet or regtest")]
    Network(String),
    /// There is no public Esplora server of this network.
    #[error("{ESPLORA} must be set for {0}")]
    EsploraMissing(&'static str),
    /// The liquidity provider's address is not one.
    #[error("{LSP}={0}: must look like NODE_ID@HOST:PORT")]
    Lsp(String),
    /// The time between simulated launches is not one.
    #[error("{WAKE_EVERY}={0}: must be a whole number of seconds, 1 or more")]
    WakeEvery(String),
}

#[derive(Debug, PartialEq, Eq)]
struct Network {
    name: &'static str,
    kind: bitcoin::Network,
    esplora_url: Option<&'static str>,
}

const NETWORKS: [Network; 4] = [
    Network {
        name: "bitcoin",
        kind: bitcoin::Network::Bitcoin,
        esplora_url: Some("https://blockstream.info/api"),
    },
    Network {
        name: "testnet4",
        kind: bitcoin::Network::Testnet4,
        esplora_url: Some("https://mempool.space/testnet4/api"),
    },
    Network {
        name: "signet",
        kind: bitcoin::Network::Signet,
        esplora_url: Some("https://blockstream.info/signet/api"),
    },
    Network {
        name: "regtest",
        kind: bitcoin::Network::Regtest,
        esplora_url: None,
    },
];

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
        let name = variable(NETWORK).unwrap_or_else(|| "signet".to_owned());
        let network = NETWORKS
            .iter()
            .find(|network| network.name == name)
            .ok_or(SettingsError::Network(name))?;
        let esplora_url = variable(ESPLORA)
            .or_else(|| network.esplora_url.map(str::to_owned))
            .ok_or(SettingsError::EsploraMissing(network.name))?;
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
            network,
            esplora_url,
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

    /// The wallet's folder. By default each network has one of its own in the app's data folder.
    ///
    /// # Errors
    /// If the system does not know where an app keeps its data.
    pub fn data_dir(&self, app: &AppHandle) -> tauri::Result<PathBuf> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(app.path().app_data_dir()?.join(self.network.name)),
        }
    }

    /// The node's configuration.
    ///
    /// # Errors
    /// As [`Self::data_dir`].
    pub fn config(&self, app: &AppHandle) -> tauri::Result<Config> {
        let mut config = Config::new(self.data_dir(app)?, self.network.kind, self.esplora_url.clone());
        config.lsp.clone_from(&self.lsp);
        if let Some(base) = &self.gossip_url {
            config.gossip = Some(Server::at(base));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn silence_means_signet_with_a_public_server() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.network.kind, bitcoin::Network::Signet);
        assert_eq!(settings.esplora_url, "https://blockstream.info/signet/api");
        assert_eq!(
            (settings.data_dir, settings.lsp, settings.wake_every),
            (None, None, None)
        );
        assert_eq!(read(&[(NETWORK, "")]).unwrap().network.name, "signet");
    }

    #[test]
    fn the_environment_is_taken_at_its_word() {
        let lsp = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798@127.0.0.1:9735";
        let settings = read(&[
            (NETWORK, "regtest"),
            (ESPLORA, "http://127.0.0.1:3002"),
            (LSP, lsp),
            (DATA_DIR, "/x"),
            (WAKE_EVERY, "45"),
        ])
        .unwrap();
        assert_eq!(settings.network.kind, bitcoin::Network::Regtest);
        assert_eq!(settings.esplora_url, "http://127.0.0.1:3002");
        assert_eq!(settings.lsp.unwrap().to_string(), lsp);
        assert_eq!(settings.data_dir, Some(PathBuf::from("/x")));
        assert_eq!(settings.wake_every, Some(Duration::from_secs(45)));
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            read(&[(NETWORK, "mainnet")]),
            Err(SettingsError::Network("mainnet".into()))
        );
        assert_eq!(
            read(&[(NETWORK, "regtest")]),
            Err(SettingsError::EsploraMissing("regtest"))
        );
        assert_eq!(read(&[(LSP, "here")]), Err(SettingsError::Lsp("here".into())));
        for nonsense in ["0", "-1", "1.5", "soon", "4294967296"] {
            assert_eq!(
                read(&[(WAKE_EVERY, nonsense)]),
                Err(SettingsError::WakeEvery(nonsense.into()))
            );
        }
    }
}
