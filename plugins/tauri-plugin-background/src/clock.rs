//! Time, passed in: the real clock of the device, and a virtual one for tests.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lock::lock;

/// One moment, on both clocks: `instant` for measuring, `unix_ms` for people and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic.
    pub instant: Instant,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Moment {
    /// This moment on the real clocks.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            instant: Instant::now(),
            unix_ms: millis(unix),
        }
    }

    /// The Unix time of another instant, as seen from this moment.
    pub fn unix_ms_of(&self, instant: Instant) -> u64 {
        let ahead = millis(instant.saturating_duration_since(self.instant));
        let behind = millis(self.instant.saturating_duration_since(instant));
        self.unix_ms.saturating_add(ahead).saturating_sub(behind)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            instant: self.instant + duration,
            unix_ms: self.unix_ms.saturating_add(millis(duration)),
        }
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;

    /// Whether it runs by itself. If not, whoever moves it says when there is something to do, and no thread waits on it:
    /// what happens is then the same each time.
    fn runs(&self) -> bool {
        true
    }
}

/// The device's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::now()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct VirtualClock(Mutex<Moment>);

impl VirtualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Moment) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let mut now = lock(&self.0);
        *now = *now + by;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        *lock(&self.0)
    }

    fn runs(&self) -> bool {
        false
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
