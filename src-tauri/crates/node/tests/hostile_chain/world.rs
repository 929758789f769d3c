//! A wallet with something of everything, as it was at three moments, and what became of it when nobody lied.
//!
//! The wallet has coins, a channel with a payment that hangs, a channel whose funding is on its way, and one that its peer is
//! closing. Each lane of the test has a man in the middle of its own and its own copies of the wallet, which know the
//! chain from that man and from nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, OutPoint, Txid};
use pilotlight_devnet::copy_folder;
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{Config, Depth, Node};

use crate::common::{Stage, peer, until};
use crate::facts::Facts;
use crate::middle::{Middle, Tell};

/// When the wallet last looked before the lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Everything was in the mempool: a funding, a closing, a payment.
    Early,
    /// All that was in blocks, twenty deep and more, and everybody had been told.
    Late,
    /// At a tip that is in no chain any more, with a payment in it.
    Forked,
}

pub const MOMENTS: [Moment; 3] = [Moment::Early, Moment::Late, Moment::Forked];
pub const DEPTHS: [(Depth, &str); 2] = [(Depth::Quick, "quick"), (Depth::Deep, "deep")];

pub struct World {
    _stage: Stage,
    pub facts: Arc<OnceLock<Facts>>,
    pub lanes: Vec<Lane>,
    /// What nobody was lied to about, by moment and depth.
    controls: BTreeMap<(Moment, &'static str), Control>,
}

/// The wallet before it looked, after that, and what it said and wanted sent meanwhile.
#[derive(Debug, Clone)]
pub struct Control {
    pub before: Digest,
    pub after: Digest,
    /// What could be spent, in sat.
    pub spendable_before: u64,
    pub spendable: u64,
    /// The rate of a payment, in sat per 1000 weight units.
    pub rate: u64,
}

/// One man in the middle, and the wallets that know him alone.
pub struct Lane {
    pub middle: Middle,
    moments: BTreeMap<Moment, tempfile::TempDir>,
    config: Config,
}

impl World {
    pub async fn new(lanes: usize) -> Self {
        let stage = Stage::new().await;
        let facts: Arc<OnceLock<Facts>> = Arc::default();
        let story = Story::until_all_is_in_the_mempool(&stage).await;
        let mut made = Vec::new();
        for _ in 0..lanes {
            let middle = Middle::before(stage.devnet.plain_esplora_url(), Arc::clone(&facts)).await;
            let mut config = stage.config.clone();
            config.esplora_url.clone_from(&middle.url);
            let moments = BTreeMap::new();
            made.push(Lane {
                middle,
                moments,
                config,
            });
        }
        for lane in &mut made {
            lane.note(Moment::Early, &stage.config.data_dir).await;
        }
        stage.devnet.mine(21).await.unwrap();
        story.pay(&stage, 70_000).await;
        stage.devnet.mine(2).await.unwrap();
        for lane in &mut made {
            let early = lane.moments[&Moment::Early].path().to_owned();
            lane.note(Moment::Late, &early).await;
        }
        stage.devnet.mine(1).await.unwrap();
        story.pay(&stage, 90_000).await;
        stage.devnet.mine(1).await.unwrap();
        let (_, left) = stage.devnet.tip().await.unwrap();
        for lane in &mut made {
            let late = lane.moments[&Moment::Late].path().to_owned();
            lane.note(Moment::Forked, &late).await;
        }
        stage.devnet.reorg(1).await.unwrap();
        stage.devnet.mine(1).await.unwrap();
        let closing = stage.devnet.spender(&story.closed).await.unwrap().unwrap();
        let closing = closing.transaction.compute_txid();
        let known = Facts::of(&stage.devnet, left, story.open, closing).await;
        assert!(facts.set(known).is_ok());

        let mut world = Self {
            _stage: stage,
            facts,
            lanes: made,
            controls: BTreeMap::new(),
        };
        for moment in MOMENTS {
            for (depth, name) in DEPTHS {
                let (config, _dir) = world.lanes[0].copy(moment);
                let wallet = AtRest::open(&config, Engine::Ours).unwrap();
                let (before, spendable_before) = (wallet.digest(), wallet.spendable_sat());
                wallet.take_fees().await.unwrap();
                wallet.sync(depth).await.unwrap();
                wallet.handle_events().await;
                let control = Control {
                    before,
                    after: wallet.digest(),
                    spendable_before,
                    spendable: wallet.spendable_sat(),
                    rate: wallet.rate(),
                };
                wallet.close().await.unwrap();
                world.controls.insert((moment, name), control);
            }
        }
        world
    }

