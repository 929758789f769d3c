//! Who looks at the chain, by which server, and what the way there carried.

use std::path::Path;
use std::time::Duration;

use pilotlight_devnet::{Carried, Devnet, Electrs, Line, copy_folder};
use pilotlight_node::Depth;
use pilotlight_node::oracle::Engine;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::theirs::Theirs;
use crate::wallet;

/// Somebody who looks.
pub struct Contestant {
    /// As the figures call it.
    pub name: &'static str,
    who: Who,
    server: Server,
    /// With whom it is compared.
    pub rivals: &'static [&'static str],
}

enum Who {
    Ours(Engine, Depth),
    LdkNode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Esplora,
    Electrum,
    Filters,
}

/// All of them. `quick` is what a wake does, `deep` what an open app does; `serial` asks as deeply as the latter. What has no
/// other server in its name is on Esplora.
pub const CONTESTANTS: [Contestant; 8] = [
    contestant(
        "serial",
        Who::Ours(Engine::Serial, Depth::Deep),
        Server::Esplora,
        &[],
    ),
    contestant("ldk-node", Who::LdkNode, Server::Esplora, &[]),
    contestant(
        "quick",
        Who::Ours(Engine::Ours, Depth::Quick),
        Server::Esplora,
        &["serial", "ldk-node"],
    ),
    contestant(
        "deep",
        Who::Ours(Engine::Ours, Depth::Deep),
        Server::Esplora,
        &["serial", "ldk-node"],
    ),
    contestant(
        "electrum-serial",
        Who::Ours(Engine::SerialElectrum, Depth::Deep),
        Server::Electrum,
        &[],
    ),
    contestant("electrum-ldk-node", Who::LdkNode, Server::Electrum, &[]),
    contestant(
        "electrum",
        Who::Ours(Engine::Electrum, Depth::Quick),
        Server::Electrum,
        &["electrum-serial", "electrum-ldk-node"],
    ),
    contestant(
        "filters",
        Who::Ours(Engine::Filters, Depth::Quick),
        Server::Filters,
        &["ldk-node"],
    ),
];

const fn contestant(
    name: &'static str,
    who: Who,
    server: Server,
    rivals: &'static [&'static str],
) -> Contestant {
    Contestant {
        name,
        who,
        server,
        rivals,
    }
}

/// The contestant of this name.
pub fn named(name: &str) -> &'static Contestant {
    CONTESTANTS
        .iter()
        .find(|contestant| contestant.name == name)
        .unwrap()
}

impl Contestant {
    /// The engine and how closely it looks, if it is ours.
    pub fn ours(&self) -> Option<(Engine, Depth)> {
        match self.who {
            Who::Ours(engine, depth) => Some((engine, depth)),
            Who::LdkNode => None,
        }
    }
}

/// The devnet, and the ways to it.
pub struct Servers<'a> {
    devnet: Devnet,
    theirs: &'a Theirs,
    electrs: Electrs,
    /// Two ways to the Bitcoin peer: two peers that must agree.
    peers: [Line; 2],
}

/// Sleeping wallets: one of ours for each kind of server, which remembers what it has seen by that one, and ldk-node's.
pub struct Homes {
    esplora: tempfile::TempDir,
    electrum: tempfile::TempDir,
    filters: tempfile::TempDir,
    theirs: tempfile::TempDir,
}

impl<'a> Servers<'a> {
    /// Ways to this devnet.
    pub async fn before(devnet: Devnet, theirs: &'a Theirs) -> Self {
        let peer = devnet.p2p_address();
        let peers = [Line::to(peer).await.unwrap(), Line::to(peer).await.unwrap()];
        Self {
            electrs: Electrs::start(&devnet).await.unwrap(),
            devnet,
            theirs,
            peers,
        }
    }

    /// Mines.
    pub async fn mine(&self, blocks: u32) {
        self.devnet.mine(blocks).await.unwrap();
        self.electrs.settle().await.unwrap();
    }

