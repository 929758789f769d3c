//! What a wake would take: stage by stage as in `pilotlight_node::wake`, with the node's own allowances, each duration drawn
//! instead of lived.

use std::time::Duration;

use pilotlight_node::wake::budget::{WIND_DOWN, allowance};
use pilotlight_node::wake::policy::{Stakes, next_wake};
use pilotlight_node::{GrantKind, StageEnd, StageName, WakeOutcome};
use tauri_plugin_background::scheduler::simulated::life::Rng;
use tauri_plugin_background::scheduler::simulated::{App, Conditions, Run};
use tauri_plugin_background::{NetworkState, Outcome, RunResult, TaskKind};

/// Opening the store, the monitors and the manager of a few channels, ms. Measured on a desktop it is some 100; the rest is
/// for a cold phone. Assumption.
const OPEN_MS: (u64, u64) = (150, 1_200);

/// One round trip, ms, on Wi-Fi and on a mobile network; and how much longer it is with a weak signal, for so many wakes in
/// a hundred. Assumption; 100 to 150 ms is what the node's own allowances reckon with.
const ROUND_TRIP_WIFI_MS: (u64, u64) = (30, 120);
const ROUND_TRIP_MOBILE_MS: (u64, u64) = (60, 250);
const WEAK_SIGNAL_PERCENT: u64 = 8;
const WEAK_SIGNAL_TIMES: u64 = 4;

/// What a sleeping radio needs before the first byte, ms. Assumption.
const RADIO_WAKES_MS: (u64, u64) = (100, 2_000);

/// Requests in series of a sync (the node's own figure), and blocks for one more of them.
const REQUESTS: u64 = 25;
const BLOCKS_PER_REQUEST: u64 = 12;

/// Ten minutes.
const BLOCK: Duration = Duration::from_secs(600);

/// How many syncs in a hundred fail although there is a network: captive portals, a server that does not answer. Half of
/// them say so at once, half run into their limit. Assumption.
const SYNC_FAILS_PERCENT: u64 = 4;

/// How many fortnights in a hundred have an outage of the chain server, and for how long, minutes. Assumption.
const OUTAGE_PERCENT: u64 = 20;
const OUTAGE_MINS: (u64, u64) = (60, 12 * 60);

/// How many connections to the peer in a hundred fail. Assumption.
const PEER_FAILS_PERCENT: u64 = 6;
/// Round trips until a channel is re-established, and until a payment is settled (the node's own figures).
const PEER_ROUND_TRIPS: u64 = 5;
const PAYMENT_ROUND_TRIPS: u64 = 5;

/// Sweeping and writing everything down, ms: measured under 1.5 s. Assumption for a phone; and how many stops in a hundred
/// take much longer, because the phone has other things to do.
const SWEEP_MS: (u64, u64) = (0, 600);
const REPORT_MS: (u64, u64) = (150, 1_400);
const SLOW_STOP_PERCENT: u64 = 1;
const SLOW_STOP_MS: (u64, u64) = (2_000, 4_500);

/// After how many openings in a hundred something stays under way (a payment that waits, money on its way back from a
/// channel), and for how long, minutes. Assumption.
const MOVING_PERCENT: u64 = 15;
const MOVING_MINS: (u64, u64) = (60, 24 * 60);

/// The stages in the order of the node.
const STAGES: [StageName; 5] = [
    StageName::Open,
    StageName::Chain,
    StageName::Peers,
    StageName::Events,
    StageName::Sweep,
];

/// When the chain was seen whole.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Since the life began.
    pub at: Duration,
    /// By a wake, not by the person who opened the app.
    pub in_background: bool,
}

/// How a wake ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub kind: GrantKind,
    pub outcome: WakeOutcome,
    pub took: Duration,
}

