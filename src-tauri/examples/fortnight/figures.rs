//! The figures of one fortnight.

use std::collections::BTreeMap;
use std::time::Duration;

use pilotlight_node::{GrantKind, WakeOutcome};
use serde::Serialize;
use tauri_plugin_background::RunEnd;
use tauri_plugin_background::scheduler::simulated::Diary;
use tauri_plugin_background::scheduler::simulated::life::Life;

use crate::rounding::{hours, quantile, sorted, tenths};
use crate::wallet::Wallet;

/// One phone for fourteen days.
#[derive(Serialize)]
pub struct Fortnight {
    pub seed: u64,
    pub opens_per_fortnight_of_this_person: u64,
    pub opened: u32,
    pub force_quit_hours: f64,
    pub wakes: u64,
    pub refresh: Outcomes,
    pub processing: Outcomes,
    /// How the plugin recorded the runs.
    pub ends: BTreeMap<String, u64>,
    pub median_wake_secs: f64,
    pub chances: Chances,
    pub requests_refused: u64,
    pub chain_of_requests_broken: u32,
    pub hours_without_a_request: f64,
    /// Between successful chain checks, those of the person who opens the app included.
    pub gaps: Gaps,
    /// Between those in the background alone.
    pub background_gaps: Gaps,
    /// The worst gap, openings included, that a force-quit has no part in.
    pub worst_gap_without_force_quit_hours: f64,
    #[serde(skip)]
    pub spans: Spans,
}

/// How the wakes of a kind ended.
#[derive(Serialize, Default, Clone)]
pub struct Outcomes {
    pub granted: u64,
    pub completed: u64,
    pub partial: u64,
    pub expired: u64,
    pub failed: u64,
    pub cut_off: u64,
}

/// When iOS had time for the app, and what became of it.
#[derive(Serialize, Default, Clone)]
pub struct Chances {
    pub all: u64,
    /// The request said: not yet.
    pub too_early: u64,
    /// Low Power Mode, no network, a phone in use.
    pub held_back: u64,
    /// The person had swiped the app away.
    pub swiped_away: u64,
    /// The person was using the app.
    pub in_front: u64,
}

/// Hours between checks. The time from the last one to the end of the fortnight counts as a gap.
#[derive(Serialize)]
pub struct Gaps {
    pub count: usize,
    pub median_hours: f64,
    pub p95_hours: f64,
    pub worst_hours: f64,
}

/// The gaps themselves, sorted.
#[derive(Default)]
pub struct Spans {
    pub with_openings: Vec<Duration>,
    pub background: Vec<Duration>,
    pub without_force_quit: Duration,
}

impl Fortnight {
    /// Counts up what was seen.
    pub fn of(seed: u64, life: &Life, diary: &Diary, wallet: &Wallet) -> Self {
        let all: Vec<_> = wallet.checks.iter().map(|check| check.at).collect();
        let background: Vec<_> = wallet
            .checks
            .iter()
            .filter(|check| check.in_background)
            .map(|check| check.at)
            .collect();
        let force_quit = diary.force_quit;
        let untouched = |(from, to): &(Duration, Duration)| {
            force_quit.is_none_or(|(quit, opened)| *to <= quit || *from >= opened)
        };
        let outside = gaps(all.clone(), life.lasts).into_iter().filter(untouched);
        let spans = Spans {
            without_force_quit: outside
                .map(|(from, to)| to.saturating_sub(from))
                .max()
                .unwrap_or_default(),
            with_openings: lengths(all, life.lasts),
            background: lengths(background, life.lasts),
        };
        let mut ends = BTreeMap::new();
        for run in &diary.runs {
            *ends.entry(word(run.end)).or_default() += 1;
        }
        let mut took: Vec<_> = wallet.ended.iter().map(|ended| ended.took).collect();
        took.sort_unstable();
        Self {
            seed,
            opens_per_fortnight_of_this_person: life.person.opens_per_fortnight,
            opened: diary.opened,
            force_quit_hours: force_quit.map_or(0.0, |(from, to)| hours(to.saturating_sub(from))),
            wakes: diary.runs.len() as u64,
            refresh: Outcomes::of(GrantKind::Refresh, wallet),
            processing: Outcomes::of(GrantKind::Processing, wallet),
            ends,
            median_wake_secs: tenths(quantile(&took, 50).as_millis(), 1000),
            chances: Chances {
                all: diary.chances.into(),
                too_early: diary.too_early.into(),
                held_back: diary.held_back.into(),
                swiped_away: diary.swiped_away.into(),
                in_front: diary.in_front.into(),
            },
            requests_refused: diary.refused,
            chain_of_requests_broken: diary.chain_broken,
            hours_without_a_request: hours(diary.without_request),
            gaps: Gaps::of(&spans.with_openings),
            background_gaps: Gaps::of(&spans.background),
            worst_gap_without_force_quit_hours: hours(spans.without_force_quit),
            spans,
        }
    }
}

impl Outcomes {
    fn of(kind: GrantKind, wallet: &Wallet) -> Self {
        let mut outcomes = Self::default();
        for ended in wallet.ended.iter().filter(|ended| ended.kind == kind) {
            outcomes.granted += 1;
            match ended.outcome {
                WakeOutcome::Completed => outcomes.completed += 1,
                WakeOutcome::Partial => outcomes.partial += 1,
                WakeOutcome::Expired => outcomes.expired += 1,
                WakeOutcome::Failed => outcomes.failed += 1,
                WakeOutcome::CutOff | WakeOutcome::InProgress => outcomes.cut_off += 1,
            }
        }
        outcomes
    }

    /// Together with another's.
    pub fn add(&mut self, other: &Self) {
        self.granted += other.granted;
        self.completed += other.completed;
        self.partial += other.partial;
        self.expired += other.expired;
        self.failed += other.failed;
        self.cut_off += other.cut_off;
    }
}

impl Chances {
    /// Together with another's.
    pub fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.too_early += other.too_early;
        self.held_back += other.held_back;
        self.swiped_away += other.swiped_away;
        self.in_front += other.in_front;
    }
}

impl Gaps {
    /// Of gaps that are sorted.
    pub fn of(sorted: &[Duration]) -> Self {
        Self {
            count: sorted.len(),
            median_hours: hours(quantile(sorted, 50)),
            p95_hours: hours(quantile(sorted, 95)),
            worst_hours: hours(quantile(sorted, 100)),
        }
    }
}

/// The spans without a check, from the beginning to the end.
fn gaps(mut checks: Vec<Duration>, end: Duration) -> Vec<(Duration, Duration)> {
    checks.push(Duration::ZERO);
    checks.push(end);
    checks.sort_unstable();
    checks.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn lengths(checks: Vec<Duration>, end: Duration) -> Vec<Duration> {
    sorted(
        gaps(checks, end)
            .into_iter()
            .map(|(from, to)| to.saturating_sub(from)),
    )
}

/// The plugin's own word for an end.
fn word(end: RunEnd) -> String {
    serde_json::to_value(end)
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_else(|| format!("{end:?}"))
}
