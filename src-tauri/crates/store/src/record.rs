//! How one value lies in the database: pure functions between bytes and chunks, no I/O.
//!
//! sled moves pages above 128 KiB into blob files that are not fsynced and leak; a page is a leaf of
//! up to 16 entries. So no entry is larger than 4 KiB, and a longer value is cut into chunks.
//! Chunk 0 begins with a header, all numbers big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0 | format, now 1 |
//! | 1 | flags, now 0: room for compression or encryption without a new format |
//! | 2..4 | number of chunks |
//! | 4..12 | length of the value |
//! | 12..20 | generation: the number of the batch that wrote it |
//! | 20..24 | CRC-32C over bytes 0..20, the name and the value |
//!
//! The name is under the checksum so that a value which turns up under another key is noticed.

use crate::StoreError;
use crate::name::Name;

const FORMAT: u8 = 1;
const NO_FLAGS: u8 = 0;
const CHECKED_HEADER_LEN: usize = 20;
pub(crate) const HEADER_LEN: usize = CHECKED_HEADER_LEN + 4;
/// The longest database entry. 16 of them stay well below sled's 128 KiB blob threshold.
const CHUNK_LEN: usize = 4096;
const FIRST_CHUNK_LEN: usize = CHUNK_LEN - HEADER_LEN;

/// The longest value the store takes, in bytes. Chunk numbers would allow 256 MiB; the limit is lower
/// because a value is held in memory several times while it is written, and a phone kills for less.
pub const MAX_VALUE_LEN: usize = 64 * 1024 * 1024;

/// What chunk 0 says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) chunks: u16,
    total_len: u64,
    pub(crate) generation: u64,
    checksum: u32,
}

impl Header {
    /// Reads the header of a chunk 0. Says nothing about the value's checksum.
    pub(crate) fn parse(chunk: &[u8]) -> Result<Self, StoreError> {
        let Some((header, _)) = chunk.split_first_chunk::<HEADER_LEN>() else {
            return Err(damaged("the header is cut short"));
        };
        let [format, flags, c0, c1, len @ .., k0, k1, k2, k3] = *header;
        let [l0, l1, l2, l3, l4, l5, l6, l7, g0, g1, g2, g3, g4, g5, g6, g7] = len;
        if format != FORMAT {
            return Err(damaged(&format!("unknown record format {format}")));
        }
        if flags != NO_FLAGS {
            return Err(damaged(&format!("unknown record flags {flags:#04x}")));
        }
        let parsed = Self {
            chunks: u16::from_be_bytes([c0, c1]),
            total_len: u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            generation: u64::from_be_bytes([g0, g1, g2, g3, g4, g5, g6, g7]),
            checksum: u32::from_be_bytes([k0, k1, k2, k3]),
        };
        // Bounded before anything is allocated from it.
        let len = usize::try_from(parsed.total_len).unwrap_or(usize::MAX);
        if len > MAX_VALUE_LEN || chunk_count(len) != usize::from(parsed.chunks) {
            return Err(damaged("length and number of chunks do not agree"));
        }
        Ok(parsed)
    }

