//! Damage inside the database is told as damage: changed bytes, lost chunks, strange keys.

#![allow(clippy::unwrap_used)]

use lightning::io::ErrorKind;
use lightning::util::persist::KVStoreSync;
use pilotlight_store::{MAX_VALUE_LEN, Store, StoreError};

/// Opens the database with plain sled, as damage would come about, and changes it.
fn behind_its_back(path: &std::path::Path, change: impl FnOnce(&sled::Tree)) {
    // sled's threads may hold the lock for a moment after the store was closed.
    let db = loop {
        match sled::open(path.join("db-1")) {
            Ok(db) => break db,
            Err(error) => assert!(error.to_string().contains("acquire lock"), "{error}"),
        }
    };
    let kv = db.open_tree("kv").unwrap();
    change(&kv);
    db.flush().unwrap();
}

fn with_two_values() -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let value: Vec<u8> = (0..10_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let store = Store::open(directory.path()).unwrap();
    KVStoreSync::write(&store, "monitors", "", "hurt", value.clone()).unwrap();
    KVStoreSync::write(&store, "monitors", "", "well", value.clone()).unwrap();
    store.close().unwrap();
    (directory, value)
}

fn chunk(n: u16) -> Vec<u8> {
    let mut key = b"monitors\0\0hurt\0".to_vec();
    key.extend_from_slice(&n.to_be_bytes());
    key
}

fn assert_damaged(store: &Store, what: &str) {
    let error = KVStoreSync::read(store, "monitors", "", "hurt").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{what}: {error}");
    assert!(
        matches!(StoreError::find(&error), Some(StoreError::Damaged(_))),
        "{what}"
    );
}

#[test]
fn flipped_bytes_are_invalid_data_and_can_be_written_over() {
    for (n, at) in [(0u16, 24usize), (0, 30), (0, 4095), (1, 0), (2, 100)] {
        let (directory, value) = with_two_values();
        behind_its_back(directory.path(), |kv| {
            let mut bytes = kv.get(chunk(n)).unwrap().unwrap().to_vec();
            bytes[at] ^= 0x20;
            kv.insert(chunk(n), bytes).unwrap();
        });
        let store = Store::open(directory.path()).unwrap();
        assert_damaged(&store, &format!("chunk {n} byte {at}"));
        assert_eq!(KVStoreSync::read(&store, "monitors", "", "well").unwrap(), value);
        let mut keys = KVStoreSync::list(&store, "monitors", "").unwrap();
        keys.sort();
        assert_eq!(keys, ["hurt", "well"]);
        KVStoreSync::write(&store, "monitors", "", "hurt", b"short".to_vec()).unwrap();
        assert_eq!(
            KVStoreSync::read(&store, "monitors", "", "hurt").unwrap(),
            b"short"
        );
    }
}

#[test]
fn lost_and_surplus_chunks_are_invalid_data_never_not_found() {
    for n in 1..3u16 {
        let (directory, _) = with_two_values();
        behind_its_back(directory.path(), |kv| drop(kv.remove(chunk(n)).unwrap()));
        let store = Store::open(directory.path()).unwrap();
        assert_damaged(&store, &format!("without chunk {n}"));
        assert_eq!(
            KVStoreSync::list(&store, "monitors", "").unwrap().len(),
            2,
            "damage is not silence"
        );
        KVStoreSync::remove(&store, "monitors", "", "hurt", false).unwrap();
        let gone = KVStoreSync::read(&store, "monitors", "", "hurt").unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert_eq!(KVStoreSync::list(&store, "monitors", "").unwrap(), ["well"]);
    }
    let (directory, _) = with_two_values();
    behind_its_back(directory.path(), |kv| drop(kv.insert(chunk(3), b"more").unwrap()));
    let store = Store::open(directory.path()).unwrap();
    assert_damaged(&store, "with a chunk too many");
    KVStoreSync::write(&store, "monitors", "", "hurt", vec![5; 4000]).unwrap();
    assert_eq!(
        KVStoreSync::read(&store, "monitors", "", "hurt").unwrap(),
        vec![5; 4000]
    );
}

/// What sled may make of a damaged log, without a word: a value is gone, or an older one is back.
#[test]
fn a_vanished_or_returned_value_is_damage_at_open() {
    let damages: [fn(&sled::Tree, &[u8]); 4] = [
        |kv, _| drop(kv.remove(chunk(0)).unwrap()),
        |kv, _| {
            for n in 0..3 {
                kv.remove(chunk(n)).unwrap();
            }
        },
        |kv, older| drop(kv.insert(chunk(0), older).unwrap()),
        |kv, _| {
            let mut header = kv.get(chunk(0)).unwrap().unwrap().to_vec();
            header[15] ^= 0x20;
            kv.insert(chunk(0), header).unwrap();
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        KVStoreSync::write(&store, "monitors", "", "hurt", vec![1; 100]).unwrap();
        store.close().unwrap();
        let mut older = Vec::new();
        behind_its_back(directory.path(), |kv| {
            older = kv.get(chunk(0)).unwrap().unwrap().to_vec();
        });
        let store = Store::open(directory.path()).unwrap();
        KVStoreSync::write(&store, "monitors", "", "hurt", vec![2; 10_000]).unwrap();
        KVStoreSync::write(&store, "monitors", "", "well", vec![3; 10]).unwrap();
        store.close().unwrap();
        behind_its_back(directory.path(), |kv| damage(kv, &older));
        let result = Store::open(directory.path());
        assert!(
            matches!(result, Err(pilotlight_store::OpenError::Damaged { .. })),
            "damage {number}: {result:?}"
        );
    }
}

/// sled takes what a kill or a full disk left of a snapshot for the newest one, and then gives up.
#[test]
fn half_a_snapshot_does_no_harm() {
    let (directory, value) = with_two_values();
    let database = directory.path().join("db-1");
    std::fs::write(database.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    drop(Store::open(directory.path()).unwrap());
    std::fs::write(database.join("snap.FFFFFFFFFFFFFFFE"), vec![7; 400]).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(KVStoreSync::read(&store, "monitors", "", "hurt").unwrap(), value);
    assert_eq!(KVStoreSync::list(&store, "monitors", "").unwrap().len(), 2);
}

#[test]
fn a_key_nobody_wrote_is_damage() {
    let (directory, _) = with_two_values();
    behind_its_back(directory.path(), |kv| {
        drop(kv.insert(b"monitors\0\0oops", b"?").unwrap());
    });
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(
        KVStoreSync::list(&store, "monitors", "").unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn a_lost_generation_is_damage() {
    let (directory, _) = with_two_values();
    behind_its_back(directory.path(), |kv| drop(kv.remove(b"\x01generation").unwrap()));
    assert!(matches!(
        Store::open(directory.path()),
        Err(pilotlight_store::OpenError::Damaged { .. })
    ));
}

#[test]
fn a_value_that_is_too_long_is_refused_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let error = KVStoreSync::write(&store, "a", "", "k", vec![0; MAX_VALUE_LEN + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(matches!(
        StoreError::find(&error),
        Some(StoreError::TooLong { .. })
    ));
    assert!(KVStoreSync::list(&store, "a", "").unwrap().is_empty());
}
