//! A thread that rings at a moment which can be moved. It starts with the first setting, so making an alarm costs
//! nothing (plugin setup may run in a prewarmed process, where we start nothing).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clock::Clock;
use crate::lock::lock;

pub(crate) struct Alarm {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    at: Option<Instant>,
    started: bool,
    stopped: bool,
}

impl Alarm {
    /// An alarm that is not set yet.
    pub(crate) fn new(name: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                clock,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Rings `ring` at `at`, in place of what was set before; `None` silences it. `ring` is taken from the first call
    /// that sets a moment, and may set the alarm again. Never rings by a clock that does not run.
    pub(crate) fn set(&self, at: Option<Instant>, ring: impl Fn() + Send + 'static) {
        if !self.shared.clock.runs() {
            return;
        }
        let mut state = self.shared.lock();
        state.at = at;
        if at.is_some() && !state.started {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name(shared.name.to_owned());
            match thread.spawn(move || shared.run(&ring)) {
                Ok(_) => state.started = true,
                Err(error) => {
                    tracing::error!(%error, "cannot start the timer thread; will try at the next event");
                }
            }
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn run(&self, ring: &(impl Fn() + Send)) {
        let mut state = self.lock();
        while !state.stopped {
            let Some(at) = state.at else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = at.saturating_duration_since(self.clock.now().instant);
            if left.is_zero() {
                state.at = None;
                drop(state);
                ring();
                state = self.lock();
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
