//! What the trials act on: a devnet, a wallet with five channels and a payment that somebody holds, and what must be true
//! of it all after each trial.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use pilotlight_devnet::{Devnet, PaymentState};
use pilotlight_node::{
    Config, ErrorCode, Invoice, Lifecycle, Node, PaymentStatus, PeerAddress, WakeOutcome, WordCount,
};
use tokio::task::JoinHandle;

use crate::chance::Chance;
use crate::common::{LIMIT, Wallet, until};

/// Blocks until a held payment runs out, at its payee. Three trials fit in, and it fits into the 1,008 blocks that LDK
/// lets a whole route take.
const FINAL_CLTV: u16 = 980;

/// Who the channels are with.
const CHANNELS: [&str; 5] = ["lsp", "lsp", "lsp", "alice", "bob"];

const HELD_MSAT: u64 = 60_000_000;
const RECEIVED_MSAT: u64 = 1_000_000;

/// A held payment in its life of three trials.
struct Held {
    preimage: [u8; 32],
    hash: [u8; 32],
    trials: u32,
    claimed: Option<bool>,
}

pub struct World {
    pub wallet: Wallet,
    ours: PublicKey,
    channels: BTreeSet<String>,
    /// What we can send in all channels together, when all is settled.
    outbound_msat: u64,
    held: Option<Held>,
    /// Ends of held payments so far: every other one is claimed.
    pub ends: u32,
    /// An invoice of ours that the LSP pays in the middle of the wake.
    invoice: Invoice,
    /// How many of its payments arrived.
    pub received: u32,
    /// How long a wake takes, on the fast and on the slow network.
    lasts: [Duration; 2],
}

impl World {
    /// A wallet with three channels to the LSP and one to each of two others.
    pub async fn new(chance: &mut Chance) -> Self {
        let wallet = Wallet::new().await;
        let lifecycle = lifecycle(&wallet);
        lifecycle.create_wallet(WordCount::Twelve, None).await.unwrap();
        let node = lifecycle.enter_foreground().await.unwrap();
        let devnet = &wallet.devnet;
        let address: bitcoin::Address<_> = node.new_address().await.unwrap().parse().unwrap();
        let amount = bitcoin::Amount::from_sat(10_000_000);
        devnet.fund(&address.assume_checked(), amount).await.unwrap();
        for name in CHANNELS {
            let peer = devnet.ensure_peer(name).await.unwrap();
            devnet.mine(1).await.unwrap();
            node.sync().await.unwrap();
            let address: PeerAddress = peer.info().uri().parse().unwrap();
            node.open_channel(&address, 700_000).await.unwrap();
        }
        devnet.mine(6).await.unwrap();
        usable(devnet, &node, "at first").await;
        let mut world = Self {
            ours: node.node_id().parse().unwrap(),
            channels: node.channels().into_iter().map(|c| c.channel_id).collect(),
            outbound_msat: outbound_msat(&node),
            held: None,
            ends: 0,
            invoice: node.create_invoice(Some(RECEIVED_MSAT), "").await.unwrap(),
            received: 0,
            lasts: [Duration::from_secs(2), Duration::from_secs(4)],
            wallet,
        };
        // Something on the other side, so that it can come back.
        let lsp = world.devnet().lsp().unwrap();
        let invoice = lsp.invoice(Some(200_000_000), "").await.unwrap();
        let paid = node.pay(&invoice, None).await.unwrap();
        lsp.wait_payment(&paid.id, LIMIT).await.unwrap();
        world.outbound_msat -= 200_000_000;
        world.prepare(&node, chance).await;
        lifecycle.enter_background().await.unwrap();
        world.wait_until_peers_know_we_are_gone().await;
        world
    }

    pub fn devnet(&self) -> &Devnet {
        &self.wallet.devnet
    }

    /// A new owner of the same wallet, as a new process would have.
    pub fn lifecycle(&self) -> Arc<Lifecycle> {
        lifecycle(&self.wallet)
    }

