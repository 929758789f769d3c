//! What LDK tells us, and what we do about it.
//!
//! Any event may come twice (LDK replays what was not durably handled before a crash), so every arm can be run again. An
//! arm that must write and cannot returns `ReplayEvent`, and LDK tells it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::Amount;
use bitcoin::secp256k1::PublicKey;
use lightning::events::{ClosureReason, Event, FundingInfo, PathFailure, PaymentFailureReason, ReplayEvent};
use lightning::ln::types::ChannelId;
use lightning::sign::EntropySource;
use lightning::util::errors::APIError;
use lightning_types::payment::PaymentHash;
use tokio::sync::{broadcast, oneshot};

use super::assemble::Lightning;
use super::keys::Keys;
use super::payments::Payments;
use crate::chain::Fees;
use crate::config::ANCHOR_RESERVE_SAT;
use crate::error::{Error, ErrorCode, Result};
use crate::gossip::scores::Lesson;
use crate::lock::lock;
use crate::models::{Direction, NodeEvent, PaymentStatus};
use crate::onchain::OnchainWallet;
use crate::rows::{self, Kind};

/// LDK tells an event that could not be handled again at once. A full disk is not empty a millisecond later, and a loop
/// without a pause would keep a thread of the runtime, and whatever waits behind it, for ever. Short, because a stop waits
/// for it.
const REPLAY_PAUSE: Duration = Duration::from_millis(250);

/// Someone who waits for a channel to be funded.
type Opening = oneshot::Sender<Result<ChannelId>>;

/// Acts on LDK's events.
pub struct EventHandler {
    /// LDK itself.
    pub lightning: Arc<Lightning>,
    /// Our keys, for randomness.
    pub keys: Arc<Keys>,
    /// The on-chain wallet.
    pub wallet: Arc<OnchainWallet>,
    /// Fee rates.
    pub fees: Arc<Fees>,
    /// Payments.
    pub payments: Arc<Payments>,
    /// Where rows go.
    pub store: Arc<pilotlight_store::Store>,
    /// The liquidity provider, whose channels need no reserve of ours.
    pub lsp: Option<PublicKey>,
    /// Who wants to know.
    pub events: broadcast::Sender<NodeEvent>,
    /// Channels that are being opened by us, by user channel id.
    openings: Mutex<HashMap<u128, Opening>>,
    handled: AtomicU64,
    chain_known: AtomicBool,
}

