//! A wallet at rest: open, but not running. A chain source brings it to the tip, and what came of it can be compared.
//!
//! For the tests that hold our own chain engine against `lightning-transaction-sync`, and for the benchmark of the two.
//! Sends nothing, connects to nobody, is not in the app (feature `oracle`).

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bitcoin::{OutPoint, Transaction};
use lightning::chain::Confirm;
use lightning::events::Event;

use super::Node;
use crate::chain::electrum::serial::SerialElectrum;
use crate::chain::esplora::serial::SerialEsplora;
use crate::chain::{Checkpoint, Depth, ElectrumSource, EsploraSource, Source};
use crate::config::{ChainChoice, Config};
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::models::Direction;
use crate::seed::{Found, SeedFile, SeedStore};

/// Which source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `lightning-transaction-sync` and `bdk_esplora`.
    Serial,
    /// Ours.
    Ours,
    /// `lightning-transaction-sync` and `bdk_electrum`, on the Electrum server that the configuration names.
    SerialElectrum,
    /// Ours, on the same.
    Electrum,
    /// Compact block filters, from the peers that the configuration names.
    Filters,
    /// Several servers, as the configuration has them.
    Several,
}

impl Engine {
    /// Whether it hears of transactions that are in no block. What it cannot hear of is not held against it; see
    /// [`Digest::confirmed_only`].
    pub fn sees_mempool(self) -> bool {
        self != Self::Filters
    }
}

/// A wallet at rest.
pub struct AtRest {
    node: Arc<Node>,
    said: Mutex<Vec<String>>,
}

/// All that a chain source can change, in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digest {
    /// Height and hash that everything is at.
    pub tip: String,
    /// The on-chain wallet: its sums, then each transaction.
    pub onchain: Vec<String>,
    /// The on-chain wallet without what is in no block: its sum, then each transaction with its block.
    pub in_blocks: Vec<String>,
    /// Channels, with what the chain does to them.
    pub channels: Vec<String>,
    /// What the monitors say is ours, each with what it waits for.
    pub claimable: Vec<String>,
    /// What the followers hold for confirmed and not yet for final.
    pub relevant: Vec<String>,
    /// What is watched.
    pub watched: Vec<String>,
    /// What the sweeper follows: the outputs, and how far they are.
    pub sweeps: Vec<String>,
    /// The outputs that the transactions on their way out would spend, but for the on-chain wallet's coins: any of them may
    /// pay a fee.
    pub spends: BTreeSet<OutPoint>,
    /// Those of them that are in no block. Whoever knows the chain moves them here.
    pub early: BTreeSet<OutPoint>,
    /// What LDK said to its event handler since the last digest, without order.
    pub events: Vec<String>,
}

impl Digest {
    /// The digest as a source has it that sees blocks and nothing else. Left out is
    /// * what the mempool makes of the on-chain wallet: its list of payments and its balance as they are with unconfirmed
    ///   transactions;
    /// * what would spend an output that is in no block. LDK gives such a claim up when it is told of the fork at which the
    ///   chain was reorganised, as a reader of blocks does, and keeps it when it is told of the new tip alone; it makes the
    ///   claim anew when the output is in a block again.
    ///
    /// Everything else stays: what is confirmed, block by block, and all of LDK, which acts on blocks alone.
    #[must_use]
    pub fn confirmed_only(&self) -> Self {
        Self {
            onchain: Vec::new(),
            early: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// What is in one and not in the other, a line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.lines(), other.lines());
        let missing = theirs
            .iter()
            .filter(|line| !ours.contains(line))
            .map(|line| format!("lacks {line}"));
        let more = ours
            .iter()
            .filter(|line| !theirs.contains(line))
            .map(|line| format!("has   {line}"));
        missing.chain(more).collect()
    }

    fn lines(&self) -> Vec<String> {
        let lists = [
            ("on-chain", &self.onchain),
            ("in a block", &self.in_blocks),
            ("channel", &self.channels),
            ("claimable", &self.claimable),
            ("relevant", &self.relevant),
            ("watched", &self.watched),
            ("sweep", &self.sweeps),
            ("event", &self.events),
        ];
        let mut lines = vec![format!("tip {}", self.tip)];
        for (name, list) in lists {
            lines.extend(list.iter().map(|line| format!("{name} {line}")));
        }
        lines.extend(self.spends.iter().map(|outpoint| format!("spends {outpoint}")));
        lines.extend(
            self.early
                .iter()
                .map(|outpoint| format!("spends, early, {outpoint}")),
        );
        lines
    }
}

impl AtRest {
    /// Opens the wallet of this configuration.
    ///
    /// # Errors
    /// Those of opening a node.
    pub fn open(config: &Config, engine: Engine) -> Result<Self> {
        let Found::Seed(seed) = SeedFile::new(&config.data_dir, config.network).load()? else {
            return Err(Error::new(ErrorCode::NoWallet, "no seed is kept"));
        };
        let events = tokio::sync::broadcast::channel(16).0;
        let backoffs = std::sync::Arc::new(crate::backoff::Backoffs::new(&config.data_dir));
        let known = Arc::clone(&backoffs);
        let node = Node::open_over(config, &seed, backoffs, events, |store| {
            let source: Arc<dyn Source> = match engine {
                Engine::Serial => Arc::new(SerialEsplora::new(&config.esplora_url)?),
                Engine::Ours => Arc::new(EsploraSource::new(
                    &config.esplora_url,
                    config.network,
                    Some(Arc::clone(store)),
                )?),
                Engine::SerialElectrum | Engine::Electrum => {
                    let ChainChoice::Electrum { url, proxy } = &config.chain else {
                        return Err(Error::new(
                            ErrorCode::Misconfigured,
                            "no Electrum server is named",
                        ));
                    };
                    if engine == Engine::SerialElectrum {
                        Arc::new(SerialElectrum::new(url))
                    } else {
                        let store = Some(Arc::clone(store));
                        Arc::new(ElectrumSource::new(url, *proxy, config.network, store)?)
                    }
                }
                Engine::Filters if config.chain == ChainChoice::Esplora => {
                    return Err(Error::new(ErrorCode::Misconfigured, "no filter peers are named"));
                }
                Engine::Filters | Engine::Several => super::source(config, store, known)?,
            };
            Ok(source)
        })?;
        Ok(Self {
            node,
            said: Mutex::default(),
        })
    }

