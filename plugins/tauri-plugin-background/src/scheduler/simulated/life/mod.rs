//! A phone's life, drawn from a seed: what its owner does, where it is, and when iOS finds time for the app.
//!
//! Pure: the same seed gives the same life on every platform. Begins in the minute in which the person first opens the
//! app. The figures and their sources are in [`figures`]; what iOS then launches is the business of
//! [`SimulatedSystem`](super::SimulatedSystem), which holds every chance against its rules.

mod chances;
pub mod figures;
mod person;
mod rng;
mod timeline;

use std::time::Duration;

pub use person::Person;
pub use rng::Rng;

use super::conditions::Conditions;
use crate::config::TaskKind;

/// What each stream of chance is for: more draws for one leave the others as they are.
mod stream {
    pub const PERSON: u64 = 1;
    pub const DAYS: u64 = 2;
    pub const CHANCES: u64 = 3;
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The state of the phone changed.
    Phone(Conditions),
    /// iOS took the suspended app's memory back.
    Reclaimed,
    /// iOS started the app's process ahead of need, without launching anything.
    Prewarmed,
    /// The phone restarted. The process ended, and nothing can be read until the person unlocks it.
    Restarted,
    /// The person swiped the app away.
    ForceQuit,
    /// iOS has time for tasks of a kind.
    Chance {
        /// Refresh or processing.
        kind: TaskKind,
        /// For so long, unless the person ends it.
        lasts: Duration,
    },
}

/// Something that happens, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Since the life began.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// Some days of a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// How long it is.
    pub lasts: Duration,
    /// Whose phone it is.
    pub person: Person,
    /// What happens, in order. The first event opens the app.
    pub events: Vec<Event>,
}

impl Life {
    /// Draws a life of so many days.
    pub fn draw(seed: u64, days: u32) -> Self {
        let root = Rng::new(seed);
        let person = Person::draw(&mut root.fork(stream::PERSON));
        let story = person::Story::draw(&person, &mut root.fork(stream::DAYS), u64::from(days));
        let chances = chances::draw(&person, &story, &mut root.fork(stream::CHANCES));

        // Drawn from a midnight on, kept from the first opening on. What is told within a minute keeps the order of telling:
        // the phone changes before iOS looks at it.
        let begin = story.begins * 60;
        let end = begin + u64::from(days) * figures::DAY * 60;
        let mut told: Vec<(u64, Happening)> = story.events.into_iter().chain(chances).collect();
        told.sort_by_key(|(second, _)| *second);
        let events = told
            .into_iter()
            .filter(|(second, _)| (begin..end).contains(second))
            .map(|(second, what)| Event {
                at: Duration::from_secs(second - begin),
                what,
            });
        Self {
            lasts: Duration::from_secs(end - begin),
            person,
            events: events.collect(),
        }
    }
}
