//! The tasks as `tauri.conf.json` declares them, and the rules that a declaration must keep.
//!
//! Owns parsing and validation. Does not own what is done with a task. Also compiled into `build.rs`, so it knows
//! nothing of the rest of the crate.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// iOS holds at most one pending app refresh request.
pub const MAX_REFRESH_TASKS: usize = 1;

/// iOS holds at most ten pending processing requests.
pub const MAX_PROCESSING_TASKS: usize = 10;

/// An earliest date further away than a week is not honoured well: iOS prefers apps used within the past week.
pub const MAX_INTERVAL_MINUTES: u32 = 7 * 24 * 60;

/// What iOS gives a refresh task by wall clock, in seconds.
pub const MAX_REFRESH_BUDGET_SECS: u32 = 30;

/// More than an hour is never given to a processing task on a phone that is used daily.
pub const MAX_PROCESSING_BUDGET_SECS: u32 = 60 * 60;

/// The section `plugins.background` of `tauri.conf.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The background tasks of the app. This is the one place where their identifiers are written.
    pub tasks: Vec<TaskConfig>,
    /// How the simulated scheduler behaves, where there is no real one.
    pub simulated: SimulatedConfig,
}

/// What the system grants a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum TaskKind {
    /// Some 30 seconds, several times a day at best (`BGAppRefreshTask`).
    Refresh,
    /// Some minutes while the device is idle (`BGProcessingTask`).
    Processing,
    /// Work that the person began in the foreground, carried on after they left, with progress that the system shows
    /// (`BGContinuedProcessingTask`, iOS 26). Never asked for by the plugin itself.
    Continued,
}

/// One declared task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskConfig {
    /// The identifier, in reverse-DNS form. Also in `BGTaskSchedulerPermittedIdentifiers` of the Info.plist.
    pub id: String,
    /// Refresh, processing or continued.
    pub kind: TaskKind,
    /// The shortest time between two runs, in minutes. Absent: 30 for refresh, 720 for processing. Not for continued tasks:
    /// the person decides when they run.
    #[serde(default)]
    pub min_interval_minutes: Option<u32>,
    /// Only with a network. iOS knows this for processing tasks only.
    #[serde(default)]
    pub requires_network: bool,
    /// Only on external power. iOS knows this for processing tasks only.
    #[serde(default)]
    pub requires_power: bool,
    /// How long a run may take before it is told to stop, in seconds. Absent: 30 for refresh, 300 for processing, 600
    /// for continued. The system may call time earlier.
    #[serde(default)]
    pub soft_budget_secs: Option<u32>,
}

impl TaskConfig {
    /// Whether the plugin asks the system for runs of this task. The runs of the others begin with the person.
    pub fn is_scheduled(&self) -> bool {
        self.kind != TaskKind::Continued
    }

    /// The shortest time between two runs. Zero for a continued task.
    pub fn min_interval(&self) -> Duration {
        let minutes = self.min_interval_minutes.unwrap_or(match self.kind {
            TaskKind::Refresh => 30,
            TaskKind::Processing => 720,
            TaskKind::Continued => 0,
        });
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// How long a run may take before it is told to stop.
    pub fn soft_budget(&self) -> Duration {
        let secs = self.soft_budget_secs.unwrap_or(match self.kind {
            TaskKind::Refresh => MAX_REFRESH_BUDGET_SECS,
            TaskKind::Processing => 300,
            TaskKind::Continued => 600,
        });
        Duration::from_secs(u64::from(secs))
    }
}

/// How the simulated scheduler behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SimulatedConfig {
    /// Grant requests by themselves once their earliest date has passed. `false`: only `simulate_launch` launches.
    pub automatic: bool,
    /// What a refresh launch is given before time is called, in seconds.
    pub refresh_budget_secs: u32,
    /// What a processing launch is given before time is called, in seconds.
    pub processing_budget_secs: u32,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            automatic: true,
            refresh_budget_secs: MAX_REFRESH_BUDGET_SECS,
            processing_budget_secs: 300,
        }
    }
}

