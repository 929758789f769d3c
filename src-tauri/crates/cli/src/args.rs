//! What can be asked on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use bitcoin::Network;
use clap::{Parser, Subcommand, ValueEnum};
use pilotlight_node::{Conditions, GrantKind, HostPort, Network as Data, PeerAddress};

/// Pilotlight's node without a screen.
///
/// Exit codes: 0 done; 1 a fault of ours; 2 wrong usage; 3 you must change something first; 4 try again later; 5 the
/// wallet's files are damaged; 6 the wake was only partly done.
#[derive(Debug, Parser)]
#[command(name = "pilotlight-cli", version)]
pub struct Args {
    /// Where the wallet lives.
    #[arg(long, env = "PILOTLIGHT_DATA_DIR")]
    pub data_dir: PathBuf,
    /// bitcoin, testnet4, signet or regtest.
    #[arg(long, env = "PILOTLIGHT_NETWORK", default_value = "signet")]
    pub network: Network,
    /// Base URL of an Esplora server; https, or on this machine.
    #[arg(
        long,
        env = "PILOTLIGHT_ESPLORA",
        default_value = "https://mempool.space/signet/api"
    )]
    pub esplora: String,
    /// Hear the chain from this Electrum server: ssl://HOST:PORT; tcp://HOST:PORT on this machine, or for an onion service
    /// through the proxy. The Esplora server is not asked then.
    #[arg(
        long,
        env = "PILOTLIGHT_ELECTRUM",
        value_name = "URL",
        conflicts_with = "filters"
    )]
    pub electrum: Option<String>,
    /// A SOCKS5 proxy for the connection to it, such as Tor's at 127.0.0.1:9050.
    #[arg(
        long,
        env = "PILOTLIGHT_ELECTRUM_PROXY",
        value_name = "IP:PORT",
        requires = "electrum"
    )]
    pub electrum_proxy: Option<SocketAddr>,
    /// Hear the chain by compact block filters from these Bitcoin peers, as HOST:PORT; of several, two
    /// must agree. The Esplora server is not asked then.
    #[arg(
        long,
        env = "PILOTLIGHT_FILTERS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub filters: Vec<HostPort>,
    /// A SOCKS5 proxy for the connections to these peers, such as Tor's at 127.0.0.1:9050.
    #[arg(
        long,
        env = "PILOTLIGHT_FILTERS_PROXY",
        value_name = "IP:PORT",
        requires = "filters"
    )]
    pub filters_proxy: Option<SocketAddr>,
    /// Base URL of a Rapid Gossip Sync server, under which `/snapshot/v2/` is; https, or on this machine [default: the
    /// network's public one, if there is one].
    #[arg(long, env = "PILOTLIGHT_GOSSIP", value_name = "URL")]
    pub gossip: Option<String>,
    /// The liquidity provider, as NODE_ID@HOST:PORT.
    #[arg(long, env = "PILOTLIGHT_LSP")]
    pub lsp: Option<PeerAddress>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a wallet and print its recovery words, or bring one back from its words.
    Init {
        /// How many words a new wallet gets: 12 or 24.
        #[arg(long, default_value_t = 12, conflicts_with = "mnemonic")]
        words: u32,
        /// The words of an existing wallet; `-` reads them from stdin, where no process list shows them.
        #[arg(long)]
        mnemonic: Option<String>,
        /// The optional passphrase.
        #[arg(long, env = "PILOTLIGHT_PASSPHRASE")]
        passphrase: Option<String>,
    },
    /// Print a fresh on-chain address.
    Address,
    /// Print what is known of the money.
    Balance,
    /// Send on-chain.
    Send {
        /// Where to.
        address: String,
        /// How much, in sat, or `all`.
        amount: Amount,
    },
    /// Connect to a peer and remember it.
    Connect {
        /// NODE_ID@HOST:PORT.
        peer: PeerAddress,
    },
    /// Open a channel.
    Open {
        /// NODE_ID@HOST:PORT.
        peer: PeerAddress,
        /// How much, in sat.
        amount_sat: u64,
    },
    /// Close a channel.
    Close {
        /// The channel id, hex.
        channel_id: String,
        /// Without the peer: slower and dearer.
        #[arg(long)]
        force: bool,
    },
    /// List the channels.
    Channels,
    /// Make a BOLT11 invoice.
    Invoice {
        /// How much, in msat; none lets the payer choose.
        amount_msat: Option<u64>,
        /// What for.
        #[arg(long, default_value = "")]
        description: String,
        /// Stay up until it is paid, this long at most.
        #[arg(long, value_name = "SECS")]
        wait: Option<u64>,
    },
    /// Pay a BOLT11 invoice, and wait for the end of it.
    Pay {
        /// The invoice.
        bolt11: String,
        /// How much, in msat, if the invoice does not say.
        #[arg(long)]
        amount_msat: Option<u64>,
        /// How long to wait.
        #[arg(long, value_name = "SECS", default_value_t = 60)]
        wait: u64,
    },
    /// List what came and went, newest first.
    Payments,
    /// Do one wake, as the system would grant it, and print its record.
    Wake {
        /// refresh or processing.
        #[arg(long, value_enum, default_value = "refresh")]
        kind: Kind,
        /// How long the grant is. 30 for refresh and 240 for processing are like iOS.
        #[arg(long, value_name = "SECS")]
        budget_secs: Option<u64>,
        /// What the phone is like.
        #[command(flatten)]
        phone: Phone,
    },
    /// Print the records of the last wakes, newest first, whole: with --json they are what the app exports.
    History,
    /// Look at the state capsules, or put the newest in the place of a damaged database.
    Capsule {
        /// What to do with them.
        #[command(subcommand)]
        action: CapsuleAction,
    },
    /// Print our node id.
    NodeId,
    /// Stay up, print what happens, until SIGINT, SIGTERM or the end of stdin.
    Run,
}

