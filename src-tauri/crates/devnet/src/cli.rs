//! The command line: what can be typed, and which command it means.

use std::net::SocketAddr;
use std::path::PathBuf;

use bitcoin::Address;
use bitcoin::address::NetworkUnchecked;
use bitcoin::secp256k1::PublicKey;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pilotlight_devnet::{Command, Fault, FaultKind};

/// A real regtest on this machine: bitcoind, an Esplora face, an LSP and two peers.
#[derive(Debug, Parser)]
#[command(name = "pilotlight-devnet", version)]
pub(crate) struct Cli {
    /// The devnet's folder [default: pilotlight-devnet-UID in the system's temporary folder].
    #[arg(long, global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Control endpoint of a running devnet, instead of the one named in DIR/devnet.json.
    #[arg(long, global = true, value_name = "URL", env = "PILOTLIGHT_DEVNET")]
    pub(crate) control: Option<String>,
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Start a devnet and keep it until interrupted. Prints one line of JSON when it is ready.
    Up(UpOptions),
    /// Make sure that there is a bitcoind (building one takes minutes) and print where.
    Bitcoind,
    #[command(flatten)]
    Told(Told),
}

#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// Round-trip time added to each request on the wallet's Esplora listener, milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) rtt: u64,
    /// Mine a block this often, seconds.
    #[arg(long, value_name = "SECS")]
    pub(crate) auto_mine: Option<u64>,
    /// How many peers: 0 none, 1 the LSP, 2 and Alice, 3 and Bob.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) peers: u8,
    /// Open no channels between the peers.
    #[arg(long)]
    pub(crate) no_channels: bool,
    /// Nothing on stderr but errors.
    #[arg(long)]
    pub(crate) json: bool,
    /// End when standard input does.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// Go on when the process that started this one has ended.
    #[arg(long)]
    pub(crate) outlive_parent: bool,
}

