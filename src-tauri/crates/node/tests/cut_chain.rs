//! A look at the chain that is cut off at any moment, a thousand blocks behind: what was done is not done again, and what comes
//! out is the same.
//!
//! Half of the looks are dropped, and another follows in the same process; half end with the process, and nothing is written
//! that was not written before.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{Address, Amount};
use common::Stage;
use common::faces::Face;
use pilotlight_devnet::{Electrs, copy_folder};
use pilotlight_node::oracle::{AtRest, Digest, Engine};
use pilotlight_node::{ChainChoice, Config, Depth};

/// How far behind the wallet is, in blocks.
const BEHIND: u32 = 1_000;

/// What filters make true at a time, in blocks.
const CHUNK: u32 = 250;

/// How many looks are cut off, of each source. The large figure is run by hand: `PILOTLIGHT_CHAIN_CUTS=100`.
fn cuts() -> u64 {
    std::env::var("PILOTLIGHT_CHAIN_CUTS").map_or(4, |count| count.parse().unwrap())
}

/// A number that looks random, from a seed (SplitMix64).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A peer that counts the blocks that it gives.
struct Counting {
    face: Face,
    blocks: Arc<AtomicU64>,
}

impl Counting {
    async fn before(upstream: std::net::SocketAddr) -> Self {
        let blocks: Arc<AtomicU64> = Arc::default();
        let given = Arc::clone(&blocks);
        let face = Face::changing(upstream, move |message, _| {
            if matches!(message, NetworkMessage::Block(_)) {
                given.fetch_add(1, Ordering::SeqCst);
            }
            Some(message)
        })
        .await;
        Self { face, blocks }
    }

    /// Blocks since the last time.
    fn take(&self) -> u64 {
        self.blocks.swap(0, Ordering::SeqCst)
    }
}

/// The wallet as it was, and what happened since.
struct Story {
    stage: Stage,
    peer: Counting,
    electrs: Option<Electrs>,
    before: u32,
    home: tempfile::TempDir,
}

impl Story {
    /// A channel, and then a thousand blocks with payments, the channel's closing by its peer, and a payment that is not in
    /// a block yet.
    async fn new(source: &Source) -> Self {
        let stage = Stage::with_channel().await;
        let lifecycle = stage.lifecycle();
        let node = lifecycle.enter_foreground().await.unwrap();
        stage.usable(&node).await;
        let mut addresses: Vec<Address> = Vec::new();
        for _ in 0..4 {
            let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
            addresses.push(address.assume_checked());
        }
        let ours: bitcoin::secp256k1::PublicKey = node.node_id().parse().unwrap();
        lifecycle.enter_background().await.unwrap();
        drop(node);
        let peer = Counting::before(stage.devnet.p2p_address()).await;
        let electrs = if Electrs::wanted("cuts over Electrum") {
            Some(Electrs::start(&stage.devnet).await.unwrap())
        } else {
            None
        };
        let before = stage.devnet.height().await.unwrap();
        let mut story = Self {
            stage,
            peer,
            electrs,
            before,
            home: tempfile::tempdir().unwrap(),
        };
        copy_folder(&story.stage.config.data_dir, story.home.path()).unwrap();
        if !story.lacks(source) {
            // The source has seen all that there was.
            let (config, dir) = story.copy_for(source);
            let wallet = AtRest::open(&config, source.engine).unwrap();
            wallet.sync(source.depth).await.unwrap();
            wallet.close().await.unwrap();
            story.home = dir;
        }
        Self::happen(&story.stage, ours, addresses).await;
        if let Some(electrs) = &story.electrs {
            electrs.settle().await.unwrap();
        }
        story.peer.take();
        story
    }

    /// Whether this machine has no such server, and says so.
    fn lacks(&self, source: &Source) -> bool {
        source.engine == Engine::Electrum && self.electrs.is_none()
    }

    /// A copy of the wallet as it was before, and how it is told of the source.
    fn copy_for(&self, source: &Source) -> (Config, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(self.home.path(), dir.path()).unwrap();
        let mut config = self.stage.config.clone();
        dir.path().clone_into(&mut config.data_dir);
        match source.engine {
            Engine::Filters => {
                config.chain = ChainChoice::Filters {
                    peers: vec![self.peer.face.address.into()],
                    required: 1,
                    proxy: None,
                };
            }
            Engine::Electrum => {
                let url = self.electrs.as_ref().unwrap().url();
                config.chain = ChainChoice::Electrum { url, proxy: None };
            }
            _ => {}
        }
        (config, dir)
    }

