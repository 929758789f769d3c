//! One number over all values of a database, kept up to date with every batch. It tells at open whether
//! a value vanished, or an older one came back: what sled may do after damage to its log without a word.
//!
//! A sum of hashes, one for each value's name and header. The header holds the value's checksum and the
//! number of the batch that wrote it. Against accidents, not against someone who can write to the disk.

use bitcoin::hashes::{Hash, sha256};

use crate::name::Name;
use crate::record::HEADER_LEN;

/// How many values there are, and the sum over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) count: u64,
    sum: u128,
}

impl Digest {
    pub(crate) const LEN: usize = 24;

    /// Counts a value in, by its name and its chunk 0.
    pub(crate) fn add(&mut self, name: &Name, first_chunk: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(term(name, first_chunk));
    }

    /// Takes a value out that was counted in.
    pub(crate) fn remove(&mut self, name: &Name, first_chunk: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(term(name, first_chunk));
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let number = u192(bytes);
        Self {
            count: number.0,
            sum: number.1,
        }
    }
}

fn u192(bytes: [u8; Digest::LEN]) -> (u64, u128) {
    let [c0, c1, c2, c3, c4, c5, c6, c7, sum @ ..] = bytes;
    (
        u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
        u128::from_be_bytes(sum),
    )
}

/// Any bytes will do for a chunk, so that the arithmetic holds for damaged ones too.
fn term(name: &Name, first_chunk: &[u8]) -> u128 {
    let header = &first_chunk[..first_chunk.len().min(HEADER_LEN)];
    let mut bytes = Vec::with_capacity(name.prefix().len() + HEADER_LEN);
    bytes.extend_from_slice(name.prefix());
    bytes.extend_from_slice(header);
    let hash = sha256::Hash::hash(&bytes).to_byte_array();
    let (half, _) = hash.split_first_chunk().expect("a SHA-256 has 32 bytes");
    u128::from_be_bytes(*half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let a = Name::new("m", "", "a").unwrap();
        let b = Name::new("m", "", "b").unwrap();
        let mut one = Digest::default();
        one.add(&a, b"x");
        one.add(&b, b"y");
        let mut other = Digest::default();
        other.add(&b, b"y");
        other.add(&a, b"old");
        assert_ne!(one, other);
        other.remove(&a, b"old");
        other.add(&a, b"x");
        assert_eq!(one, other);
        assert_eq!(Digest::from_bytes(one.to_bytes()), one);
        other.remove(&a, b"x");
        other.remove(&b, b"y");
        assert_eq!(other, Digest::default());
    }
}
