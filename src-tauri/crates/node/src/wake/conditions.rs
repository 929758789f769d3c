//! What the phone is like while a wake runs: network, power, memory; and what each of them allows.
//!
//! Owns the words and the limits. Where the facts come from is for the app to say.

use serde::{Deserialize, Serialize};

use super::record::GrantKind;

/// The network, by what it costs to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Network {
    /// There is none.
    Offline,
    /// The person asked for little data (Low Data Mode).
    Constrained,
    /// Cellular, or a personal hotspot.
    Expensive,
    /// Wi-Fi or a cable.
    Unmetered,
}

/// What is known of the phone. `None`: it is not known, and taken for neither good nor bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub struct Conditions {
    /// The network.
    pub network: Option<Network>,
    /// Whether it is on external power.
    pub on_power: Option<bool>,
    /// Whether the person asked it to save power (Low Power Mode).
    pub low_power: Option<bool>,
    /// Memory that the app may still take before the system ends it, in bytes.
    #[cfg_attr(feature = "bindings", specta(type = Option<specta_typescript::Number>))]
    pub available_memory: Option<u64>,
}

/// What narrowed a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "bindings", derive(specta::Type))]
pub enum Degraded {
    /// There is no network.
    Offline,
    /// Low Power Mode.
    LowPower,
    /// Low Data Mode.
    LowData,
    /// Short of memory.
    Memory,
}

const MIB: u64 = 1024 * 1024;

/// What a refresh wake may take, in bytes of resident memory. A wake with five channels takes some 24 MB; iOS ends the
/// largest apps in the background first, and few that people keep are smaller than this.
const REFRESH_BUDGET: u64 = 60 * MIB;

/// The same for a processing wake, which may hold the network's graph (some 140 MB) and its new form beside it.
const PROCESSING_BUDGET: u64 = 320 * MIB;

/// With less than this left before the system ends the app, in bytes, nothing is started that can wait.
const LEAST_AVAILABLE: u64 = 32 * MIB;

impl Conditions {
    /// Whether it is known that there is no network.
    pub fn offline(&self) -> bool {
        self.network == Some(Network::Offline)
    }

    /// Why the wake should do no more than it must, if the person wants it so.
    pub fn frugal(&self) -> Option<Degraded> {
        if self.low_power == Some(true) {
            Some(Degraded::LowPower)
        } else if self.network == Some(Network::Constrained) {
            Some(Degraded::LowData)
        } else {
            None
        }
    }

    /// Whether neither data nor power cost anything: on power, on an unmetered network, and nobody asked to save.
    pub fn generous(&self) -> bool {
        self.on_power == Some(true)
            && self.network == Some(Network::Unmetered)
            && self.low_power != Some(true)
    }

    /// Whether a wake that grew by so many bytes since its start is short of memory.
    pub fn short_of_memory(&self, kind: GrantKind, grown: u64) -> bool {
        let budget = match kind {
            GrantKind::Refresh => REFRESH_BUDGET,
            GrantKind::Processing => PROCESSING_BUDGET,
        };
        // What was left at the start, less what the wake took since.
        let left = self.available_memory.map(|left| left.saturating_sub(grown));
        grown > budget || left.is_some_and(|left| left < LEAST_AVAILABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_neither_good_nor_bad() {
        let unknown = Conditions::default();
        assert!(!unknown.offline() && !unknown.generous());
        assert_eq!(unknown.frugal(), None);
        assert!(!unknown.short_of_memory(GrantKind::Refresh, 0));
    }

    #[test]
    fn saving_power_or_data_narrows_and_free_power_and_data_widen() {
        let at = |network, on_power, low_power| Conditions {
            network: Some(network),
            on_power: Some(on_power),
            low_power: Some(low_power),
            available_memory: None,
        };
        let table = [
            (at(Network::Unmetered, true, false), None, true),
            (at(Network::Unmetered, false, false), None, false),
            (at(Network::Expensive, true, false), None, false),
            (
                at(Network::Unmetered, true, true),
                Some(Degraded::LowPower),
                false,
            ),
            (
                at(Network::Constrained, true, false),
                Some(Degraded::LowData),
                false,
            ),
        ];
        for (conditions, frugal, generous) in table {
            assert_eq!(
                (conditions.frugal(), conditions.generous()),
                (frugal, generous),
                "{conditions:?}"
            );
        }
    }

    #[test]
    fn memory_runs_short_by_what_the_wake_took_or_by_what_the_phone_has_left() {
        let with = |mib: u64| Conditions {
            available_memory: Some(mib * MIB),
            ..Conditions::default()
        };
        // Left at the start, grown by, in MiB.
        let table = [
            (GrantKind::Refresh, 500, 20, false),
            (GrantKind::Refresh, 500, 61, true),
            (GrantKind::Refresh, 50, 19, true),
            (GrantKind::Refresh, 20, 0, true),
            (GrantKind::Processing, 500, 200, false),
            (GrantKind::Processing, 220, 200, true),
            (GrantKind::Processing, 4_000, 321, true),
        ];
        for (kind, left, grown, short) in table {
            assert_eq!(
                with(left).short_of_memory(kind, grown * MIB),
                short,
                "{kind:?} {left} {grown}"
            );
        }
    }
}