    async fn happen(stage: &Stage, ours: bitcoin::secp256k1::PublicKey, addresses: Vec<Address>) {
        let before = stage.devnet.height().await.unwrap();
        let lsp = stage.devnet.lsp().unwrap();
        let channel = lsp.channels().remove(0);
        let mut sat = 20_000;
        for address in addresses {
            stage.devnet.fund(&address, Amount::from_sat(sat)).await.unwrap();
            sat += 10_000;
            stage.devnet.mine(110).await.unwrap();
            if sat == 40_000 {
                lsp.force_close_channel(&channel.user_channel_id, ours)
                    .await
                    .unwrap();
                let begun = Instant::now();
                while stage.devnet.mempool().await.unwrap().is_empty() {
                    assert!(
                        begun.elapsed() < Duration::from_secs(30),
                        "no commitment was sent"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                lsp.stop().await.unwrap();
            }
        }
        let now = stage.devnet.height().await.unwrap();
        stage.devnet.mine(BEHIND - (now - before)).await.unwrap();
    }
}

/// A source: how the wallet is told of it, and what it costs uncut.
struct Source {
    name: &'static str,
    engine: Engine,
    depth: Depth,
}

/// One look, to its end or cut off.
struct Looked {
    digest: Digest,
    requests: u64,
    filters: u64,
    took: Duration,
}

async fn look(wallet: &AtRest, depth: Depth) -> Looked {
    let (asked, seen, begun) = (wallet.requests(), wallet.blocks_looked_into(), Instant::now());
    wallet.sync(depth).await.unwrap();
    let (took, requests) = (begun.elapsed(), wallet.requests() - asked);
    let filters = wallet.blocks_looked_into() - seen;
    wallet.handle_events().await;
    Looked {
        digest: wallet.digest(),
        requests,
        filters,
        took,
    }
}

/// Cuts this source's looks off, and says what it saw.
async fn cut(source: Source) {
    let story = Story::new(&source).await;
    if story.lacks(&source) {
        return;
    }
    // Uncut, twice: the second time everything on the way is warm.
    let mut uncut = None;
    for _ in 0..2 {
        let (config, _dir) = story.copy_for(&source);
        let wallet = AtRest::open(&config, source.engine).unwrap();
        uncut = Some(look(&wallet, source.depth).await);
        wallet.close().await.unwrap();
    }
    let uncut = uncut.unwrap();
    let blocks = story.peer.take() / 2;
    let (mut cut, mut most_again, mut most_requests, mut blocks_again) = (0u32, 0u64, 0u64, 0u64);
    let mut seed = 0;
    while u64::from(cut) < cuts() {
        seed += 1;
        assert!(seed < 10 * cuts() + 100, "{}: nothing is cut off", source.name);
        let (config, _dir) = story.copy_for(&source);
        let wallet = AtRest::open(&config, source.engine).unwrap();
        let micros = u64::try_from(uncut.took.as_micros()).unwrap();
        let patience = Duration::from_micros(random(seed) % micros.max(1));
        if tokio::time::timeout(patience, wallet.sync(source.depth))
            .await
            .is_ok()
        {
            wallet.close().await.unwrap();
            story.peer.take();
            continue;
        }
        cut += 1;
        let before = wallet.blocks_looked_into();
        let wallet = if cut.is_multiple_of(2) {
            // As if the process had been killed.
            wallet.abandon().unwrap();
            AtRest::open(&config, source.engine).unwrap()
        } else {
            wallet
        };
        let known = wallet.checkpoint().map_or(story.before, |known| known.height);
        let rest = look(&wallet, source.depth).await;
        let given = story.peer.take();
        wallet.close().await.unwrap();
        let differences = rest.digest.differences(&uncut.digest);
        assert!(
            differences.is_empty(),
            "{}, seed {seed}, cut off after {patience:?}: {differences:#?}",
            source.name
        );
        if source.engine == Engine::Filters {
            let (made_true, left) = (known - story.before, story.before + BEHIND - known);
            assert_eq!(
                rest.filters,
                u64::from(left),
                "seed {seed}: looked into more than was left"
            );
            most_again = most_again.max(before - u64::from(made_true));
            blocks_again = blocks_again.max(given.saturating_sub(blocks));
        } else {
            assert!(
                rest.requests <= uncut.requests,
                "{}, seed {seed}, cut off after {patience:?}: {} requests for the rest, {} for all",
                source.name,
                rest.requests,
                uncut.requests
            );
        }
        most_requests = most_requests.max(rest.requests);
    }
    eprintln!(
        "{}: {cut} looks cut off of {seed}; uncut {:?}, {} requests, {} filters, {blocks} blocks; after a cut at most {most_requests} requests, {most_again} filters and {blocks_again} blocks again",
        source.name, uncut.took, uncut.requests, uncut.filters
    );
    if source.engine == Engine::Filters {
        assert!(
            most_again <= u64::from(CHUNK),
            "{most_again} filters were looked into again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_look_at_esplora_goes_on_where_it_was_cut_off() {
    let (name, engine, depth) = ("esplora, quick", Engine::Ours, Depth::Quick);
    Box::pin(cut(Source { name, engine, depth })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_look_at_esplora_goes_on_where_it_was_cut_off() {
    let (name, engine, depth) = ("esplora, deep", Engine::Ours, Depth::Deep);
    Box::pin(cut(Source { name, engine, depth })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_look_at_electrum_goes_on_where_it_was_cut_off() {
    let (name, engine, depth) = ("electrum, quick", Engine::Electrum, Depth::Quick);
    Box::pin(cut(Source { name, engine, depth })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_look_at_electrum_goes_on_where_it_was_cut_off() {
    let (name, engine, depth) = ("electrum, deep", Engine::Electrum, Depth::Deep);
    Box::pin(cut(Source { name, engine, depth })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_go_on_where_they_were_cut_off() {
    let (name, engine, depth) = ("filters", Engine::Filters, Depth::Quick);
    Box::pin(cut(Source { name, engine, depth })).await;
}
