//! Receiving and paying.

use std::str::FromStr;
use std::time::Duration;

use bitcoin::hashes::Hash;
use lightning::ln::channelmanager::{
    Bolt11InvoiceParameters, Bolt11PaymentError, PaymentId, Retry, RetryableSendFailure,
};
use lightning::routing::router::{PaymentParameters, RouteParameters, RouteParametersConfig};
use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Bolt11InvoiceDescriptionRef, Description};

use super::Node;
use crate::chain::Sent;
use crate::clock;
use crate::config::{FINAL_CLTV_DELTA, INVOICE_EXPIRY, PAYMENT_RETRY};
use crate::error::{Error, ErrorCode, Result};
use crate::lightning::is_penalty;
use crate::models::{Destination, Direction, Invoice, Payment, PaymentKind};
use crate::onchain::Amounts;
use crate::rows::{self, Kind};

/// Longest text that is looked at. The longest sensible invoice has some 1,500 characters.
const LONGEST_INPUT: usize = 8_192;

/// Most that a payment may cost: one hundredth of it, but never less than this, in msat.
const LEAST_FEE_LIMIT_MSAT: u64 = 10_000;

impl Node {
    /// A fresh on-chain address to receive on.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub async fn new_address(&self) -> Result<String> {
        self.wallet.new_address().map(|address| address.to_string())
    }

    /// Understands what was typed, pasted or scanned: a BOLT11 invoice, an address, or a `bitcoin:` or `lightning:` link.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`], [`ErrorCode::WrongNetwork`] or [`ErrorCode::InvoiceExpired`].
    pub fn parse(&self, text: &str) -> Result<Destination> {
        if text.len() > LONGEST_INPUT {
            return Err(Error::new(ErrorCode::InvalidInput, "too long"));
        }
        let text = text.trim();
        let scheme_end = text.find(':').filter(|end| *end <= "lightning".len());
        let (scheme, rest) = scheme_end.map_or(("", text), |end| (&text[..end], &text[end + 1..]));
        match scheme.to_ascii_lowercase().as_str() {
            "bitcoin" => self.parse_bip21(rest),
            "lightning" => self.parse_bolt11(rest.trim_start_matches("//")),
            "" if text.len() >= 2 && text.is_char_boundary(2) && text[..2].eq_ignore_ascii_case("ln") => {
                self.parse_bolt11(text)
            }
            "" => self.parse_address(text, None),
            other => Err(Error::new(
                ErrorCode::InvalidInput,
                format!("unknown kind of link: {other}"),
            )),
        }
    }

    /// BIP21: `address?amount=BTC&lightning=INVOICE`. The invoice is preferred: it is quicker and cheaper.
    fn parse_bip21(&self, rest: &str) -> Result<Destination> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut amount_sat = None;
        let mut invoice = None;
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key.to_ascii_lowercase().as_str() {
                "amount" => {
                    let amount = bitcoin::Amount::from_str_in(value, bitcoin::Denomination::Bitcoin)
                        .map_err(|e| Error::new(ErrorCode::InvalidInput, format!("amount: {e}")))?;
                    amount_sat = Some(amount.to_sat());
                }
                "lightning" => invoice = Some(value),
                // BIP21: what must be understood and is not makes the link invalid.
                key if key.starts_with("req-") => {
                    return Err(Error::new(
                        ErrorCode::InvalidInput,
                        format!("the link requires {key}"),
                    ));
                }
                _ => {}
            }
        }
        match invoice.map(|invoice| self.parse_bolt11(invoice)) {
            Some(Ok(destination)) => Ok(destination),
            // An invoice that is no good is no reason not to pay the address beside it.
            Some(Err(error)) if address.is_empty() => Err(error),
            _ => self.parse_address(address, amount_sat),
        }
    }

    fn parse_address(&self, text: &str, amount_sat: Option<u64>) -> Result<Destination> {
        let address = self.wallet.parse_address(text)?.to_string();
        Ok(Destination::Onchain { address, amount_sat })
    }

    fn parse_bolt11(&self, text: &str) -> Result<Destination> {
        let invoice = self.invoice(text)?;
        Ok(Destination::Bolt11 {
            bolt11: text.to_owned(),
            amount_msat: invoice.amount_milli_satoshis(),
            description: description(&invoice),
            expires_at_ms: invoice.expires_at().map_or(u64::MAX, clock::millis),
            payee: invoice.get_payee_pub_key().to_string(),
        })
    }

    /// An invoice of a stranger, for our network and still good.
    fn invoice(&self, text: &str) -> Result<Bolt11Invoice> {
        let invoice = Bolt11Invoice::from_str(text)
            .map_err(|e| Error::new(ErrorCode::InvalidInput, format!("invoice: {e:?}")))?;
        if invoice.network() != self.network {
            return Err(Error::new(
                ErrorCode::WrongNetwork,
                format!("invoice for {}", invoice.network()),
            ));
        }
        if invoice.is_expired() {
            return Err(Error::new(ErrorCode::InvoiceExpired, "invoice"));
        }
        Ok(invoice)
    }

    /// An invoice of ours. It is on disk when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if the description is longer than BOLT11 allows (639 bytes).
    pub async fn create_invoice(&self, amount_msat: Option<u64>, text: &str) -> Result<Invoice> {
        let description = Description::new(text.to_owned())
            .map_err(|e| Error::new(ErrorCode::InvalidInput, format!("description: {e:?}")))?;
        let invoice = self
            .lightning
            .channels
            .create_bolt11_invoice(Bolt11InvoiceParameters {
                amount_msats: amount_msat.filter(|amount| *amount > 0),
                description: Bolt11InvoiceDescription::Direct(description),
                invoice_expiry_delta_secs: u32::try_from(INVOICE_EXPIRY.as_secs()).ok(),
                min_final_cltv_expiry_delta: Some(FINAL_CLTV_DELTA),
                payment_hash: None,
            })
            .map_err(|e| Error::new(ErrorCode::InvalidInput, format!("invoice: {e:?}")))?;
        let payment_hash = invoice.payment_hash().to_string();
        self.payments
            .expect(&payment_hash, invoice.amount_milli_satoshis(), text.to_owned())?;
        let expires_at_ms = invoice.expires_at().map_or(u64::MAX, clock::millis);
        Ok(Invoice {
            bolt11: invoice.to_string(),
            payment_hash,
            expires_at_ms,
        })
    }

    /// Pays an invoice. Returns once the payment is under way; its end comes as an event and stands in the activity.
    ///
    /// # Errors
    /// [`ErrorCode::NotSynced`], [`ErrorCode::AlreadyPaid`], [`ErrorCode::InsufficientFunds`],
    /// [`ErrorCode::GraphNotReady`], [`ErrorCode::RouteNotFound`], and those of [`Self::parse`]. After an error nothing was
    /// paid.
    pub async fn pay(&self, bolt11: &str, amount_msat: Option<u64>) -> Result<Payment> {
        self.doors.within(self.pay_invoice(bolt11, amount_msat)).await
    }

    /// May be dropped while it waits for the map; from the row that says "paying" to the sending there is no await.
    async fn pay_invoice(&self, bolt11: &str, amount_msat: Option<u64>) -> Result<Payment> {
        self.must_be_synced()?;
        let invoice = self.invoice(bolt11.trim())?;
        let chosen = match (invoice.amount_milli_satoshis(), amount_msat) {
            (Some(asked), Some(given)) if asked != given => {
                return Err(Error::new(
                    ErrorCode::InvalidInput,
                    "the invoice asks for another amount",
                ));
            }
            (Some(asked), _) => asked,
            (None, Some(given)) if given > 0 => given,
            (None, _) => {
                return Err(Error::new(
                    ErrorCode::InvalidInput,
                    "this invoice needs an amount",
                ));
            }
        };
        let usable = self.lightning.channels.list_usable_channels();
        let have_msat: u64 = usable.iter().map(|channel| channel.outbound_capacity_msat).sum();
        if have_msat < chosen {
            let detail = format!("{chosen} msat to send, {have_msat} msat in usable channels");
            return Err(Error::new(ErrorCode::InsufficientFunds, detail));
        }
        let most_fee_msat = (chosen / 100).max(LEAST_FEE_LIMIT_MSAT);
        self.map_if_needed(&invoice, chosen, most_fee_msat).await?;
        let hash = invoice.payment_hash().to_string();
        let payment = self.payments.begin(&hash, chosen, description(&invoice))?;
        let limits = RouteParametersConfig {
            max_total_routing_fee_msat: Some(most_fee_msat),
            ..RouteParametersConfig::default()
        };
        let sent = self.lightning.channels.pay_for_bolt11_invoice(
            &invoice,
            PaymentId(invoice.payment_hash().to_byte_array()),
            invoice.amount_milli_satoshis().is_none().then_some(chosen),
            limits,
            Retry::Timeout(PAYMENT_RETRY),
        );
        match sent {
            Ok(()) => Ok(payment),
            // LDK is still at it, whatever our row says: never call that failed.
            Err(Bolt11PaymentError::SendingFailed(RetryableSendFailure::DuplicatePayment)) => {
                Err(Error::new(ErrorCode::AlreadyPaid, hash))
            }
            Err(why) => {
                let code = match why {
                    Bolt11PaymentError::InvalidAmount => ErrorCode::InvalidInput,
                    Bolt11PaymentError::SendingFailed(RetryableSendFailure::PaymentExpired) => {
                        ErrorCode::InvoiceExpired
                    }
                    Bolt11PaymentError::SendingFailed(RetryableSendFailure::RouteNotFound) => {
                        ErrorCode::RouteNotFound
                    }
                    Bolt11PaymentError::SendingFailed(_) => ErrorCode::PaymentFailed,
                };
                self.payments.failed(&hash, code.message())?;
                Err(Error::new(code, format!("{why:?}")))
            }
        }
    }

    /// Waits for the map of the network if this payment needs it. Afterwards is too late: LDK asks for a route in the middle
    /// of sending, and would take a missing map for a missing route.
    async fn map_if_needed(
        &self,
        invoice: &Bolt11Invoice,
        amount_msat: u64,
        most_fee_msat: u64,
    ) -> Result<()> {
        let params = RouteParameters {
            payment_params: PaymentParameters::from_bolt11_invoice(invoice),
            final_value_msat: amount_msat,
            max_total_routing_fee_msat: Some(most_fee_msat),
        };
        let needed = {
            let channels = self.lightning.channels.list_usable_channels();
            let first_hops: Vec<_> = channels.iter().collect();
            let payer = self.lightning.channels.get_our_node_id();
            self.lightning.router.needs_map(&payer, &params, &first_hops)
        };
        if needed { self.gossip.ready().await } else { Ok(()) }
    }

    /// Sends on-chain: so many sat, or everything but the reserve of the channels. Durable when it returns; if no server
    /// could be reached, it is sent again at every sync.
    ///
    /// # Errors
    /// [`ErrorCode::NotSynced`], [`ErrorCode::InsufficientFunds`], [`ErrorCode::InvalidInput`],
    /// [`ErrorCode::WrongNetwork`]; [`ErrorCode::PaymentFailed`] if the network refused it.
    pub async fn send_onchain(&self, address: &str, amount_sat: Option<u64>) -> Result<Payment> {
        self.doors.within(self.pay_address(address, amount_sat)).await
    }

    async fn pay_address(&self, address: &str, amount_sat: Option<u64>) -> Result<Payment> {
        self.must_be_synced()?;
        let to = self.wallet.parse_address(address.trim())?;
        let amount = amount_sat.map_or(Amounts::All, Amounts::Exactly);
        let transaction = self
            .wallet
            .pay(&to, amount, self.fees.payment(), self.handler.reserve_sat(0))?;
        let txid = transaction.compute_txid();
        match self.chain.send(&transaction).await {
            Ok(Sent::Accepted) => {}
            Ok(Sent::Refused(why)) => {
                self.wallet.forget(txid)?;
                return Err(Error::new(ErrorCode::PaymentFailed, format!("refused: {why}")));
            }
            Err(error) => tracing::warn!(%txid, detail = error.detail(), "will be sent at the next sync"),
        }
        let id = txid.to_string();
        let activity = self.wallet.activity(|_| false);
        let payment = activity.into_iter().find(|payment| payment.id == id);
        let payment =
            payment.ok_or_else(|| Error::new(ErrorCode::Internal, "the payment is not in the wallet"))?;
        self.tell(crate::NodeEvent::PaymentChanged {
            payment: payment.clone(),
        });
        Ok(payment)
    }

    /// Everything that came and went, newest first. Invoices of ours that expired unpaid are left out.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub async fn payments(&self) -> Result<Vec<Payment>> {
        let now = clock::now_ms();
        let mut all: Vec<Payment> = self
            .payments
            .all()?
            .into_iter()
            .filter(|payment| {
                let unpaid = payment.direction == Direction::Received
                    && payment.status == crate::PaymentStatus::Pending;
                !(unpaid
                    && payment.created_at_ms + clock::millis(INVOICE_EXPIRY + Duration::from_secs(60)) < now)
            })
            .collect();
        let fundings = rows::keys(&self.store, Kind::Funding)?;
        let mut onchain = self.wallet.activity(|txid| fundings.contains(&txid.to_string()));
        let cheats = self.breaches.transactions()?;
        let spenders = self.wallet.spenders_of(&cheats).into_iter();
        let penalties: Vec<String> = spenders
            .filter(|(transaction, _)| is_penalty(transaction, &cheats))
            .map(|(transaction, _)| transaction.compute_txid().to_string())
            .collect();
        for payment in onchain
            .iter_mut()
            .filter(|payment| penalties.contains(&payment.id))
        {
            payment.kind = PaymentKind::Penalty;
        }
        all.extend(onchain);
        all.sort_by_key(|payment| std::cmp::Reverse(payment.created_at_ms));
        Ok(all)
    }

    /// One Lightning payment, by its payment hash.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub async fn payment(&self, hash: &str) -> Result<Option<Payment>> {
        self.payments.get(hash)
    }
}

fn description(invoice: &Bolt11Invoice) -> String {
    match invoice.description() {
        Bolt11InvoiceDescriptionRef::Direct(text) => {
            text.to_string().chars().filter(|c| !c.is_control()).collect()
        }
        Bolt11InvoiceDescriptionRef::Hash(_) => String::new(),
    }
}
