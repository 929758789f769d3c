//! The rule: how long to wait after a failure, and whom that binds. Plain functions of what is known; the time and the
//! randomness are passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::millis;
use crate::error::{Error, ErrorCode};

/// The longest wait that a server's `Retry-After` can ask for: as long as the longest wait between two wakes after
/// failures. Whoever asks for more would keep us away from the chain.
pub const LONGEST_ASKED: Duration = Duration::from_secs(4 * 60 * 60);

/// A part of the wait that chance adds, so that a thousand phones that lost the same server do not come back at once.
/// Less than what a failure adds: a later wait is always the longer one.
const JITTER: f64 = 0.25;

/// Of the time that is left until money can be lost, waiting may take the fourth part.
const CHANCES: u32 = 4;

/// What was wrong with an endpoint. Each kind has one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Not reached, or too slow.
    Transient,
    /// It asked us to slow down.
    RateLimited,
    /// What it said cannot be true.
    Contradiction,
}

impl Failure {
    /// What an error says of the endpoint that was asked; `None` if it says nothing: the work was called off, or the fault
    /// is ours.
    pub fn of(error: &Error) -> Option<Self> {
        match error.code() {
            ErrorCode::NetworkUnavailable | ErrorCode::SyncTimeout | ErrorCode::PeerUnreachable => {
                Some(Self::Transient)
            }
            ErrorCode::RateLimited => Some(Self::RateLimited),
            ErrorCode::ChainSyncFailed | ErrorCode::GossipFailed => Some(Self::Contradiction),
            _ => None,
        }
    }

    /// The first wait, and the longest.
    fn waits(self) -> (Duration, Duration) {
        let minutes =
            |first: u64, longest: u64| (Duration::from_secs(60 * first), Duration::from_secs(60 * longest));
        match self {
            // A tunnel, a lift, a server that starts again: minutes. An hour is a server that is down.
            Self::Transient => minutes(1, 60),
            // A limit that is not named is mostly one of some minutes.
            Self::RateLimited => minutes(5, 4 * 60),
            // Seldom the network's fault, and seldom over soon. Another source is asked at once.
            Self::Contradiction => minutes(15, 4 * 60),
        }
    }
}

/// How an endpoint stands: the failures since its last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Failures in a row.
    pub failures: u32,
    /// When it last failed, Unix time in ms.
    pub failed_at_ms: u64,
    /// So long it is left alone from then, in ms.
    pub wait_ms: u64,
    /// So long of it the server asked for itself, in ms.
    pub asked_ms: u64,
    /// What was wrong.
    pub code: ErrorCode,
}

/// Who wants to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A wake. `left` is the time until money can be lost; `None` if none can.
    Background {
        /// Time left until the safe-until moment.
        left: Option<Duration>,
    },
    /// The person, now. Does not wait for what is our own caution, only for what the server asked for.
    Person,
}

impl Standing {
    /// How an endpoint stands after a failure. `random` is from 0 to 1.
    pub fn after(
        before: Option<Self>,
        failure: Failure,
        code: ErrorCode,
        asked: Option<Duration>,
        now_ms: u64,
        random: f64,
    ) -> Self {
        let failures = before.map_or(0, |standing| standing.failures).saturating_add(1);
        let (first, longest) = failure.waits();
        let doubled = first
            .saturating_mul(2_u32.saturating_pow(failures - 1))
            .min(longest);
        let chance = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let ours = doubled.mul_f64(1.0 + JITTER * chance);
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        Self {
            failures,
            failed_at_ms: now_ms,
            wait_ms: millis(ours.max(asked)),
            asked_ms: millis(asked),
            code,
        }
    }

