//! When the next wake should come: a plain function of how this one ended and what is at stake.

use std::time::Duration;

use super::record::WakeOutcome;

/// What is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stakes {
    /// Channels, open or opening.
    pub channels: usize,
    /// HTLCs under way, or money on its way back from a closed channel.
    pub moving: bool,
    /// Time until the safe-until moment; zero if it is past, `None` if nothing can be lost.
    pub left: Option<Duration>,
}

/// First wait after a failure; doubles with each further one. iOS seldom grants anything sooner.
const FIRST_RETRY: Duration = Duration::from_secs(15 * 60);

/// Longest wait after failures while there are channels: six tries a day.
const LONGEST_RETRY: Duration = Duration::from_secs(4 * 60 * 60);

/// Of the time that is left until the safe-until moment, a wait takes at most the fourth part: iOS comes later than it is
/// asked to, and a wake may fail.
const CHANCES: u32 = 4;

/// Shortest wait, however late it is. It is half a block: sooner there is seldom anything new, and a server that is down
/// should not be asked all the time.
const SHORTEST: Duration = Duration::from_secs(5 * 60);

/// How long to wait at the least, after `failures` failed wakes in a row (this one included). `held_back` is how long every
/// source of the chain is to be left alone: sooner, a wake could look at nothing.
pub fn next_wake(
    outcome: WakeOutcome,
    failures: u32,
    stakes: Stakes,
    held_back: Option<Duration>,
) -> Duration {
    let usual = usual_wait(outcome, failures, stakes).max(held_back.unwrap_or_default());
    match stakes.left {
        Some(left) => usual.min((left / CHANCES).max(SHORTEST)),
        None => usual,
    }
}

fn usual_wait(outcome: WakeOutcome, failures: u32, stakes: Stakes) -> Duration {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    match outcome {
        WakeOutcome::Completed | WakeOutcome::InProgress => match stakes {
            Stakes { moving: true, .. } => HOUR,
            Stakes { channels: 0, .. } => 24 * HOUR,
            Stakes { .. } => 2 * HOUR,
        },
        WakeOutcome::Partial => HOUR,
        WakeOutcome::Expired | WakeOutcome::Failed | WakeOutcome::CutOff => {
            let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
            doubled.min(LONGEST_RETRY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_looked_at_sooner_and_failures_back_off_to_a_limit() {
        let hours = |outcome, failures, channels, moving| {
            next_wake(
                outcome,
                failures,
                Stakes {
                    channels,
                    moving,
                    left: None,
                },
                None,
            )
            .as_secs_f64()
                / 3600.0
        };
        let table = [
            (WakeOutcome::Completed, 0, 0, false, 24.0),
            (WakeOutcome::Completed, 0, 2, false, 2.0),
            (WakeOutcome::Completed, 0, 0, true, 1.0),
            (WakeOutcome::Completed, 0, 2, true, 1.0),
            (WakeOutcome::Partial, 0, 2, false, 1.0),
            (WakeOutcome::Failed, 1, 2, false, 0.25),
            (WakeOutcome::Failed, 2, 2, true, 0.5),
            (WakeOutcome::Expired, 5, 2, false, 4.0),
            (WakeOutcome::Failed, u32::MAX, 2, false, 4.0),
        ];
        for (outcome, failures, channels, moving, expected) in table {
            let got = hours(outcome, failures, channels, moving);
            assert!(
                (got - expected).abs() < 1e-9,
                "{outcome:?} {failures} {channels} {moving}: {got}"
            );
        }
    }

    #[test]
    fn a_near_safe_until_moment_hurries_and_a_far_one_does_not() {
        let minutes = |outcome, failures, left_minutes: u64| {
            let stakes = Stakes {
                channels: 1,
                moving: false,
                left: Some(Duration::from_secs(60 * left_minutes)),
            };
            next_wake(outcome, failures, stakes, None).as_secs() / 60
        };
        let table = [
            (WakeOutcome::Completed, 0, 10 * 24 * 60, 120),
            (WakeOutcome::Completed, 0, 8 * 60, 120),
            (WakeOutcome::Completed, 0, 4 * 60, 60),
            (WakeOutcome::Completed, 0, 60, 15),
            (WakeOutcome::Completed, 0, 4, 5),
            (WakeOutcome::Completed, 0, 0, 5),
            (WakeOutcome::Failed, 9, 10 * 24 * 60, 240),
            (WakeOutcome::Failed, 9, 60, 15),
            (WakeOutcome::Expired, 1, 10 * 24 * 60, 15),
        ];
        for (outcome, failures, left, expected) in table {
            assert_eq!(
                minutes(outcome, failures, left),
                expected,
                "{outcome:?} {failures} {left}"
            );
        }
    }

    #[test]
    fn a_source_that_is_to_be_left_alone_puts_the_wake_off_unless_money_could_be_lost() {
        let minutes = |outcome, held_minutes: u64, left_hours: Option<u64>| {
            let stakes = Stakes {
                channels: 1,
                moving: false,
                left: left_hours.map(|hours| Duration::from_secs(3_600 * hours)),
            };
            let held_back = Some(Duration::from_secs(60 * held_minutes));
            next_wake(outcome, 1, stakes, held_back).as_secs() / 60
        };
        let table = [
            (WakeOutcome::Failed, 5, None, 15),
            (WakeOutcome::Failed, 240, None, 240),
            (WakeOutcome::Failed, 240, Some(240), 240),
            (WakeOutcome::Failed, 240, Some(4), 60),
            (WakeOutcome::Failed, 240, Some(0), 5),
            (WakeOutcome::Completed, 5, None, 120),
        ];
        for (outcome, held, left, expected) in table {
            assert_eq!(
                minutes(outcome, held, left),
                expected,
                "{outcome:?} {held} {left:?}"
            );
        }
    }
}
