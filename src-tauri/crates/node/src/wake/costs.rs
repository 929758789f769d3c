//! What the stages cost on this phone, learned from the records of its last wakes.
//!
//! Plain functions of records. Until enough is known, the constants of `budget` hold.

use std::collections::BTreeMap;
use std::time::Duration;

use super::budget::{Allowance, allowance};
use super::record::{GrantKind, Level, StageEnd, StageName, WakeRecord};

/// Records that are learned from: some days of wakes. Networks and phones change, and old figures with them.
pub const LEARNED_FROM: usize = 40;

/// Runs of a stage that are looked at, the newest first.
const SAMPLES: usize = 20;

/// Fewer runs than this say nothing.
const LEAST_SAMPLES: usize = 3;

/// Nine of ten runs took no longer than what is expected of the next.
const QUANTILE: (usize, usize) = (9, 10);

/// And a quarter more, because the next run is not one of those that were.
const PADDING: f64 = 1.25;

/// The most that a stage may claim to need before it is started: a part of its cap, and no more than this. A stage that ran
/// into its cap would else never be started in a shorter grant again, and the stages that matter go on where they stopped,
/// so that a few seconds are always worth it.
const LARGEST_CLAIM: (u32, Duration) = (3, Duration::from_secs(4));

/// What is known of the stages' costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Costs {
    expected: BTreeMap<(Level, GrantKind, StageName), Duration>,
}

impl Costs {
    /// Learns from records, newest first.
    pub fn learn(records: &[WakeRecord]) -> Self {
        let mut samples: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
        for record in records.iter().take(LEARNED_FROM) {
            for stage in &record.stages {
                // A node that was up already has nothing to open, and its chain was just looked at.
                if record.joined {
                    continue;
                }
                let cap = allowance(record.kind, stage.name).cap;
                let took = match stage.end {
                    // What ran into its cap counts as that cap. It would have taken longer still.
                    StageEnd::Done | StageEnd::TimedOut => Duration::from_millis(stage.duration_ms).min(cap),
                    // A failure may be quick, and what was called off or not there to do says nothing.
                    _ => continue,
                };
                let of_stage = samples
                    .entry((record.level, record.kind, stage.name))
                    .or_default();
                if of_stage.len() < SAMPLES {
                    of_stage.push(took);
                }
            }
        }
        let expected = samples
            .into_iter()
            .filter_map(|(key, samples)| Some((key, expected(samples)?)))
            .collect();
        Self { expected }
    }

    /// How long a stage is expected to take, if enough is known.
    pub fn expected(&self, level: Level, kind: GrantKind, stage: StageName) -> Option<Duration> {
        self.expected.get(&(level, kind, stage)).copied()
    }

    /// The allowance of a stage: its cap, and what makes it worth starting as far as it was learned.
    pub fn allowance(&self, level: Level, kind: GrantKind, stage: StageName) -> Allowance {
        let Allowance { cap, minimum } = allowance(kind, stage);
        let (part, longest) = LARGEST_CLAIM;
        let claim = (cap / part).min(longest).max(minimum);
        let minimum = match self.expected(level, kind, stage) {
            Some(expected) => expected.clamp(minimum, claim),
            None => minimum,
        };
        Allowance { cap, minimum }
    }
}

fn expected(mut samples: Vec<Duration>) -> Option<Duration> {
    if samples.len() < LEAST_SAMPLES {
        return None;
    }
    samples.sort_unstable();
    let (part, whole) = QUANTILE;
    let rank = (samples.len() * part).div_ceil(whole).max(1) - 1;
    Some(samples[rank].mul_f64(PADDING))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wake::{StageRecord, WakeReason};

    fn ran(name: StageName, duration_ms: u64, end: StageEnd) -> WakeRecord {
        let mut record = WakeRecord::begin(1, GrantKind::Refresh, WakeReason::Test, 30_000, 0);
        record.stages.push(StageRecord {
            duration_ms,
            ..StageRecord::new(name, 0, end)
        });
        record
    }

    fn chain(runs: &[(u64, StageEnd)]) -> Allowance {
        let records: Vec<_> = runs
            .iter()
            .map(|(ms, end)| ran(StageName::Chain, *ms, *end))
            .collect();
        Costs::learn(&records).allowance(Level::Full, GrantKind::Refresh, StageName::Chain)
    }

    #[test]
    fn the_slowest_of_ten_and_a_quarter_more_is_what_a_stage_needs() {
        use StageEnd::{Cancelled, Done, Failed, TimedOut};
        let constants = allowance(GrantKind::Refresh, StageName::Chain);
        let claim = LARGEST_CLAIM.1;
        let ten: Vec<_> = (1..=10).map(|n| (n * 300, Done)).collect();
        let table: [(&[(u64, StageEnd)], Duration); 6] = [
            (&[], constants.minimum),
            (&[(4_000, Done), (4_000, Done)], constants.minimum),
            (&ten, Duration::from_millis(2_700).mul_f64(1.25)),
            // Quick is no reason to start with less than a sync needs at all.
            (&[(10, Done), (10, Done), (10, Done)], constants.minimum),
            // What ran into its cap counts as the cap, and claims no more than a part of it.
            (&[(9_000, TimedOut), (9_000, TimedOut), (9_000, TimedOut)], claim),
            (
                &[(9_000, Failed), (9_000, Cancelled), (9_000, Failed)],
                constants.minimum,
            ),
        ];
        for (runs, minimum) in table {
            assert_eq!(chain(runs).minimum, minimum, "{runs:?}");
            assert_eq!(chain(runs).cap, constants.cap);
        }
    }

    #[test]
    fn old_runs_are_forgotten_and_a_node_that_was_up_teaches_nothing() {
        let slow = vec![ran(StageName::Chain, 6_000, StageEnd::Done); 30];
        let quick = vec![ran(StageName::Chain, 2_400, StageEnd::Done); SAMPLES];
        let records: Vec<_> = quick.into_iter().chain(slow.clone()).collect();
        let key = (Level::Full, GrantKind::Refresh, StageName::Chain);
        assert_eq!(
            Costs::learn(&records).expected(key.0, key.1, key.2),
            Some(Duration::from_secs(3))
        );
        let joined: Vec<_> = slow
            .into_iter()
            .map(|record| WakeRecord {
                joined: true,
                ..record
            })
            .collect();
        assert_eq!(Costs::learn(&joined), Costs::default());
    }

    proptest! {
        #[test]
        fn whatever_was_recorded_a_stage_asks_for_no_more_than_a_part_of_its_cap(
            runs in proptest::collection::vec((any::<u64>(), any::<bool>()), 0..60),
        ) {
            let runs: Vec<_> = runs
                .into_iter()
                .map(|(ms, done)| (ms, if done { StageEnd::Done } else { StageEnd::TimedOut }))
                .collect();
            let Allowance { cap, minimum } = chain(&runs);
            prop_assert!(minimum >= allowance(GrantKind::Refresh, StageName::Chain).minimum);
            prop_assert!(minimum <= (cap / LARGEST_CLAIM.0).min(LARGEST_CLAIM.1));
        }
    }
}
