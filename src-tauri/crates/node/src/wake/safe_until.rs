//! The safe-until moment: before it the chain must be looked at again, or somebody could take money of the person's.
//!
//! A plain function of what is at risk and of the last look at the chain. Owns the margins, each with its reason, and how
//! LDK's balances and HTLCs are read as risks. Does not own where they come from (`node`), nor when to warn (`safety`).

use std::time::Duration;

use lightning::chain::channelmonitor::{Balance, HTLC_FAIL_BACK_BUFFER};
use lightning::ln::channel_state::{InboundHTLCDetails, InboundHTLCStateDetails, OutboundHTLCDetails};
use serde::{Deserialize, Serialize};

use crate::config::OUR_TO_SELF_DELAY;

/// Blocks in which a transaction is expected to get into one, and after which it should be looked after. LDK's
/// `MAX_BLOCKS_FOR_CONF`, which it does not export.
pub const CONFIRMED_WITHIN: u32 = 18;

/// A claim from an open channel needs two transactions one after the other: the closing one, then the claim. LDK's
/// `CLTV_CLAIM_BUFFER`: so long before an HTLC's end it goes on chain by itself, if it is running.
pub const CLAIM_FROM_OPEN: u32 = 2 * CONFIRMED_WITHIN;

// LDK fails HTLCs back a little before that. Should its own numbers change, ours must be thought about again.
const _: () = assert!(HTLC_FAIL_BACK_BUFFER == CLAIM_FROM_OPEN + 3);

/// What is kept back of a cheating peer's waiting time: a day of blocks. Here a whole channel is at risk, there is time in
/// plenty, and a day is as long as the mempool's worst hours last.
pub const PUNISHED_WITHIN: u32 = 144;

const _: () = assert!(PUNISHED_WITHIN < OUR_TO_SELF_DELAY as u32);

/// The mean time between blocks that is reckoned with: eight minutes, not ten. That is a quarter more hash rate than the
/// difficulty expects, and the difficulty corrects it every two weeks.
pub const FAST_BLOCK: Duration = Duration::from_secs(8 * 60);

/// Standard deviations by which luck may be on the wrong side: blocks come sooner than this reckons once in a thousand.
/// It hardly matters for two weeks of blocks (7 %), and is nearly everything for an hour's (six may come in ten minutes).
const LUCK: f64 = 3.09;

/// The last look at the chain: all risks are counted from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Height of the best block, in blocks.
    pub height: u32,
    /// When it was seen to be the best, Unix time in ms. Not the block's own time: blocks have no memory, so the wait for
    /// the next one begins whenever one looks.
    pub at_ms: u64,
}

/// Something that could be lost if nobody looked at the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// A channel whose peer could close it with an old balance. It must wait for [`OUR_TO_SELF_DELAY`] blocks then.
    OldBalance,
    /// A channel that was closed by one side; no closing transaction is in a block yet. Payments that hang in it cannot be
    /// seen any more, so it must be looked after until it is.
    Closing,
    /// A peer did close with an old balance; what takes its money is not in a block yet.
    Breach,
    /// A payment to us that must be claimed before a height.
    Incoming {
        /// From this height on the peer can take it back.
        expiry: u32,
        /// Whether the channel's closing transaction is in a block already; then only the claim itself is wanting.
        on_chain: bool,
    },
    /// A payment of ours that we may take back from a height on. Until we did, the peer can still claim it, so that it
    /// could be paid after it was called failed.
    Outgoing {
        /// From this height on we can take it back.
        expiry: u32,
    },
}

/// Why the chain must be looked at by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum SafeUntilReason {
    /// A peer that closes a channel with an old balance could get away with it.
    OldBalance,
    /// A payment to the person could be lost.
    IncomingPayment,
    /// A payment of the person's may have to be taken back.
    OutgoingPayment,
    /// A closing channel is not in a block yet.
    Closing,
    /// A peer cheated, and its punishment is not in a block yet.
    Breach,
}

impl SafeUntilReason {
    /// Why, in words for the person: the end of a sentence that begins with "because".
    pub fn words(self) -> &'static str {
        match self {
            Self::OldBalance => "a peer that closes a channel with an old balance must be caught in time",
            Self::IncomingPayment => "a payment to you must be secured before it runs out",
            Self::OutgoingPayment => "a payment of yours is still under way and may have to be taken back",
            Self::Closing => "a channel is closing and is not in a block yet",
            Self::Breach => "a peer tried to cheat, and the money it loses is not in a block yet",
        }
    }
}