    /// A random moment of a wake, a little longer than the last one took. Every other one comes before the wake has nothing
    /// to do but to wait.
    pub fn moment(&self, slow: bool, chance: &mut Chance) -> Duration {
        let lasts = self.lasts[usize::from(slow)];
        let end = if chance.next().is_multiple_of(2) {
            lasts
        } else {
            lasts / 3
        };
        chance.before(end)
    }

    pub fn learn(&mut self, slow: bool, lasted: Duration) {
        self.lasts[usize::from(slow)] = lasted;
    }

    /// Blocks come while the wallet sleeps, and everybody else follows them. A held payment near its end is claimed or sent
    /// back by its payee, unknown to the wallet.
    pub async fn sleep_through(&mut self, blocks: u32, chance: &mut Chance) {
        if self.held.is_none() {
            let lifecycle = self.lifecycle();
            let node = lifecycle.enter_foreground().await.unwrap();
            usable(self.devnet(), &node, "between").await;
            self.prepare(&node, chance).await;
            lifecycle.enter_background().await.unwrap();
            self.wait_until_peers_know_we_are_gone().await;
        }
        let lsp = self.devnet().lsp().unwrap();
        let ends = self.ends;
        let held = self.held.as_mut().unwrap();
        held.trials += 1;
        if held.trials == 3 {
            let claim = ends.is_multiple_of(2);
            if claim {
                lsp.claim_held(HELD_MSAT, held.preimage).await.unwrap();
            } else {
                lsp.fail_held(held.hash).await.unwrap();
                self.outbound_msat += HELD_MSAT;
            }
            self.held.as_mut().unwrap().claimed = Some(claim);
            self.ends += 1;
        }
        self.devnet().mine(blocks).await.unwrap();
    }

    /// A payment to the LSP, who holds it; and an invoice for the LSP.
    async fn prepare(&mut self, node: &Node, chance: &mut Chance) {
        let lsp = self.devnet().lsp().unwrap();
        if self.held.is_none() {
            let preimage = chance.bytes();
            let hash = sha256::Hash::hash(&preimage).to_byte_array();
            let invoice = lsp.long_held_invoice(HELD_MSAT, hash, FINAL_CLTV).await.unwrap();
            node.pay(&invoice, None).await.unwrap();
            until("the payment to be held", || lsp.holds(hash)).await;
            self.outbound_msat -= HELD_MSAT;
            self.held = Some(Held {
                preimage,
                hash,
                trials: 0,
                claimed: None,
            });
        }
        self.invoice = node.create_invoice(Some(RECEIVED_MSAT), "").await.unwrap();
    }

