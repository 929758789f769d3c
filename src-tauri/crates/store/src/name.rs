//! Which namespaces and keys are allowed (LDK's rules), and how they become database keys.
//!
//! A database key is `primary NUL secondary NUL key NUL chunk`, the chunk as a big-endian `u16`.
//! No name may contain NUL, so no two names collide and all chunks of a value are neighbours.

use lightning::util::persist::{KVSTORE_NAMESPACE_KEY_ALPHABET, KVSTORE_NAMESPACE_KEY_MAX_LEN};

use crate::StoreError;

const SEPARATOR: u8 = 0;
/// Length of the chunk number that ends a database key, with the separator before it.
const CHUNK_SUFFIX_LEN: usize = 3;

/// A checked name: the database key without its chunk number, `primary NUL secondary NUL key NUL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    pub(crate) fn new(primary: &str, secondary: &str, key: &str) -> Result<Self, StoreError> {
        let mut bytes = namespace_prefix(primary, secondary)?;
        if key.is_empty() {
            return Err(StoreError::InvalidName {
                part: "key",
                reason: "is empty",
            });
        }
        check("key", key)?;
        bytes.extend_from_slice(key.as_bytes());
        bytes.push(SEPARATOR);
        Ok(Self(bytes))
    }

    /// The prefix that all chunks of this value share, and no other value's.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn chunk_key(&self, chunk: u16) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 2);
        key.extend_from_slice(&self.0);
        key.extend_from_slice(&chunk.to_be_bytes());
        key
    }
}

/// The prefix of every database key in a namespace.
pub(crate) fn namespace_prefix(primary: &str, secondary: &str) -> Result<Vec<u8>, StoreError> {
    if primary.is_empty() && !secondary.is_empty() {
        return Err(StoreError::InvalidName {
            part: "primary namespace",
            reason: "is empty although a secondary namespace is given",
        });
    }
    check("primary namespace", primary)?;
    check("secondary namespace", secondary)?;
    let mut prefix = Vec::with_capacity(primary.len() + secondary.len() + 2);
    prefix.extend_from_slice(primary.as_bytes());
    prefix.push(SEPARATOR);
    prefix.extend_from_slice(secondary.as_bytes());
    prefix.push(SEPARATOR);
    Ok(prefix)
}

/// Splits a database key into primary namespace, secondary namespace, key and chunk number.
/// `None` for anything this crate would not have written.
pub(crate) fn parse(database_key: &[u8]) -> Option<(&str, &str, &str, u16)> {
    let names_len = database_key.len().checked_sub(CHUNK_SUFFIX_LEN)?;
    let (names, suffix) = database_key.split_at(names_len);
    let [SEPARATOR, high, low] = *suffix else {
        return None;
    };
    let (primary, secondary, key) = split(names)?;
    Some((primary, secondary, key, u16::from_be_bytes([high, low])))
}

/// Splits what all chunks of a value share, [`Name::prefix`], into its three names.
pub(crate) fn parse_prefix(prefix: &[u8]) -> Option<(&str, &str, &str)> {
    split(prefix.strip_suffix(&[SEPARATOR])?)
}

fn split(names: &[u8]) -> Option<(&str, &str, &str)> {
    let mut parts = std::str::from_utf8(names).ok()?.split('\0');
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

fn check(part: &'static str, name: &str) -> Result<(), StoreError> {
    if name.len() > KVSTORE_NAMESPACE_KEY_MAX_LEN {
        return Err(StoreError::InvalidName {
            part,
            reason: "is longer than 120 characters",
        });
    }
    if !name.chars().all(|c| KVSTORE_NAMESPACE_KEY_ALPHABET.contains(c)) {
        return Err(StoreError::InvalidName {
            part,
            reason: "has a character other than letters, digits, '_' and '-'",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_key_parses_back() {
        let name = Name::new("monitors", "", "abc_0").unwrap();
        assert_eq!(
            parse(&name.chunk_key(0x0100)),
            Some(("monitors", "", "abc_0", 0x0100))
        );
        let bare = Name::new("", "", "manager").unwrap();
        assert_eq!(parse(&bare.chunk_key(0)), Some(("", "", "manager", 0)));
    }

    #[test]
    fn foreign_database_keys_do_not_parse() {
        for key in [
            &b""[..],
            b"ab",
            b"\0\0\0",
            b"a\0b\0\0\0",
            b"a\0b\0c\0d\0\0\0",
            b"a\0b\0cX\0\0",
            b"\xff\0\0k\0\0\0",
        ] {
            assert_eq!(parse(key), None, "{key:?}");
        }
    }

    #[test]
    fn names_follow_ldks_rules() {
        let longest = "A".repeat(KVSTORE_NAMESPACE_KEY_MAX_LEN);
        assert!(Name::new(&longest, &longest, &longest).is_ok());
        let too_long = "A".repeat(KVSTORE_NAMESPACE_KEY_MAX_LEN + 1);
        for (primary, secondary, key) in [
            ("", "sub", "key"),
            ("a", "b", ""),
            ("a/b", "", "key"),
            ("a", "b\0", "key"),
            ("a", "b", "k.y"),
            ("a", "b", "schl\u{fc}ssel"),
            (too_long.as_str(), "", "key"),
            ("a", too_long.as_str(), "key"),
            ("a", "", too_long.as_str()),
        ] {
            let error = Name::new(primary, secondary, key).unwrap_err();
            assert!(
                matches!(error, StoreError::InvalidName { .. }),
                "{primary:?} {secondary:?} {key:?}"
            );
        }
    }
}
