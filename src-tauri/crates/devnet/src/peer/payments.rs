//! A peer's payments over Lightning: invoices, paying, waiting for the outcome.

use std::str::FromStr;
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::Secp256k1;
use ldk_node::lightning::ln::channelmanager::PaymentId;
use ldk_node::lightning::types::payment::{PaymentHash, PaymentPreimage};
use ldk_node::lightning_invoice::{
    Bolt11Invoice, Bolt11InvoiceDescription, Currency, Description, InvoiceBuilder,
};

use super::{Payment, PaymentState, Peer};
use crate::Error;

/// Seconds an invoice is good for.
const INVOICE_EXPIRY: u32 = 3_600;

impl Peer {
    /// A BOLT11 invoice; without an amount the payer chooses it.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn invoice(&self, amount_msat: Option<u64>, description: &str) -> Result<String, Error> {
        let description = Description::new(description.to_owned())
            .map_err(|e| self.failed(format!("the description will not do: {e}")))?;
        let description = Bolt11InvoiceDescription::Direct(description);
        self.blocking("making an invoice", move |node| {
            let payments = node.bolt11_payment();
            match amount_msat {
                Some(msat) => payments.receive(msat, &description, INVOICE_EXPIRY),
                None => payments.receive_variable_amount(&description, INVOICE_EXPIRY),
            }
        })
        .await
        .map(|invoice| invoice.to_string())
    }

    /// A BOLT11 invoice whose payment this peer neither claims nor fails: it stays under way until it runs out. `hash` is
    /// the payment's; nobody has to know a preimage.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn held_invoice(&self, amount_msat: u64, hash: [u8; 32]) -> Result<String, Error> {
        let invoice = self.hold(amount_msat, hash).await?;
        Ok(invoice.to_string())
    }

    /// The same for a payment that may be held for longer than LDK's 24 blocks: its last hop gets `final_cltv` blocks. (A
    /// payer's whole route may take 1,008.)
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn long_held_invoice(
        &self,
        amount_msat: u64,
        hash: [u8; 32],
        final_cltv: u16,
    ) -> Result<String, Error> {
        let held = self.hold(amount_msat, hash).await?;
        // ldk-node offers no other delta, so its invoice is written anew, with its key.
        let (secp, key) = (Secp256k1::signing_only(), self.inner.recipe.key()?);
        let rewritten = InvoiceBuilder::new(Currency::Regtest)
            .amount_milli_satoshis(amount_msat)
            .description(String::new())
            .payment_hash(*held.payment_hash())
            .payment_secret(*held.payment_secret())
            .duration_since_epoch(held.duration_since_epoch())
            .expiry_time(held.expiry_time())
            .min_final_cltv_expiry_delta(u64::from(final_cltv))
            .basic_mpp()
            .build_signed(|message| secp.sign_ecdsa_recoverable(message, &key))
            .map_err(|e| self.failed(format!("making an invoice failed: {e}")))?;
        Ok(rewritten.to_string())
    }

    async fn hold(&self, amount_msat: u64, hash: [u8; 32]) -> Result<Bolt11Invoice, Error> {
        let description = Bolt11InvoiceDescription::Direct(Description::empty());
        self.blocking("making an invoice", move |node| {
            node.bolt11_payment().receive_for_hash(
                amount_msat,
                &description,
                INVOICE_EXPIRY,
                PaymentHash(hash),
            )
        })
        .await
    }

    /// Claims a held payment, which has the hash of this preimage. The payer hears of it when it is connected.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn claim_held(&self, amount_msat: u64, preimage: [u8; 32]) -> Result<(), Error> {
        let hash = PaymentHash(sha256::Hash::hash(&preimage).to_byte_array());
        self.blocking("claiming", move |node| {
            let payments = node.bolt11_payment();
            payments.claim_for_hash(hash, amount_msat, PaymentPreimage(preimage))
        })
        .await
    }

    /// Sends a held payment back.
    ///
    /// # Errors
    /// [`Error::Peer`]
    pub async fn fail_held(&self, hash: [u8; 32]) -> Result<(), Error> {
        self.blocking("failing a payment", move |node| {
            node.bolt11_payment().fail_for_hash(PaymentHash(hash))
        })
        .await
    }

    /// Whether the payment of a [held invoice](Self::held_invoice) has arrived: both sides of the channel are bound to it.
    pub fn holds(&self, hash: [u8; 32]) -> bool {
        self.inner.heard(|heard| heard.claimable.contains(&hash))
    }

    /// Refuses the payment of a [held invoice](Self::held_invoice): it goes back.
    ///
    /// # Errors
    /// [`Error::Peer`] when it has not arrived.
    pub async fn refuse_held(&self, hash: [u8; 32]) -> Result<(), Error> {
        self.blocking("refusing a payment", move |node| {
            node.bolt11_payment().fail_for_hash(PaymentHash(hash))
        })
        .await
    }

    /// Begins to pay a BOLT11 invoice. `amount_msat` is for invoices without one. Returns the payment hash, hex.
    ///
    /// # Errors
    /// [`Error::Input`] for a bad invoice, [`Error::Peer`] when it cannot even be tried (no route, no money).
    pub async fn pay(&self, bolt11: &str, amount_msat: Option<u64>) -> Result<String, Error> {
        let invoice = Bolt11Invoice::from_str(bolt11)
            .map_err(|e| Error::Input(format!("not a BOLT11 invoice: {e}")))?;
        let hash = AsRef::<[u8]>::as_ref(invoice.payment_hash()).to_lower_hex_string();
        self.blocking("paying", move |node| {
            let payments = node.bolt11_payment();
            match amount_msat {
                Some(msat) => payments.send_using_amount(&invoice, msat, None),
                None => payments.send(&invoice, None),
            }
        })
        .await?;
        Ok(hash)
    }

    /// How a payment stands; `None` if it was never heard of. `hash` is hex.
    pub fn payment(&self, hash: &str) -> Option<Payment> {
        let id = PaymentId(<[u8; 32]>::from_hex(hash).ok()?);
        let details = self.inner.node.payment(&id)?;
        Some(Payment::new(
            hash,
            &details,
            self.inner.heard(|heard| heard.failed.get(hash).cloned()),
        ))
    }

    /// All payments over Lightning.
    pub fn payments(&self) -> Vec<Payment> {
        let all = self.inner.node.list_payments();
        all.iter()
            .filter(|details| !matches!(details.kind, ldk_node::payment::PaymentKind::Onchain { .. }))
            .map(|details| {
                let hash = details.id.0.to_lower_hex_string();
                Payment::new(
                    &hash,
                    details,
                    self.inner.heard(|heard| heard.failed.get(&hash).cloned()),
                )
            })
            .collect()
    }

    /// Waits until a payment, in or out, is decided either way.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it is still pending, or unknown, after `timeout`.
    pub async fn wait_payment(&self, hash: &str, timeout: Duration) -> Result<Payment, Error> {
        self.wait(&format!("{}: payment {hash}", self.name()), timeout, || {
            self.payment(hash)
                .filter(|payment| payment.state != PaymentState::Pending)
        })
        .await
    }
}
