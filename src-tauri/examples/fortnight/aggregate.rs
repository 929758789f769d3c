//! The figures of many fortnights together. A spread is over the phones.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::figures::{Chances, Fortnight, Gaps, Outcomes, Spans};
use crate::rounding::{at, hours, quantile, sorted, tenths, thousandths};

/// Gaps that say something about the danger: a day, two days, and the two weeks in which a channel's counterparty cannot take
/// what an old state gives it (2016 blocks, LDK's longest usual `to_self_delay`).
const LIMITS_HOURS: [u64; 3] = [24, 48, 336];

/// Many phones together.
#[derive(Serialize)]
pub struct Aggregate {
    pub seeds: usize,
    pub days: u32,
    pub wakes: u64,
    pub wakes_per_day: Spread,
    pub refresh: Shares,
    pub processing: Shares,
    pub ends: BTreeMap<String, u64>,
    pub chances: Chances,
    pub requests_refused: u64,
    pub chain_of_requests_broken: u64,
    pub worst_hours_without_a_request: f64,
    /// All gaps of all phones.
    pub gaps: Gaps,
    /// The worst gap of each phone.
    pub worst_gap_hours: Spread,
    pub worst_gap_exceeds: Exceeds,
    /// The same, of checks in the background alone.
    pub background_gaps: Gaps,
    pub background_worst_gap_hours: Spread,
    pub background_worst_gap_exceeds: Exceeds,
    /// The same, openings included, without the gaps that a force-quit has a part in.
    pub worst_gap_without_force_quit_hours: Spread,
    pub worst_gap_without_force_quit_exceeds: Exceeds,
}

/// Over the phones.
#[derive(Serialize)]
pub struct Spread {
    pub median: f64,
    pub p95: f64,
    pub worst: f64,
}

/// In how many phones of all.
#[derive(Serialize)]
pub struct Exceeds {
    pub hours_24: f64,
    pub hours_48: f64,
    pub blocks_2016: f64,
}

/// How the wakes of a kind ended, in shares of those granted.
#[derive(Serialize)]
pub struct Shares {
    pub granted: u64,
    pub completed: f64,
    pub partial: f64,
    pub expired: f64,
    pub failed: f64,
    pub cut_off: f64,
}

impl Aggregate {
    /// Of these phones.
    pub fn of(all: &[Fortnight]) -> Self {
        let mut refresh = Outcomes::default();
        let mut processing = Outcomes::default();
        let mut ends = BTreeMap::new();
        let mut chances = Chances::default();
        for one in all {
            refresh.add(&one.refresh);
            processing.add(&one.processing);
            for (end, count) in &one.ends {
                *ends.entry(end.clone()).or_default() += count;
            }
            chances.add(&one.chances);
        }
        let pooled =
            |of: fn(&Spans) -> &Vec<Duration>| sorted(all.iter().flat_map(|one| of(&one.spans)).copied());
        let worst = |of: fn(&Spans) -> Duration| sorted(all.iter().map(|one| of(&one.spans)));
        let with_openings = worst(|spans| spans.with_openings.last().copied().unwrap_or_default());
        let background = worst(|spans| spans.background.last().copied().unwrap_or_default());
        let without_force_quit = worst(|spans| spans.without_force_quit);
        let mut wakes: Vec<_> = all.iter().map(|one| one.wakes).collect();
        wakes.sort_unstable();
        let daily = |percent| tenths(at(&wakes, percent).unwrap_or(0).into(), crate::DAYS.into());
        Self {
            seeds: all.len(),
            days: crate::DAYS,
            wakes: wakes.iter().sum(),
            wakes_per_day: Spread {
                median: daily(50),
                p95: daily(95),
                worst: daily(0),
            },
            refresh: Shares::of(&refresh),
            processing: Shares::of(&processing),
            ends,
            chances,
            requests_refused: all.iter().map(|one| one.requests_refused).sum(),
            chain_of_requests_broken: all
                .iter()
                .map(|one| u64::from(one.chain_of_requests_broken))
                .sum(),
            worst_hours_without_a_request: all
                .iter()
                .map(|one| one.hours_without_a_request)
                .fold(0.0, f64::max),
            gaps: Gaps::of(&pooled(|spans| &spans.with_openings)),
            worst_gap_hours: Spread::of(&with_openings),
            worst_gap_exceeds: Exceeds::of(&with_openings),
            background_gaps: Gaps::of(&pooled(|spans| &spans.background)),
            background_worst_gap_hours: Spread::of(&background),
            background_worst_gap_exceeds: Exceeds::of(&background),
            worst_gap_without_force_quit_hours: Spread::of(&without_force_quit),
            worst_gap_without_force_quit_exceeds: Exceeds::of(&without_force_quit),
        }
    }
}

impl Spread {
    fn of(sorted: &[Duration]) -> Self {
        Self {
            median: hours(quantile(sorted, 50)),
            p95: hours(quantile(sorted, 95)),
            worst: hours(quantile(sorted, 100)),
        }
    }
}

impl Exceeds {
    fn of(sorted: &[Duration]) -> Self {
        let share = |limit: u64| {
            let limit = Duration::from_secs(limit * 3600);
            let over = sorted.iter().filter(|gap| **gap >= limit).count();
            thousandths(over as u64, sorted.len() as u64)
        };
        Self {
            hours_24: share(LIMITS_HOURS[0]),
            hours_48: share(LIMITS_HOURS[1]),
            blocks_2016: share(LIMITS_HOURS[2]),
        }
    }
}

impl Shares {
    fn of(outcomes: &Outcomes) -> Self {
        let share = |part| thousandths(part, outcomes.granted);
        Self {
            granted: outcomes.granted,
            completed: share(outcomes.completed),
            partial: share(outcomes.partial),
            expired: share(outcomes.expired),
            failed: share(outcomes.failed),
            cut_off: share(outcomes.cut_off),
        }
    }
}
