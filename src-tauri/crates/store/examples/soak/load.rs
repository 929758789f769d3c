//! The load and its proof: values that say which write they belong to, so that a lost or torn one shows.

use lightning::util::persist::{KVStoreSync, MigratableKVStore};
use pilotlight_store::Store;

/// A monitor, a manager and a payment are changed together and must never be apart.
pub const TOGETHER: [(&str, &str, usize); 3] = [
    ("monitors", "abc", 30_000),
    ("", "manager", 41_000),
    ("payments", "p", 300),
];

/// So many channel updates are there at a time, per writer.
pub const SLOTS: u64 = 40;

/// The value of a write: its number over and over.
pub fn value(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().repeat(len.div_ceil(8).max(1));
    bytes.truncate(len.max(8));
    bytes
}

/// How long the value of a single write is: mostly short, some over many chunks.
pub fn len_of(number: u64) -> usize {
    match number % 13 {
        0 => 50_000,
        1 => 4_072,
        2 => 9_000,
        rest => 100 + usize::try_from(rest).unwrap_or(0) * 90,
    }
}

/// The number of the write a value belongs to, `None` if it is torn.
pub fn number_of(found: &[u8], len: impl FnOnce(u64) -> usize) -> Option<u64> {
    let number = u64::from_be_bytes(*found.first_chunk()?);
    (found == value(number, len(number))).then_some(number)
}

/// Bytes of all keys and values.
pub fn live_bytes(store: &Store) -> u64 {
    let keys = store.list_all_keys().expect("the store was just checked");
    keys.iter()
        .map(|(primary, secondary, key)| {
            let value =
                KVStoreSync::read(store, primary, secondary, key).expect("the store was just checked");
            (primary.len() + secondary.len() + key.len() + value.len()) as u64
        })
        .sum()
}