    fn checked_bytes(&self) -> [u8; CHECKED_HEADER_LEN] {
        let mut bytes = [0; CHECKED_HEADER_LEN];
        bytes[0] = FORMAT;
        bytes[1] = NO_FLAGS;
        bytes[2..4].copy_from_slice(&self.chunks.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.total_len.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    fn checksum_of(&self, name: &Name, value: &[u8]) -> u32 {
        let checksum = crc32c::crc32c(&self.checked_bytes());
        let checksum = crc32c::crc32c_append(checksum, name.prefix());
        crc32c::crc32c_append(checksum, value)
    }
}

/// Refuses values that are too long, before they are queued.
pub(crate) fn check_len(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(StoreError::TooLong {
            len: value.len(),
            max: MAX_VALUE_LEN,
        });
    }
    Ok(())
}

/// Cuts a value into the database entries that hold it, chunk 0 first. The length was checked.
pub(crate) fn encode(name: &Name, value: &[u8], generation: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let count = chunk_count(value.len());
    let chunks = u16::try_from(count).expect("MAX_VALUE_LEN is below 65535 chunks");
    let mut header = Header {
        chunks,
        total_len: value.len() as u64,
        generation,
        checksum: 0,
    };
    header.checksum = header.checksum_of(name, value);

    let (first, mut rest) = value.split_at(value.len().min(FIRST_CHUNK_LEN));
    let mut entry = Vec::with_capacity(HEADER_LEN + first.len());
    entry.extend_from_slice(&header.checked_bytes());
    entry.extend_from_slice(&header.checksum.to_be_bytes());
    entry.extend_from_slice(first);
    let mut entries = vec![(name.chunk_key(0), entry)];
    for chunk in 1..chunks {
        let (piece, after) = rest.split_at(rest.len().min(CHUNK_LEN));
        entries.push((name.chunk_key(chunk), piece.to_vec()));
        rest = after;
    }
    entries
}

/// Puts a value together again from its entries in order of the database, and checks all of it.
/// No entry at all is [`StoreError::Absent`]; anything unexpected is [`StoreError::Damaged`].
pub(crate) fn decode<K, V>(
    name: &Name,
    entries: impl Iterator<Item = Result<(K, V), StoreError>>,
) -> Result<Vec<u8>, StoreError>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut header = None;
    let mut value = Vec::new();
    for (number, entry) in (0u16..).zip(entries) {
        let (key, chunk) = entry?;
        let chunk = chunk.as_ref();
        if key.as_ref() != name.chunk_key(number) {
            return Err(damaged(&format!("chunk {number} is missing")));
        }
        if number == 0 {
            let parsed = Header::parse(chunk)?;
            value.reserve_exact(usize::try_from(parsed.total_len).unwrap_or(0));
            value.extend_from_slice(&chunk[HEADER_LEN..]);
            header = Some(parsed);
        } else {
            value.extend_from_slice(chunk);
        }
        if header.is_some_and(|header| value.len() as u64 > header.total_len) {
            return Err(damaged("there is more data than the header says"));
        }
    }
    let header = header.ok_or(StoreError::Absent)?;
    if value.len() as u64 != header.total_len {
        return Err(damaged(&format!(
            "{} of {} bytes are there",
            value.len(),
            header.total_len
        )));
    }
    if header.checksum_of(name, &value) != header.checksum {
        return Err(damaged("the checksum does not match"));
    }
    Ok(value)
}

fn chunk_count(len: usize) -> usize {
    1 + len.saturating_sub(FIRST_CHUNK_LEN).div_ceil(CHUNK_LEN)
}

fn damaged(reason: &str) -> StoreError {
    StoreError::Damaged(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> Name {
        Name::new("monitors", "", "abc").unwrap()
    }

    fn ok(entries: Vec<(Vec<u8>, Vec<u8>)>) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> {
        entries.into_iter().map(Ok)
    }

    #[test]
    fn values_around_the_chunk_borders_come_back() {
        for len in [
            0,
            1,
            FIRST_CHUNK_LEN - 1,
            FIRST_CHUNK_LEN,
            FIRST_CHUNK_LEN + 1,
            FIRST_CHUNK_LEN + CHUNK_LEN,
            FIRST_CHUNK_LEN + CHUNK_LEN + 1,
            300_000,
        ] {
            let value: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let entries = encode(&name(), &value, 7);
            assert!(entries.iter().all(|(_, chunk)| chunk.len() <= CHUNK_LEN));
            assert_eq!(Header::parse(&entries[0].1).unwrap().generation, 7);
            assert_eq!(decode(&name(), ok(entries)).unwrap(), value, "length {len}");
        }
    }

    #[test]
    fn nothing_is_absent_and_half_is_damaged() {
        assert_eq!(decode(&name(), ok(vec![])), Err(StoreError::Absent));
        let entries = encode(&name(), &[9; 10_000], 1);
        for missing in 0..entries.len() {
            let mut left = entries.clone();
            left.remove(missing);
            assert!(
                matches!(decode(&name(), ok(left)), Err(StoreError::Damaged(_))),
                "without chunk {missing}"
            );
        }
    }

    #[test]
    fn a_value_under_another_name_is_damaged() {
        let other = Name::new("monitors", "", "abd").unwrap();
        let moved = encode(&name(), b"money", 1)
            .into_iter()
            .map(|(_, chunk)| (other.chunk_key(0), chunk))
            .collect();
        assert!(matches!(decode(&other, ok(moved)), Err(StoreError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(
            value in prop::collection::vec(any::<u8>(), 0..9000),
            which in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut entries = encode(&name(), &value, 3);
            let total: usize = entries.iter().map(|(_, chunk)| chunk.len()).sum();
            let mut at = which.index(total);
            for (_, chunk) in &mut entries {
                if at < chunk.len() {
                    chunk[at] ^= 1 << bit;
                    break;
                }
                at -= chunk.len();
            }
            prop_assert!(matches!(decode(&name(), ok(entries)), Err(StoreError::Damaged(_))));
        }

        #[test]
        fn hostile_entries_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
            let entries = (0u16..).zip(chunks).map(|(i, chunk)| (name().chunk_key(i), chunk)).collect();
            let _ = decode(&name(), ok(entries));
        }
    }
}
