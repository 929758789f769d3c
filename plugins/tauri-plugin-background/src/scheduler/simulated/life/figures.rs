//! The figures that a phone's life is drawn from, each with its source. Units are in the names.
//!
//! What Apple publishes is qualitative, and nobody publishes how often iOS grants a wallet anything, so most of this is
//! marked *assumption*: it is meant to err on the side of too few wakes.

/// A day, in minutes.
pub const DAY: u64 = 24 * 60;

// --- The person -----------------------------------------------------------------------------------------------------

/// When a person gets up and goes to bed, minutes of the day; and how far a single day strays from it. Assumption.
pub const GETS_UP: (u64, u64) = (6 * 60, 8 * 60 + 30);
/// See [`GETS_UP`]. Past midnight counts on.
pub const GOES_TO_BED: (u64, u64) = (22 * 60, DAY + 30);
/// See [`GETS_UP`].
pub const STRAYS: u64 = 40;

/// How long a person leaves the phone alone between two bouts while awake, and how long a bout lasts, in minutes: some 80
/// bouts and 2 to 3 hours a day. 80 unlocks a day is Apple's figure (press briefing of April 2016); 76 sessions and 2.4 hours
/// are dscout's (2016, of Android phones).
pub const PAUSE_MINS: (u64, u64) = (1, 20);
/// See [`PAUSE_MINS`].
pub const BOUT_MINS: (u64, u64) = (1, 4);

/// How often a person opens the app in a fortnight, drawn evenly: a savings wallet that is looked at, not a messenger.
/// Assumption.
pub const OPENS_PER_FORTNIGHT: [u64; 8] = [1, 2, 3, 4, 6, 9, 14, 28];

/// The minute of the day at which they usually do, and how far from it they stray. Assumption.
pub const USUAL_MINUTE: (u64, u64) = (8 * 60, 22 * 60);
/// See [`USUAL_MINUTE`].
pub const USUAL_STRAYS: u64 = 90;

// --- The charger and Low Power Mode -----------------------------------------------------------------------------------

/// On how many nights in a hundred the phone is on the charger, drawn per person. Assumption: most nights, not all.
pub const NIGHTS_CHARGED_PERCENT: (u64, u64) = (60, 98);

/// How many days in a hundred bring an hour or so on a charger. Assumption.
pub const TOPPED_UP_PERCENT: u64 = 30;
/// How long that is, in minutes. Assumption.
pub const TOPPED_UP_MINS: (u64, u64) = (30, 120);

/// How many persons in a hundred keep Low Power Mode on whenever the phone lets them: iOS turns it off when the phone was
/// charged to 80 % (Apple support, "Use Low Power Mode"). Assumption.
pub const ALWAYS_LOW_POWER_PERCENT: u64 = 5;

/// On how many days in a hundred Low Power Mode goes on in the afternoon or evening (iOS offers it at 20 % of charge): after
/// a night on the charger, and after one without. It stays on until the next time on the charger. Assumption.
pub const LOW_POWER_PERCENT: (u64, u64) = (10, 60);
/// When that is, in minutes of the day.
pub const LOW_POWER_FROM: (u64, u64) = (15 * 60, 21 * 60);
/// How long charging takes until it goes off, in minutes.
pub const LOW_POWER_ENDS_AFTER: u64 = 60;

// --- The network ------------------------------------------------------------------------------------------------------

/// The hours of a working day away from Wi-Fi, in minutes of the day. Assumption.
pub const AWAY: (u64, u64) = (8 * 60 + 30, 18 * 60);

/// How many persons in a hundred ride a metro without a network, twice on a working day, and for how long. Assumption.
pub const RIDES_METRO_PERCENT: u64 = 30;
/// See [`RIDES_METRO_PERCENT`], in minutes.
pub const METRO_MINS: (u64, u64) = (10, 40);

/// How many persons in a hundred fly within the fortnight, and for how long they are offline. Assumption.
pub const FLIES_PERCENT: u64 = 10;
/// See [`FLIES_PERCENT`], in minutes.
pub const FLIGHT_MINS: (u64, u64) = (100, 660);