    /// How long there and back take from now on, on every way. For Esplora it is added to each request and not to
    /// connecting.
    pub fn set_rtt(&self, rtt: Duration) {
        self.devnet.set_rtt(rtt);
        for line in self.lines() {
            line.set_rtt(rtt);
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.peers.iter().chain([self.electrs.line()])
    }

    /// Wallets with so many channels, asleep.
    pub async fn homes(&self, channels: u32) -> Homes {
        let [esplora, electrum, filters, theirs] = [(); 4].map(|()| tempfile::tempdir().unwrap());
        wallet::make(&self.devnet, esplora.path(), channels).await;
        self.theirs.make(&self.devnet, theirs.path(), channels).await;
        for copy in [&electrum, &filters] {
            copy_folder(esplora.path(), copy.path()).unwrap();
        }
        self.electrs.settle().await.unwrap();
        let homes = Homes {
            esplora,
            electrum,
            filters,
            theirs,
        };
        // A last look of each by its own server, so that all fall asleep at the same block and remember what they have seen.
        let own = [
            ("deep", &homes.esplora),
            ("electrum", &homes.electrum),
            ("filters", &homes.filters),
        ];
        for (name, home) in own {
            self.ours(home.path(), named(name)).await;
        }
        let chain = self.their_chain(Server::Esplora);
        self.theirs.sync(homes.theirs.path(), &chain).await.unwrap();
        homes
    }

    /// One look in a process of its own, at a copy of the wallet, and what it cost.
    pub async fn look(&self, homes: &Homes, contestant: &Contestant) -> Value {
        let home = match (&contestant.who, contestant.server) {
            (Who::LdkNode, _) => &homes.theirs,
            (_, Server::Esplora) => &homes.esplora,
            (_, Server::Electrum) => &homes.electrum,
            (_, Server::Filters) => &homes.filters,
        };
        let copy = tempfile::tempdir().unwrap();
        copy_folder(home.path(), copy.path()).unwrap();
        self.devnet.reset_traffic();
        for line in self.lines() {
            line.take_carried();
        }
        let mut result = match contestant.who {
            Who::Ours(..) => self.ours(copy.path(), contestant).await,
            Who::LdkNode => {
                let chain = self.their_chain(contestant.server);
                match self.theirs.sync(copy.path(), &chain).await {
                    Ok(mut said) => {
                        said["wall_ms"] = said["sync_ms"].take();
                        said
                    }
                    Err(why) => json!({ "failed": why }),
                }
            }
        };
        let tip = self.devnet.height().await.unwrap();
        assert!(
            result["height"] == tip || !result["failed"].is_null(),
            "{} is at the tip",
            contestant.name
        );
        match contestant.server {
            Server::Esplora => {
                let traffic = self.devnet.traffic();
                result["requests"] = json!(traffic.requests);
                result["connections"] = json!(traffic.connections);
                result["bytes"] = json!(traffic.bytes_in + traffic.bytes_out);
            }
            other => {
                let carried: Vec<Carried> = self.lines().map(Line::take_carried).collect();
                let sum = |of: fn(&Carried) -> u64| carried.iter().map(of).sum::<u64>();
                result["connections"] = json!(sum(|line| line.connections));
                result["bytes"] = json!(sum(|line| line.up + line.down));
                if other == Server::Electrum {
                    result["requests"] = json!(sum(|line| line.lines));
                }
            }
        }
        result
    }

    fn their_chain(&self, server: Server) -> crate::theirs::Chain {
        match server {
            Server::Electrum => ("--electrum", self.electrs.url()),
            Server::Esplora | Server::Filters => ("--esplora", self.devnet.esplora_url()),
        }
    }

    async fn ours(&self, dir: &Path, contestant: &Contestant) -> Value {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["once", "--with", contestant.name, "--esplora"])
            .arg(self.devnet.esplora_url())
            .arg("--dir")
            .arg(dir);
        match contestant.server {
            Server::Esplora => {}
            Server::Electrum => {
                command.args(["--electrum", &self.electrs.url()]);
            }
            Server::Filters => {
                let peers = self.peers.iter().map(|line| line.address().to_string());
                command.args(["--peers", &peers.collect::<Vec<_>>().join(",")]);
            }
        }
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}: {said}", contestant.name))
    }
}