/// The moment before which the chain must be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct SafeUntil {
    /// The moment: Unix time in ms. Blocks seldom come so fast that it is too late (see [`soonest`]).
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub at_ms: u64,
    /// The same as a height, in blocks: exact.
    pub height: u32,
    /// Why.
    pub reason: SafeUntilReason,
}

/// The moment before which the chain must be looked at again; `None` if nothing can be lost.
pub fn safe_until(risks: &[Risk], tip: Tip) -> Option<SafeUntil> {
    let parts = risks.iter().map(|risk| (due(*risk, tip.height), reason(*risk)));
    let (height, reason) = parts.min_by_key(|(height, _)| *height)?;
    let left = soonest(height.saturating_sub(tip.height));
    Some(SafeUntil {
        at_ms: tip.at_ms.saturating_add(crate::clock::millis(left)),
        height,
        reason,
    })
}

/// The height before which a risk must be looked at, given that it was looked at when the chain was `tip` high. Always
/// above `tip`.
pub fn due(risk: Risk, tip: u32) -> u32 {
    match risk {
        // At the worst the old balance is in the very next block.
        Risk::OldBalance => tip.saturating_add(u32::from(OUR_TO_SELF_DELAY) - PUNISHED_WITHIN),
        // What had to be sent was sent when this was found. It must be seen to get into a block, and be given more fees.
        Risk::Closing | Risk::Breach => tip.saturating_add(CONFIRMED_WITHIN),
        Risk::Incoming { expiry, on_chain } => {
            let margin = if on_chain {
                CONFIRMED_WITHIN
            } else {
                CLAIM_FROM_OPEN
            };
            before(expiry, margin, tip)
        }
        Risk::Outgoing { expiry } => before(expiry, 0, tip),
    }
}

/// With the margin if there is time for it, else half-way to the end. After the end it is a race with the peer, which is
/// looked after like any transaction that waits for a block.
fn before(expiry: u32, margin: u32, tip: u32) -> u32 {
    let comfortable = expiry.saturating_sub(margin);
    if comfortable > tip {
        comfortable
    } else if expiry > tip {
        tip + ((expiry - tip) / 2).max(1)
    } else {
        tip.saturating_add(CONFIRMED_WITHIN)
    }
}

fn reason(risk: Risk) -> SafeUntilReason {
    match risk {
        Risk::OldBalance => SafeUntilReason::OldBalance,
        Risk::Closing => SafeUntilReason::Closing,
        Risk::Breach => SafeUntilReason::Breach,
        Risk::Incoming { .. } => SafeUntilReason::IncomingPayment,
        Risk::Outgoing { .. } => SafeUntilReason::OutgoingPayment,
    }
}

/// How soon that many blocks may be there: sooner than this only once in a thousand, with blocks every [`FAST_BLOCK`] on
/// average. Their waiting times are exponential, so the sum's is a gamma distribution, here in Wilson and Hilferty's
/// approximation. For few blocks it is next to nothing.
pub fn soonest(blocks: u32) -> Duration {
    let n = f64::from(blocks.max(1));
    let root = 1.0 - 1.0 / (9.0 * n) - LUCK / (3.0 * n.sqrt());
    FAST_BLOCK.mul_f64(f64::from(blocks) * root.max(0.0).powi(3))
}

/// How the channel of a monitor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is among our channels.
    Open,
    /// Both sides agreed to close it, and it held no payment then.
    ClosedTogether,
    /// It was closed by one side.
    ClosedAlone,
}

/// What a monitor's balance has at risk.
pub fn risk_of_balance(balance: &Balance, standing: Standing) -> Option<Risk> {
    match balance {
        Balance::ClaimableOnChannelClose { .. } => Some(match standing {
            Standing::Open | Standing::ClosedTogether => Risk::OldBalance,
            Standing::ClosedAlone => Risk::Closing,
        }),
        Balance::ContentiousClaimable { timeout_height, .. } => Some(Risk::Incoming {
            expiry: *timeout_height,
            on_chain: true,
        }),
        Balance::MaybeTimeoutClaimableHTLC { claimable_height, .. } => Some(Risk::Outgoing {
            expiry: *claimable_height,
        }),
        Balance::CounterpartyRevokedOutputClaimable { .. } => Some(Risk::Breach),
        // The first is ours alone, and only its wait is not over. The second is not ours without its preimage; in an open
        // channel it is counted among the HTLCs, because the preimage may be on its way to the monitor.
        Balance::ClaimableAwaitingConfirmations { .. } | Balance::MaybePreimageClaimableHTLC { .. } => None,
    }
}

