//! What can be made to go wrong on the wallet's listener, and for how many requests. Deciding only; doing it is the
//! listener's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// One way to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The request is taken and never answered.
    Hang,
    /// The answer comes this much later than it would.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// An HTTP error.
    Status {
        /// Status code, e.g. 429, 500, 503.
        code: u16,
        /// Seconds for a `Retry-After` header.
        retry_after_secs: Option<u32>,
    },
    /// Status 200 and a body of nonsense bytes.
    Garbage,
    /// The connection is closed without an answer, or, with `mid_body`, half way through one.
    DropConnection {
        /// Close half way through the body rather than before the status line.
        mid_body: bool,
    },
    /// `/block/:hash/header` gives the valid header of another block of the chain, and `/blocks` the fields of another block
    /// under the hash of the first.
    WrongHeader,
    /// `/tx/:txid/merkleblock-proof` and `/tx/:txid/merkle-proof` give a valid proof of another transaction.
    WrongMerkle,
    /// `/blocks/tip/hash`, `/blocks/tip/height` and `/blocks` tell of a chain this many blocks shorter.
    StaleTip {
        /// Blocks.
        behind: u32,
    },
    /// `/fee-estimates` names this rate for every target.
    Fees {
        /// sat/vB.
        sat_per_vb: u32,
    },
}

/// A fault, where it strikes and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The path's leading segments, `*` for any one of them: `/`, `/blocks/tip`, `/block/*/header`, `/tx`.
    pub path: String,
    /// Requests it strikes before it is spent; `None` for all until cleared.
    pub times: Option<u32>,
    /// Matching requests let through unharmed before it begins to strike.
    #[serde(default)]
    pub after: u32,
    /// What happens.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault of every matching request until cleared.
    pub fn new(path: &str, kind: FaultKind) -> Self {
        Self {
            path: path.to_owned(),
            times: None,
            after: 0,
            kind,
        }
    }

    /// The same, for the next `times` matching requests only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The same, beginning only after `after` matching requests.
    #[must_use]
    pub fn after(mut self, after: u32) -> Self {
        self.after = after;
        self
    }
}

/// A fault that is set, with what it has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultState {
    /// Names it for [`Faults::remove`].
    pub id: u64,
    /// The fault, with `times` and `after` counted down.
    pub fault: Fault,
    /// Requests it has struck.
    pub struck: u64,
}

/// The faults of a listener. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    inner: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    set: Vec<FaultState>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a fault besides those set already; the earliest set that matches a request strikes it. Returns its id.
    pub fn set(&self, fault: Fault) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.set.push(FaultState { id, fault, struck: 0 });
        id
    }

    /// Takes one fault away. Returns how many requests it struck; `None` if there is no such fault.
    pub fn remove(&self, id: u64) -> Option<u64> {
        let mut state = self.lock();
        let at = state.set.iter().position(|fault| fault.id == id)?;
        Some(state.set.remove(at).struck)
    }

    /// Takes all faults away. Requests that hang already go on hanging.
    pub fn clear(&self) {
        self.lock().set.clear();
    }

    /// All faults set, also the spent ones.
    pub fn list(&self) -> Vec<FaultState> {
        self.lock().set.clone()
    }

    /// The fault that strikes this request, counted.
    pub(crate) fn strike(&self, path: &str) -> Option<FaultKind> {
        let mut state = self.lock();
        for entry in &mut state.set {
            if entry.fault.times == Some(0)
                || !matches(&entry.fault.path, path)
                || !concerns(&entry.fault.kind, path)
            {
                continue;
            }
            if entry.fault.after > 0 {
                entry.fault.after -= 1;
                continue;
            }
            if let Some(times) = &mut entry.fault.times {
                *times -= 1;
            }
            entry.struck += 1;
            return Some(entry.fault.kind.clone());
        }
        None
    }
}

/// Whether the path begins with the pattern's segments.
fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    pattern
        .split('/')
        .filter(|wanted| !wanted.is_empty())
        .all(|wanted| {
            segments
                .next()
                .is_some_and(|segment| wanted == "*" || wanted == segment)
        })
}

/// Whether a fault of this kind has a meaning for this endpoint.
fn concerns(kind: &FaultKind, path: &str) -> bool {
    match kind {
        FaultKind::WrongHeader => matches("/block/*/header", path) || path.trim_end_matches('/') == "/blocks",
        FaultKind::WrongMerkle => {
            matches("/tx/*/merkleblock-proof", path) || matches("/tx/*/merkle-proof", path)
        }
        FaultKind::StaleTip { .. } => matches("/blocks/tip", path) || path.trim_end_matches('/') == "/blocks",
        FaultKind::Fees { .. } => matches("/fee-estimates", path),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        assert!(matches("/", "/anything"));
        assert!(matches("/blocks/tip", "/blocks/tip/hash"));
        assert!(!matches("/block", "/blocks/tip/hash"));
        assert!(matches("/block/*/header", "/block/00ff/header"));
        assert!(!matches("/block/*/header", "/block/00ff/status"));
        assert!(!matches("/tx/*/raw", "/tx/00"));
    }

    #[test]
    fn counts_are_kept() {
        let faults = Faults::default();
        let id = faults.set(Fault::new("/tx", FaultKind::Garbage).times(2).after(1));
        assert_eq!(faults.strike("/blocks"), None);
        assert_eq!(faults.strike("/tx/1"), None, "the first one is let through");
        assert_eq!(faults.strike("/tx/1"), Some(FaultKind::Garbage));
        assert_eq!(faults.strike("/tx/1"), Some(FaultKind::Garbage));
        assert_eq!(faults.strike("/tx/1"), None, "it is spent");
        assert_eq!(faults.list()[0].struck, 2);
        assert_eq!(faults.remove(id), Some(2));
        assert_eq!(faults.remove(id), None);
    }

    #[test]
    fn a_lie_strikes_only_where_it_can_be_told() {
        let faults = Faults::default();
        faults.set(Fault::new("/", FaultKind::WrongHeader));
        assert_eq!(faults.strike("/blocks/tip/hash"), None);
        assert_eq!(faults.strike("/block/00/header"), Some(FaultKind::WrongHeader));
    }
}