/// What to do with the state capsules.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum CapsuleAction {
    /// Print what the two files hold.
    Inspect,
    /// Put the newest capsule in the place of the database. Unless it is proven that no newer state was ever acknowledged,
    /// the wallet will not run channels on it (`"live": false`).
    Restore {
        /// The last generation, if it was recorded elsewhere.
        #[arg(long, value_name = "GENERATION")]
        recorded: Option<u64>,
    },
}

/// `all`, or so many sat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub Option<u64>);

impl std::str::FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|sat| Self(Some(sat)))
            .map_err(|_| "a number of sat, or `all`".to_owned())
    }
}

/// What kind of grant.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Some 30 seconds.
    Refresh,
    /// Some minutes.
    Processing,
}

impl From<Kind> for GrantKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Refresh => Self::Refresh,
            Kind::Processing => Self::Processing,
        }
    }
}

/// What a phone would say of itself; nothing said is not known.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Phone {
    /// The phone's network, by what it costs to use it.
    #[arg(long, value_enum)]
    pub data: Option<DataCost>,
    /// Whether the phone is on external power.
    #[arg(long, value_name = "BOOL")]
    pub on_power: Option<bool>,
    /// Whether the phone is to save power.
    #[arg(long, value_name = "BOOL")]
    pub low_power: Option<bool>,
    /// Memory that is left, in MiB.
    #[arg(long, value_name = "MIB")]
    pub available_mib: Option<u32>,
}

/// A network, by what it costs to use it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DataCost {
    /// There is none.
    Offline,
    /// Low Data Mode.
    Constrained,
    /// Cellular.
    Expensive,
    /// Wi-Fi or a cable.
    Unmetered,
}

impl From<Phone> for Conditions {
    fn from(phone: Phone) -> Self {
        Self {
            network: phone.data.map(|data| match data {
                DataCost::Offline => Data::Offline,
                DataCost::Constrained => Data::Constrained,
                DataCost::Expensive => Data::Expensive,
                DataCost::Unmetered => Data::Unmetered,
            }),
            on_power: phone.on_power,
            low_power: phone.low_power,
            available_memory: phone.available_mib.map(|mib| u64::from(mib) * 1024 * 1024),
        }
    }
}