/// Why a declaration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not usable as a task identifier.
    #[error(
        "task id {0:?}: use the reverse-DNS form with letters, digits, '-', '_' and '.', like \"com.example.app.refresh\""
    )]
    InvalidId(String),
    /// Two tasks share an identifier.
    #[error("task id {0:?} is declared twice; iOS ends an app that registers an identifier twice")]
    DuplicateId(String),
    /// More refresh tasks than iOS takes.
    #[error("{0} refresh tasks are declared; iOS takes one")]
    TooManyRefresh(usize),
    /// More processing tasks than iOS takes.
    #[error("{0} processing tasks are declared; iOS takes ten")]
    TooManyProcessing(usize),
    /// A condition that iOS does not know for this kind.
    #[error(
        "task {0:?}: requiresNetwork and requiresPower are for processing tasks; iOS knows them on no other kind"
    )]
    ConditionNotTaken(String),
    /// An interval for a task that only the person starts.
    #[error("task {0:?}: minIntervalMinutes is not for continued tasks; the person starts them")]
    IntervalOnContinued(String),
    /// The interval is out of range.
    #[error("task {0:?}: minIntervalMinutes must be from 1 to {MAX_INTERVAL_MINUTES} (a week)")]
    InvalidInterval(String),
    /// The budget is out of range.
    #[error("task {id:?}: softBudgetSecs must be from 1 to {max}")]
    InvalidBudget {
        /// The task.
        id: String,
        /// The most that is allowed for its kind, in seconds.
        max: u32,
    },
    /// A budget of the simulated scheduler is zero.
    #[error("simulated: the budgets must be at least 1 second")]
    InvalidSimulatedBudget,
}

impl Config {
    /// Checks the declaration against what iOS would accept at run time.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for task in &self.tasks {
            task.validate()?;
            if !seen.insert(task.id.as_str()) {
                return Err(ConfigError::DuplicateId(task.id.clone()));
            }
        }
        let refresh = self
            .tasks
            .iter()
            .filter(|task| task.kind == TaskKind::Refresh)
            .count();
        if refresh > MAX_REFRESH_TASKS {
            return Err(ConfigError::TooManyRefresh(refresh));
        }
        let processing = self
            .tasks
            .iter()
            .filter(|task| task.kind == TaskKind::Processing)
            .count();
        if processing > MAX_PROCESSING_TASKS {
            return Err(ConfigError::TooManyProcessing(processing));
        }
        if self.simulated.refresh_budget_secs == 0 || self.simulated.processing_budget_secs == 0 {
            return Err(ConfigError::InvalidSimulatedBudget);
        }
        Ok(())
    }

    /// The declared task of this identifier.
    pub fn task(&self, id: &str) -> Option<&TaskConfig> {
        self.tasks.iter().find(|task| task.id == id)
    }
}

impl TaskConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if !is_valid_id(&self.id) {
            return Err(ConfigError::InvalidId(self.id.clone()));
        }
        if self.kind != TaskKind::Processing && (self.requires_network || self.requires_power) {
            return Err(ConfigError::ConditionNotTaken(self.id.clone()));
        }
        if self.kind == TaskKind::Continued && self.min_interval_minutes.is_some() {
            return Err(ConfigError::IntervalOnContinued(self.id.clone()));
        }
        if self
            .min_interval_minutes
            .is_some_and(|minutes| !(1..=MAX_INTERVAL_MINUTES).contains(&minutes))
        {
            return Err(ConfigError::InvalidInterval(self.id.clone()));
        }
        let max = match self.kind {
            TaskKind::Refresh => MAX_REFRESH_BUDGET_SECS,
            TaskKind::Processing | TaskKind::Continued => MAX_PROCESSING_BUDGET_SECS,
        };
        if self
            .soft_budget_secs
            .is_some_and(|secs| !(1..=max).contains(&secs))
        {
            return Err(ConfigError::InvalidBudget {
                id: self.id.clone(),
                max,
            });
        }
        Ok(())
    }
}

