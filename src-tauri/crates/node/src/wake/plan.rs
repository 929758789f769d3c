//! What a wake does next, and what it leaves: a plain function of its time, its phone, its wallet and what earlier wakes
//! left behind.
//!
//! The engine asks before every stage, so a plan is always made of what is really left. Owns the order of worth and every
//! reason to leave a stage out. Does not own the costs (`costs`), nor the clock (`budget`).

use std::time::Duration;

use bitcoin::BlockHash;

use super::budget::Allowance;
use super::conditions::Conditions;
use super::costs::Costs;
use super::journal::Journal;
use super::policy::Stakes;
use super::record::{GrantKind, Level, StageEnd, StageName};

/// With less than this for work at the start, only the monitors look at the chain. A whole wake with channels takes some
/// four seconds on a phone's network; in less, bringing channels up and talking to peers takes the time that the look at
/// the chain needs.
pub const WATCH_BELOW: Duration = Duration::from_secs(6);

/// A wake between two stages.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What was granted.
    pub kind: GrantKind,
    /// What is left for work.
    pub left: Duration,
    /// How much of the wallet is up; `None` before that is decided.
    pub level: Option<Level>,
    /// The stages that ended, and those that were left out for good.
    pub ended: &'a [(StageName, StageEnd)],
    /// The tip that this wake saw.
    pub tip: Option<BlockHash>,
    /// Unix time in ms.
    pub now_ms: u64,
    /// By how many bytes the process grew since the wake began.
    pub grown: u64,
    /// Whether every source of the chain is to be left alone for now.
    pub held_back: bool,
    /// What waits to be done; `None` before the wallet is up.
    pub chores: Option<Chores>,
}

/// What waits to be done in a wallet, besides looking at the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chores {
    /// There are peers to connect to.
    pub peers: bool,
    /// News of the network's graph were fetched and are not applied yet.
    pub apply: bool,
    /// The store grew so much that it should be written anew.
    pub compact: bool,
}

/// What is to be done, the next stage first, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How much of the wallet is to be up.
    pub level: Level,
    /// The stages to run, as far as can be foreseen. Only the first is certain; after it, plan again.
    pub steps: Vec<Step>,
    /// The stages that do not run.
    pub left_out: Vec<LeftOut>,
    /// Whether something is left that wants minutes.
    pub wants_processing: bool,
}

/// A stage to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub stage: StageName,
    /// The most that is spent on it.
    pub cap: Duration,
    /// The least that made it worth starting.
    pub minimum: Duration,
    /// Neither data nor power cost anything: it may do all there is to do.
    pub wide: bool,
}

/// A stage that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub stage: StageName,
    /// Why.
    pub why: Why,
}

/// Why a stage does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The time left is not worth it.
    Time,
    /// There is no network.
    Offline,
    /// Whom it would ask is to be left alone for now.
    HeldBack,
    /// The phone is short of memory.
    Memory,
    /// An earlier wake did it, and what it found still holds.
    Holds,
    /// There is nothing to do.
    Nothing,
    /// It is no part of a wake like this one.
    NotThisTime,
}

/// The stages of a level, in order of worth. `report` is not among them: it always runs, last.
fn stages(level: Level) -> &'static [StageName] {
    use StageName::{Chain, Compact, Events, Gossip, Onchain, Open, Peers, Sweep};
    match level {
        Level::Full => &[Open, Chain, Peers, Events, Sweep, Onchain, Gossip, Compact],
        Level::Watch => &[Open, Chain, Sweep],
    }
}

/// Stages that money in channels may hang on. None is left for one that is not among them.
pub fn is_money(stage: StageName) -> bool {
    stage <= StageName::Sweep
}

