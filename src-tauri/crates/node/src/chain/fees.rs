//! Fee rates by LDK's targets, from the last estimates known.
//!
//! Asking never waits for a network: estimates come from memory, before the first sync from disk, and before that from
//! fallbacks. Targets and fallbacks are those of ldk-node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use bitcoin::FeeRate;
use lightning::chain::chaininterface::{ConfirmationTarget, FEERATE_FLOOR_SATS_PER_KW, FeeEstimator};

/// The highest rate believed, in sat/vB. No block ever needed more; a server that says so errs or lies.
const HIGHEST_BELIEVED: f64 = 2_000.0;

/// An Esplora answer to `/fee-estimates`: blocks to confirmation, sat/vB.
pub type Estimates = HashMap<u16, f64>;

/// The highest floor believed, in sat per 1000 weight units: 200 sat/vB. Bitcoin Core's mempool, full, has asked for a
/// quarter of it at the worst of times; a peer that asks for more would have us burn money.
const HIGHEST_FLOOR: u64 = 50_000;

/// The last estimates known.
#[derive(Default)]
pub struct Fees {
    estimates: RwLock<Estimates>,
    floor: AtomicU32,
}

impl Fees {
    /// Takes in new estimates. Numbers that cannot be rates are left out.
    pub fn update(&self, estimates: Estimates) {
        let believed: Estimates = estimates
            .into_iter()
            .filter(|(_, rate)| rate.is_finite() && *rate > 0.0)
            .collect();
        if !believed.is_empty() {
            *self.estimates.write().unwrap_or_else(PoisonError::into_inner) = believed;
        }
    }

    /// Takes in the lowest rate at which a transaction is passed on at all. For sources that have no estimates: whatever was
    /// known last is raised to it.
    pub fn raise_to(&self, floor: FeeRate) {
        let floor = floor.to_sat_per_kwu().min(HIGHEST_FLOOR);
        self.floor
            .store(u32::try_from(floor).unwrap_or(0), Ordering::Relaxed);
    }

    fn floor(&self) -> u32 {
        self.floor.load(Ordering::Relaxed).max(FEERATE_FLOOR_SATS_PER_KW)
    }

    /// The estimates as they are, to be kept on disk.
    pub fn estimates(&self) -> Estimates {
        self.estimates
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The rate to be in a block within so many blocks, in sat per 1000 weight units; `None` if nothing is known.
    fn within(&self, blocks: u16) -> Option<u32> {
        let estimates = self.estimates.read().unwrap_or_else(PoisonError::into_inner);
        let (_, rate) = estimates
            .iter()
            .filter(|(target, _)| **target <= blocks)
            .max_by_key(|(target, _)| **target)
            .or_else(|| estimates.iter().min_by_key(|(target, _)| **target))?;
        // 1 sat/vB is 250 sat/kWU. The cast saturates and the value is bounded above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(((rate.min(HIGHEST_BELIEVED) * 250.0).ceil()) as u32)
    }

    /// The rate for an on-chain payment of the person's, wanted within six blocks.
    pub fn payment(&self) -> FeeRate {
        self.rate(6, 5_000)
    }

    /// The rate for funding a channel, wanted within twelve blocks.
    pub fn funding(&self) -> FeeRate {
        self.rate(12, 1_000)
    }

    fn rate(&self, blocks: u16, fallback: u32) -> FeeRate {
        let rate = self.within(blocks).unwrap_or(fallback).max(self.floor());
        FeeRate::from_sat_per_kwu(u64::from(rate))
    }
}

impl FeeEstimator for Fees {
    fn get_est_sat_per_1000_weight(&self, target: ConfirmationTarget) -> u32 {
        let (blocks, fallback) = match target {
            ConfirmationTarget::MaximumFeeEstimate => (1, 8_000),
            ConfirmationTarget::UrgentOnChainSweep => (6, 5_000),
            ConfirmationTarget::MinAllowedAnchorChannelRemoteFee => (1008, FEERATE_FLOOR_SATS_PER_KW),
            ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => (144, FEERATE_FLOOR_SATS_PER_KW),
            ConfirmationTarget::AnchorChannelFee => (1008, 500),
            ConfirmationTarget::NonAnchorChannelFee | ConfirmationTarget::OutputSpendingFee => (12, 1_000),
            ConfirmationTarget::ChannelCloseMinimum => (144, 500),
        };
        let estimate = self.within(blocks).unwrap_or(fallback);
        let adjusted = match target {
            // A limit against peers that inflate fees. A tenth of leeway, because too low a limit closes channels.
            ConfirmationTarget::MaximumFeeEstimate => estimate.saturating_add(estimate / 10),
            // Slightly less than we would pay, because two estimators never agree to the satoshi.
            ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => estimate.saturating_sub(250),
            _ => estimate,
        };
        match target {
            // What we let a peer pay: raised by a busy hour, it would close channels that are fine.
            ConfirmationTarget::MinAllowedAnchorChannelRemoteFee
            | ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => {
                adjusted.max(FEERATE_FLOOR_SATS_PER_KW)
            }
            _ => adjusted.max(self.floor()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_gives_fallbacks_and_the_nearest_sooner_estimate_wins() {
        let fees = Fees::default();
        assert_eq!(fees.payment().to_sat_per_kwu(), 5_000);
        fees.update(HashMap::from([(1, 20.0), (6, 10.0), (144, 2.0)]));
        assert_eq!(fees.payment().to_sat_per_kwu(), 2_500);
        assert_eq!(
            fees.get_est_sat_per_1000_weight(ConfirmationTarget::NonAnchorChannelFee),
            2_500
        );
        assert_eq!(
            fees.get_est_sat_per_1000_weight(ConfirmationTarget::AnchorChannelFee),
            500
        );
        assert_eq!(
            fees.get_est_sat_per_1000_weight(ConfirmationTarget::MaximumFeeEstimate),
            5_500
        );
    }

    #[test]
    fn hostile_numbers_are_not_believed() {
        let fees = Fees::default();
        fees.update(HashMap::from([
            (1, f64::NAN),
            (2, f64::INFINITY),
            (3, -1.0),
            (4, 0.0),
        ]));
        assert!(fees.estimates().is_empty());
        fees.update(HashMap::from([(6, 1e300), (144, 1e-9)]));
        assert_eq!(fees.payment().to_sat_per_kwu(), 500_000);
        assert_eq!(
            fees.get_est_sat_per_1000_weight(ConfirmationTarget::ChannelCloseMinimum),
            FEERATE_FLOOR_SATS_PER_KW
        );
    }

    #[test]
    fn a_floor_raises_what_we_pay_within_reason_and_not_what_we_let_peers_pay() {
        let fees = Fees::default();
        fees.update(HashMap::from([(1, 20.0), (144, 2.0)]));
        fees.raise_to(FeeRate::from_sat_per_kwu(1_000));
        let rate = |target| fees.get_est_sat_per_1000_weight(target);
        assert_eq!(rate(ConfirmationTarget::ChannelCloseMinimum), 1_000);
        assert_eq!(rate(ConfirmationTarget::MinAllowedAnchorChannelRemoteFee), 500);
        assert_eq!(rate(ConfirmationTarget::UrgentOnChainSweep), 5_000);
        fees.raise_to(FeeRate::from_sat_per_kwu(u64::MAX));
        assert_eq!(
            u64::from(rate(ConfirmationTarget::ChannelCloseMinimum)),
            HIGHEST_FLOOR
        );
    }
}