/// How many persons in a hundred sleep with the phone in airplane mode. Assumption.
pub const OFFLINE_NIGHTS_PERCENT: u64 = 5;

// --- The process ------------------------------------------------------------------------------------------------------

/// How many bouts in a hundred end with iOS reclaiming the suspended app's memory: about twice a day. Assumption.
pub const RECLAIMED_PERCENT: u64 = 3;

/// How many openings in a hundred of an app that does not run were preceded by a prewarm, and how long before, in minutes.
/// That iOS prewarms is documented ("About the app launch sequence"); the figures are an assumption.
pub const PREWARMED_PERCENT: u64 = 50;
/// See [`PREWARMED_PERCENT`].
pub const PREWARMED_BEFORE_MINS: (u64, u64) = (5, 120);

/// How many nights in a hundred bring a restart, for an update that installs itself: a few a year. Assumption.
pub const RESTARTS_PERCENT: u64 = 3;

/// When, within the fortnight, the person swipes the app away: day from and to. Once, as the requirement says.
pub const FORCE_QUIT_DAY: (u64, u64) = (1, 11);
/// How many of those in a hundred never open it again.
pub const NEVER_REOPENS_PERCENT: u64 = 20;
/// When the others do, in minutes after. "Days later", as the requirement says.
pub const REOPENS_AFTER_MINS: (u64, u64) = (DAY / 2, 6 * DAY);

// --- What iOS grants --------------------------------------------------------------------------------------------------

/// Refresh chances a day, by how many days ago the person last opened the app. That iOS favours apps in use is documented
/// (WWDC 2019, session 707; WWDC 2020, session 10063: "app usage"). The numbers are an assumption, after what apps report:
/// "several times a day" for an app that is not opened often, halting when it is not opened daily
/// (transistorsoft/flutter_background_fetch issues 32, 148), once a day (expo/expo issue 31059).
pub const REFRESH_CHANCES: [(u64, (u64, u64)); 4] =
    [(1, (3, 7)), (3, (1, 4)), (7, (0, 2)), (u64::MAX, (0, 0))];

/// How many days in a hundred bring none at all, whatever the person does ("energy and data budget", WWDC 2020, session
/// 10063). Assumption.
pub const DROUGHT_PERCENT: u64 = 15;

/// How many refresh chances in a hundred come shortly before the time at which the person usually opens the app, the rest
/// while they are awake: iOS learns when that is (WWDC 2019, session 707). The share is an assumption.
pub const BEFORE_USE_PERCENT: u64 = 60;
/// How long before, in minutes.
pub const BEFORE_USE_MINS: (u64, u64) = (5, 150);

/// The least time between two chances, in minutes: launches are spaced out (WWDC 2020, session 10063, rate limiting).
/// 15 minutes is what transistorsoft/background_fetch names as the shortest interval.
pub const SPACED_MINS: u64 = 15;

/// What a refresh is given, in seconds.
pub const REFRESH_SECS: u64 = 30;

/// How many nights in a hundred bring processing time: on the charger, and off it. Processing tasks wait for an idle phone;
/// apps report the night, on the charger, and less than one run of five minutes in it
/// (transistorsoft/react-native-background-fetch issue 322). Assumption.
pub const PROCESSING_NIGHT_PERCENT: (u64, u64) = (70, 10);

/// How many of those nights in a hundred bring it a second time. Assumption.
pub const PROCESSING_TWICE_PERCENT: u64 = 20;

/// "As long as the user has used your app within the past week" (`BGProcessingTaskRequest`): days.
pub const PROCESSING_USED_WITHIN_DAYS: u64 = 7;

/// What processing is given, in seconds: "minutes", until the person picks the phone up.
pub const PROCESSING_SECS: (u64, u64) = (120, 600);

/// How many grants in a hundred end early, as the requirement says. No reason is ever given (forums thread/818623).
pub const EARLY_PERCENT: u64 = 20;

/// When those end, in seconds. Assumption: anywhere before the time.
pub const EARLY_REFRESH_SECS: (u64, u64) = (2, 28);
/// See [`EARLY_REFRESH_SECS`].
pub const EARLY_PROCESSING_SECS: (u64, u64) = (5, 110);