/// What an open channel's HTLC to us has at risk. We do not forward: it is ours, whether LDK was given the preimage yet or
/// not.
pub fn risk_of_inbound(htlc: &InboundHTLCDetails) -> Option<Risk> {
    (htlc.state != Some(InboundHTLCStateDetails::AwaitingRemoteRevokeToRemoveFail)).then_some(
        Risk::Incoming {
            expiry: htlc.cltv_expiry,
            on_chain: false,
        },
    )
}

/// What an open channel's HTLC from us has at risk.
pub fn risk_of_outbound(htlc: &OutboundHTLCDetails) -> Risk {
    Risk::Outgoing {
        expiry: htlc.cltv_expiry,
    }
}

#[cfg(test)]
mod tests {
    use lightning::chain::channelmonitor::{BalanceSource, HolderCommitmentTransactionBalance};
    use lightning::types::payment::{PaymentHash, PaymentPreimage};
    use proptest::prelude::*;

    use super::*;

    const TIP: u32 = 800_000;
    const AT: u64 = 1_800_000_000_000;

    fn tip() -> Tip {
        Tip {
            height: TIP,
            at_ms: AT,
        }
    }

    fn incoming(expiry: u32) -> Risk {
        Risk::Incoming {
            expiry,
            on_chain: false,
        }
    }

    #[test]
    fn each_risk_has_its_height() {
        let claim = |expiry| Risk::Incoming {
            expiry,
            on_chain: true,
        };
        let outgoing = |expiry| Risk::Outgoing { expiry };
        let table = [
            (Risk::OldBalance, 1872),
            (Risk::Closing, 18),
            (Risk::Breach, 18),
            (incoming(TIP + 100), 64),
            (incoming(TIP + 37), 1),
            (incoming(TIP + 36), 18),
            (incoming(TIP + 10), 5),
            (incoming(TIP + 1), 1),
            (incoming(TIP), 18),
            (incoming(TIP - 500), 18),
            (claim(TIP + 100), 82),
            (claim(TIP + 18), 9),
            (claim(0), 18),
            (outgoing(TIP + 100), 100),
            (outgoing(TIP + 1), 1),
            (outgoing(TIP), 18),
        ];
        for (risk, expected) in table {
            assert_eq!(due(risk, TIP) - TIP, expected, "{risk:?}");
        }
    }

    #[test]
    fn the_soonest_is_the_moment_and_gives_the_reason() {
        assert_eq!(safe_until(&[], tip()), None);
        let risks = [
            Risk::OldBalance,
            incoming(TIP + 300),
            Risk::Outgoing { expiry: TIP + 200 },
        ];
        let moment = safe_until(&risks, tip()).unwrap();
        assert_eq!(
            (moment.height, moment.reason),
            (TIP + 200, SafeUntilReason::OutgoingPayment)
        );
        let moment = safe_until(&risks[..2], tip()).unwrap();
        assert_eq!(
            (moment.height, moment.reason),
            (TIP + 264, SafeUntilReason::IncomingPayment)
        );
        let moment = safe_until(&risks[..1], tip()).unwrap();
        assert_eq!(
            (moment.height, moment.reason),
            (TIP + 1872, SafeUntilReason::OldBalance)
        );
        // Thirteen days by the calendar; more than nine are counted on.
        let hours = (moment.at_ms - AT) / 3_600_000;
        assert!((9 * 24..10 * 24).contains(&hours), "{hours}");
    }

    #[test]
    fn few_blocks_may_come_at_once_and_many_come_at_their_pace() {
        // Quantiles of the gamma distribution at 0.001, in units of the mean, from tables of chi-squared (2n degrees).
        for (blocks, quantile) in [(6u32, 1.107), (18, 7.66), (36, 20.31)] {
            let got = soonest(blocks).as_secs_f64() / FAST_BLOCK.as_secs_f64();
            assert!((got / quantile - 1.0f64).abs() < 0.05, "{blocks}: {got}");
        }
        assert_eq!(soonest(0), Duration::ZERO);
        assert_eq!(soonest(1), Duration::ZERO);
        let week = soonest(1008).as_secs_f64() / (1008.0 * 600.0);
        assert!((0.7..0.8).contains(&week), "{week}");
    }

