//! The time of day. (Durations and deadlines use tokio's clock, which tests can pause.)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since the Unix epoch. A clock set before 1970 reads as 1970: nothing here may panic because of a wrong clock.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
