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
}

/// First wait after a failure; doubles with each further one. iOS seldom grants anything sooner.
const FIRST_RETRY: Duration = Duration::from_secs(15 * 60);

/// Longest wait after failures while there are channels: six tries a day.
const LONGEST_RETRY: Duration = Duration::from_secs(4 * 60 * 60);

/// How long to wait at the least, after `failures` failed wakes in a row (this one included).
pub fn next_wake(outcome: WakeOutcome, failures: u32, stakes: Stakes) -> Duration {
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
            next_wake(outcome, failures, Stakes { channels, moving }).as_secs_f64() / 3600.0
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
}
