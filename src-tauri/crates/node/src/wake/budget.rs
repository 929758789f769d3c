//! How much of a grant may be spent, and on what.
//!
//! Owns the numbers. What a stage needs is learned (`costs`); these are the caps, and what holds until something is known.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Grant;
use super::plan::Step;
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
        // seconds no sync of a wallet with channels ends on a phone's network. If it does not end, nothing that comes after
        // it runs, so a refresh spends all its time on it if need be.
        StageName::Chain => seconds(25, 120, 2_000),
        // TCP, handshake, re-establishment: some five round trips, or the connection's own time-out.
        StageName::Peers => seconds(7, 20, 1_500),
        // A payment that waits for us takes four or five round trips.
        StageName::Events => seconds(8, 30, 500),
        StageName::Sweep => seconds(5, 15, 500),
        // One request for each address that was handed out, four at a time.
        StageName::Onchain => seconds(6, 60, 500),
        // One or two requests for a day's delta of some 100 kB; minutes for a whole snapshot on a slow network.
        StageName::Gossip => seconds(6, 90, 1_000),
        // Every value is read back and compared.
        StageName::Compact => seconds(10, 60, 2_000),
        StageName::Report => seconds(3, 5, 0),
    }
}

/// A grant, being spent.
#[derive(Debug, Clone)]
pub struct Budget {
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

    /// What a step may take now; `None` if that is not worth starting any more.
    pub fn for_step(&self, step: &Step) -> Option<Duration> {
        let time = self.left().min(step.cap);
        (time >= step.minimum && !self.cancelled()).then_some(time)
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
    use crate::wake::{Conditions, WakeReason};

    fn budget(seconds: u64) -> Budget {
        let deadline = Instant::now().into_std() + Duration::from_secs(seconds);
        let cancel = CancellationToken::new();
        Budget::new(&Grant {
            kind: GrantKind::Refresh,
            reason: WakeReason::Test,
            deadline,
            cancel,
            progress: None,
            conditions: Conditions::default(),
        })
    }

    fn step(stage: StageName) -> Step {
        let Allowance { cap, minimum } = allowance(GrantKind::Refresh, stage);
        Step {
            stage,
            cap,
            minimum,
            wide: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_before_the_deadline_and_what_is_not_worth_it_is_not_started() {
        let budget = budget(30);
        assert_eq!(budget.left(), Duration::from_secs(25));
        assert_eq!(
            budget.for_step(&step(StageName::Peers)),
            Some(Duration::from_secs(7))
        );
        tokio::time::advance(Duration::from_millis(23_500)).await;
        assert_eq!(budget.for_step(&step(StageName::Chain)), None);
        assert_eq!(
            budget.for_step(&step(StageName::Events)),
            Some(Duration::from_millis(1_500))
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn four_seconds_are_no_grant_and_a_called_wake_starts_nothing() {
        assert_eq!(budget(4).for_step(&step(StageName::Open)), None);
        let called = budget(30);
        called.cancel.cancel();
        assert_eq!(called.for_step(&step(StageName::Chain)), None);
    }
}