/// The wallet, as far as a fortnight needs it.
pub struct Wallet {
    rng: Rng,
    stakes: Stakes,
    moving_until: Duration,
    outage: Option<(Duration, Duration)>,
    always_after: Option<Duration>,
    failures_in_a_row: u32,
    last_check: Duration,
    under_way: Vec<Plan>,
    pub checks: Vec<Check>,
    pub ended: Vec<Ended>,
}

/// How a wake would go if nobody called time.
struct Plan {
    at: Duration,
    id: String,
    stages: Vec<Stage>,
}

struct Stage {
    name: StageName,
    ends_at: Duration,
    end: StageEnd,
}

impl Wallet {
    /// A wallet with one to three channels.
    pub fn new(mut rng: Rng, life: Duration, always_after: Option<Duration>) -> Self {
        let channels = usize::try_from(rng.between(1, 3)).unwrap_or(1);
        let begins = minutes(rng.between(0, life.as_secs() / 60));
        let lasts = minutes(rng.between(OUTAGE_MINS.0, OUTAGE_MINS.1));
        Self {
            outage: rng.percent(OUTAGE_PERCENT).then_some((begins, begins + lasts)),
            rng,
            stakes: Stakes {
                channels,
                moving: false,
                // Of a channel at rest it is more than nine days off after each check, and hurries nobody before the ninth day.
                left: None,
            },
            moving_until: Duration::ZERO,
            always_after,
            failures_in_a_row: 0,
            last_check: Duration::ZERO,
            under_way: Vec::new(),
            checks: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn millis(&mut self, (low, high): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.between(low, high))
    }

    /// Whether the chain can be reached.
    fn reachable(&mut self, at: Duration, phone: &Conditions) -> bool {
        let outage = self.outage.is_some_and(|(from, to)| (from..to).contains(&at));
        let fails = self.rng.percent(SYNC_FAILS_PERCENT);
        phone.online() && !outage && !fails
    }

    /// How long each stage would take, and whether it would succeed.
    fn draw(&mut self, run: &Run) -> [(Duration, bool); 5] {
        let mobile = run.phone.network != NetworkState::Unmetered;
        let range = if mobile {
            ROUND_TRIP_MOBILE_MS
        } else {
            ROUND_TRIP_WIFI_MS
        };
        let weak = mobile && self.rng.percent(WEAK_SIGNAL_PERCENT);
        let times = if weak { WEAK_SIGNAL_TIMES } else { 1 };
        let round_trip = self.millis(range) * u32::try_from(times).unwrap_or(1);
        let trips = |count: u64| round_trip * u32::try_from(count).unwrap_or(u32::MAX);

        let open = self.millis(OPEN_MS);
        let radio = self.millis(RADIO_WAKES_MS);
        let blocks = (run.at.saturating_sub(self.last_check)).as_secs() / BLOCK.as_secs();
        let reachable = self.reachable(run.at, &run.phone);
        let says_so = self.rng.percent(50);
        let sync = match (reachable, says_so || !run.phone.online()) {
            (true, _) => radio + trips(REQUESTS + blocks / BLOCKS_PER_REQUEST),
            (false, true) => radio,
            (false, false) => Duration::MAX,
        };
        let peer = !self.rng.percent(PEER_FAILS_PERCENT);
        let payments = if self.moving(run.at) {
            PAYMENT_ROUND_TRIPS
        } else {
            1
        };
        let sweep = self.millis(SWEEP_MS);
        [
            (open, true),
            (sync, reachable),
            (trips(PEER_ROUND_TRIPS), peer),
            (trips(payments), true),
            (sweep, true),
        ]
    }

    fn moving(&self, at: Duration) -> bool {
        at < self.moving_until
    }
}

impl App for Wallet {
    fn starts(&mut self, run: &Run) -> Duration {
        let kind = grant_kind(run.kind);
        let drawn = self.draw(run);
        let work_ends = run.budget.saturating_sub(WIND_DOWN);
        let mut clock = Duration::ZERO;
        let mut stages = Vec::new();
        for (name, (takes, succeeds)) in STAGES.into_iter().zip(drawn) {
            let allowed = allowance(kind, name);
            let time = work_ends.saturating_sub(clock).min(allowed.cap);
            let end = if time < allowed.minimum {
                StageEnd::Skipped
            } else if takes > time {
                StageEnd::TimedOut
            } else if succeeds {
                StageEnd::Done
            } else {
                StageEnd::Failed
            };
            if end != StageEnd::Skipped {
                clock += takes.min(time);
            }
            stages.push(Stage {
                name,
                ends_at: clock,
                end,
            });
            // Without a node, or without the chain, nothing else is safe to do.
            if matches!(name, StageName::Open | StageName::Chain) && end != StageEnd::Done {
                break;
            }
        }
        self.under_way.push(Plan {
            at: run.at,
            id: run.id.clone(),
            stages,
        });
        clock + self.stops_in()
    }

