//! What is in a capsule: every value of the store, as bytes. Pure.

use zeroize::Zeroizing;

use super::CapsuleError;
use crate::name::{self, Name};
use crate::record::MAX_VALUE_LEN;

const TOO_SHORT: CapsuleError = CapsuleError::Unreadable("its content ends too soon");

/// A name and its value.
pub(super) type Row = (Name, Zeroizing<Vec<u8>>);

/// For each value: the length of its name and the name, the length of the value and the value.
#[derive(Default)]
pub(super) struct Packer(Zeroizing<Vec<u8>>);

impl Packer {
    pub(super) fn push(&mut self, name: &Name, value: &[u8]) {
        for part in [name.prefix(), value] {
            let len = u32::try_from(part.len()).expect("MAX_VALUE_LEN is below 4 GiB");
            self.0.extend_from_slice(&len.to_be_bytes());
            self.0.extend_from_slice(part);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The values of a capsule. It was authenticated, and is read as if it had not been.
pub(super) fn unpack(mut content: &[u8]) -> Result<Vec<Row>, CapsuleError> {
    let mut rows = Vec::new();
    while !content.is_empty() {
        let name = take(&mut content)?;
        let value = take(&mut content)?;
        if value.len() > MAX_VALUE_LEN {
            return Err(CapsuleError::Unreadable("a value in it is too long"));
        }
        let strange = || CapsuleError::Unreadable("a name in it is none");
        let (primary, secondary, key) = name::parse_prefix(name).ok_or_else(strange)?;
        let name = Name::new(primary, secondary, key).map_err(|_| strange())?;
        rows.push((name, Zeroizing::new(value.to_vec())));
    }
    Ok(rows)
}

fn take<'a>(content: &mut &'a [u8]) -> Result<&'a [u8], CapsuleError> {
    let (len, rest) = content.split_first_chunk().ok_or(TOO_SHORT)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| TOO_SHORT)?;
    let (part, rest) = rest.split_at_checked(len).ok_or(TOO_SHORT)?;
    *content = rest;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut packer = Packer::default();
        let names = [("", "", "manager"), ("m", "", "a"), ("m", "x", "a")];
        for (primary, secondary, key) in names {
            let name = Name::new(primary, secondary, key).unwrap();
            packer.push(&name, key.as_bytes());
            packer.push(&name, b"");
        }
        let rows = unpack(packer.bytes()).unwrap();
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[0].0, Name::new("", "", "manager").unwrap());
        assert_eq!(rows[4].1.as_slice(), b"a");
        assert!(unpack(&packer.bytes()[..packer.bytes().len() - 1]).is_err());
        assert!(unpack(&[]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn hostile_content_never_panics(content in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = unpack(&content);
        }
    }
}