impl EventHandler {
    /// Puts it together.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        lightning: Arc<Lightning>,
        keys: Arc<Keys>,
        wallet: Arc<OnchainWallet>,
        fees: Arc<Fees>,
        payments: Arc<Payments>,
        store: Arc<pilotlight_store::Store>,
        lsp: Option<PublicKey>,
        events: broadcast::Sender<NodeEvent>,
    ) -> Self {
        let (openings, handled) = (Mutex::default(), AtomicU64::new(0));
        let chain_known = AtomicBool::new(false);
        Self {
            lightning,
            keys,
            wallet,
            fees,
            payments,
            store,
            lsp,
            events,
            openings,
            handled,
            chain_known,
        }
    }

    /// How many events were handled so far; when it stands still, LDK has nothing more to say.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }

    /// Says whether LDK has seen the chain whole, to its tip. While it has not, it may ask to pay for a closing or a claim
    /// that is in a block already, and the coins given for that would be wanting for what comes next. It asks again.
    pub fn chain_is_known(&self, known: bool) {
        self.chain_known.store(known, Ordering::SeqCst);
    }

    /// A number for a channel that we open, and the news of its funding.
    pub fn opening(&self) -> (u128, oneshot::Receiver<Result<ChannelId>>) {
        let mut id = [0; 16];
        id.copy_from_slice(&self.keys.get_secure_random_bytes()[..16]);
        let id = u128::from_ne_bytes(id);
        let (tell, news) = oneshot::channel();
        self.lock().insert(id, tell);
        (id, news)
    }

    /// Acts on one event.
    ///
    /// # Errors
    /// [`ReplayEvent`] if what must be durable could not be written.
    #[allow(clippy::too_many_lines)] // One arm per event; splitting it would hide which events there are.
    pub async fn handle(&self, event: Event) -> std::result::Result<(), ReplayEvent> {
        let done = match event {
            Event::FundingGenerationReady {
                temporary_channel_id,
                counterparty_node_id,
                channel_value_satoshis,
                output_script,
                user_channel_id,
            } => {
                let funding = self.wallet.fund_channel(
                    output_script,
                    Amount::from_sat(channel_value_satoshis),
                    self.fees.funding(),
                );
                let given = funding.and_then(|tx| {
                    let txid = tx.compute_txid().to_string();
                    rows::write(&self.store, Kind::Funding, &txid, &channel_value_satoshis)?;
                    self.lightning
                        .channels
                        .funding_transaction_generated(temporary_channel_id, counterparty_node_id, tx.clone())
                        .map_err(|e| {
                            self.wallet.release(&tx.compute_txid());
                            Error::new(ErrorCode::ChannelFailed, format!("{e:?}"))
                        })
                });
                if let Err(error) = given {
                    self.give_up(
                        temporary_channel_id,
                        counterparty_node_id,
                        "the funding could not be made",
                    );
                    self.tell_opener(user_channel_id, Err(error));
                }
                Ok(())
            }
            Event::ChannelPending {
                channel_id,
                user_channel_id,
                funding_txo,
                ..
            } => {
                let counted = self.wallet.funded(&funding_txo.txid);
                self.tell_opener(user_channel_id, Ok(channel_id));
                self.tell(NodeEvent::ChannelsChanged);
                counted
            }
            Event::ChannelReady { .. } | Event::SplicePending { .. } | Event::SpliceFailed { .. } => {
                self.tell(NodeEvent::ChannelsChanged);
                Ok(())
            }
            Event::ChannelClosed {
                channel_id,
                user_channel_id,
                reason,
                ..
            } => {
                tracing::info!(%channel_id, %reason, "channel closed");
                let why = closure_words(&reason);
                self.tell_opener(user_channel_id, Err(Error::new(ErrorCode::ChannelFailed, why)));
                self.tell(NodeEvent::ChannelsChanged);
                Ok(())
            }
            Event::DiscardFunding { funding_info, .. } => {
                if let FundingInfo::Tx { transaction } = funding_info {
                    self.wallet.release(&transaction.compute_txid());
                }
                Ok(())
            }
            Event::OpenChannelRequest {
                temporary_channel_id,
                counterparty_node_id,
                is_announced,
                channel_type,
                ..
            } => {
                let needs_reserve = channel_type.requires_anchors_zero_fee_htlc_tx()
                    && self.lsp != Some(counterparty_node_id)
                    && self.wallet.spendable_sat() < self.reserve_sat(1);
                let refusal = if is_announced {
                    Some("this wallet opens no public channels")
                } else if needs_reserve {
                    Some("not enough on-chain to protect this channel")
                } else {
                    None
                };
                if let Some(why) = refusal {
                    self.give_up(temporary_channel_id, counterparty_node_id, why);
                } else {
                    let (id, _) = self.opening();
                    let accepted = self.lightning.channels.accept_inbound_channel(
                        &temporary_channel_id,
                        &counterparty_node_id,
                        id,
                        None,
                    );
                    self.lock().remove(&id);
                    log_api("accept a channel", accepted);
                }
                Ok(())
            }
            Event::PaymentClaimable {
                payment_hash,
                amount_msat,
                purpose,
                onion_fields,
                counterparty_skimmed_fee_msat,
                ..
            } => {
                let hash = hex(payment_hash);
                let must_know = onion_fields
                    .is_some_and(|fields| fields.custom_tlvs().iter().any(|(kind, _)| kind % 2 == 0));
                let known = self.payments.get(&hash);
                match (known, purpose.preimage()) {
                    (Err(error), _) => Err(error),
                    (Ok(_), None) => {
                        self.refuse(&payment_hash, "its preimage is not known");
                        Ok(())
                    }
                    (Ok(known), Some(preimage)) => {
                        let paid = known.is_some_and(|p| {
                            p.direction == Direction::Sent || p.status == PaymentStatus::Succeeded
                        });
                        if paid || must_know || counterparty_skimmed_fee_msat > 0 {
                            self.refuse(&payment_hash, "paid already, or not as asked");
                        } else {
                            tracing::info!(hash, amount_msat, "claiming a payment");
                            self.lightning.channels.claim_funds(preimage);
                        }
                        Ok(())
                    }
                }
            }
            Event::PaymentClaimed {
                payment_hash,
                amount_msat,
                ..
            } => self.payments.received(&hex(payment_hash), amount_msat),
            Event::PaymentSent {
                payment_hash,
                amount_msat,
                fee_paid_msat,
                ..
            } => self.payments.sent(&hex(payment_hash), amount_msat, fee_paid_msat),
            Event::PaymentFailed {
                payment_id,
                payment_hash,
                reason,
            } => {
                // A BOLT11 payment's id is its hash.
                let hash = payment_hash.unwrap_or(PaymentHash(payment_id.0));
                let words = if self.lightning.router.was_refused(&hash) {
                    "The map of the Lightning network was not there. Open the app and try again."
                } else {
                    failure_words(reason)
                };
                self.payments.failed(&hex(hash), words)
            }
            Event::PaymentPathFailed {
                ref path,
                short_channel_id,
                payment_failed_permanently,
                ref failure,
                ..
            } => {
                if let PathFailure::OnPath {
                    network_update: Some(update),
                } = failure
                {
                    self.lightning.gossip.heard(update);
                }
                match short_channel_id {
                    Some(scid) => self.lightning.gossip.learn(path, Lesson::FailedAt(scid)),
                    // The payee itself said no, so the way there is good.
                    None if payment_failed_permanently => self.lightning.gossip.learn(path, Lesson::Reached),
                    None => {}
                }
                Ok(())
            }
            Event::PaymentPathSuccessful { ref path, .. } => {
                self.lightning.gossip.learn(path, Lesson::Arrived);
                Ok(())
            }
            Event::SpendableOutputs { outputs, channel_id } => {
                // Outputs that pay to the on-chain wallet directly need no sweep.
                let tracked = self
                    .lightning
                    .sweeper
                    .track_spendable_outputs(outputs, channel_id, true, None);
                tracked
                    .await
                    .map_err(|()| Error::new(ErrorCode::StorageFailed, "outputs to sweep"))
            }
            Event::BumpTransaction(_) if !self.chain_known.load(Ordering::SeqCst) => Ok(()),
            Event::BumpTransaction(bump) => {
                self.lightning.fee_bumper.handle_event(&bump).await;
                Ok(())
            }
            Event::FundingTransactionReadyForSigning { channel_id, .. } => {
                tracing::warn!(%channel_id, "a dual-funded channel was not asked for; ignored");
                Ok(())
            }
            Event::InvoiceReceived { payment_id, .. } => {
                tracing::warn!(%payment_id, "a BOLT12 invoice came, but none was asked for; ignored");
                Ok(())
            }
            Event::ConnectionNeeded { .. }
            | Event::FundingTxBroadcastSafe { .. }
            | Event::HTLCHandlingFailed { .. }
            | Event::HTLCIntercepted { .. }
            | Event::OnionMessageIntercepted { .. }
            | Event::OnionMessagePeerConnected { .. }
            | Event::PaymentForwarded { .. }
            | Event::PersistStaticInvoice { .. }
            | Event::ProbeFailed { .. }
            | Event::ProbeSuccessful { .. }
            | Event::StaticInvoiceRequested { .. } => Ok(()),
        };
        self.tell(NodeEvent::OverviewChanged);
        if let Err(error) = done {
            tracing::error!(%error, detail = error.detail(), "an event could not be handled; it will come again");
            tokio::time::sleep(REPLAY_PAUSE).await;
            return Err(ReplayEvent());
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// What must stay on-chain for the channels there are and `more` new ones, in sat.
    pub fn reserve_sat(&self, more: u64) -> u64 {
        let channels = u64::try_from(self.lightning.channels.list_channels().len()).unwrap_or(u64::MAX);
        channels.saturating_add(more).saturating_mul(ANCHOR_RESERVE_SAT)
    }

    fn refuse(&self, hash: &PaymentHash, why: &str) {
        tracing::warn!(hash = hex(*hash), why, "refusing a payment");
        self.lightning.channels.fail_htlc_backwards(hash);
    }

    fn give_up(&self, channel: ChannelId, peer: PublicKey, why: &str) {
        let closed =
            self.lightning
                .channels
                .force_close_broadcasting_latest_txn(&channel, &peer, why.to_owned());
        log_api("give up a channel", closed);
    }

    fn tell_opener(&self, user_channel_id: u128, news: Result<ChannelId>) {
        if let Some(opener) = self.lock().remove(&user_channel_id) {
            // The opener may have stopped waiting; the channel goes on.
            let _ = opener.send(news);
        }
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody may be listening, which is fine.
        let _ = self.events.send(event);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Opening>> {
        lock(&self.openings)
    }
}

fn hex(hash: PaymentHash) -> String {
    use std::fmt::Write as _;
    hash.0.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn log_api(what: &str, done: std::result::Result<(), APIError>) {
    if let Err(error) = done {
        tracing::warn!(?error, "could not {what}");
    }
}

fn failure_words(reason: Option<PaymentFailureReason>) -> &'static str {
    use PaymentFailureReason as R;
    match reason {
        Some(R::RecipientRejected) => "The payee refused the payment.",
        Some(R::RouteNotFound) => "No way to the payee was found.",
        Some(R::RetriesExhausted) => "No way to the payee worked in time.",
        Some(R::PaymentExpired | R::InvoiceRequestExpired) => "The invoice expired.",
        Some(R::UserAbandoned) => "It was called off.",
        _ => "The payment did not go through.",
    }
}

fn closure_words(reason: &ClosureReason) -> String {
    // A peer's own words are a stranger's: bounded, and without control characters.
    reason
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}
