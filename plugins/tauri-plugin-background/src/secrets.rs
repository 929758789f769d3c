//! What the Keychain's answers mean. Plain functions, so that they are tested where there is no Keychain.
//!
//! The rule that matters: before the first unlock after a start, some systems answer "not found" for items that are there.
//! An app that believes it offers to make a new wallet to somebody who has one.

use zeroize::Zeroizing;

/// `errSecDuplicateItem`.
pub(crate) const DUPLICATE_ITEM: i32 = -25_299;
/// `errSecItemNotFound`.
pub(crate) const ITEM_NOT_FOUND: i32 = -25_300;
/// `errSecInteractionNotAllowed`: the device was not unlocked since it started.
pub(crate) const INTERACTION_NOT_ALLOWED: i32 = -25_308;

/// What was found in the Keychain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The secret.
    Secret(Zeroizing<Vec<u8>>),
    /// Certainly none: the device was unlocked, so an item would have been seen.
    Nothing,
    /// It cannot be known now. Never treat this as [`Found::Nothing`].
    Unknown,
}

/// Why the Keychain did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is a secret of this name.
    #[error("a secret of this name is kept already")]
    Exists,
    /// The device was not unlocked since it started.
    #[error("the device was not unlocked since it started")]
    Locked,
    /// Another answer.
    #[error("the Keychain answered {0} (OSStatus)")]
    Keychain(i32),
}

/// Reads an answer to a question. `unlocked_once` is asked only where the answer depends on it.
#[cfg_attr(not(target_os = "ios"), allow(dead_code))]
pub(crate) fn found(
    status: i32,
    secret: Vec<u8>,
    unlocked_once: impl FnOnce() -> Option<bool>,
) -> Result<Found, Refused> {
    let secret = Zeroizing::new(secret);
    match status {
        0 => Ok(Found::Secret(secret)),
        ITEM_NOT_FOUND if unlocked_once() == Some(true) => Ok(Found::Nothing),
        ITEM_NOT_FOUND | INTERACTION_NOT_ALLOWED => Ok(Found::Unknown),
        status => Err(Refused::Keychain(status)),
    }
}

/// Reads an answer to a change.
#[cfg_attr(not(target_os = "ios"), allow(dead_code))]
pub(crate) fn kept(status: i32) -> Result<(), Refused> {
    match status {
        0 => Ok(()),
        DUPLICATE_ITEM => Err(Refused::Exists),
        INTERACTION_NOT_ALLOWED => Err(Refused::Locked),
        status => Err(Refused::Keychain(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_only_of_a_device_that_was_unlocked() {
        let secret = || b"words".to_vec();
        assert_eq!(
            found(0, secret(), || None),
            Ok(Found::Secret(Zeroizing::new(secret())))
        );
        for (unlocked, expected) in [
            (Some(true), Found::Nothing),
            (Some(false), Found::Unknown),
            (None, Found::Unknown),
        ] {
            assert_eq!(found(ITEM_NOT_FOUND, vec![], || unlocked), Ok(expected));
        }
        let asked = || panic!("asked without need");
        assert_eq!(found(INTERACTION_NOT_ALLOWED, vec![], asked), Ok(Found::Unknown));
        assert_eq!(found(-50, vec![], asked), Err(Refused::Keychain(-50)));
    }

    #[test]
    fn a_secret_is_never_replaced() {
        assert_eq!(kept(0), Ok(()));
        assert_eq!(kept(DUPLICATE_ITEM), Err(Refused::Exists));
        assert_eq!(kept(INTERACTION_NOT_ALLOWED), Err(Refused::Locked));
        assert_eq!(kept(-34_018), Err(Refused::Keychain(-34_018)));
    }
}
