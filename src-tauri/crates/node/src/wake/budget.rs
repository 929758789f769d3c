//! How much of a grant may be spent, and on what.
//!
//! Owns the numbers. A later planner will learn the costs; these are the caps it starts from.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Grant;
use super::record::{GrantKind, StageName};

/// Work winds down so long before the deadline, whatever happens. Stopping takes under 1.5 s; the rest is for a phone
/// that is slower than we think.
pub const WIND_DOWN: Duration = Duration::from_secs(5);

/// What a stage may take and what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The most that is spent on it.
    pub cap: Duration,
    /// The least that makes it worth starting.
    pub minimum: Duration,
}

/// The allowance of a stage under a grant.
pub fn allowance(kind: GrantKind, stage: StageName) -> Allowance {
    let seconds = |refresh: u64, processing: u64, minimum_ms: u64| Allowance {
        cap: Duration::from_secs(match kind {
            GrantKind::Refresh => refresh,
            GrantKind::Processing => processing,
        }),
        minimum: Duration::from_millis(minimum_ms),
    };
    match stage {
        // Reading a few channels from disk takes well under a second.
        StageName::Open => seconds(5, 10, 200),
        // Some 25 requests in series at a phone's 100-150 ms, twice over for a block found meanwhile. With less than two
        // seconds no sync of a wallet with channels ends on a phone's network.
        StageName::Chain => seconds(15, 90, 2_000),
        // TCP, handshake, re-establishment: some five round trips, or the connection's own time-out.
        StageName::Peers => seconds(7, 20, 1_500),
        // A payment that waits for us takes four or five round trips.
        StageName::Events => seconds(8, 30, 500),
        StageName::Sweep => seconds(5, 15, 500),
        StageName::Report => seconds(3, 5, 0),
    }
}

/// A grant, being spent.
#[derive(Debug, Clone)]
pub struct Budget {
    kind: GrantKind,
    started: Instant,
    work_ends: Instant,
    cancel: CancellationToken,
}

impl Budget {
    /// Starts spending.
    pub fn new(grant: &Grant) -> Self {
        let started = Instant::now();
        let deadline = Instant::from_std(grant.deadline);
        let work_ends = deadline.checked_sub(WIND_DOWN).unwrap_or(started).max(started);
        Self {
            kind: grant.kind,
            started,
            work_ends,
            cancel: grant.cancel.clone(),
        }
    }

    /// Since the wake began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left for work.
    pub fn left(&self) -> Duration {
        self.work_ends.saturating_duration_since(Instant::now())
    }

    /// What a stage may take now; `None` if that is not worth starting.
    pub fn for_stage(&self, stage: StageName) -> Option<Duration> {
        let Allowance { cap, minimum } = allowance(self.kind, stage);
        let time = self.left().min(cap);
        (time >= minimum && !self.cancelled()).then_some(time)
    }

    /// Whether the time was called.
    pub fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until the time is called.
    pub async fn called(&self) {
        self.cancel.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::WakeReason;

    fn budget(seconds: u64) -> Budget {
        let deadline = Instant::now().into_std() + Duration::from_secs(seconds);
        let cancel = CancellationToken::new();
        Budget::new(&Grant {
            kind: GrantKind::Refresh,
            reason: WakeReason::Test,
            deadline,
            cancel,
            progress: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_before_the_deadline_and_what_is_not_worth_it_is_not_started() {
        let budget = budget(30);
        assert_eq!(budget.left(), Duration::from_secs(25));
        assert_eq!(budget.for_stage(StageName::Chain), Some(Duration::from_secs(15)));
        tokio::time::advance(Duration::from_millis(23_500)).await;
        assert_eq!(budget.for_stage(StageName::Chain), None);
        assert_eq!(
            budget.for_stage(StageName::Events),
            Some(Duration::from_millis(1_500))
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn four_seconds_are_no_grant_and_a_called_wake_starts_nothing() {
        assert_eq!(budget(4).for_stage(StageName::Open), None);
        let called = budget(30);
        called.cancel.cancel();
        assert_eq!(called.for_stage(StageName::Chain), None);
    }
}
