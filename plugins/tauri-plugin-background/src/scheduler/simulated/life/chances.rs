//! When iOS finds time for the app. Its estimate is not documented; what is known of it is in the figures.

use std::time::Duration;

use super::Happening;
use super::figures::{
    BEFORE_USE_MINS, BEFORE_USE_PERCENT, DAY, DROUGHT_PERCENT, EARLY_PERCENT, EARLY_PROCESSING_SECS,
    EARLY_REFRESH_SECS, PROCESSING_NIGHT_PERCENT, PROCESSING_SECS, PROCESSING_TWICE_PERCENT,
    PROCESSING_USED_WITHIN_DAYS, REFRESH_CHANCES, REFRESH_SECS, SPACED_MINS,
};
use super::person::{Person, Story};
use super::rng::Rng;
use crate::config::TaskKind;

/// All chances of a life, in seconds since the midnight before it begins.
pub(super) fn draw(person: &Person, story: &Story, rng: &mut Rng) -> Vec<(u64, Happening)> {
    let mut chances = Vec::new();
    for (day, (up, bed)) in (0_u64..).zip(&story.awake) {
        let mut minutes = refresh_minutes(person, story, rng, day * DAY, (*up, *bed));
        minutes.sort_unstable();
        let mut last = None;
        for minute in minutes {
            let lasts = draw_length(rng, (REFRESH_SECS, REFRESH_SECS), EARLY_REFRESH_SECS);
            let second = minute * 60 + rng.between(0, 59);
            if last.is_none_or(|last| last + SPACED_MINS <= minute) {
                chances.push((second, chance(TaskKind::Refresh, lasts)));
                last = Some(minute);
            }
        }
    }
    for night in &story.nights {
        let percent = if night.charged {
            PROCESSING_NIGHT_PERCENT.0
        } else {
            PROCESSING_NIGHT_PERCENT.1
        };
        let comes = [rng.percent(percent), rng.percent(PROCESSING_TWICE_PERCENT)];
        for _ in comes.iter().take_while(|comes| **comes) {
            let minute = rng.between(night.span.0, night.span.1);
            let lasts = draw_length(rng, PROCESSING_SECS, EARLY_PROCESSING_SECS);
            if days_since_use(story, minute) < PROCESSING_USED_WITHIN_DAYS {
                chances.push((
                    minute * 60 + rng.between(0, 59),
                    chance(TaskKind::Processing, lasts),
                ));
            }
        }
    }
    chances
}

fn chance(kind: TaskKind, secs: u64) -> Happening {
    Happening::Chance {
        kind,
        lasts: Duration::from_secs(secs),
    }
}

fn refresh_minutes(
    person: &Person,
    story: &Story,
    rng: &mut Rng,
    midnight: u64,
    (up, bed): (u64, u64),
) -> Vec<u64> {
    let days = days_since_use(story, up);
    let (low, high) = REFRESH_CHANCES
        .iter()
        .find(|(within, _)| days < *within)
        .map_or((0, 0), |(_, chances)| *chances);
    let count = rng.between(low, high);
    if rng.percent(DROUGHT_PERCENT) {
        return Vec::new();
    }
    (0..count)
        .map(|_| {
            if rng.percent(BEFORE_USE_PERCENT) {
                let before = rng.between(BEFORE_USE_MINS.0, BEFORE_USE_MINS.1);
                midnight + person.usual_minute - before
            } else {
                rng.between(up, bed)
            }
        })
        .collect()
}

fn draw_length(rng: &mut Rng, whole: (u64, u64), early: (u64, u64)) -> u64 {
    let (low, high) = if rng.percent(EARLY_PERCENT) { early } else { whole };
    rng.between(low, high)
}

/// Whole days since the person last opened the app, at a minute. Before the first time: none.
fn days_since_use(story: &Story, minute: u64) -> u64 {
    let last = story.opened.iter().take_while(|opened| **opened <= minute).last();
    last.map_or(0, |last| (minute - last) / DAY)
}