/// Plans what is left of a wake.
pub fn plan(
    now: &Situation<'_>,
    costs: &Costs,
    stakes: &Stakes,
    conditions: &Conditions,
    journal: &Journal,
) -> Plan {
    let level = now.level.unwrap_or(if now.left < WATCH_BELOW {
        Level::Watch
    } else {
        Level::Full
    });
    let mut plan = Plan {
        level,
        steps: Vec::new(),
        left_out: Vec::new(),
        // The monitors alone do not settle payments.
        wants_processing: level == Level::Watch || wants_minutes(now),
    };
    let mut left = now.left;
    let mut money_lacks_time = false;
    for &stage in stages(level) {
        if let Some((_, end)) = now.ended.iter().find(|(name, _)| *name == stage) {
            if stage <= StageName::Chain && !end.is_well() {
                // Without the chain nothing else is safe to do: no peer must see, and no sweep may use, an old state.
                break;
            }
            money_lacks_time |= is_money(stage) && *end == StageEnd::Skipped;
            continue;
        }
        let Allowance { cap, minimum } = costs.allowance(level, now.kind, stage);
        let lacks_time = left < minimum || money_lacks_time && !is_money(stage);
        let why = reason(now, stakes, conditions, journal, stage).or(lacks_time.then_some(Why::Time));
        if let Some(why) = why {
            plan.left_out.push(LeftOut { stage, why });
            plan.wants_processing |= matches!(why, Why::Time | Why::Memory);
            money_lacks_time |= is_money(stage) && why == Why::Time;
            if stage <= StageName::Chain {
                break;
            }
            continue;
        }
        let kept = reserve(now, costs, level, stage);
        let cap = cap.min(left.saturating_sub(kept)).max(minimum);
        plan.steps.push(Step {
            stage,
            cap,
            minimum,
            wide: conditions.generous(),
        });
        let expected = costs.expected(level, now.kind, stage).unwrap_or(minimum);
        left = left.saturating_sub(expected.min(cap));
    }
    plan
}

/// Whether a refresh wake leaves something that only a processing one does.
fn wants_minutes(now: &Situation<'_>) -> bool {
    let waits = now.chores.is_some_and(|chores| chores.apply || chores.compact);
    now.kind == GrantKind::Refresh && waits
}

/// Why a stage does not run, however much time there is.
fn reason(
    now: &Situation<'_>,
    stakes: &Stakes,
    conditions: &Conditions,
    journal: &Journal,
    stage: StageName,
) -> Option<Why> {
    let processing = now.kind == GrantKind::Processing;
    let frugal = conditions.frugal().is_some();
    let memory = conditions.short_of_memory(now.kind, now.grown);
    let chores = now.chores;
    match stage {
        // Opening the wallet is worth nothing if the chain cannot be looked at.
        StageName::Open | StageName::Chain => {
            if conditions.offline() {
                Some(Why::Offline)
            } else {
                now.held_back.then_some(Why::HeldBack)
            }
        }
        StageName::Peers => chores.filter(|chores| !chores.peers).map(|_| Why::Nothing),
        StageName::Events | StageName::Report => None,
        StageName::Sweep => {
            // Money on its way is looked after every time.
            let holds = !stakes.moving && journal.holds(stage, now.tip, now.now_ms);
            holds.then_some(Why::Holds)
        }
        StageName::Onchain => journal.holds(stage, now.tip, now.now_ms).then_some(Why::Holds),
        StageName::Gossip => {
            // Whether there are news, and what they may cost, the gossip itself knows.
            if frugal {
                Some(Why::NotThisTime)
            } else {
                memory.then_some(Why::Memory)
            }
        }
        StageName::Compact => {
            let due = chores.is_some_and(|chores| chores.compact);
            if !processing || frugal || conditions.on_power == Some(false) {
                Some(Why::NotThisTime)
            } else if !due {
                Some(Why::Nothing)
            } else if memory {
                Some(Why::Memory)
            } else {
                None
            }
        }
    }
}