/// What a running devnet can be told.
#[derive(Debug, Subcommand)]
pub(crate) enum Told {
    /// Everything about it.
    Info,
    /// Mine blocks and wait until the peers have followed.
    Mine { blocks: u32 },
    /// Pay an address from the faucet (confirmed with the next block).
    Fund {
        address: Address<NetworkUnchecked>,
        sats: u64,
    },
    /// Give a transaction to the mempool.
    Broadcast { hex: String },
    /// Replace the best DEPTH blocks by DEPTH + 1 others.
    Reorg {
        depth: u32,
        /// Put none of the old blocks' transactions into the new ones.
        #[arg(long)]
        empty: bool,
    },
    /// An invoice of a peer; without MSAT the payer chooses the amount.
    Invoice {
        peer: String,
        msat: Option<u64>,
        #[arg(long, default_value = "devnet")]
        description: String,
    },
    /// Let a peer pay an invoice, and wait for the outcome.
    Pay {
        peer: String,
        bolt11: String,
        /// For invoices without an amount.
        #[arg(long)]
        msat: Option<u64>,
        /// Seconds to wait.
        #[arg(long, default_value_t = 30)]
        wait: u64,
    },
    /// How a peer's payment stands.
    Payment {
        peer: String,
        hash: String,
        /// Seconds to wait for the outcome.
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// All Lightning payments of a peer.
    Payments { peer: String },
    /// Let a peer open a channel to NODE_ID@HOST:PORT (usable six blocks later).
    Open {
        peer: String,
        #[arg(value_parser = node_at)]
        to: (PublicKey, SocketAddr),
        sats: u64,
        #[arg(long, default_value_t = 0)]
        push_msat: u64,
        #[arg(long)]
        announce: bool,
    },
    /// Let a peer close a channel.
    Close {
        peer: String,
        user_channel_id: String,
        counterparty: PublicKey,
        #[arg(long)]
        force: bool,
    },
    /// A peer's channels.
    Channels { peer: String },
    /// What a peer owns.
    Balances { peer: String },
    /// A fresh on-chain address of a peer.
    Address { peer: String },
    /// Stop a peer, so that it cannot be reached.
    StopPeer { peer: String },
    /// Start a peer, again or for the first time.
    StartPeer { peer: String },
    /// Make requests of the wallet's Esplora listener go wrong.
    Fault {
        #[command(subcommand)]
        what: FaultAction,
    },
    /// Change the round-trip time of the wallet's Esplora listener.
    Rtt { ms: u64 },
    /// Let the gossip server tell of a made-up network of mainnet's size.
    PublishNetwork {
        /// So many days after it was made up.
        #[arg(long, default_value_t = 0)]
        days: u64,
        /// As of so many hours ago.
        #[arg(long)]
        hours_ago: u64,
    },
    /// What the wallet's Esplora listener carried.
    Traffic {
        /// Start counting anew.
        #[arg(long)]
        reset: bool,
    },
    /// End it.
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultAction {
    /// Set a fault.
    Set {
        kind: Kind,
        /// Leading segments of the path, `*` for any one.
        #[arg(long, default_value = "/")]
        path: String,
        /// Requests it strikes [default: all].
        #[arg(long)]
        times: Option<u32>,
        /// Matching requests let through before.
        #[arg(long, default_value_t = 0)]
        after: u32,
        /// Of `status`.
        #[arg(long, default_value_t = 500)]
        code: u16,
        /// Of `status`: seconds.
        #[arg(long)]
        retry_after: Option<u32>,
        /// Of `delay`.
        #[arg(long, default_value_t = 1_000)]
        ms: u64,
        /// Of `stale-tip`: blocks.
        #[arg(long, default_value_t = 1)]
        behind: u32,
        /// Of `fees`: the rate.
        #[arg(long, default_value_t = 50)]
        sat_per_vb: u32,
    },
    /// Take one fault away, or all.
    Clear { id: Option<u64> },
    /// Show them.
    List,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Never answer.
    Hang,
    /// Answer later (--ms).
    Delay,
    /// An HTTP error (--code, --retry-after).
    Status,
    /// A body of nonsense.
    Garbage,
    /// Close the connection instead of answering.
    Drop,
    /// Close the connection half way through the body.
    DropMidBody,
    /// Another block's header.
    WrongHeader,
    /// Another transaction's proof.
    WrongMerkle,
    /// An older tip (--behind).
    StaleTip,
    /// This fee rate for every target (--sat-per-vb).
    Fees,
}

impl Told {
    /// The command that was typed.
    pub(crate) fn command(self) -> Result<Command, String> {
        Ok(match self {
            Self::Info => Command::Info,
            Self::Mine { blocks } => Command::Mine { blocks },
            Self::Fund { address, sats } => Command::Fund { address, sats },
            Self::Broadcast { hex } => Command::Broadcast { tx: hex },
            Self::Reorg { depth, empty } => Command::Reorg { depth, empty },
            Self::Invoice {
                peer,
                msat,
                description,
            } => Command::Invoice {
                peer,
                amount_msat: msat,
                description,
            },
            Self::Pay {
                peer,
                bolt11,
                msat,
                wait,
            } => Command::Pay {
                peer,
                invoice: bolt11,
                amount_msat: msat,
                wait_secs: wait,
            },
            Self::Payment { peer, hash, wait } => Command::Payment {
                peer,
                hash,
                wait_secs: wait,
            },
            Self::Payments { peer } => Command::Payments { peer },
            Self::Open {
                peer,
                to: (node_id, address),
                sats,
                push_msat,
                announce,
            } => Command::Open {
                peer,
                node_id,
                address,
                sats,
                push_msat,
                announce,
            },
            Self::Close {
                peer,
                user_channel_id,
                counterparty,
                force,
            } => Command::Close {
                peer,
                user_channel_id,
                counterparty,
                force,
            },
            Self::Channels { peer } => Command::Channels { peer },
            Self::Balances { peer } => Command::Balances { peer },
            Self::Address { peer } => Command::Address { peer },
            Self::StopPeer { peer } => Command::StopPeer { peer },
            Self::StartPeer { peer } => Command::StartPeer { peer },
            Self::Fault { what } => what.command()?,
            Self::Rtt { ms } => Command::SetRtt { ms },
            Self::PublishNetwork { days, hours_ago } => Command::PublishNetwork { days, hours_ago },
            Self::Traffic { reset } => Command::Traffic { reset },
            Self::Stop => Command::Stop,
        })
    }
}

impl FaultAction {
    fn command(self) -> Result<Command, String> {
        Ok(match self {
            Self::List => Command::Faults,
            Self::Clear { id: None } => Command::ClearFaults,
            Self::Clear { id: Some(id) } => Command::RemoveFault { id },
            Self::Set {
                kind,
                path,
                times,
                after,
                code,
                retry_after,
                ms,
                behind,
                sat_per_vb,
            } => {
                if !path.starts_with('/') {
                    return Err(format!("a path begins with /: {path}"));
                }
                let kind = match kind {
                    Kind::Hang => FaultKind::Hang,
                    Kind::Delay => FaultKind::Delay { ms },
                    Kind::Status => FaultKind::Status {
                        code,
                        retry_after_secs: retry_after,
                    },
                    Kind::Garbage => FaultKind::Garbage,
                    Kind::Drop => FaultKind::DropConnection { mid_body: false },
                    Kind::DropMidBody => FaultKind::DropConnection { mid_body: true },
                    Kind::WrongHeader => FaultKind::WrongHeader,
                    Kind::WrongMerkle => FaultKind::WrongMerkle,
                    Kind::StaleTip => FaultKind::StaleTip { behind },
                    Kind::Fees => FaultKind::Fees { sat_per_vb },
                };
                Command::SetFault {
                    fault: Fault {
                        path,
                        times,
                        after,
                        kind,
                    },
                }
            }
        })
    }
}

/// Where a devnet lives when nobody says where: one per user, so that commands find it without being told.
pub(crate) fn default_dir() -> PathBuf {
    // SAFETY: getuid cannot fail and touches no memory.
    let uid = unsafe { libc::getuid() };
    std::env::temp_dir().join(format!("pilotlight-devnet-{uid}"))
}

fn node_at(text: &str) -> Result<(PublicKey, SocketAddr), String> {
    let (node_id, address) = text.split_once('@').ok_or("it has the form NODE_ID@HOST:PORT")?;
    let node_id = node_id.parse().map_err(|e| format!("not a node id: {e}"))?;
    let address = address.parse().map_err(|e| format!("not an address: {e}"))?;
    Ok((node_id, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_fault_can_be_typed() {
        let typed = [
            "x",
            "fault",
            "set",
            "status",
            "--path",
            "/tx",
            "--code",
            "429",
            "--retry-after",
            "3",
        ];
        let Action::Told(told) = Cli::try_parse_from(typed).unwrap().action else {
            panic!("not a command")
        };
        let kind = FaultKind::Status {
            code: 429,
            retry_after_secs: Some(3),
        };
        assert_eq!(
            told.command().unwrap(),
            Command::SetFault {
                fault: Fault::new("/tx", kind)
            }
        );
    }

    #[test]
    fn a_bad_node_is_refused() {
        assert!(Cli::try_parse_from(["x", "open", "lsp", "nonsense", "100000"]).is_err());
    }
}
