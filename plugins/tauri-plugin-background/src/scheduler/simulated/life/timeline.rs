//! The state of the phone minute by minute: network, charger, Low Power Mode, in whose hand it is.

use super::Happening;
use super::figures::{
    AWAY, DAY, FLIES_PERCENT, FLIGHT_MINS, LOW_POWER_ENDS_AFTER, LOW_POWER_FROM, LOW_POWER_PERCENT,
    METRO_MINS, TOPPED_UP_MINS, TOPPED_UP_PERCENT,
};
use super::person::{Night, Person, Span};
use super::rng::Rng;
use crate::device::{BackgroundRefresh, NetworkState};
use crate::scheduler::simulated::conditions::Conditions;

/// The state of the phone in every minute since the midnight before the life begins.
pub(super) struct Timeline(Vec<Conditions>);

impl Timeline {
    /// A phone at rest for so many days.
    pub(super) fn new(days: u64) -> Self {
        let minutes = usize::try_from(days * DAY).unwrap_or(0);
        let at_rest = Conditions {
            network: NetworkState::Unmetered,
            power: false,
            low_power: false,
            background_refresh: BackgroundRefresh::Available,
            in_use: false,
            foreground: false,
            unlocked_once: true,
            available_memory_bytes: None,
        };
        Self(vec![at_rest; minutes])
    }

    fn during(&mut self, (from, to): Span, change: impl Fn(&mut Conditions)) {
        let index = |minute: u64| usize::try_from(minute).unwrap_or(usize::MAX).min(self.0.len());
        let (from, to) = (index(from), index(to));
        self.0[from..to.max(from)].iter_mut().for_each(change);
    }

    /// Where the phone is.
    pub(super) fn draw_network(&mut self, person: &Person, rng: &mut Rng, awake: &[Span], nights: &[Night]) {
        let offline = |phone: &mut Conditions| phone.network = NetworkState::Offline;
        for day in (0_u64..).take(awake.len()) {
            let midnight = day * DAY;
            let rides = [
                rng.between(METRO_MINS.0, METRO_MINS.1),
                rng.between(METRO_MINS.0, METRO_MINS.1),
            ];
            if (person.first_weekday + day) % 7 >= 5 {
                continue;
            }
            let away = (midnight + AWAY.0, midnight + AWAY.1);
            self.during(away, |phone| phone.network = NetworkState::Expensive);
            if person.rides_metro {
                self.during((away.0 - rides[0], away.0), offline);
                self.during((away.1, away.1 + rides[1]), offline);
            }
        }
        let takes_off = rng.between(0, awake.len() as u64 * DAY);
        let lasts = rng.between(FLIGHT_MINS.0, FLIGHT_MINS.1);
        if rng.percent(FLIES_PERCENT) {
            self.during((takes_off, takes_off + lasts), offline);
        }
        if person.offline_nights {
            for night in nights {
                self.during(night.span, offline);
            }
        }
    }

    /// The charger, and Low Power Mode.
    pub(super) fn draw_power(&mut self, person: &Person, rng: &mut Rng, awake: &[Span], nights: &[Night]) {
        let charging = |phone: &mut Conditions| phone.power = true;
        let mut goes_low = Vec::new();
        let mut charged = true;
        for (day, (up, bed)) in awake.iter().enumerate() {
            let from = rng.between(*up, *bed);
            let lasts = rng.between(TOPPED_UP_MINS.0, TOPPED_UP_MINS.1);
            if rng.percent(TOPPED_UP_PERCENT) {
                self.during((from, from + lasts), charging);
            }
            let low_at = day as u64 * DAY + rng.between(LOW_POWER_FROM.0, LOW_POWER_FROM.1);
            let chance = if charged {
                LOW_POWER_PERCENT.0
            } else {
                LOW_POWER_PERCENT.1
            };
            if rng.percent(chance) {
                goes_low.push(low_at);
            }
            if let Some(night) = nights.get(day) {
                charged = night.charged;
                if charged {
                    self.during(night.span, charging);
                }
            }
        }
        let mut low = person.always_low_power;
        let mut charging_for = 0;
        for (minute, phone) in (0_u64..).zip(&mut self.0) {
            charging_for = if phone.power { charging_for + 1 } else { 0 };
            if charging_for == LOW_POWER_ENDS_AFTER {
                low = false;
            } else if goes_low.contains(&minute) || (person.always_low_power && charging_for == 0) {
                low = true;
            }
            phone.low_power = low;
        }
    }

    /// Puts the phone into the person's hand, and locks it after each restart until it is there again.
    pub(super) fn hold(&mut self, bouts: &[Vec<Span>], opened: &[Span], events: &[(u64, Happening)]) {
        for bout in bouts.iter().flatten() {
            self.during(*bout, |phone| phone.in_use = true);
        }
        for bout in opened {
            self.during(*bout, |phone| phone.foreground = true);
        }
        for (second, what) in events {
            if *what == Happening::Restarted {
                let from = second / 60;
                let next = bouts.iter().flatten().find(|bout| bout.0 >= from);
                let until = next.map_or(u64::MAX, |bout| bout.0);
                self.during((from, until), |phone| phone.unlocked_once = false);
            }
        }
    }

    /// When the state changes, in seconds.
    pub(super) fn changes(&self) -> Vec<(u64, Happening)> {
        let mut last = None;
        let mut changes = Vec::new();
        for (minute, phone) in (0_u64..).zip(&self.0) {
            if last != Some(phone) {
                changes.push((minute * 60, Happening::Phone(*phone)));
                last = Some(phone);
            }
        }
        changes
    }
}
