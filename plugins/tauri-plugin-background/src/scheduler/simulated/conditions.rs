//! The state of the simulated phone: what the system's rules look at, and what the app is told of the device.

use crate::device::{BackgroundRefresh, DeviceFacts, NetworkState};

/// The state of the simulated phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on a real phone"
)]
pub struct Conditions {
    /// The network.
    pub network: NetworkState,
    /// The phone is on the charger.
    pub power: bool,
    /// Low Power Mode is on.
    pub low_power: bool,
    /// Background App Refresh, for the app.
    pub background_refresh: BackgroundRefresh,
    /// The person has the phone in hand. Otherwise it is idle.
    pub in_use: bool,
    /// The app is on the screen.
    pub foreground: bool,
    /// The phone was unlocked since it started.
    pub unlocked_once: bool,
    /// What the app may still take of memory, in bytes. `None` where that is not simulated.
    pub available_memory_bytes: Option<u64>,
}

impl Default for Conditions {
    /// The best there is, with the app on the screen: a desktop on which somebody develops it.
    fn default() -> Self {
        Self {
            network: NetworkState::Unmetered,
            power: true,
            low_power: false,
            background_refresh: BackgroundRefresh::Available,
            in_use: false,
            foreground: true,
            unlocked_once: true,
            available_memory_bytes: None,
        }
    }
}

impl Conditions {
    /// Whether a network can be used.
    pub fn online(&self) -> bool {
        self.network != NetworkState::Offline
    }

    /// What the app is told.
    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            unlocked_once: Some(self.unlocked_once),
            background_refresh: Some(self.background_refresh),
            low_power: Some(self.low_power),
            on_power: Some(self.power),
            network: Some(self.network),
            available_memory_bytes: self.available_memory_bytes,
        }
    }
}
