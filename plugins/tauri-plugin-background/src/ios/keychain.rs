//! Secrets in the Keychain, readable in the background.
//!
//! Items are `kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly`: readable from the first unlock after a start on, locked or
//! not, never in a backup that another device could restore, and without a biometric gate, which a background launch could
//! not pass.

use super::ffi::Host;
use crate::secrets::{Found, Refused, found, kept};

/// One item of the Keychain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    service: String,
    account: String,
}

impl Item {
    /// Names an item; touches nothing.
    pub fn new(service: impl Into<String>, account: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            account: account.into(),
        }
    }

    /// Reads the secret. "Nothing" is said only where it is certain: see [`Found`].
    ///
    /// # Errors
    /// [`Refused::Keychain`] with the `OSStatus`.
    pub fn read(&self) -> Result<Found, Refused> {
        let (status, secret) = Host::secret_read(&self.service, &self.account);
        // Asked after the reading: a device that was unlocked then was so for long enough.
        found(status, secret, || Host::device().unlocked_once)
    }

    /// Keeps a secret, and never replaces one.
    ///
    /// # Errors
    /// [`Refused::Exists`], [`Refused::Locked`] or [`Refused::Keychain`].
    pub fn add(&self, secret: &[u8]) -> Result<(), Refused> {
        kept(Host::secret_add(&self.service, &self.account, secret))
    }

    /// Removes the secret for good. That there was none is no error.
    ///
    /// # Errors
    /// [`Refused::Locked`] or [`Refused::Keychain`].
    pub fn remove(&self) -> Result<(), Refused> {
        match kept(Host::secret_remove(&self.service, &self.account)) {
            Err(Refused::Keychain(crate::secrets::ITEM_NOT_FOUND)) => Ok(()),
            other => other,
        }
    }
}