/// Reverse-DNS: at least two labels, none empty. 255 bytes is the limit of a domain name, and ample.
fn is_valid_id(id: &str) -> bool {
    id.len() <= 255
        && id.contains('.')
        && id.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, kind: TaskKind) -> TaskConfig {
        TaskConfig {
            id: id.to_owned(),
            kind,
            min_interval_minutes: None,
            requires_network: false,
            requires_power: false,
            soft_budget_secs: None,
        }
    }

    fn check(tasks: Vec<TaskConfig>) -> Result<(), ConfigError> {
        Config {
            tasks,
            ..Config::default()
        }
        .validate()
    }

    #[test]
    fn identifiers_must_be_usable_on_ios() {
        for id in ["a.b", "com.example.wallet.refresh", "com.ex-ample.app_1.x"] {
            assert_eq!(check(vec![task(id, TaskKind::Refresh)]), Ok(()), "{id}");
        }
        for id in [
            "",
            "refresh",
            ".a",
            "a.",
            "a..b",
            "a b.c",
            "com.example.*",
            "com.exämple.x",
            "a.b\n",
        ] {
            assert_eq!(
                check(vec![task(id, TaskKind::Refresh)]),
                Err(ConfigError::InvalidId(id.to_owned()))
            );
        }
        let long = format!("a.{}", "b".repeat(254));
        assert!(check(vec![task(&long, TaskKind::Refresh)]).is_err());
    }

    #[test]
    fn the_limits_of_ios_are_kept() {
        let twice = vec![task("a.b", TaskKind::Refresh), task("a.b", TaskKind::Processing)];
        assert_eq!(check(twice), Err(ConfigError::DuplicateId("a.b".into())));
        let refreshes = vec![task("a.b", TaskKind::Refresh), task("a.c", TaskKind::Refresh)];
        assert_eq!(check(refreshes), Err(ConfigError::TooManyRefresh(2)));
        let processing = |n: usize| {
            (0..n)
                .map(|i| task(&format!("a.p{i}"), TaskKind::Processing))
                .collect()
        };
        assert_eq!(check(processing(10)), Ok(()));
        assert_eq!(check(processing(11)), Err(ConfigError::TooManyProcessing(11)));
        let mut with_continued: Vec<_> = processing(10);
        with_continued.push(task("a.c", TaskKind::Continued));
        assert_eq!(check(with_continued), Ok(()));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let mut refresh = task("a.b", TaskKind::Refresh);
        refresh.soft_budget_secs = Some(31);
        assert_eq!(
            check(vec![refresh.clone()]),
            Err(ConfigError::InvalidBudget {
                id: "a.b".into(),
                max: 30
            })
        );
        refresh.soft_budget_secs = Some(30);
        assert_eq!(check(vec![refresh.clone()]), Ok(()));
        for minutes in [0, MAX_INTERVAL_MINUTES + 1] {
            refresh.min_interval_minutes = Some(minutes);
            assert_eq!(
                check(vec![refresh.clone()]),
                Err(ConfigError::InvalidInterval("a.b".into()))
            );
        }
        refresh.min_interval_minutes = Some(MAX_INTERVAL_MINUTES);
        assert_eq!(check(vec![refresh.clone()]), Ok(()));
        refresh.requires_power = true;
        assert_eq!(
            check(vec![refresh]),
            Err(ConfigError::ConditionNotTaken("a.b".into()))
        );
        let mut continued = task("a.b", TaskKind::Continued);
        assert_eq!(check(vec![continued.clone()]), Ok(()));
        assert_eq!(continued.soft_budget(), Duration::from_secs(600));
        assert!(!continued.is_scheduled());
        continued.min_interval_minutes = Some(30);
        assert_eq!(
            check(vec![continued.clone()]),
            Err(ConfigError::IntervalOnContinued("a.b".into()))
        );
        continued.min_interval_minutes = None;
        continued.requires_network = true;
        assert_eq!(
            check(vec![continued]),
            Err(ConfigError::ConditionNotTaken("a.b".into()))
        );
        let simulated = SimulatedConfig {
            refresh_budget_secs: 0,
            ..SimulatedConfig::default()
        };
        assert!(
            Config {
                tasks: vec![],
                simulated
            }
            .validate()
            .is_err()
        );
    }

    #[test]
    fn the_json_shape_is_the_documented_one() {
        let config: Config = serde_json::from_str(
            r#"{ "tasks": [
                { "id": "a.r", "kind": "refresh", "minIntervalMinutes": 15, "softBudgetSecs": 22 },
                { "id": "a.p", "kind": "processing", "requiresNetwork": true, "requiresPower": true } ] }"#,
        )
        .unwrap();
        assert_eq!(config.tasks[0].min_interval(), Duration::from_secs(15 * 60));
        assert_eq!(config.tasks[0].soft_budget(), Duration::from_secs(22));
        assert_eq!(config.tasks[1].min_interval(), Duration::from_secs(720 * 60));
        assert_eq!(config.tasks[1].soft_budget(), Duration::from_secs(300));
        assert!(config.tasks[1].requires_network && config.tasks[1].requires_power);
        assert!(config.simulated.automatic);
        assert!(
            serde_json::from_str::<Config>(r#"{ "tasks": [{ "id": "a.r", "kind": "fetch" }] }"#).is_err()
        );
        assert!(serde_json::from_str::<Config>(r#"{ "task": [] }"#).is_err());
    }
}
