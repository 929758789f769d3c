//! What was seen of a life.

use std::time::Duration;

use crate::models::RunRecord;

/// What was seen of a life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diary {
    /// The completed runs, in order, with moments in milliseconds since the life began.
    pub runs: Vec<RunRecord>,
    /// How often iOS had time for the app.
    pub chances: u32,
    /// How many of those found no request that was due yet.
    pub too_early: u32,
    /// How many of those came while the app was swiped away.
    pub swiped_away: u32,
    /// How many of those found a request that was due, which the phone's state did not allow.
    pub held_back: u32,
    /// How many of those came while the person was using the app.
    pub in_front: u32,
    /// How often the person opened the app.
    pub opened: u32,
    /// Processes that were started, by whomever.
    pub processes: u32,
    /// How many of those ahead of need.
    pub prewarmed: u32,
    /// Requests that the system refused.
    pub refused: u64,
    /// From when until when nothing was launched because the person had swiped the app away.
    pub force_quit: Option<(Duration, Duration)>,
    /// How long at least one task had no request pending, though the app could have made one.
    pub without_request: Duration,
    /// Runs after which their task had no request pending.
    pub chain_broken: u32,
}
