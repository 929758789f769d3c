//! How safe the wallet is, as last known: kept on disk, so that it is known without opening the node, and when the person
//! must be warned.
//!
//! Owns the file and the rule of warning. What the moment is, is reckoned in `safe_until`; who shows a warning is for the
//! app to say.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use pilotlight_store::files;
use serde::{Deserialize, Serialize};

use super::safe_until::SafeUntil;
use crate::clock::millis;
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// So long ahead of the safe-until moment the person is warned: a day holds a night, a working day, and a moment to open
/// the app in.
pub const WARNED_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// So long after the last look at the chain the person is warned in any case, if there is something to lose. A phone that
/// wakes us at all does so sooner (95 of 100 simulated gaps are shorter than 40 hours), so whoever is warned has an app that
/// was swiped away, or no network: `docs/decisions/0016-two-hours-between-wakes.md`.
pub const LONGEST_UNSEEN: Duration = Duration::from_secs(48 * 60 * 60);

/// How safe the wallet is, as last known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// When the chain was last seen whole, Unix time in ms. `None`: never.
    pub checked_at_ms: Option<u64>,
    /// The moment before which it must be seen again. `None`: nothing can be lost.
    pub safe_until: Option<SafeUntil>,
    /// Channel partners that tried to cheat and whose money is not secured yet.
    #[serde(default)]
    pub breaches: u32,
}

/// When the person must be told to open the app, Unix time in ms; `None` if there is nothing to lose. Ahead of the
/// safe-until moment by [`WARNED_AHEAD`], or half-way to it if that is nearer, and never more than [`LONGEST_UNSEEN`] after
/// the last look. At night too: a warning that waits on the lock screen is there in the morning.
pub fn warn_at(safety: &Safety) -> Option<u64> {
    let until = safety.safe_until?.at_ms;
    let checked = safety.checked_at_ms.unwrap_or(until).min(until);
    let ahead = millis(WARNED_AHEAD).min((until - checked).div_ceil(2));
    Some((until - ahead).min(checked.saturating_add(millis(LONGEST_UNSEEN))))
}

/// The file that keeps it.
#[derive(Debug)]
pub struct SafetyFile {
    path: PathBuf,
    /// What is in the file, once that is known.
    known: Mutex<Option<Safety>>,
}

impl SafetyFile {
    /// The file in a data folder; made when something is kept.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("safety.json"),
            known: Mutex::default(),
        }
    }

    /// What was last kept. A file that is absent, damaged, or cannot be read now says nothing.
    pub fn read(&self) -> Safety {
        let mut known = lock(&self.known);
        if known.is_none() {
            *known = match std::fs::read(&self.path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(safety)) => Some(safety),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the safe-until moment cannot be read");
                    None
                }
                Err(_) => None,
            };
        }
        known.unwrap_or_default()
    }

    /// Keeps it; whether it is news. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`]. It is known in this process all the same.
    pub fn write(&self, safety: Safety) -> Result<bool> {
        if lock(&self.known).replace(safety) == Some(safety) {
            return Ok(false);
        }
        let failed = |e: std::io::Error| Error::new(ErrorCode::StorageFailed, format!("safe until: {e}"));
        let bytes = serde_json::to_vec(&safety).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        files::write_atomically(&self.path, &bytes).map_err(failed)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wake::safe_until::{FAST_BLOCK, Risk, SafeUntilReason, Tip, safe_until};

    const HOUR: u64 = 60 * 60 * 1000;
    const CHECKED: u64 = 1_800_000_000_000;

    fn safety(left_ms: u64) -> Safety {
        Safety {
            checked_at_ms: Some(CHECKED),
            safe_until: Some(SafeUntil {
                at_ms: CHECKED + left_ms,
                height: 1,
                reason: SafeUntilReason::OldBalance,
            }),
            breaches: 0,
        }
    }

    #[test]
    fn a_warning_comes_a_day_ahead_or_half_way_and_after_two_days_at_the_latest() {
        // Hours from the last look to the safe-until moment, and to the warning.
        for (left, expected) in [
            (240, 48),
            (73, 48),
            (72, 48),
            (60, 36),
            (48, 24),
            (10, 5),
            (2, 1),
            (0, 0),
        ] {
            let at = warn_at(&safety(left * HOUR)).unwrap();
            assert_eq!((at - CHECKED) / HOUR, expected, "{left} h");
        }
        assert_eq!(warn_at(&Safety::default()), None);
        let nothing_at_stake = Safety {
            safe_until: None,
            ..safety(1)
        };
        assert_eq!(warn_at(&nothing_at_stake), None);
        // Never checked, or a clock that was set back meanwhile: no later than the moment itself.
        for checked_at_ms in [None, Some(u64::MAX)] {
            let odd = Safety {
                checked_at_ms,
                ..safety(HOUR)
            };
            assert_eq!(warn_at(&odd), Some(CHECKED + HOUR));
        }
    }

    #[test]
    fn what_was_kept_is_known_to_the_next_process_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = SafetyFile::new(dir.path());
        assert_eq!(file.read(), Safety::default());
        assert!(file.write(safety(HOUR)).unwrap());
        assert!(!file.write(safety(HOUR)).unwrap(), "no news");
        assert_eq!(SafetyFile::new(dir.path()).read(), safety(HOUR));
        std::fs::write(dir.path().join("safety.json"), b"{ not json").unwrap();
        assert_eq!(SafetyFile::new(dir.path()).read(), Safety::default());
    }

    proptest! {
        #[test]
        fn a_warning_is_never_after_the_moment(left in 0u64..u64::from(u32::MAX)) {
            let at = warn_at(&safety(left)).unwrap();
            prop_assert!((CHECKED..=CHECKED + left).contains(&at));
            prop_assert!(left == 0 || at < CHECKED + left);
            prop_assert!(at <= CHECKED + 48 * HOUR);
        }

        /// Wakes come as they like; each arms one warning in place of the last. Whatever has to be claimed, at a height that
        /// is still ahead when it is first seen: if the chain reaches it, a look or a warning came before.
        #[test]
        fn with_any_schedule_of_wakes_the_warning_comes_before_the_deadline(
            gaps in proptest::collection::vec(0u64..300 * HOUR, 1..40),
            expiry in 1u32..5_000,
            outgoing in any::<bool>(),
            block_secs in 480u64..1_200,
        ) {
            let block_ms = block_secs * 1000;
            let height_at = |ms: u64| u32::try_from(ms / block_ms).unwrap();
            let ends_at = u64::from(expiry) * block_ms;
            let risks = [
                Risk::OldBalance,
                if outgoing { Risk::Outgoing { expiry } } else { Risk::Incoming { expiry, on_chain: false } },
            ];
            let mut now = 0;
            for gap in gaps {
                let tip = Tip { height: height_at(now), at_ms: now };
                let safety = Safety { checked_at_ms: Some(now), safe_until: safe_until(&risks, tip), breaches: 0 };
                let (until, warned) = (safety.safe_until.unwrap(), warn_at(&safety).unwrap());
                let next = now + gap;
                if now < ends_at {
                    prop_assert!(warned < ends_at, "a warning is armed ahead of the end");
                    // A peer that cheats in the next block waits from there.
                    prop_assert!(warned < now + 2016 * block_ms);
                    if next >= ends_at {
                        prop_assert!(warned < next, "and it fires, because no look came in time");
                    }
                    prop_assert!(until.height <= expiry);
                }
                now = next;
            }
            prop_assert!(FAST_BLOCK.as_secs() <= block_secs, "what is reckoned with is never slower");
        }
    }
}