    /// Brings it to the tip: LDK and the on-chain wallet. Sends nothing.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn sync(&self, depth: Depth) -> Result<Checkpoint> {
        self.node.handler.chain_is_known(false);
        let tip = self.node.chain.sync(&self.node.round(depth)).await?;
        self.node.handler.chain_is_known(true);
        Ok(self.node.lightning_synced(tip))
    }

    /// Lets LDK's events have their effects (sweeps begun, fees bumped); nothing is sent.
    pub async fn handle_events(&self) {
        // One event begets another.
        for _ in 0..3 {
            let handle = async |event: Event| {
                // What a bump comes to is among the transactions on their way out.
                if !matches!(event, Event::BumpTransaction(_)) {
                    lock(&self.said).push(in_short(&event));
                }
                self.node.handler.handle(event).await
            };
            self.node
                .lightning
                .chain_monitor
                .process_pending_events_async(handle)
                .await;
            self.node
                .lightning
                .channels
                .process_pending_events_async(handle)
                .await;
        }
        self.node.lightning.chain_monitor.rebroadcast_pending_claims();
        // Without an address, which nobody takes away in a test, there is no sweep, and the digest says so.
        let sweeper = &self.node.lightning.sweeper;
        let _ = sweeper.regenerate_and_broadcast_spend_if_necessary().await;
    }

    /// What would be sent, in order.
    pub fn outgoing(&self) -> Vec<Transaction> {
        self.node.broadcaster.waiting()
    }

    /// Takes in fee estimates, as every sync does.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`]; that there are none is no error.
    pub async fn take_fees(&self) -> Result<()> {
        self.node.take_fees(self.node.chain.fees().await)
    }

    /// The rate of an on-chain payment, in sat per 1000 weight units.
    pub fn rate(&self) -> u64 {
        self.node.fees.payment().to_sat_per_kwu()
    }

    /// What of the on-chain wallet can be spent, in sat.
    pub fn spendable_sat(&self) -> u64 {
        self.node.wallet.spendable_sat()
    }

