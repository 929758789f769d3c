//! The lies: what each does, to which questions, and what must come of it.

pub mod blocks;
pub mod fees;
pub mod http;
pub mod transactions;
pub mod wallet;

use pilotlight_node::{Depth, ErrorCode};

use crate::middle::Tell;
use crate::world::Moment;

/// A lie.
pub struct Lie {
    /// What it does.
    pub name: &'static str,
    /// To which questions.
    pub of: &'static str,
    /// When the wallet last looked, and how closely it looks now.
    pub at: (Moment, Depth),
    /// What must come of it.
    pub must: Must,
    /// How it is told.
    pub tell: Tell,
}

/// What must come of a lie. Whatever does: nothing is lost, nothing is sent, no channel is closed, nothing false is
/// believed, and all is as if it had never been told when the server is honest again.
#[derive(Debug, Clone, Copy)]
pub enum Must {
    /// This error.
    Fail(ErrorCode),
    /// One of these errors: which one depends on what is asked first.
    FailOneOf(&'static [ErrorCode]),
    /// Nothing: the truth is found in spite of it.
    Succeed,
    /// It cannot be known for a lie. What was not told is found later.
    Pass,
}

/// The error of a source that contradicts itself or what is proved.
pub const CAUGHT: Must = Must::Fail(ErrorCode::ChainSyncFailed);
