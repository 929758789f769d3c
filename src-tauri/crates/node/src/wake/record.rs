//! The wake record: the row of metrics that is kept of each wake.
//!
//! Owns the row's shape and the words for how a wake and its stages end. Does not own the file (`history`).

use serde::{Deserialize, Serialize};

use super::conditions::{Conditions, Degraded};
use super::safe_until::SafeUntilReason;
use crate::error::ErrorReport;

/// What the system gave the wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum GrantKind {
    /// Some 30 seconds (`BGAppRefreshTask`).
    Refresh,
    /// Some minutes (`BGProcessingTask`).
    Processing,
}

/// Who asked for the wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum WakeReason {
    /// The operating system.
    System,
    /// The simulated scheduler (desktop, simulator).
    Simulated,
    /// The person ("wake now").
    Person,
    /// A test or the command line.
    Test,
}

/// How a wake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum WakeOutcome {
    /// Still running, or cut off before it could say (then the next start turns it into `CutOff`).
    InProgress,
    /// Every stage ended well.
    Completed,
    /// The chain was synced; something of less worth was not done.
    Partial,
    /// The system called the time before the chain was synced.
    Expired,
    /// The chain could not be synced, or the node not opened.
    Failed,
    /// The process was ended in the middle (found at the next start).
    CutOff,
}

/// How much of the wallet a wake brings up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Level {
    /// All of it but the network's graph.
    #[default]
    Full,
    /// The monitors alone: they look at the chain and punish or claim, and no channel is live.
    Watch,
}

/// A named, resumable step of a wake, in order of worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum StageName {
    /// Store, monitors, manager.
    Open,
    /// What the chain says.
    Chain,
    /// Connect, re-establish, settle.
    Peers,
    /// Events handled until none is left.
    Events,
    /// Claimable outputs swept.
    Sweep,
    /// The on-chain wallet.
    Onchain,
    /// The network's graph: fetched in a refresh, applied in a processing wake.
    Gossip,
    /// The store, written anew if it grew too much.
    Compact,
    /// Everything written, flushed, recorded.
    Report,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum StageEnd {
    /// All of it.
    Done,
    /// There was nothing to do.
    NothingToDo,
    /// Not done again: an earlier wake did it, and what it found still holds.
    StillHolds,
    /// Not started; its `error` says why.
    Skipped,
    /// Its cap or the wake's deadline ended it.
    TimedOut,
    /// The system or the person ended it.
    Cancelled,
    /// It failed; the record's `error` says why.
    Failed,
}

impl StageEnd {
    /// Whether the stage did all that there was to do.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Done | Self::NothingToDo | Self::StillHolds)
    }
}

/// One stage in a wake record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct StageRecord {
    /// Which.
    pub name: StageName,
    /// Milliseconds from the wake's start to the stage's.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub started_ms: u64,
    /// How long it took.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub duration_ms: u64,
    /// How it ended.
    pub end: StageEnd,
    /// Why it did not end well.
    pub error: Option<ErrorReport>,
    /// Whether all it found was on disk, and in the journal, before the next stage began: a wake that is cut off later goes
    /// on from there.
    #[serde(default)]
    pub checkpoint: bool,
    /// Blocks worked off; `null` for a stage that works off none.
    #[serde(default)]
    pub blocks: Option<u32>,
}

impl StageRecord {
    /// A stage that ended so, so long after the wake's start in ms, and took no time.
    pub fn new(name: StageName, started_ms: u64, end: StageEnd) -> Self {
        Self {
            name,
            started_ms,
            duration_ms: 0,
            end,
            error: None,
            checkpoint: false,
            blocks: None,
        }
    }
}

