//! What the running node has at risk, read from LDK's monitors and channels.

use lightning::chain::transaction::OutPoint;

use super::Node;
use crate::wake::safe_until::{
    Risk, Standing, Tip, risk_of_balance, risk_of_inbound, risk_of_outbound, safe_until,
};
use crate::wake::safety::Safety;

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
        Safety {
            checked_at_ms: Some(tip.at_ms),
            safe_until: safe_until(&self.risks(), tip),
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