    fn ends(&mut self, run: &Run, after: Duration, called: Option<Duration>) -> Outcome {
        let plan = self
            .under_way
            .iter()
            .position(|plan| plan.at == run.at && plan.id == run.id);
        let mut stages = plan.map_or(Vec::new(), |index| self.under_way.remove(index).stages);
        if let Some(called) = called {
            for stage in stages.iter_mut().filter(|stage| stage.ends_at > called) {
                stage.end = StageEnd::Cancelled;
            }
        }
        let chain = stages.iter().find(|stage| stage.name == StageName::Chain);
        let synced = chain
            .filter(|stage| stage.end == StageEnd::Done)
            .map(|stage| run.at + stage.ends_at);
        let all = stages.iter().all(|stage| stage.end == StageEnd::Done);
        let (outcome, result) = match (synced, all) {
            (Some(_), true) => (WakeOutcome::Completed, RunResult::Completed),
            (Some(_), false) => (WakeOutcome::Partial, RunResult::Partial),
            (None, _) if called.is_some() => (WakeOutcome::Expired, RunResult::Expired),
            (None, _) => (WakeOutcome::Failed, RunResult::Failed),
        };
        if let Some(at) = synced {
            self.checked(at, true);
            self.failures_in_a_row = 0;
        } else {
            self.failures_in_a_row += 1;
        }
        self.ended.push(Ended {
            kind: grant_kind(run.kind),
            outcome,
            took: after,
        });
        let at_stake = Stakes {
            moving: self.moving(run.at + after),
            ..self.stakes
        };
        let wait = next_wake(outcome, self.failures_in_a_row, at_stake, None);
        Outcome::new(result).with_next_in(Some(self.always_after.unwrap_or(wait)))
    }

    fn cut_off(&mut self, run: &Run) {
        self.under_way
            .retain(|plan| plan.at != run.at || plan.id != run.id);
        self.failures_in_a_row += 1;
        self.ended.push(Ended {
            kind: grant_kind(run.kind),
            outcome: WakeOutcome::CutOff,
            took: Duration::ZERO,
        });
    }

    fn stops_in(&mut self) -> Duration {
        let slow = self.rng.percent(SLOW_STOP_PERCENT);
        self.millis(if slow { SLOW_STOP_MS } else { REPORT_MS })
    }

    fn opened(&mut self, at: Duration, phone: Conditions) {
        if self.reachable(at, &phone) {
            self.checked(at, false);
        }
        let lasts = minutes(self.rng.between(MOVING_MINS.0, MOVING_MINS.1));
        if self.rng.percent(MOVING_PERCENT) {
            self.moving_until = self.moving_until.max(at + lasts);
        }
    }
}

impl Wallet {
    fn checked(&mut self, at: Duration, in_background: bool) {
        self.last_check = self.last_check.max(at);
        self.checks.push(Check { at, in_background });
    }
}

fn grant_kind(kind: TaskKind) -> GrantKind {
    match kind {
        TaskKind::Refresh => GrantKind::Refresh,
        TaskKind::Processing | TaskKind::Continued => GrantKind::Processing,
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}
