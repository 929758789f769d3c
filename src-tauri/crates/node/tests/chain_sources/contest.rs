//! The contestants, and a look at the chain that must show the same to all of them.

use std::collections::BTreeSet;

use bitcoin::{OutPoint, Transaction};
use pilotlight_devnet::Electrs;
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{ChainChoice, Config, Depth};

use crate::common::faces::Face;
use crate::common::{Stage, copy};

/// A chain source: its name, which engine, how closely it looks, and how the wallet is told of it.
type Source = (&'static str, Engine, Depth, fn(&mut Config, &Props));

/// The oracle first.
const SOURCES: [Source; 7] = [
    ("serial", Engine::Serial, Depth::Deep, on_esplora),
    ("ours, quick", Engine::Ours, Depth::Quick, on_esplora),
    ("ours, deep", Engine::Ours, Depth::Deep, on_esplora),
    (
        "serial electrum",
        Engine::SerialElectrum,
        Depth::Deep,
        on_electrum,
    ),
    ("electrum, quick", Engine::Electrum, Depth::Quick, on_electrum),
    ("electrum, deep", Engine::Electrum, Depth::Deep, on_electrum),
    ("filters", Engine::Filters, Depth::Quick, on_filters),
];

/// What sources need besides the devnet.
struct Props {
    /// The devnet's Bitcoin peer, and the same by another address: two peers that must agree.
    peers: [std::net::SocketAddr; 2],
    _face: Face,
    /// A real Electrum server, unless this machine has none and says so.
    electrs: Option<Electrs>,
}

fn on_esplora(_: &mut Config, _: &Props) {}

fn on_electrum(config: &mut Config, props: &Props) {
    let electrs = props.electrs.as_ref().expect("it is left out without one");
    config.chain = ChainChoice::Electrum {
        url: electrs.url(),
        proxy: None,
    };
}

fn on_filters(config: &mut Config, props: &Props) {
    config.chain = ChainChoice::Filters {
        peers: props.peers.iter().map(|peer| (*peer).into()).collect(),
        required: 2,
        proxy: None,
    };
}

struct Contestant {
    name: &'static str,
    engine: Engine,
    depth: Depth,
    config: Config,
    _dir: tempfile::TempDir,
}

/// Copies of one wallet, each with its own source.
pub struct Contest<'a> {
    stage: &'a Stage,
    contestants: Vec<Contestant>,
    props: Props,
}

impl<'a> Contest<'a> {
    /// Copies of the stage's wallet, which must be closed.
    pub async fn new(stage: &'a Stage) -> Self {
        let real = stage.devnet.p2p_address();
        let face = Face::honest(real).await;
        let props = Props {
            peers: [real, face.address],
            _face: face,
            electrs: if Electrs::wanted("chain sources over Electrum") {
                Some(Electrs::start(&stage.devnet).await.unwrap())
            } else {
                None
            },
        };
        let there = |source: &&Source| {
            props.electrs.is_some() || !matches!(source.1, Engine::SerialElectrum | Engine::Electrum)
        };
        let contestants = SOURCES.iter().filter(there).map(|(name, engine, depth, tell)| {
            let dir = tempfile::tempdir().unwrap();
            copy(&stage.config.data_dir, dir.path());
            let mut config = stage.config.clone();
            dir.path().clone_into(&mut config.data_dir);
            tell(&mut config, &props);
            Contestant {
                name,
                engine: *engine,
                depth: *depth,
                config,
                _dir: dir,
            }
        });
        Self {
            stage,
            contestants: contestants.collect(),
            props,
        }
    }

    /// Every contestant looks at the chain, and all see the same.
    pub async fn look(&self, what: &str) -> Digest {
        if let Some(electrs) = &self.props.electrs {
            electrs.settle().await.unwrap();
        }
        let mut oracle: Option<(Digest, Vec<Transaction>)> = None;
        for contestant in &self.contestants {
            let (digest, outgoing) = self.look_of(contestant, what).await;
            let Some((oracle, _)) = &oracle else {
                oracle = Some((digest, outgoing));
                continue;
            };
            let differences = if contestant.engine.sees_mempool() {
                digest.differences(oracle)
            } else {
                digest.confirmed_only().differences(&oracle.confirmed_only())
            };
            assert!(
                differences.is_empty(),
                "{what}: {}, held against the oracle: {differences:#?}",
                contestant.name
            );
        }
        let (oracle, outgoing) = oracle.unwrap();
        // For all of them: what the oracle would send. Much of it is refused, being sent already or too early.
        for transaction in outgoing {
            let _ = self.stage.devnet.broadcast(&transaction).await;
        }
        oracle
    }

    /// One contestant's look: its wallet is opened, brought to the tip and closed, as in a wake.
    async fn look_of(&self, contestant: &Contestant, what: &str) -> (Digest, Vec<Transaction>) {
        let wallet = AtRest::open(&contestant.config, contestant.engine).unwrap();
        wallet
            .sync(contestant.depth)
            .await
            .unwrap_or_else(|e| panic!("{what}: {}: {}", contestant.name, e.detail()));
        wallet.handle_events().await;
        let mut digest = wallet.digest();
        let outgoing = wallet.outgoing();
        digest.spends = self.in_time(&outgoing).await;
        wallet.close().await.unwrap();
        (digest, outgoing)
    }

    /// The outputs that would be spent. The oracle tells of the tip before it tells of what was confirmed under it, and LDK
    /// then wants to send what is too late: what spends an output that is spent in a block, and what spends from that.
    async fn in_time(&self, outgoing: &[Transaction]) -> BTreeSet<OutPoint> {
        let (mut late, mut spends) = (BTreeSet::new(), BTreeSet::new());
        for transaction in outgoing {
            let mut too_late = false;
            for input in &transaction.input {
                let outpoint = input.previous_output;
                let spender = self.stage.devnet.spender(&outpoint).await.unwrap();
                too_late |=
                    late.contains(&outpoint.txid) || spender.is_some_and(|seen| seen.height.is_some());
            }
            if too_late {
                late.insert(transaction.compute_txid());
            } else {
                spends.extend(transaction.input.iter().map(|input| input.previous_output));
            }
        }
        spends
    }

    pub async fn mine(&self, blocks: u32) {
        self.stage.devnet.mine(blocks).await.unwrap();
    }
}