    /// The wallet of a moment when nobody lied.
    pub fn control(&self, moment: Moment, depth: &'static str) -> &Control {
        &self.controls[&(moment, depth)]
    }
}

impl Lane {
    /// A copy of the wallet as it was at that moment, gone with the folder.
    pub fn copy(&self, moment: Moment) -> (Config, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(self.moments[&moment].path(), dir.path()).unwrap();
        let mut config = self.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        (config, dir)
    }

    /// From now on, this is said; none is the truth.
    pub fn tell(&self, lie: Option<Tell>) {
        self.middle.tell(lie);
    }

    /// Takes over a wallet from a folder, lets it look through this lane's man, who is honest, and keeps it so.
    async fn note(&mut self, moment: Moment, from: &Path) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(from, dir.path()).unwrap();
        let mut config = self.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        let wallet = AtRest::open(&config, Engine::Ours).unwrap();
        wallet.sync(Depth::Quick).await.unwrap();
        wallet.handle_events().await;
        wallet.close().await.unwrap();
        self.moments.insert(moment, dir);
    }
}

/// What was done with the wallet before anybody lied to it.
struct Story {
    /// Where the wallet can be paid.
    addresses: std::sync::Mutex<Vec<Address>>,
    /// The funding of the channel that stays open.
    open: Txid,
    /// The funding of the one that its peer closes.
    closed: OutPoint,
}

impl Story {
    async fn until_all_is_in_the_mempool(stage: &Stage) -> Self {
        let lifecycle = stage.lifecycle();
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.fund(&node, 2_000_000).await;
        let mut addresses = Vec::new();
        for _ in 0..3 {
            addresses.push(address(&node).await);
        }
        // Coins for three channels: one that will be closed, one with a payment that hangs, one that is being opened.
        for _ in 0..2 {
            let coin = address(&node).await;
            stage.devnet.fund(&coin, Amount::from_sat(700_000)).await.unwrap();
        }
        stage.devnet.mine(1).await.unwrap();
        let to_be_closed = open(stage, &node, 300_000).await;
        stage.devnet.mine(6).await.unwrap();
        stage.usable(&node).await;
        let lsp = stage.devnet.lsp().unwrap();
        let closing = lsp.channels().remove(0);
        let stays = open(stage, &node, 500_000).await;
        stage.devnet.mine(6).await.unwrap();
        node.sync().await.unwrap();
        until("two usable channels", || {
            node.channels().iter().filter(|channel| channel.usable).count() == 2
        })
        .await;
        let hash = [7; 32];
        // More than the smaller channel could carry.
        let invoice = lsp.held_invoice(350_000_000, hash).await.unwrap();
        node.pay(&invoice, None).await.unwrap();
        until("the LSP to hold the payment", || lsp.holds(hash)).await;
        open(stage, &node, 200_000).await;
        node.sync().await.unwrap();
        let ours: bitcoin::secp256k1::PublicKey = node.node_id().parse().unwrap();
        lifecycle.enter_background().await.unwrap();
        drop(node);

        lsp.force_close_channel(&closing.user_channel_id, ours)
            .await
            .unwrap();
        let closed = OutPoint::new(to_be_closed, 0);
        let begun = Instant::now();
        let closed = loop {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "no commitment was sent"
            );
            let mut found = None;
            for vout in 0..2 {
                let outpoint = OutPoint { vout, ..closed };
                let spender = stage.devnet.spender(&outpoint).await.unwrap();
                let commitment =
                    spender.filter(|seen| seen.transaction.lock_time.to_consensus_u32() >> 24 == 0x20);
                found = found.or(commitment.map(|_| outpoint));
            }
            match found {
                Some(outpoint) => break outpoint,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        lsp.stop().await.unwrap();
        let story = Self {
            addresses: std::sync::Mutex::new(addresses),
            open: stays,
            closed,
        };
        story.pay(stage, 50_000).await;
        story
    }

    /// A payment to the wallet, to an address of its own, in no block yet.
    async fn pay(&self, stage: &Stage, sat: u64) {
        let address = self.addresses.lock().unwrap().pop().unwrap();
        stage.devnet.fund(&address, Amount::from_sat(sat)).await.unwrap();
    }
}

async fn address(node: &Node) -> Address {
    let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
    address.assume_checked()
}

/// Opens a channel; its funding is in the mempool when this returns.
async fn open(stage: &Stage, node: &Node, sat: u64) -> Txid {
    node.sync().await.unwrap();
    let before: BTreeSet<Txid> = stage.devnet.mempool().await.unwrap().into_iter().collect();
    node.open_channel(&peer(&stage.devnet), sat).await.unwrap();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "no funding was sent");
        let now = stage.devnet.mempool().await.unwrap();
        if let Some(new) = now.into_iter().find(|txid| !before.contains(txid)) {
            return new;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
