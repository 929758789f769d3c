//! The requests made of the system: in the order in which they were decided, with what was refused kept and made again.
//!
//! Owns no policy: delays come from [`crate::policy`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::config::{Config, TaskConfig};
use crate::error::SchedulerError;
use crate::gate::Order;
use crate::lock::lock;
use crate::scheduler::{Request, Scheduler};

/// A refused request is not made again sooner, unless something is known to have changed: the events of one run come
/// together, and the system's answer to them is one.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Requests {
    scheduler: Arc<dyn Scheduler>,
    tasks: BTreeMap<String, Task>,
}

#[derive(Default)]
struct Task {
    /// Why the system does not know the task. Written once, when it is registered.
    unregistered: Mutex<Option<SchedulerError>>,
    /// Held while a request is made, so that an older one cannot come after a newer one. One for each task: a system that
    /// takes its time over one of them does not hold the others up.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    order: Order,
    refused: Option<Refused>,
}

struct Refused {
    error: SchedulerError,
    at: Instant,
    earliest: Instant,
}

impl Requests {
    pub(crate) fn new(config: &Config, scheduler: Arc<dyn Scheduler>) -> Self {
        let tasks = config
            .tasks
            .iter()
            .map(|task| (task.id.clone(), Task::default()))
            .collect();
        Self { scheduler, tasks }
    }

    /// Keeps what came of the registration.
    pub(crate) fn registered(&self, id: &str, result: Result<(), SchedulerError>) {
        if let (Err(error), Some(task)) = (result, self.tasks.get(id)) {
            tracing::warn!(id, %error, "task not registered");
            *lock(&task.unregistered) = Some(error);
        }
    }

    /// Why the system does not know a task, if it does not.
    pub(crate) fn unregistered(&self, id: &str) -> Option<SchedulerError> {
        self.tasks
            .get(id)
            .and_then(|task| lock(&task.unregistered).clone())
    }

    /// Why the last request was refused, if it was.
    pub(crate) fn refusal(&self, id: &str) -> Option<SchedulerError> {
        let last = lock(&self.tasks.get(id)?.last);
        last.refused.as_ref().map(|refused| refused.error.clone())
    }

    /// Asks for a run, unless a request that was decided later was made already.
    pub(crate) fn submit(
        &self,
        now: Moment,
        task: &TaskConfig,
        delay: Duration,
        order: Order,
    ) -> Result<(), SchedulerError> {
        let Some(state) = self.tasks.get(&task.id) else {
            return Err(SchedulerError::NotPermitted(task.id.clone()));
        };
        let mut last = lock(&state.last);
        if order < last.order {
            return Ok(());
        }
        last.order = order;
        // Submitting a task that is not registered throws on iOS, past what Swift or Rust can catch.
        let result = match lock(&state.unregistered).clone() {
            Some(error) => Err(error),
            None => self.scheduler.submit(&Request::new(task, delay)),
        };
        last.refused = result.as_ref().err().map(|error| {
            tracing::warn!(id = task.id, %error, "request refused");
            Refused {
                error: error.clone(),
                at: now.instant,
                earliest: now.instant + delay,
            }
        });
        result
    }

    /// Makes the request that was refused last again, for the same moment. `at_once`: without a pause.
    pub(crate) fn retry(&self, now: Moment, task: &TaskConfig, order: Order, at_once: bool) {
        let Some(state) = self.tasks.get(&task.id) else {
            return;
        };
        let delay = {
            let last = lock(&state.last);
            let Some(refused) = &last.refused else { return };
            let hopeless = matches!(refused.error, SchedulerError::Unsupported(_))
                || lock(&state.unregistered).is_some();
            let waited = now.instant.saturating_duration_since(refused.at) >= RETRY_PAUSE;
            if hopeless || !(at_once || waited) {
                return;
            }
            refused.earliest.saturating_duration_since(now.instant)
        };
        // Another refusal takes the place of this one.
        let _refusal = self.submit(now, task, delay, order);
    }

    /// Takes the pending request back, and the refused one with it.
    pub(crate) fn cancel(&self, id: &str, order: Order) {
        if let Some(task) = self.tasks.get(id) {
            let mut last = lock(&task.last);
            if order >= last.order {
                last.order = order;
                last.refused = None;
                self.scheduler.cancel(id);
            }
        }
    }
}
