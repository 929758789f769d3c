//! When a task should run next: a plain function of what is known.

use std::time::Duration;

use crate::config::{MAX_INTERVAL_MINUTES, TaskConfig};
use crate::models::RunEnd;

/// iOS prefers apps used within the past week, so nothing is put off for longer.
const MAX_DELAY: Duration = Duration::from_secs(MAX_INTERVAL_MINUTES as u64 * 60);

/// Failures double the wait up to 8 times: a server that is down is not asked at every chance, and is still asked
/// several times a day at the usual intervals.
const MAX_DOUBLINGS: u32 = 3;

/// The earliest time until a task's next run.
///
/// A handler that says what it wants (`wish`) gets it, within the task's minimum interval and a week. Otherwise the
/// minimum interval holds, doubled with each failure in a row.
pub fn next_delay(task: &TaskConfig, wish: Option<Duration>, failures_in_a_row: u32) -> Duration {
    let min = task.min_interval();
    let delay = wish.unwrap_or_else(|| min * 2_u32.pow(failures_in_a_row.min(MAX_DOUBLINGS)));
    delay.clamp(min.min(MAX_DELAY), MAX_DELAY)
}

/// The failures in a row after a run that ended so, with so many before it.
///
/// A locked device is no failure: nothing was tried, and the owner may unlock it at any moment. A run that lost its process
/// is one: what ended it may well end the next.
pub fn failures_after(end: RunEnd, before: u32) -> u32 {
    match end {
        RunEnd::Completed | RunEnd::Partial => 0,
        RunEnd::Locked | RunEnd::UnderWay => before,
        RunEnd::Expired
        | RunEnd::Failed
        | RunEnd::Panicked
        | RunEnd::Overran
        | RunEnd::NoHandler
        | RunEnd::Busy
        | RunEnd::CutOff => before.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TaskKind;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_handler_decides_within_bounds_and_failures_back_off() {
        let task = |minutes| TaskConfig {
            id: "a.b".into(),
            kind: TaskKind::Refresh,
            min_interval_minutes: Some(minutes),
            requires_network: false,
            requires_power: false,
            soft_budget_secs: None,
        };
        for (wish, failures, minutes) in [
            (None, 0, 30),
            (None, 1, 60),
            (None, 2, 120),
            (None, 3, 240),
            (None, 1000, 240),
            (Some(MINUTE), 0, 30),
            (Some(45 * MINUTE), 5, 45),
            (Some(Duration::MAX), 0, MAX_INTERVAL_MINUTES),
        ] {
            assert_eq!(
                next_delay(&task(30), wish, failures),
                minutes * MINUTE,
                "{wish:?} {failures}"
            );
        }
        assert_eq!(next_delay(&task(MAX_INTERVAL_MINUTES), None, 3), MAX_DELAY);
    }

    #[test]
    fn what_was_not_tried_did_not_fail() {
        for (end, before, after) in [
            (RunEnd::Completed, 4, 0),
            (RunEnd::Partial, 1, 0),
            (RunEnd::Locked, 2, 2),
            (RunEnd::UnderWay, 2, 2),
            (RunEnd::Expired, 0, 1),
            (RunEnd::CutOff, 1, 2),
            (RunEnd::Busy, 1, 2),
            (RunEnd::Failed, u32::MAX, u32::MAX),
        ] {
            assert_eq!(failures_after(end, before), after, "{end:?}");
        }
    }
}
