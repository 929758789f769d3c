//! Lightning payments as rows: written before anything is sent, changed only forwards.

use std::sync::{Arc, Mutex};

use pilotlight_store::Store;
use tokio::sync::broadcast;

use crate::clock;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;
use crate::models::{Direction, NodeEvent, Payment, PaymentKind, PaymentStatus};
use crate::rows::{self, Kind};

/// The payments of this wallet.
pub struct Payments {
    store: Arc<Store>,
    events: broadcast::Sender<NodeEvent>,
    /// Makes read-change-write one step.
    turn: Mutex<()>,
}

impl Payments {
    /// The payments in this store; changes are told to `events`.
    pub fn new(store: Arc<Store>, events: broadcast::Sender<NodeEvent>) -> Self {
        Self {
            store,
            events,
            turn: Mutex::new(()),
        }
    }

    /// All of them, oldest first.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub fn all(&self) -> Result<Vec<Payment>> {
        let mut payments: Vec<Payment> = rows::all(&self.store, Kind::Payment)?
            .into_iter()
            .map(|(_, payment)| payment)
            .collect();
        payments.sort_by_key(|payment| payment.created_at_ms);
        Ok(payments)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub fn get(&self, hash: &str) -> Result<Option<Payment>> {
        rows::read(&self.store, Kind::Payment, hash)
    }

    /// Notes that we are about to pay. Durable when it returns, so that no payment is ever sent unknown to us.
    ///
    /// # Errors
    /// [`ErrorCode::AlreadyPaid`] if it was paid or is being paid; [`ErrorCode::InvalidInput`] if the invoice is ours.
    pub fn begin(&self, hash: &str, amount_msat: u64, description: String) -> Result<Payment> {
        let _turn = lock(&self.turn);
        if let Some(known) = self.get(hash)? {
            match (known.direction, known.status) {
                (Direction::Received, _) => {
                    return Err(Error::new(ErrorCode::InvalidInput, "this invoice is our own"));
                }
                (Direction::Sent, PaymentStatus::Failed) => {}
                (Direction::Sent, _) => return Err(Error::new(ErrorCode::AlreadyPaid, hash)),
            }
        }
        self.put(new(hash, Direction::Sent, Some(amount_msat), Some(description)))
    }

    /// Notes an invoice of ours. Durable when it returns, so that no invoice is given out unknown to us.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn expect(&self, hash: &str, amount_msat: Option<u64>, description: String) -> Result<Payment> {
        self.put(new(hash, Direction::Received, amount_msat, Some(description)))
    }

    /// Notes money that came (again: a replayed event changes nothing).
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn received(&self, hash: &str, amount_msat: u64) -> Result<()> {
        let _turn = lock(&self.turn);
        let known = self
            .get(hash)?
            .unwrap_or_else(|| new(hash, Direction::Received, None, None));
        if known.status == PaymentStatus::Succeeded {
            return Ok(());
        }
        let amount_msat = Some(amount_msat);
        self.put(Payment {
            status: PaymentStatus::Succeeded,
            amount_msat,
            ..known
        })
        .map(|_| ())
    }

    /// Notes that a payment of ours arrived.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn sent(&self, hash: &str, amount_msat: Option<u64>, fee_msat: Option<u64>) -> Result<()> {
        let _turn = lock(&self.turn);
        let known = self
            .get(hash)?
            .unwrap_or_else(|| new(hash, Direction::Sent, amount_msat, None));
        if known.status == PaymentStatus::Succeeded {
            return Ok(());
        }
        self.put(Payment {
            status: PaymentStatus::Succeeded,
            fee_msat,
            failure: None,
            ..known
        })
        .map(|_| ())
    }

    /// Notes that a payment of ours will not arrive. One that has arrived stays so, whatever comes late.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`].
    pub fn failed(&self, hash: &str, why: &str) -> Result<()> {
        let _turn = lock(&self.turn);
        match self.get(hash)? {
            Some(known) if known.status == PaymentStatus::Pending => {
                let failure = Some(why.to_owned());
                self.put(Payment {
                    status: PaymentStatus::Failed,
                    failure,
                    ..known
                })
                .map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn put(&self, payment: Payment) -> Result<Payment> {
        let payment = Payment {
            updated_at_ms: clock::now_ms(),
            ..payment
        };
        rows::write(&self.store, Kind::Payment, &payment.id, &payment)?;
        // Nobody may be listening, which is fine.
        let _ = self.events.send(NodeEvent::PaymentChanged {
            payment: payment.clone(),
        });
        Ok(payment)
    }
}

fn new(hash: &str, direction: Direction, amount_msat: Option<u64>, description: Option<String>) -> Payment {
    let now = clock::now_ms();
    Payment {
        id: hash.to_owned(),
        kind: PaymentKind::Lightning,
        direction,
        status: PaymentStatus::Pending,
        amount_msat,
        fee_msat: None,
        description: description.filter(|text| !text.is_empty()),
        failure: None,
        created_at_ms: now,
        updated_at_ms: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payments(dir: &std::path::Path) -> Payments {
        Payments::new(
            Arc::new(Store::open(dir.join("store")).unwrap()),
            broadcast::channel(16).0,
        )
    }

    #[test]
    fn a_payment_only_moves_forwards_and_events_may_come_twice() {
        let dir = tempfile::tempdir().unwrap();
        let payments = payments(dir.path());
        payments.begin("aa", 1_000, "tea".into()).unwrap();
        assert_eq!(
            payments.begin("aa", 1_000, "tea".into()).unwrap_err().code(),
            ErrorCode::AlreadyPaid
        );
        payments.sent("aa", Some(1_000), Some(3)).unwrap();
        payments.failed("aa", "too late").unwrap();
        payments.sent("aa", Some(1_000), Some(9)).unwrap();
        let paid = payments.get("aa").unwrap().unwrap();
        assert_eq!(
            (paid.status, paid.fee_msat, paid.failure),
            (PaymentStatus::Succeeded, Some(3), None)
        );
    }

    #[test]
    fn a_failed_payment_may_be_tried_again_and_our_own_invoice_never() {
        let dir = tempfile::tempdir().unwrap();
        let payments = payments(dir.path());
        payments.begin("aa", 1_000, String::new()).unwrap();
        payments.failed("aa", "no route").unwrap();
        assert_eq!(
            payments.begin("aa", 1_000, String::new()).unwrap().status,
            PaymentStatus::Pending
        );
        payments.expect("bb", None, String::new()).unwrap();
        assert_eq!(
            payments.begin("bb", 1, String::new()).unwrap_err().code(),
            ErrorCode::InvalidInput
        );
        payments.received("bb", 77).unwrap();
        payments.received("bb", 78).unwrap();
        assert_eq!(payments.get("bb").unwrap().unwrap().amount_msat, Some(77));
    }
}
