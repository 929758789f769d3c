//! What a lock screen says: a warning and a piece of news, each a plain function of how safe the wallet is.
//!
//! The warning is armed again, in place of the last one, after every look at the chain, and so comes only if nobody looked. When, is
//! the node's rule ([`warn_at`]); how, is the platform's.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use pilotlight_node::{Safety, warn_at};

/// The one warning there is: arming it again replaces it.
#[cfg_attr(not(target_os = "ios"), allow(dead_code))] // Only a phone arms it.
pub const ID: &str = "safe-until";

/// What the person must do. It stands on a lock screen that others may see, so it names no amount and no channel.
#[cfg_attr(not(target_os = "ios"), allow(dead_code))]
pub const TITLE: &str = "Open Pilotlight to check your channels";

/// The news of a partner that cheats: a later one replaces it.
#[cfg_attr(not(target_os = "ios"), allow(dead_code))]
pub const NEWS_ID: &str = "breach";

/// Something that happened, to be shown at once. Others may see the lock screen: it names no amount and no partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_os = "ios"), allow(dead_code))]
pub struct News {
    /// What happened.
    pub title: &'static str,
    /// What that means for the person.
    pub body: &'static str,
}

impl News {
    /// What a wake has to tell at once, from what was known before it and what is known now.
    pub fn after(before: &Safety, safety: &Safety) -> Option<Self> {
        match safety.breaches.cmp(&before.breaches) {
            Ordering::Greater => Some(Self {
                title: "A channel partner tried to cheat",
                body: "It was caught, and your money is being secured. There is nothing that you must do.",
            }),
            // What is not known, because the file cannot be read, ends nothing.
            Ordering::Less if safety.checked_at_ms.is_some() => Some(Self {
                title: "The cheating partner was dealt with",
                body: "Open Pilotlight to see what came home.",
            }),
            _ => None,
        }
    }
}

/// What is to be armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Nothing can be lost: no warning is wanted, and one that is armed or shown is out of date.
    None,
    /// To be shown at a moment, unless it is armed again before.
    At {
        /// When.
        at: SystemTime,
        /// The sentence under [`TITLE`].
        body: String,
    },
}

impl Notice {
    /// What is to be armed for a wallet that is so safe.
    pub fn of(safety: &Safety) -> Self {
        let (Some(at_ms), Some(moment)) = (warn_at(safety), safety.safe_until) else {
            return Self::None;
        };
        Self::At {
            // A moment that no clock can hold comes from a damaged file: now is the safe answer.
            at: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_millis(at_ms))
                .unwrap_or(SystemTime::UNIX_EPOCH),
            body: format!(
                "They were not checked for a while, and {}.",
                moment.reason.words()
            ),
        }
    }

    /// What is to be armed after a wake, or when the app was put away; `None` leaves what is armed. `before` is what was known
    /// when it began: a warning whose moment is past and that was armed for the same already was shown, and a wake that could
    /// not look at the chain must not show it again. And what is not known, because the file cannot be read, takes nothing back.
    pub fn after(before: &Safety, safety: &Safety, now: SystemTime) -> Option<Self> {
        let notice = Self::of(safety);
        let past = matches!(&notice, Self::At { at, .. } if *at <= now);
        let known = safety.checked_at_ms.is_some();
        (known && (!past || before != safety)).then_some(notice)
    }

    /// Whether the person should be asked to allow notifications, if they never were: as soon as there is something to warn
    /// of, which is the first channel, and not at the first start.
    #[cfg_attr(not(target_os = "ios"), allow(dead_code))] // Only a phone asks.
    pub fn worth_asking_for(&self) -> bool {
        *self != Self::None
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_node::{SafeUntil, SafeUntilReason};

    use super::*;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn safety(hours: u64, reason: SafeUntilReason) -> Safety {
        Safety {
            checked_at_ms: Some(1_800_000_000_000),
            safe_until: Some(SafeUntil {
                at_ms: 1_800_000_000_000 + hours * HOUR_MS,
                height: 900_000,
                reason,
            }),
            breaches: 0,
        }
    }

    #[test]
    fn a_cheat_is_news_when_it_is_found_and_when_it_is_over() {
        let with = |breaches| Safety {
            breaches,
            ..safety(10, SafeUntilReason::Breach)
        };
        assert!(
            News::after(&with(0), &with(1))
                .unwrap()
                .title
                .contains("tried to cheat")
        );
        assert!(
            News::after(&with(1), &with(0))
                .unwrap()
                .title
                .contains("dealt with")
        );
        for (before, after) in [
            (with(0), with(0)),
            (with(2), with(2)),
            (with(1), Safety::default()),
        ] {
            assert_eq!(News::after(&before, &after), None);
        }
    }

    #[test]
    fn without_a_channel_nothing_is_armed_and_nothing_is_asked() {
        for checked_at_ms in [None, Some(5)] {
            let notice = Notice::of(&Safety {
                checked_at_ms,
                safe_until: None,
                breaches: 0,
            });
            assert_eq!(notice, Notice::None);
            assert!(!notice.worth_asking_for());
        }
    }

    #[test]
    fn with_one_it_is_armed_two_days_after_the_look_or_sooner_if_that_is_too_late() {
        let table = [
            (240, SafeUntilReason::OldBalance, 48),
            (10, SafeUntilReason::IncomingPayment, 5),
        ];
        for (left, reason, hours) in table {
            let notice = Notice::of(&safety(left, reason));
            assert!(notice.worth_asking_for());
            let Notice::At { at, body } = notice else {
                panic!("nothing armed");
            };
            let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(unix.as_secs(), 1_800_000_000 + hours * 3600);
            assert!(body.contains(reason.words()) && body.ends_with('.'), "{body}");
        }
    }

    #[test]
    fn a_warning_that_was_shown_is_not_shown_again_by_a_wake_that_saw_nothing() {
        let checked = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hours = |hours: u64| checked + Duration::from_secs(hours * 3600);
        let quiet = safety(240, SafeUntilReason::OldBalance);
        let urgent = safety(10, SafeUntilReason::OutgoingPayment);
        let nothing = Safety {
            safe_until: None,
            ..quiet
        };
        // What was known before, what is known after, hours since the last look, and whether that arms anything.
        let table = [
            (quiet, quiet, 1, true),
            (quiet, quiet, 47, true),
            (quiet, quiet, 48, false),
            (quiet, quiet, 500, false),
            (quiet, urgent, 6, true),
            (urgent, urgent, 6, false),
            (nothing, quiet, 500, true),
            (quiet, nothing, 500, true),
            (nothing, nothing, 500, true),
            (quiet, Safety::default(), 1, false),
            (Safety::default(), Safety::default(), 1, false),
        ];
        for (before, after, at, armed) in table {
            let expected = armed.then(|| Notice::of(&after));
            assert_eq!(
                Notice::after(&before, &after, hours(at)),
                expected,
                "{before:?} {after:?} {at}"
            );
        }
    }

    #[test]
    fn a_moment_that_no_clock_can_hold_does_not_end_the_app() {
        let mut odd = safety(1, SafeUntilReason::Breach);
        odd.checked_at_ms = Some(u64::MAX);
        if let Some(moment) = &mut odd.safe_until {
            moment.at_ms = u64::MAX;
        }
        assert!(matches!(Notice::of(&odd), Notice::At { .. }));
    }
}
