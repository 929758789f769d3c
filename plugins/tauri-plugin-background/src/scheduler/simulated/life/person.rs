//! A phone's owner, and the story of their days: sleep, bouts with the phone, the app and its process. What state the phone
//! is in meanwhile is the business of the timeline.

use super::Happening;
use super::figures::{
    ALWAYS_LOW_POWER_PERCENT, BOUT_MINS, DAY, FORCE_QUIT_DAY, GETS_UP, GOES_TO_BED, NEVER_REOPENS_PERCENT,
    NIGHTS_CHARGED_PERCENT, OFFLINE_NIGHTS_PERCENT, OPENS_PER_FORTNIGHT, PAUSE_MINS, PREWARMED_BEFORE_MINS,
    PREWARMED_PERCENT, RECLAIMED_PERCENT, REOPENS_AFTER_MINS, RESTARTS_PERCENT, RIDES_METRO_PERCENT, STRAYS,
    USUAL_MINUTE, USUAL_STRAYS,
};
use super::rng::Rng;
use super::timeline::Timeline;

/// Whose phone it is. Minutes are of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// When they get up, give or take.
    pub gets_up: u64,
    /// When they go to bed. Past midnight counts on.
    pub goes_to_bed: u64,
    /// On how many nights in a hundred the phone is on the charger.
    pub nights_charged_percent: u64,
    /// How often they open the app in a fortnight.
    pub opens_per_fortnight: u64,
    /// When they usually do.
    pub usual_minute: u64,
    /// They keep Low Power Mode on.
    pub always_low_power: bool,
    /// They are without a network twice on a working day.
    pub rides_metro: bool,
    /// They sleep with the phone in airplane mode.
    pub offline_nights: bool,
    /// The day of the week on which the life begins; 5 and 6 are free.
    pub first_weekday: u64,
}

impl Person {
    /// Draws somebody.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut from = |(low, high)| rng.between(low, high);
        let (gets_up, goes_to_bed) = (from(GETS_UP), from(GOES_TO_BED));
        let nights_charged_percent = from(NIGHTS_CHARGED_PERCENT);
        let usual_minute = from(USUAL_MINUTE);
        let first_weekday = from((0, 6));
        Self {
            gets_up,
            goes_to_bed,
            nights_charged_percent,
            opens_per_fortnight: *rng.pick(&OPENS_PER_FORTNIGHT),
            usual_minute,
            always_low_power: rng.percent(ALWAYS_LOW_POWER_PERCENT),
            rides_metro: rng.percent(RIDES_METRO_PERCENT),
            offline_nights: rng.percent(OFFLINE_NIGHTS_PERCENT),
            first_weekday,
        }
    }
}

/// From one minute to another, the last not included.
pub(super) type Span = (u64, u64);

/// A night, and whether the phone was on the charger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Night {
    pub(super) span: Span,
    pub(super) charged: bool,
}

/// What the person and the phone do, from the midnight before the life begins. In minutes since then.
pub(super) struct Story {
    /// The minute in which the app is first opened.
    pub(super) begins: u64,
    /// The hours awake of each day.
    pub(super) awake: Vec<Span>,
    /// The nights after them.
    pub(super) nights: Vec<Night>,
    /// When the app was opened.
    pub(super) opened: Vec<u64>,
    /// In seconds, in the order in which they are to be told within a second.
    pub(super) events: Vec<(u64, Happening)>,
}

impl Story {
    /// Draws so many days, and those that are cut off at either end.
    pub(super) fn draw(person: &Person, rng: &mut Rng, days: u64) -> Self {
        let days = days + 2;
        let awake = hours_awake(person, rng, days);
        let nights = nights(person, rng, &awake);
        let bouts: Vec<Vec<Span>> = awake.iter().map(|span| draw_bouts(rng, *span)).collect();
        let mut opened = draw_openings(person, rng, &bouts);
        let begins = opened[0].0;
        let force_quit = draw_force_quit(rng, &bouts, begins, &mut opened);

        let mut events = draw_process(rng, &bouts, &opened, &nights, force_quit);
        let mut phone = Timeline::new(days);
        phone.draw_network(person, rng, &awake, &nights);
        phone.draw_power(person, rng, &awake, &nights);
        phone.hold(&bouts, &opened, &events);
        events.extend(phone.changes());
        // Stable: at the same second the phone changes first.
        events.sort_by_key(|(second, what)| (*second, !matches!(what, Happening::Phone(_))));
        Self {
            begins,
            awake,
            nights,
            opened: opened.iter().map(|(start, _)| *start).collect(),
            events,
        }
    }
}