/// What a stage must leave for those of the wallet's money that come after it. The chain leaves nothing: if it is not
/// seen whole, none of them runs.
fn reserve(now: &Situation<'_>, costs: &Costs, level: Level, stage: StageName) -> Duration {
    if stage <= StageName::Chain {
        return Duration::ZERO;
    }
    let later = stages(level)
        .iter()
        .filter(|later| **later > stage && is_money(**later));
    let waiting = later.filter(|later| !now.ended.iter().any(|(name, _)| name == *later));
    waiting
        .map(|later| costs.allowance(level, now.kind, *later).minimum)
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wake::conditions::Network;

    const CHORES: Chores = Chores {
        peers: true,
        apply: true,
        compact: true,
    };

    fn situation(kind: GrantKind, secs: u64) -> Situation<'static> {
        Situation {
            kind,
            left: Duration::from_secs(secs),
            level: None,
            ended: &[],
            tip: None,
            now_ms: 1_800_000_000_000,
            grown: 0,
            held_back: false,
            chores: Some(CHORES),
        }
    }

    fn planned(now: &Situation<'_>, conditions: &Conditions) -> Plan {
        plan(
            now,
            &Costs::default(),
            &Stakes::default(),
            conditions,
            &Journal::default(),
        )
    }

    fn names(plan: &Plan) -> Vec<StageName> {
        plan.steps.iter().map(|step| step.stage).collect()
    }

    #[test]
    fn time_decides_how_much_is_brought_up_and_how_far_it_goes() {
        use StageName::{Chain, Compact, Events, Gossip, Onchain, Open, Peers, Sweep};
        let table: [(GrantKind, u64, Level, &[StageName]); 6] = [
            (
                GrantKind::Refresh,
                25,
                Level::Full,
                &[Open, Chain, Peers, Events, Sweep, Onchain, Gossip],
            ),
            (
                GrantKind::Refresh,
                6,
                Level::Full,
                &[Open, Chain, Peers, Events, Sweep, Onchain],
            ),
            (GrantKind::Refresh, 5, Level::Watch, &[Open, Chain, Sweep]),
            (GrantKind::Refresh, 1, Level::Watch, &[Open]),
            (GrantKind::Refresh, 0, Level::Watch, &[]),
            (
                GrantKind::Processing,
                235,
                Level::Full,
                &[Open, Chain, Peers, Events, Sweep, Onchain, Gossip, Compact],
            ),
        ];
        for (kind, secs, level, expected) in table {
            let plan = planned(&situation(kind, secs), &Conditions::default());
            assert_eq!(
                (plan.level, names(&plan)),
                (level, expected.to_vec()),
                "{kind:?} {secs}"
            );
        }
    }

    #[test]
    fn conditions_narrow_and_widen() {
        let memory = Conditions {
            available_memory: Some(1),
            ..Conditions::default()
        };
        let network = |network, on_power, low_power| Conditions {
            network: Some(network),
            on_power: Some(on_power),
            low_power: Some(low_power),
            available_memory: None,
        };
        let last = |kind, conditions: &Conditions| {
            let plan = planned(&situation(kind, 235), conditions);
            let left_out: Vec<_> = plan.left_out.iter().map(|left| (left.stage, left.why)).collect();
            (
                names(&plan).last().copied(),
                left_out,
                plan.steps.last().is_some_and(|step| step.wide),
            )
        };
        let (gossip, compact, onchain) = (StageName::Gossip, StageName::Compact, StageName::Onchain);
        let saving = [(gossip, Why::NotThisTime), (compact, Why::NotThisTime)];
        let (refresh, processing) = (GrantKind::Refresh, GrantKind::Processing);
        let table = [
            (
                refresh,
                Conditions::default(),
                Some(gossip),
                vec![(compact, Why::NotThisTime)],
                false,
            ),
            (
                refresh,
                memory,
                Some(onchain),
                vec![(gossip, Why::Memory), (compact, Why::NotThisTime)],
                false,
            ),
            (
                processing,
                memory,
                Some(onchain),
                vec![(gossip, Why::Memory), (compact, Why::Memory)],
                false,
            ),
            (
                refresh,
                network(Network::Constrained, false, false),
                Some(onchain),
                saving.to_vec(),
                false,
            ),
            (
                processing,
                network(Network::Unmetered, true, true),
                Some(onchain),
                saving.to_vec(),
                false,
            ),
            (
                processing,
                network(Network::Expensive, false, false),
                Some(gossip),
                vec![(compact, Why::NotThisTime)],
                false,
            ),
            (
                processing,
                network(Network::Unmetered, true, false),
                Some(compact),
                vec![],
                true,
            ),
            (
                processing,
                network(Network::Offline, true, false),
                None,
                vec![(StageName::Open, Why::Offline)],
                false,
            ),
        ];
        for (kind, conditions, stage, left_out, wide) in table {
            assert_eq!(
                last(kind, &conditions),
                (stage, left_out, wide),
                "{kind:?} {conditions:?}"
            );
        }
    }

    #[test]
    fn without_the_chain_nothing_else_runs_and_what_lacks_time_asks_for_minutes() {
        let ended = [
            (StageName::Open, StageEnd::Done),
            (StageName::Chain, StageEnd::Failed),
        ];
        let now = Situation {
            ended: &ended,
            ..situation(GrantKind::Refresh, 20)
        };
        assert_eq!(names(&planned(&now, &Conditions::default())), []);
        let held = Situation {
            held_back: true,
            ..situation(GrantKind::Refresh, 25)
        };
        let plan = planned(&held, &Conditions::default());
        assert_eq!(plan.left_out[0].why, Why::HeldBack);
        assert_eq!(plan.steps, []);
        let idle = Situation {
            chores: Some(Chores {
                peers: true,
                ..Chores::default()
            }),
            ..situation(GrantKind::Refresh, 25)
        };
        for (secs, wants) in [(25, false), (3, true), (0, true)] {
            let now = Situation {
                left: Duration::from_secs(secs),
                ..idle
            };
            assert_eq!(
                planned(&now, &Conditions::default()).wants_processing,
                wants,
                "{secs}"
            );
        }
        let waiting = planned(&situation(GrantKind::Refresh, 25), &Conditions::default());
        assert!(waiting.wants_processing, "a fetched delta waits to be applied");
    }

    proptest! {
        #[test]
        fn a_plan_keeps_its_promises(
            millis in 0_u64..300_000,
            processing in any::<bool>(),
            ended in 0_usize..8,
            end in 0_usize..4,
            memory in proptest::option::of(any::<u64>()),
            low_power in any::<bool>(),
            peers in any::<bool>(),
        ) {
            let ends = [StageEnd::Done, StageEnd::Failed, StageEnd::Skipped, StageEnd::TimedOut];
            let kind = if processing { GrantKind::Processing } else { GrantKind::Refresh };
            let all = stages(Level::Full);
            let ended: Vec<_> = all[..ended].iter().enumerate()
                .map(|(n, name)| (*name, if n + 1 == ended { ends[end] } else { StageEnd::Done }))
                .collect();
            let now = Situation {
                left: Duration::from_millis(millis),
                ended: &ended,
                level: (!ended.is_empty()).then_some(Level::Full),
                chores: Some(Chores { peers, ..CHORES }),
                ..situation(kind, 0)
            };
            let conditions = Conditions { available_memory: memory, low_power: Some(low_power), ..Conditions::default() };
            let plan = planned(&now, &conditions);
            prop_assert!(plan.steps.is_sorted_by_key(|step| step.stage), "in order of worth");
            for step in &plan.steps {
                prop_assert!(step.cap >= step.minimum);
                prop_assert!(!ended.iter().any(|(name, _)| *name == step.stage), "none twice");
            }
            if let Some(first) = plan.steps.first() {
                prop_assert!(first.cap <= now.left, "within what is left");
            }
            let money_waits = plan.left_out.iter().any(|left| is_money(left.stage) && left.why == Why::Time);
            prop_assert!(!money_waits || plan.steps.iter().all(|step| is_money(step.stage)));
            let blind = ended.iter().any(|(name, end)| *name <= StageName::Chain && !end.is_well());
            prop_assert!(!blind || plan.steps.is_empty());
        }
    }
}