    /// The LSP pays us as soon as it can, in the middle of a wake.
    pub fn pay_us_when_we_are_there(&self) -> JoinHandle<()> {
        let (lsp, ours, invoice) = (
            self.devnet().lsp().unwrap(),
            self.ours,
            self.invoice.bolt11.clone(),
        );
        tokio::spawn(async move {
            loop {
                let usable =
                    |channel: &pilotlight_devnet::Channel| channel.counterparty == ours && channel.is_usable;
                if lsp.channels().iter().any(usable) {
                    // Refused if we are gone again already.
                    let _ = lsp.pay(&invoice, None).await;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }

    pub async fn wait_until_peers_know_we_are_gone(&self) {
        for peer in self.devnet().peers() {
            until("the wallet to be gone", || !peer.is_connected_to(self.ours)).await;
        }
    }

    /// All that must be true after a trial.
    pub async fn check(&mut self, name: &str) {
        let lifecycle = self.lifecycle();
        for record in lifecycle.history().await.unwrap() {
            assert_ne!(record.outcome, WakeOutcome::InProgress, "{name}: {record:#?}");
            let code = record.error.as_ref().map(|error| error.code);
            assert!(
                !matches!(
                    code,
                    Some(ErrorCode::StorageCorrupt | ErrorCode::StorageFailed | ErrorCode::InUse)
                ),
                "{name}: {record:#?}"
            );
        }
        let node = lifecycle.enter_foreground().await.unwrap();
        usable(self.devnet(), &node, name).await;
        let channels: BTreeSet<String> = node.channels().into_iter().map(|c| c.channel_id).collect();
        assert_eq!(channels, self.channels, "{name}: a channel was closed");
        self.check_held(&node, name).await;
        self.check_received(&node, name).await;
        until(&format!("{name}: every msat to be where it belongs"), || {
            outbound_msat(&node) == self.outbound_msat
        })
        .await;
        // A fresh invoice for the next trial.
        self.invoice = node.create_invoice(Some(RECEIVED_MSAT), "").await.unwrap();
        lifecycle.enter_background().await.unwrap();
        self.wait_until_peers_know_we_are_gone().await;
    }

    /// The held payment is there, or has ended as its payee said.
    async fn check_held(&mut self, node: &Node, name: &str) {
        let held = self.held.as_ref().unwrap();
        let hash = sha256::Hash::from_byte_array(held.hash).to_string();
        let expected = match held.claimed {
            None => PaymentStatus::Pending,
            Some(true) => PaymentStatus::Succeeded,
            Some(false) => PaymentStatus::Failed,
        };
        let mut payment = node.payment(&hash).await.unwrap().unwrap();
        for _ in 0..400 {
            if payment.status == expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            payment = node.payment(&hash).await.unwrap().unwrap();
        }
        assert_eq!(payment.status, expected, "{name}: {payment:?}");
        assert_eq!(payment.amount_msat, Some(HELD_MSAT), "{name}: {payment:?}");
        if held.claimed.is_some() {
            self.held = None;
        }
    }

    /// The LSP's payment, if it was tried, ended the same way at both ends.
    async fn check_received(&mut self, node: &Node, name: &str) {
        let lsp = self.devnet().lsp().unwrap();
        let hash = self.invoice.payment_hash.clone();
        if lsp.payment(&hash).is_none() {
            return;
        }
        let at_payer = lsp.wait_payment(&hash, LIMIT).await.unwrap();
        let ours = node.payment(&hash).await.unwrap().unwrap();
        let arrived = at_payer.state == PaymentState::Succeeded;
        assert_eq!(
            ours.status == PaymentStatus::Succeeded,
            arrived,
            "{name}: {ours:?}, {at_payer:?}"
        );
        if arrived {
            self.outbound_msat += RECEIVED_MSAT;
            self.received += 1;
        }
    }
}

fn lifecycle(wallet: &Wallet) -> Arc<Lifecycle> {
    let mut config = Config::new(
        wallet.dir.path(),
        bitcoin::Network::Regtest,
        wallet.devnet.esplora_url(),
    );
    config.lsp = Some(wallet.devnet.lsp().unwrap().info().uri().parse().unwrap());
    Lifecycle::new(config)
}

fn outbound_msat(node: &Node) -> u64 {
    node.channels().iter().map(|channel| channel.outbound_msat).sum()
}

/// Waits for all channels; says what is wrong with them if they do not come.
async fn usable(devnet: &Devnet, node: &Node, name: &str) {
    node.sync().await.unwrap();
    let begun = Instant::now();
    while node.channels().iter().filter(|channel| channel.usable).count() < CHANNELS.len() {
        if begun.elapsed() > LIMIT {
            let mut all = format!("ours: {:#?}\n", node.channels());
            for peer in devnet.peers() {
                let log = std::fs::read_dir(devnet.dir().join("peers").join(peer.name()));
                let files: Vec<_> = log.unwrap().map(|file| file.unwrap().path()).collect();
                let text: String = files.iter().flat_map(std::fs::read_to_string).collect();
                let closed = text.lines().filter(|line| line.to_lowercase().contains("clos"));
                let closed: Vec<_> = closed.collect();
                let _ = write!(all, "{}: {:#?}\n{closed:#?}\n", peer.name(), peer.channels());
            }
            panic!("{name}: the channels do not come up\n{all}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
