//! The contestants, and a look at the chain that must show the same to all of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::{Amount, OutPoint, Transaction};
use futures::future::join_all;
use pilotlight_devnet::{Electrs, Line, copy_folder};
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{ChainChoice, Config, Depth};

use crate::common::Stage;

/// A chain source: its name, which engine, how closely it looks, and how the wallet is told of it.
pub type Source = (&'static str, Engine, Depth, fn(&mut Config, &Props));

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

/// What an output is worth that is there to pay a commitment's fee by (BOLT 3).
const ANCHOR: Amount = Amount::from_sat(330);

/// What sources need besides the devnet.
pub struct Props {
    /// The devnet's Bitcoin peer by two addresses: two peers that must agree.
    peers: [Line; 2],
    /// A real Electrum server, unless this machine has none and says so.
    electrs: Option<Electrs>,
}

impl Props {
    async fn of(stage: &Stage) -> Self {
        let real = stage.devnet.p2p_address();
        Self {
            peers: [Line::to(real).await.unwrap(), Line::to(real).await.unwrap()],
            electrs: if Electrs::wanted("chain sources over Electrum") {
                Some(Electrs::start(&stage.devnet).await.unwrap())
            } else {
                None
            },
        }
    }

    fn has(&self, source: &Source) -> bool {
        self.electrs.is_some() || !matches!(source.1, Engine::SerialElectrum | Engine::Electrum)
    }
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
        peers: props.peers.iter().map(|peer| peer.address().into()).collect(),
        required: 2,
        proxy: None,
    };
}

/// One copy of the wallet, and its source.
pub struct Contestant {
    pub name: &'static str,
    engine: Engine,
    depth: Depth,
    config: Config,
    dir: tempfile::TempDir,
    /// What LDK said since the last look, by a sync that was not one.
    said: Mutex<BTreeSet<String>>,
}

impl Contestant {
    fn new((name, engine, depth, tell): Source, stage: &Stage, props: &Props) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = stage.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        tell(&mut config, props);
        Self {
            name,
            engine,
            depth,
            config,
            dir,
            said: Mutex::default(),
        }
    }

    pub fn open(&self) -> AtRest {
        AtRest::open(&self.config, self.engine).unwrap()
    }

    pub async fn sync(&self, wallet: &AtRest) -> pilotlight_node::Result<()> {
        wallet.sync(self.depth).await.map(drop)
    }

    /// Lets LDK act on what it heard, and writes it down. What it said is compared at the next look.
    pub async fn end(&self, wallet: AtRest) {
        wallet.handle_events().await;
        self.said.lock().unwrap().extend(wallet.digest().events);
        wallet.close().await.unwrap();
    }
}

/// Copies of one wallet, each with its own source.
pub struct Contest<'a> {
    pub stage: &'a Stage,
    pub contestants: Vec<Contestant>,
    props: Arc<Props>,
}

impl<'a> Contest<'a> {
    /// Copies of the stage's wallet, which must be closed.
    pub async fn new(stage: &'a Stage) -> Self {
        Self::copied(stage, Arc::new(Props::of(stage).await))
    }

    /// Fresh copies of the stage's wallet, which has seen nothing of what this contest saw.
    pub fn afresh(&self) -> Self {
        Self::copied(self.stage, Arc::clone(&self.props))
    }

    fn copied(stage: &'a Stage, props: Arc<Props>) -> Self {
        let contest = Self::between_strangers(stage, props);
        for contestant in &contest.contestants {
            copy_folder(&stage.config.data_dir, contestant.dir.path()).unwrap();
        }
        contest
    }

    /// The stage's wallet brought back from its words, by followers of the chain that know nothing.
    pub async fn of_the_words(stage: &'a Stage) -> Self {
        let contest = Self::between_strangers(stage, Arc::new(Props::of(stage).await));
        for contestant in &contest.contestants {
            let seed = "seed.json";
            std::fs::copy(stage.config.data_dir.join(seed), contestant.dir.path().join(seed)).unwrap();
        }
        contest
    }

    fn between_strangers(stage: &'a Stage, props: Arc<Props>) -> Self {
        let there = SOURCES.into_iter().filter(|source| props.has(source));
        let contestants = there.map(|source| Contestant::new(source, stage, &props));
        Self {
            stage,
            contestants: contestants.collect(),
            props,
        }
    }

    /// From now on every answer of every server takes so long.
    pub fn set_rtt(&self, rtt: Duration) {
        self.stage.devnet.set_rtt(rtt);
        let lines = self.props.peers.iter();
        lines
            .chain(self.props.electrs.as_ref().map(Electrs::line))
            .for_each(|line| line.set_rtt(rtt));
    }

    /// Every contestant looks at the chain, and all see the same. What the oracle would send is sent for all of them.
    pub async fn look(&self, what: &str) -> Digest {
        let (digest, outgoing) = self.agree(what).await;
        for transaction in &outgoing {
            // Much of it is refused, being sent already or too early.
            let _ = self.stage.devnet.broadcast(transaction).await;
        }
        digest
    }

