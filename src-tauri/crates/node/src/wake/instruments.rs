//! What a wake reads of the machine it runs on: the time of day, and what it used. Durations are tokio's, whose clock tests
//! can pause.

use crate::clock;
use crate::meter::{self, Meter};

pub use crate::meter::Usage;

/// The machine, as a wake sees it.
pub trait Instruments: Send + Sync {
    /// Unix time in ms.
    fn now_ms(&self) -> u64;

    /// What was used since the wake began.
    fn usage(&self) -> Usage;

    /// Memory that the process holds now, in bytes; `None` if the system does not say.
    fn resident(&self) -> Option<u64>;
}

/// The real one.
pub struct Machine {
    meter: Meter,
}

impl Machine {
    /// Starts counting. Must be called within a tokio runtime.
    pub fn start() -> Self {
        Self {
            meter: Meter::start(),
        }
    }
}

impl Instruments for Machine {
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn usage(&self) -> Usage {
        self.meter.usage()
    }

    fn resident(&self) -> Option<u64> {
        meter::resident_memory()
    }
}
