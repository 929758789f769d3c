//! What is known of the device: why a run may not come, and how much a run may ask of it.
//!
//! Owns plain facts. Where they come from is the scheduler's ([`crate::scheduler::Scheduler::device`]); what follows from
//! them is the app's.

use serde::{Deserialize, Serialize};

/// Whether the person, or the administrator of the device, lets the app run in the background
/// (`UIApplication.backgroundRefreshStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum BackgroundRefresh {
    /// It may run.
    Available,
    /// The person switched it off, for the app or the device.
    Denied,
    /// The person cannot switch it on, for instance under parental controls: do not ask them to.
    Restricted,
}

/// The network, by what it costs to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub enum NetworkState {
    /// There is none.
    Offline,
    /// Low Data Mode is on.
    Constrained,
    /// Cellular, or a personal hotspot.
    Expensive,
    /// Wi-Fi or a cable.
    Unmetered,
}

/// What is known of the device now. `None`: it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub struct DeviceFacts {
    /// Whether the device was unlocked since it started. Before that neither the app's files nor its Keychain items can
    /// be read. After that they can, locked or not.
    pub unlocked_once: Option<bool>,
    /// Whether Background App Refresh is on for the app.
    pub background_refresh: Option<BackgroundRefresh>,
    /// Whether Low Power Mode is on: iOS then grants no refresh runs.
    pub low_power: Option<bool>,
    /// Whether the device is on external power.
    pub on_power: Option<bool>,
    /// The network.
    pub network: Option<NetworkState>,
    /// Memory that the app may still take before the system ends it, in bytes (`os_proc_available_memory`).
    #[cfg_attr(feature = "specta", specta(type = Option<specta_typescript::Number>))]
    pub available_memory_bytes: Option<u64>,
}