/// The row kept of each wake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct WakeRecord {
    /// Counts up from 1 on this device.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub id: u64,
    /// What was granted.
    pub kind: GrantKind,
    /// Who asked.
    pub reason: WakeReason,
    /// How long the grant was.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub grant_ms: u64,
    /// How much of the wallet it brought up.
    #[serde(default)]
    pub level: Level,
    /// What the phone was like when it began.
    #[serde(default)]
    pub conditions: Conditions,
    /// What made it do less than a wake of its kind does.
    #[serde(default)]
    pub degraded: Vec<Degraded>,
    /// Whether something is left that wants minutes, on power: then a processing run should be asked for.
    #[serde(default)]
    pub wants_processing: bool,
    /// Whether it ran on a node that was already up in the foreground.
    pub joined: bool,
    /// Start.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub started_at_ms: u64,
    /// End; `None` while it runs.
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub finished_at_ms: Option<u64>,
    /// How it ended.
    pub outcome: WakeOutcome,
    /// The first error of the stage that mattered most.
    pub error: Option<ErrorReport>,
    /// The stages that were reached, in order.
    pub stages: Vec<StageRecord>,
    /// When the chain was last seen whole, this wake included. Unix time in ms; `null`: never.
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub last_sync: Option<u64>,
    /// How long the wake took, in ms.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub sync_duration: u64,
    /// New blocks between the height known before and the tip seen now.
    pub blocks_synced: u32,
    /// Our own channels that were re-established or whose state moved.
    pub channels_updated: u32,
    /// Channels of the network graph that gossip changed.
    pub graph_channels_updated: u32,
    /// The tip, once seen.
    pub tip_height: Option<u32>,
    /// Requests to servers, and connections to peers.
    #[serde(default)]
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub requests: u64,
    /// Bytes received from chain servers and peers, as the kernel counted them on our sockets.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub bytes_in: u64,
    /// Bytes sent, likewise.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub bytes_out: u64,
    /// The process's peak resident memory, in bytes.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub peak_memory: u64,
    /// CPU time that the process used during the wake, in ms.
    #[cfg_attr(feature = "bindings", specta(type = specta_typescript::Number))]
    pub cpu_ms: u64,
    /// When the next wake should come at the earliest, as the policy sees it. Unix time in ms.
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub next_at_ms: Option<u64>,
    /// Before when the chain must be looked at again, as known at the end of this wake. Unix time in ms; `null`: nothing can
    /// be lost, or it is not known.
    #[serde(default)]
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub safe_until_ms: Option<u64>,
    /// Why.
    #[serde(default)]
    pub safe_until_reason: Option<SafeUntilReason>,
    /// Channel partners that tried to cheat and whose money is not secured yet, as known at the end of this wake.
    #[serde(default)]
    pub breaches: u32,
    /// What else a person should know: which peer was caught in a lie and is not asked again, for one. At most eight sentences
    /// of at most 400 characters, with names of strangers in them.
    #[serde(default)]
    pub reports: Vec<String>,
}

impl WakeRecord {
    /// A wake that begins now and has nothing to say yet.
    pub fn begin(id: u64, kind: GrantKind, reason: WakeReason, grant_ms: u64, started_at_ms: u64) -> Self {
        Self {
            id,
            kind,
            reason,
            grant_ms,
            level: Level::Full,
            conditions: Conditions::default(),
            degraded: Vec::new(),
            wants_processing: false,
            joined: false,
            started_at_ms,
            finished_at_ms: None,
            outcome: WakeOutcome::InProgress,
            error: None,
            stages: Vec::new(),
            last_sync: None,
            sync_duration: 0,
            blocks_synced: 0,
            channels_updated: 0,
            graph_channels_updated: 0,
            tip_height: None,
            requests: 0,
            bytes_in: 0,
            bytes_out: 0,
            peak_memory: 0,
            cpu_ms: 0,
            next_at_ms: None,
            safe_until_ms: None,
            safe_until_reason: None,
            breaches: 0,
            reports: Vec::new(),
        }
    }

    /// How a stage ended, if it was reached.
    pub fn stage(&self, name: StageName) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_an_earlier_version_lacks_what_came_later() {
        let mut record = WakeRecord {
            safe_until_ms: Some(5),
            safe_until_reason: Some(SafeUntilReason::OldBalance),
            level: Level::Watch,
            degraded: vec![Degraded::Memory],
            wants_processing: true,
            requests: 7,
            reports: vec!["a peer lied".into()],
            ..WakeRecord::begin(1, GrantKind::Refresh, WakeReason::Test, 30_000, 1)
        };
        record.stages.push(StageRecord {
            checkpoint: true,
            blocks: Some(3),
            ..StageRecord::new(StageName::Chain, 0, StageEnd::Done)
        });
        let mut row = serde_json::to_value(&record).unwrap();
        assert_eq!(serde_json::from_value::<WakeRecord>(row.clone()).unwrap(), record);
        let fields = row.as_object_mut().unwrap();
        for later in [
            "safe_until_ms",
            "safe_until_reason",
            "level",
            "conditions",
            "degraded",
            "wants_processing",
            "requests",
            "reports",
        ] {
            assert!(fields.remove(later).is_some(), "{later}");
        }
        let stage = fields["stages"][0].as_object_mut().unwrap();
        assert!(stage.remove("checkpoint").is_some() && stage.remove("blocks").is_some());
        let old: WakeRecord = serde_json::from_value(row).unwrap();
        let mut expected = WakeRecord::begin(1, GrantKind::Refresh, WakeReason::Test, 30_000, 1);
        expected
            .stages
            .push(StageRecord::new(StageName::Chain, 0, StageEnd::Done));
        assert_eq!(old, expected);
    }
}