    #[test]
    fn balances_are_read_as_what_they_put_at_risk() {
        let (payment_hash, payment_preimage) = (PaymentHash([1; 32]), PaymentPreimage([2; 32]));
        let open = Balance::ClaimableOnChannelClose {
            balance_candidates: vec![HolderCommitmentTransactionBalance {
                amount_satoshis: 1,
                transaction_fee_satoshis: 0,
            }],
            confirmed_balance_candidate_index: 0,
            outbound_payment_htlc_rounded_msat: 0,
            outbound_forwarded_htlc_rounded_msat: 0,
            inbound_claiming_htlc_rounded_msat: 0,
            inbound_htlc_rounded_msat: 0,
        };
        let read = |balance: &Balance| risk_of_balance(balance, Standing::ClosedAlone);
        assert_eq!(risk_of_balance(&open, Standing::Open), Some(Risk::OldBalance));
        assert_eq!(
            risk_of_balance(&open, Standing::ClosedTogether),
            Some(Risk::OldBalance)
        );
        assert_eq!(read(&open), Some(Risk::Closing));
        let contentious = Balance::ContentiousClaimable {
            amount_satoshis: 1,
            timeout_height: 7,
            payment_hash,
            payment_preimage,
        };
        let on_chain = true;
        assert_eq!(read(&contentious), Some(Risk::Incoming { expiry: 7, on_chain }));
        let outgoing = Balance::MaybeTimeoutClaimableHTLC {
            amount_satoshis: 1,
            claimable_height: 8,
            payment_hash,
            outbound_payment: true,
        };
        assert_eq!(read(&outgoing), Some(Risk::Outgoing { expiry: 8 }));
        let revoked = Balance::CounterpartyRevokedOutputClaimable { amount_satoshis: 1 };
        assert_eq!(read(&revoked), Some(Risk::Breach));
        let waits = Balance::ClaimableAwaitingConfirmations {
            amount_satoshis: 1,
            confirmation_height: 9,
            source: BalanceSource::HolderForceClosed,
        };
        assert_eq!(read(&waits), None);
        let not_ours = Balance::MaybePreimageClaimableHTLC {
            amount_satoshis: 1,
            expiry_height: 9,
            payment_hash,
        };
        assert_eq!(read(&not_ours), None);
    }

    #[test]
    fn a_payment_to_us_counts_until_it_is_being_failed() {
        let htlc = |state| InboundHTLCDetails {
            htlc_id: 0,
            amount_msat: 1,
            cltv_expiry: 9,
            payment_hash: PaymentHash([1; 32]),
            state,
            is_dust: false,
        };
        let claiming = InboundHTLCStateDetails::AwaitingRemoteRevokeToRemoveFulfill;
        for state in [None, Some(InboundHTLCStateDetails::Committed), Some(claiming)] {
            assert_eq!(risk_of_inbound(&htlc(state)), Some(incoming(9)));
        }
        let failing = htlc(Some(InboundHTLCStateDetails::AwaitingRemoteRevokeToRemoveFail));
        assert_eq!(risk_of_inbound(&failing), None);
    }

    fn any_risk() -> impl Strategy<Value = Risk> {
        let height = prop_oneof![1 => any::<u32>(), 4 => TIP - 100..TIP + 3_000];
        prop_oneof![
            Just(Risk::OldBalance),
            Just(Risk::Closing),
            Just(Risk::Breach),
            (height.clone(), any::<bool>())
                .prop_map(|(expiry, on_chain)| Risk::Incoming { expiry, on_chain }),
            height.prop_map(|expiry| Risk::Outgoing { expiry }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_never_later_than_any_part_and_never_past(
            risks in proptest::collection::vec(any_risk(), 1..8),
            height in prop_oneof![0u32..2_000_000, TIP - 100..TIP + 3_000],
        ) {
            let tip = Tip { height, at_ms: AT };
            let all = safe_until(&risks, tip).unwrap();
            prop_assert!(all.height > height && all.at_ms >= AT);
            for risk in &risks {
                let part = safe_until(&[*risk], tip).unwrap();
                prop_assert!(all.height <= part.height && all.at_ms <= part.at_ms);
                if let Risk::Incoming { expiry, .. } | Risk::Outgoing { expiry } = *risk && expiry > height {
                    prop_assert!(all.height <= expiry, "after the end of {risk:?}");
                }
            }
            let reasons: Vec<_> = risks
                .iter()
                .filter(|risk| due(**risk, height) == all.height)
                .map(|risk| reason(*risk))
                .collect();
            prop_assert!(reasons.contains(&all.reason));
        }

        #[test]
        fn more_blocks_never_come_sooner(few in 0u32..5_000, more in 0u32..5_000) {
            prop_assert!(soonest(few) <= soonest(few + more));
            prop_assert!(soonest(few) <= FAST_BLOCK * few);
        }
    }
}
