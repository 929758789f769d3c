//! Giving transactions to everybody who may be asked, and what is made of their answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Failover;
use super::slot::Slot;
use crate::chain::source::{Sent, Source};
use crate::error::{Error, ErrorCode, Result};

/// Once one server has a transaction, so long the others are waited for. They have it from the network soon; and who sends
/// money should not wait for a server that hangs.
const STRAGGLERS: Duration = Duration::from_secs(1);

impl Failover {
    /// Who is given a transaction: every server that may be asked, and peers that are there already. Peers that must be found
    /// first take longer than the network needs to pass it on; unless there is nobody else.
    fn takers(&self) -> VecDeque<&Slot> {
        let mut takers = self.for_a_question();
        let asked = self.filters().filter(|slot| slot.source.get().is_some());
        let more: Vec<&Slot> = asked
            .filter(|slot| takers.iter().all(|taker| taker.name != slot.name))
            .collect();
        takers.extend(more);
        takers
    }

    /// Hands transactions to every source that may be asked; enough if one takes them.
    pub(super) async fn hand_over<F>(&self, give: impl Fn(Arc<dyn Source>) -> F) -> Result<Sent>
    where
        F: Future<Output = Result<Sent>>,
    {
        let mut handing = FuturesUnordered::new();
        for slot in self.takers() {
            let given = give(self.source(slot)?);
            handing.push(async move { (slot, given.await) });
        }
        let mut outcome = Outcome::default();
        let mut patience: Option<Instant> = None;
        loop {
            let next = async {
                match patience {
                    Some(until) => tokio::time::timeout_at(until, handing.next())
                        .await
                        .ok()
                        .flatten(),
                    None => handing.next().await,
                }
            };
            let Some((slot, given)) = next.await else {
                return outcome.end();
            };
            match &given {
                Ok(Sent::Accepted) => {
                    patience.get_or_insert_with(|| Instant::now() + STRAGGLERS);
                }
                Ok(Sent::Refused(why)) => tracing::info!(server = slot.name, why, "refused by one"),
                Err(error) => tracing::info!(server = slot.name, detail = error.detail(), "not sent by one"),
            }
            outcome.take(given);
        }
    }
}

/// What became of a transaction that was given to several.
#[derive(Debug, Default)]
struct Outcome {
    accepted: bool,
    refused: Option<String>,
    failed: Option<Error>,
}

impl Outcome {
    fn take(&mut self, given: Result<Sent>) {
        match given {
            Ok(Sent::Accepted) => self.accepted = true,
            Ok(Sent::Refused(why)) => self.refused = self.refused.take().or(Some(why)),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// Taken by one is taken. Refused is only what nobody may have: one of whom nothing is known may have it, and who believes
    /// it to be refused would pay a second time.
    fn end(self) -> Result<Sent> {
        match self {
            Self { accepted: true, .. } => Ok(Sent::Accepted),
            Self {
                failed: Some(error), ..
            } => Err(error),
            Self {
                refused: Some(why), ..
            } => Ok(Sent::Refused(why)),
            Self { .. } => Err(Error::new(ErrorCode::NetworkUnavailable, "nobody was asked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Given = fn() -> Result<Sent>;

    #[test]
    fn a_transaction_is_refused_only_if_nobody_may_have_it() {
        let accepted = || Ok(Sent::Accepted);
        let refused = || Ok(Sent::Refused("no".into()));
        let failed = || Err(Error::new(ErrorCode::SyncTimeout, "?"));
        let table: [(&[Given], Option<bool>); 6] = [
            (&[refused, accepted], Some(true)),
            (&[failed, accepted], Some(true)),
            (&[refused, refused], Some(false)),
            (&[refused, failed], None),
            (&[failed], None),
            (&[], None),
        ];
        for (given, expected) in table {
            let mut outcome = Outcome::default();
            for given in given {
                outcome.take(given());
            }
            let end = outcome.end().ok().map(|sent| sent == Sent::Accepted);
            assert_eq!(end, expected, "{expected:?}");
        }
    }
}