fn hours_awake(person: &Person, rng: &mut Rng, days: u64) -> Vec<Span> {
    let mut near = |minute: u64| minute + rng.between(0, 2 * STRAYS) - STRAYS;
    (0..days)
        .map(|day| {
            let midnight = day * DAY;
            (
                midnight + near(person.gets_up),
                midnight + near(person.goes_to_bed),
            )
        })
        .collect()
}

fn nights(person: &Person, rng: &mut Rng, awake: &[Span]) -> Vec<Night> {
    awake
        .windows(2)
        .map(|days| Night {
            span: (days[0].1, days[1].0),
            charged: rng.percent(person.nights_charged_percent),
        })
        .collect()
}

fn draw_bouts(rng: &mut Rng, (up, bed): Span) -> Vec<Span> {
    let mut bouts = Vec::new();
    let mut at = up;
    loop {
        at += rng.between(PAUSE_MINS.0, PAUSE_MINS.1);
        let end = at + rng.between(BOUT_MINS.0, BOUT_MINS.1);
        if end >= bed {
            return bouts;
        }
        bouts.push((at, end));
        at = end;
    }
}

/// The bouts in which the app is opened, the first of them on the first day.
fn draw_openings(person: &Person, rng: &mut Rng, bouts: &[Vec<Span>]) -> Vec<Span> {
    let mut opened = Vec::new();
    for (day, bouts) in (0_u64..).zip(bouts) {
        let (each, rest) = (person.opens_per_fortnight / 14, person.opens_per_fortnight % 14);
        let times = each + u64::from(rng.between(0, 13) < rest);
        for time in 0..times.max(u64::from(day == 0)) {
            let bout = if time == 0 {
                let usual = day * DAY + person.usual_minute;
                let wanted = usual + rng.between(0, 2 * USUAL_STRAYS) - USUAL_STRAYS;
                bouts.iter().find(|bout| bout.0 >= wanted).or(bouts.last())
            } else {
                Some(rng.pick(bouts))
            };
            opened.extend(bout.copied());
        }
    }
    opened.sort_unstable();
    opened.dedup();
    opened
}

/// The minute in which the person swipes the app away, and the one in which they open it again, or the end of time. What
/// they would have opened between is taken out.
fn draw_force_quit(rng: &mut Rng, bouts: &[Vec<Span>], begins: u64, opened: &mut Vec<Span>) -> Option<Span> {
    let day = usize::try_from(rng.between(FORCE_QUIT_DAY.0, FORCE_QUIT_DAY.1)).ok()?;
    let never = rng.percent(NEVER_REOPENS_PERCENT);
    let after = rng.between(REOPENS_AFTER_MINS.0, REOPENS_AFTER_MINS.1);
    let quit = *rng.pick(bouts.get(day)?);
    if quit.0 <= begins {
        return None;
    }
    let wanted = quit.0 + after;
    let reopened = bouts.iter().flatten().find(|bout| bout.0 >= wanted && !never);
    let until = reopened.map_or(u64::MAX, |bout| bout.0);
    opened.retain(|bout| bout.0 < quit.0 || bout.0 >= until);
    opened.extend(reopened);
    opened.sort_unstable();
    opened.dedup();
    Some((quit.0, until))
}

/// What befalls the app's process. In seconds.
fn draw_process(
    rng: &mut Rng,
    bouts: &[Vec<Span>],
    opened: &[Span],
    nights: &[Night],
    force_quit: Option<Span>,
) -> Vec<(u64, Happening)> {
    let mut events = Vec::new();
    if let Some((quit, _)) = force_quit {
        events.push((quit * 60 + 20, Happening::ForceQuit));
    }
    for bout in bouts.iter().flatten() {
        if rng.percent(RECLAIMED_PERCENT) && opened.binary_search(bout).is_err() {
            events.push((bout.1 * 60 + 30, Happening::Reclaimed));
        }
    }
    for (start, _) in opened {
        let before = rng.between(PREWARMED_BEFORE_MINS.0, PREWARMED_BEFORE_MINS.1);
        let minute = start.saturating_sub(before);
        let swiped_away = force_quit.is_some_and(|(from, until)| (from..until).contains(&minute));
        if rng.percent(PREWARMED_PERCENT) && !swiped_away {
            events.push((minute * 60 + 10, Happening::Prewarmed));
        }
    }
    for night in nights {
        let minute = night.span.0 + rng.between(60, 240);
        // An update installs itself only on the charger.
        if rng.percent(RESTARTS_PERCENT) && night.charged && minute < night.span.1 {
            events.push((minute * 60, Happening::Restarted));
        }
    }
    events
}