    /// Every contestant looks at the chain, and all see the same. Gives the oracle's digest, and what it would send.
    pub async fn agree(&self, what: &str) -> (Digest, Vec<Transaction>) {
        if let Some(electrs) = &self.props.electrs {
            electrs.settle().await.unwrap();
        }
        let looks = self.contestants.iter().map(|one| self.look_of(one, what));
        let mut seen = join_all(looks).await.into_iter();
        let (oracle, outgoing) = seen.next().unwrap();
        for (contestant, (digest, _)) in self.contestants[1..].iter().zip(seen) {
            let differences = if contestant.engine.sees_mempool() {
                digest.differences(&oracle)
            } else {
                digest.confirmed_only().differences(&oracle.confirmed_only())
            };
            assert!(
                differences.is_empty(),
                "{what}: {}, held against the oracle: {differences:#?}",
                contestant.name
            );
        }
        (oracle, outgoing)
    }

    /// One contestant's look: its wallet is opened, brought to the tip and closed, as in a wake.
    async fn look_of(&self, contestant: &Contestant, what: &str) -> (Digest, Vec<Transaction>) {
        let wallet = contestant.open();
        contestant
            .sync(&wallet)
            .await
            .unwrap_or_else(|e| panic!("{what}: {}: {}", contestant.name, e.detail()));
        wallet.handle_events().await;
        let mut digest = wallet.digest();
        let before = std::mem::take(&mut *contestant.said.lock().unwrap());
        if !before.is_empty() {
            // What was said twice because of a way back counts once.
            digest.events = before.into_iter().chain(digest.events).collect();
            digest.events.sort_unstable();
            digest.events.dedup();
        }
        let outgoing = wallet.outgoing();
        let in_time = self.in_time(&outgoing).await;
        digest.spends.retain(|outpoint| in_time.contains(outpoint));
        for outpoint in std::mem::take(&mut digest.spends) {
            let parent = self.stage.devnet.transaction(&outpoint.txid).await.unwrap();
            let confirmed = parent.is_some_and(|parent| parent.height.is_some());
            let place = if confirmed {
                &mut digest.spends
            } else {
                &mut digest.early
            };
            place.insert(outpoint);
        }
        wallet.close().await.unwrap();
        (digest, outgoing)
    }

    /// The outputs that would be spent. The oracle tells of the tip before it tells of what was confirmed under it, and LDK
    /// then wants to send what is too late: what is in a block already, what spends an output that is spent in one, what pays
    /// a fee for what is in one, and whatever spends from those.
    async fn in_time(&self, outgoing: &[Transaction]) -> BTreeSet<OutPoint> {
        let devnet = &self.stage.devnet;
        let (mut late, mut spends) = (BTreeSet::new(), BTreeSet::new());
        for transaction in outgoing {
            let txid = transaction.compute_txid();
            if devnet
                .transaction(&txid)
                .await
                .unwrap()
                .is_some_and(|seen| seen.height.is_some())
            {
                continue;
            }
            let mut too_late = false;
            for input in &transaction.input {
                let outpoint = input.previous_output;
                let spender = devnet.spender(&outpoint).await.unwrap();
                let parent = devnet.transaction(&outpoint.txid).await.unwrap();
                let anchor = parent.is_some_and(|parent| {
                    let output = &parent.transaction.output[outpoint.vout as usize];
                    parent.height.is_some() && output.value == ANCHOR
                });
                too_late |= anchor
                    || late.contains(&outpoint.txid)
                    || spender.is_some_and(|seen| seen.height.is_some());
            }
            if too_late {
                late.insert(txid);
            } else {
                spends.extend(transaction.input.iter().map(|input| input.previous_output));
            }
        }
        spends
    }

    pub async fn mine(&self, blocks: u32) {
        self.stage.devnet.mine(blocks).await.unwrap();
    }

    /// Reorganisations of 1, 3 and 10 blocks, each across what stands in the tip's block now; and two after which it is in no
    /// block, and then in another one.
    pub async fn turns(&self, what: &str) -> Digest {
        let (devnet, mut deep) = (&self.stage.devnet, 1);
        for depth in [1, 3] {
            self.mine(depth - deep).await;
            devnet.reorg(depth).await.unwrap();
            self.look(&format!("{what}: in another block, {depth} reorganised"))
                .await;
            devnet.reorg_empty(depth + 1).await.unwrap();
            self.look(&format!("{what}: in no block, {depth} reorganised"))
                .await;
            self.mine(1).await;
            self.look(&format!("{what}: back in a block")).await;
            deep = 1;
        }
        self.mine(9).await;
        self.look(&format!("{what}: ten deep")).await;
        devnet.reorg(10).await.unwrap();
        self.look(&format!("{what}: in another block, 10 reorganised"))
            .await
    }
}

/// One wallet that sees everything first, apart from the contest. What it sends is in the mempool.
pub struct Scout<'a> {
    contest: Contest<'a>,
}

impl<'a> Scout<'a> {
    /// A fresh copy of the contest's wallet.
    pub fn of(contest: &Contest<'a>) -> Self {
        let mut contest = contest.afresh();
        contest.contestants.truncate(1);
        Self { contest }
    }

    /// Looks at the chain, and sends what there is to send.
    pub async fn look(&self) -> Digest {
        self.contest.look("the scout").await
    }
}
