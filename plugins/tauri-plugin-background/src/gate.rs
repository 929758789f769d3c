//! The one door to the state machine: inputs are taken under a lock, and what they cause is done outside it, because the
//! scheduler, the handlers and the listeners may come back in.
//!
//! Owns the lock, the order of effects and the cancellation of handlers. Generic over the lock, so that the tests of races
//! run this very code under a scheduler that tries the interleavings ([`race`]).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::lock::lock;
use crate::models::{ActiveRun, RunRecord};
use crate::run::{Effect, Input, Machine, Token};

#[cfg(test)]
mod race;

/// A lock over `T`, whichever library makes it.
pub(crate) trait Lock<T> {
    /// Not locked.
    fn new(value: T) -> Self;
    /// Works on the value, alone.
    fn with<A>(&self, work: impl FnOnce(&mut T) -> A) -> A;
}

impl<T> Lock<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn with<A>(&self, work: impl FnOnce(&mut T) -> A) -> A {
        work(&mut lock(self))
    }
}

/// Places a request among all requests: the one with the higher number was decided later.
pub(crate) type Order = u64;

/// Does what the machine decided. All but `wake_at` are called outside the lock, and may feed the gate.
pub(crate) trait Port {
    /// See [`Effect::SubmitNext`]. To be left out if a later one of the same task was submitted.
    fn submit_next(&self, id: &str, delay: Duration, order: Order);
    /// See [`Effect::AskDevice`].
    fn ask_device(&self, token: Token);
    /// See [`Effect::Opened`] and [`Effect::Record`].
    fn keep(&self, row: RunRecord);
    /// See [`Effect::Start`]. `cancel` may have fired already.
    fn start(&self, token: Token, run: ActiveRun, deadline: Instant, cancel: CancellationToken);
    /// See [`Effect::Complete`].
    fn complete(&self, token: Token, success: bool);
    /// See [`Effect::Announce`].
    fn announce(&self, row: RunRecord);
    /// See [`Effect::Reject`].
    fn reject(&self, token: Token);
    /// Feed [`Input::Tick`] then. Called under the lock, so that an older moment cannot overwrite a newer one.
    fn wake_at(&self, at: Option<Instant>);
}

/// What the lock guards.
pub(crate) struct Table {
    pub(crate) machine: Machine,
    /// Of the handlers that were started, or are about to be.
    cancels: BTreeMap<Token, CancellationToken>,
    last_order: Order,
}

/// The machine behind its lock.
pub(crate) struct Gate<L>(L);

impl<L: Lock<Table>> Gate<L> {
    pub(crate) fn new(config: Config) -> Self {
        Self(L::new(Table {
            machine: Machine::new(config),
            cancels: BTreeMap::new(),
            last_order: 0,
        }))
    }

    /// Looks at the machine.
    pub(crate) fn look<A>(&self, look: impl FnOnce(&Machine) -> A) -> A {
        self.0.with(|table| look(&table.machine))
    }

    /// The place of a request that is decided now.
    pub(crate) fn order(&self) -> Order {
        self.0.with(Table::order)
    }

    /// Takes an input and does what follows.
    pub(crate) fn feed(&self, clock: &dyn Clock, port: &impl Port, input: Input) {
        // An input that never fails.
        let _: Result<(), std::convert::Infallible> = self.feed_if(clock, port, |_| Ok(input));
    }

    /// Looks at the machine, and unless that is refused takes the input and does what follows.
    pub(crate) fn feed_if<E>(
        &self,
        clock: &dyn Clock,
        port: &impl Port,
        decide: impl FnOnce(&Machine) -> Result<Input, E>,
    ) -> Result<(), E> {
        let decided = self.0.with(|table| {
            let input = decide(&table.machine)?;
            let effects = table.machine.handle(clock.now(), input);
            Ok(effects
                .into_iter()
                .map(|effect| table.equip(effect))
                .collect::<Vec<_>>())
        })?;
        for (effect, tool) in decided {
            perform(port, effect, tool);
        }
        self.0.with(|table| port.wake_at(table.machine.next_tick()));
        Ok(())
    }
}

/// What an effect needs of the table, taken while it was decided. Looked up later, a handler that is just being started
/// would miss its cancellation.
enum Tool {
    None,
    Order(Order),
    Cancel(CancellationToken),
}

impl Table {
    fn order(&mut self) -> Order {
        self.last_order += 1;
        self.last_order
    }

    fn equip(&mut self, effect: Effect) -> (Effect, Tool) {
        let tool = match &effect {
            Effect::SubmitNext { .. } => Tool::Order(self.order()),
            Effect::Start { token, .. } => {
                let cancel = CancellationToken::new();
                self.cancels.insert(*token, cancel.clone());
                Tool::Cancel(cancel)
            }
            Effect::Cancel { token } => self.cancels.get(token).cloned().map_or(Tool::None, Tool::Cancel),
            Effect::Complete { token, .. } => self.cancels.remove(token).map_or(Tool::None, Tool::Cancel),
            Effect::AskDevice { .. }
            | Effect::Opened(_)
            | Effect::Record(_)
            | Effect::Announce(_)
            | Effect::Reject { .. } => Tool::None,
        };
        (effect, tool)
    }
}

fn perform(port: &impl Port, effect: Effect, tool: Tool) {
    match (effect, tool) {
        (Effect::SubmitNext { id, delay }, Tool::Order(order)) => port.submit_next(&id, delay, order),
        (Effect::Start { token, run, deadline }, Tool::Cancel(cancel)) => {
            port.start(token, run, deadline, cancel);
        }
        (Effect::Complete { token, success }, tool) => {
            // What is left of the handler should know, if it overran.
            if let Tool::Cancel(cancel) = tool {
                cancel.cancel();
            }
            port.complete(token, success);
        }
        (Effect::Cancel { .. }, Tool::Cancel(cancel)) => cancel.cancel(),
        (Effect::AskDevice { token }, _) => port.ask_device(token),
        (Effect::Opened(row) | Effect::Record(row), _) => port.keep(row),
        (Effect::Announce(row), _) => port.announce(row),
        (Effect::Reject { token }, _) => port.reject(token),
        (Effect::SubmitNext { .. } | Effect::Start { .. } | Effect::Cancel { .. }, _) => {
            // `equip` gives the first two their tool always, and only a run that was started is cancelled.
            tracing::error!("an effect without its tool");
        }
    }
}