    /// The chain as it was when all was last on disk.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.node.checkpoint()
    }

    /// Requests made so far; a serial source counts calls only.
    pub fn requests(&self) -> u64 {
        self.node.chain.requests()
    }

    /// Blocks whose filters, or all of them, were looked into so far.
    pub fn blocks_looked_into(&self) -> u64 {
        self.node.chain.blocks_looked_into()
    }

    /// What it has come to.
    pub fn digest(&self) -> Digest {
        let (node, lightning) = (&self.node, &self.node.lightning);
        let best = lightning.channels.current_best_block();
        let mut bests = vec![(best.height, best.block_hash)];
        for id in lightning.chain_monitor.list_monitors() {
            if let Ok(monitor) = lightning.chain_monitor.get_monitor(id) {
                let best = monitor.current_best_block();
                bests.push((best.height, best.block_hash));
            }
        }
        let best = lightning.sweeper.current_best_block();
        bests.push((best.height, best.block_hash));
        bests.sort_unstable();
        bests.dedup();

        let balance = node.wallet.balance();
        let mut onchain = sorted(node.wallet.activity(|_| false).iter().map(|payment| {
            (
                payment.id.clone(),
                payment.direction,
                payment.status,
                // What is sent is counted without the fee, which only some servers tell when others' coins are among the
                // inputs. The sums are in the balance, and in the transactions with their blocks.
                payment
                    .amount_msat
                    .filter(|_| payment.direction == Direction::Received),
            )
        }));
        onchain.insert(0, format!("{balance:?}"));
        let placed = node.wallet.in_blocks();
        let (sent, received) = placed
            .iter()
            .fold((0, 0), |(sent, received), row| (sent + row.2, received + row.3));
        let mut in_blocks = sorted(placed);
        in_blocks.insert(0, format!("{} sat", received - sent));
        let channels = lightning.channels.list_channels();
        let relevant = [
            lightning.chain_monitor.get_relevant_txids(),
            lightning.channels.get_relevant_txids(),
            lightning.sweeper.get_relevant_txids(),
        ];
        let watched = node.watch.all();
        let outputs = watched
            .outputs
            .iter()
            .map(|output| format!("{}", output.outpoint));
        let transactions = watched
            .transactions
            .iter()
            .map(|watched| format!("{}", watched.txid));
        let outgoing = self.outgoing();
        let inputs = outgoing.iter().flat_map(|transaction| &transaction.input);
        let ours = node.wallet.coins();
        let spends = inputs
            .map(|input| input.previous_output)
            .filter(|outpoint| !ours.contains(outpoint))
            .collect();
        let mut events = std::mem::take(&mut *lock(&self.said));
        events.sort_unstable();
        Digest {
            tip: format!("{bests:?}"),
            onchain,
            in_blocks,
            channels: sorted(channels.iter().map(|channel| {
                (
                    channel.channel_id,
                    channel.confirmations,
                    channel.is_channel_ready,
                    channel.short_channel_id,
                    channel.outbound_capacity_msat,
                    channel.channel_shutdown_state,
                )
            })),
            claimable: sorted(lightning.chain_monitor.get_claimable_balances(&[])),
            relevant: sorted(
                relevant
                    .into_iter()
                    .enumerate()
                    .flat_map(|(follower, all)| all.into_iter().map(move |one| (follower, one))),
            ),
            watched: outputs.chain(transactions).collect(),
            sweeps: sorted(
                lightning
                    .sweeper
                    .tracked_spendable_outputs()
                    .into_iter()
                    .map(|output| {
                        (
                            output.descriptor.spendable_outpoint().to_string(),
                            sweep_stage(&output.status),
                        )
                    }),
            ),
            spends,
            early: BTreeSet::new(),
            events,
        }
    }

    /// Writes everything down and closes the store.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub async fn close(self) -> Result<()> {
        self.node.persist().await?;
        self.abandon()
    }

    /// Closes the store, and leaves on disk what is there: the process was ended by somebody else.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn abandon(self) -> Result<()> {
        let closed = self.node.store.close();
        closed.map_err(|e| Error::new(ErrorCode::StorageFailed, format!("store: {e}")))
    }
}

/// An event without what differs from time to time: signatures have randomness in them.
fn in_short(event: &Event) -> String {
    match event {
        Event::SpendableOutputs { outputs, .. } => {
            let outpoints = outputs
                .iter()
                .map(|output| output.spendable_outpoint().to_string());
            format!("spendable {:?}", outpoints.collect::<Vec<_>>())
        }
        Event::ChannelClosed {
            channel_id, reason, ..
        } => format!("closed {channel_id}: {reason}"),
        other => format!("{other:?}"),
    }
}

/// How far a sweep is; its transaction differs with the moment it was made.
fn sweep_stage(status: &lightning::util::sweep::OutputSpendStatus) -> String {
    use lightning::util::sweep::OutputSpendStatus as Status;
    match status {
        Status::PendingInitialBroadcast { .. } => "not sent".to_owned(),
        Status::PendingFirstConfirmation { .. } => "not confirmed".to_owned(),
        Status::PendingThresholdConfirmations {
            confirmation_height, ..
        } => format!("confirmed at {confirmation_height}"),
    }
}

fn sorted<T: Debug>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut lines: Vec<String> = items.into_iter().map(|item| format!("{item:?}")).collect();
    lines.sort_unstable();
    lines
}