    /// How much longer somebody must wait before asking; `None` if now is fine.
    pub fn held_back(&self, asker: Asker, now_ms: u64) -> Option<Duration> {
        // A clock that was set back meanwhile says nothing of how long ago the failure was. Asking too early is a smaller
        // harm than never asking.
        let since = now_ms.checked_sub(self.failed_at_ms)?;
        let wait = |whole: u64| Duration::from_millis(whole.saturating_sub(since));
        let left = match asker {
            Asker::Person => wait(self.asked_ms),
            Asker::Background { left } => {
                let ours = wait(self.wait_ms);
                // Money comes before manners.
                match left {
                    Some(left) if left / CHANCES < ours => Duration::ZERO,
                    _ => ours,
                }
            }
        };
        (left > Duration::ZERO).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const MINUTE: u64 = 60_000;

    fn fail(before: Option<Standing>, failure: Failure, asked: Option<u64>, random: f64) -> Standing {
        let asked = asked.map(Duration::from_secs);
        Standing::after(before, failure, ErrorCode::RateLimited, asked, NOW, random)
    }

    #[test]
    fn each_kind_of_failure_has_its_first_wait_and_its_longest() {
        // Minutes after the first failure, the second, the third, and the twentieth.
        for (failure, waits) in [
            (Failure::Transient, [1, 2, 4, 60]),
            (Failure::RateLimited, [5, 10, 20, 240]),
            (Failure::Contradiction, [15, 30, 60, 240]),
        ] {
            let mut standing = None;
            let mut got = Vec::new();
            for _ in 0..20 {
                standing = Some(fail(standing, failure, None, 0.0));
                got.push(standing.unwrap().wait_ms / MINUTE);
            }
            assert_eq!([got[0], got[1], got[2], got[19]], waits, "{failure:?}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_the_least_and_has_an_end() {
        for (asked, minutes) in [(None, 5), (Some(60), 5), (Some(1_800), 30), (Some(u64::MAX), 240)] {
            let standing = fail(None, Failure::RateLimited, asked, 0.0);
            assert_eq!(standing.wait_ms / MINUTE, minutes, "{asked:?}");
        }
    }

    #[test]
    fn a_person_waits_only_for_what_was_asked_for_and_money_for_nothing() {
        let hour = Duration::from_secs(3_600);
        let idle = Asker::Background { left: None };
        let urgent = Asker::Background { left: Some(hour) };
        let calm = Asker::Background {
            left: Some(240 * hour),
        };
        let ours = fail(None, Failure::Contradiction, None, 0.0);
        let asked = fail(None, Failure::RateLimited, Some(1_800), 0.0);
        // Standing, who asks, minutes later, minutes to wait.
        let table = [
            (ours, idle, 0, 15),
            (ours, idle, 14, 1),
            (ours, idle, 15, 0),
            (ours, Asker::Person, 0, 0),
            (ours, urgent, 0, 15),
            (asked, idle, 0, 30),
            (asked, calm, 10, 20),
            (asked, Asker::Person, 10, 20),
            (asked, Asker::Person, 30, 0),
            (asked, urgent, 0, 0),
        ];
        for (standing, asker, later, expected) in table {
            let wait = standing
                .held_back(asker, NOW + later * MINUTE)
                .unwrap_or_default();
            assert_eq!(wait.as_secs() / 60, expected, "{standing:?} {asker:?} {later}");
        }
        assert_eq!(ours.held_back(idle, NOW - 1), None, "a clock that was set back");
    }

    #[test]
    fn what_is_not_the_endpoints_fault_says_nothing_of_it() {
        let of = |code| Failure::of(&Error::new(code, ""));
        for code in [
            ErrorCode::Cancelled,
            ErrorCode::InsufficientTime,
            ErrorCode::StorageFailed,
            ErrorCode::NotSynced,
        ] {
            assert_eq!(of(code), None, "{code:?}");
        }
        assert_eq!(of(ErrorCode::SyncTimeout), Some(Failure::Transient));
        assert_eq!(of(ErrorCode::RateLimited), Some(Failure::RateLimited));
        assert_eq!(of(ErrorCode::ChainSyncFailed), Some(Failure::Contradiction));
    }

    proptest! {
        #[test]
        fn waits_grow_until_the_longest_and_never_fall_below_what_was_asked(
            kinds in proptest::collection::vec((0_u8..3, any::<f64>(), proptest::option::of(any::<u64>())), 1..30),
        ) {
            let mut standing: Option<Standing> = None;
            for (kind, random, asked) in kinds {
                let failure = [Failure::Transient, Failure::RateLimited, Failure::Contradiction][usize::from(kind)];
                let next = fail(standing, failure, asked, random);
                let (first, longest) = failure.waits();
                prop_assert!(next.wait_ms >= millis(first));
                prop_assert!(next.wait_ms <= millis(longest.mul_f64(1.0 + JITTER).max(LONGEST_ASKED)));
                prop_assert!(next.wait_ms >= next.asked_ms);
                let again = fail(Some(next), failure, asked, random);
                prop_assert!(again.wait_ms >= next.wait_ms.min(millis(longest)));
                standing = Some(next);
            }
        }
    }
}
