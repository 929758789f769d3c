//! What the running node has at risk, read from LDK's monitors and channels.

use lightning::chain::transaction::OutPoint;

use super::Node;
use crate::clock;
use crate::models::{Breach, BreachStatus};
use crate::wake::safe_until::{
    Risk, Standing, Tip, risk_of_balance, risk_of_inbound, risk_of_outbound, safe_until,
};
use crate::wake::safety::Safety;

/// How long the person is told of a cheat after it is over: who opens the app once a month must still learn of it.
const TOLD_FOR_MS: u64 = 30 * 24 * 60 * 60 * 1000;

impl Node {
    /// How safe the wallet is, counted from the last look at the chain.
    pub fn safety(&self) -> Safety {
        let Some(checkpoint) = self.checkpoint() else {
            return Safety::default();
        };
        let tip = Tip {
            height: checkpoint.height,
            at_ms: checkpoint.at_ms,
        };
        let breaches = self.breaches();
        let securing = breaches
            .iter()
            .filter(|breach| breach.status == BreachStatus::Securing);
        Safety {
            checked_at_ms: Some(tip.at_ms),
            safe_until: safe_until(&self.risks(), tip),
            breaches: u32::try_from(securing.count()).unwrap_or(u32::MAX),
        }
    }

    /// Partners that tried to cheat, newest first: those whose money is not secured yet, and for a month those that are over.
    pub fn breaches(&self) -> Vec<Breach> {
        let now = clock::now_ms();
        let all = self.breaches.all().unwrap_or_else(|error| {
            tracing::error!(detail = error.detail(), "the rows of cheats cannot be read");
            Vec::new()
        });
        let told = |breach: &Breach| {
            breach.status == BreachStatus::Securing || now < breach.updated_at_ms.saturating_add(TOLD_FOR_MS)
        };
        all.into_iter().filter(told).collect()
    }

    /// Looks for partners that cheat; `wallet_looked` if the on-chain wallet was brought to the tip as well.
    pub(super) fn look_for_breaches(&self, wallet_looked: bool) {
        let looked = self
            .breaches
            .look(&self.lightning.chain_monitor, &self.wallet, wallet_looked);
        if let Err(error) = looked {
            // LDK punishes all the same, and the next look tells of it.
            tracing::error!(detail = error.detail(), "a cheat could not be noted");
        }
    }

    fn risks(&self) -> Vec<Risk> {
        let channels = self.lightning.channels.list_channels();
        let mut risks = Vec::new();
        for channel in &channels {
            risks.extend(channel.pending_inbound_htlcs.iter().filter_map(risk_of_inbound));
            risks.extend(channel.pending_outbound_htlcs.iter().map(risk_of_outbound));
        }
        for id in self.lightning.chain_monitor.list_monitors() {
            // The lock on the monitor must not be held while the wallet is asked.
            let Ok((balances, funding)) = self
                .lightning
                .chain_monitor
                .get_monitor(id)
                .map(|monitor| (monitor.get_claimable_balances(), monitor.get_funding_txo()))
            else {
                continue;
            };
            let standing = if channels.iter().any(|channel| channel.channel_id == id) {
                Standing::Open
            } else if self.closed_together(&funding) {
                Standing::ClosedTogether
            } else {
                Standing::ClosedAlone
            };
            risks.extend(
                balances
                    .iter()
                    .filter_map(|balance| risk_of_balance(balance, standing)),
            );
        }
        risks
    }

    /// Only a closing transaction that both sides signed pays to the on-chain wallet straight from the funding.
    fn closed_together(&self, funding: &OutPoint) -> bool {
        self.wallet.spends(&funding.into_bitcoin_outpoint())
    }
}
