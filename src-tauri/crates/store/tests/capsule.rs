//! Capsules: a store that can no longer be opened comes back from one, and runs live only if nothing can be newer.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use lightning::util::persist::{KVStoreSync, MigratableKVStore};
use pilotlight_store::{CapsuleError, Capsules, OpenError, Standing, Store};

const SECRET: [u8; 32] = [42; 32];

fn put(store: &Store, key: &str, len: usize, fill: u8) {
    KVStoreSync::write(store, "monitors", "", key, vec![fill; len]).unwrap();
}

fn get(store: &Store, key: &str) -> Vec<u8> {
    KVStoreSync::read(store, "monitors", "", key).unwrap()
}

/// Writes a few values, a capsule, and then so many more; leaves the store closed, or as a kill would.
fn with_capsule(root: &Path, later: u8, closed: bool) -> (Capsules, u64) {
    let capsules = Capsules::new(root.join("capsules"), &SECRET);
    let store = Store::open(root.join("store")).unwrap();
    for n in 0..20u8 {
        put(&store, &n.to_string(), usize::from(n) * 900, n);
    }
    let generation = capsules.write(&store).unwrap();
    assert_eq!(generation, store.generation().unwrap());
    for n in 0..later {
        put(&store, "0", 100, n);
    }
    if closed {
        store.close().unwrap();
    } else {
        let copy = root.join("killed");
        copy_all(&root.join("store"), &copy);
        drop(store);
        std::fs::remove_dir_all(root.join("store")).unwrap();
        std::fs::rename(copy, root.join("store")).unwrap();
    }
    (capsules, generation)
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn destroy(store: &Path) {
    std::fs::write(store.join("db-1/db"), vec![7; 100_000]).unwrap();
    assert!(matches!(Store::open(store), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_damaged_store_comes_back_and_is_live_only_with_proof() {
    use Standing::{Live, RecoveryOnly};
    // Writes after the capsule; closed in order; what the caller knows beyond the capsule's generation; verdict.
    for (later, closed, recorded, expected) in [
        (0, true, None, Live),
        (3, true, None, RecoveryOnly),
        (0, false, None, RecoveryOnly),
        (0, false, Some(0), Live),
        (3, false, Some(0), RecoveryOnly),
        (0, true, Some(1), RecoveryOnly),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (capsules, generation) = with_capsule(directory.path(), later, closed);
        destroy(&path);
        let recorded = recorded.map(|beyond: u64| generation + beyond);
        let restored = capsules.restore(&path, recorded).unwrap();
        assert_eq!(restored.standing, expected, "{later} {closed} {recorded:?}");
        assert_eq!((restored.generation, restored.values), (generation, 20));
        assert!(restored.set_aside.unwrap().join("db").exists());

        let mut store = Store::open(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(store.standing().unwrap(), expected);
            for n in 0..20u8 {
                assert_eq!(get(&store, &n.to_string()), vec![n; usize::from(n) * 900]);
            }
            assert!(store.generation().unwrap() > generation + u64::from(later));
            // It stays so through writes, compactions and reopening.
            put(&store, "new", 10, 1);
            store.compact().unwrap();
            store.close().unwrap();
            store = Store::open(&path).unwrap();
        }
        store.end_recovery().unwrap();
        assert_eq!(store.standing().unwrap(), Live);
        store.close().unwrap();
        assert_eq!(Store::open(&path).unwrap().standing().unwrap(), Live);
    }
}

#[test]
fn a_store_that_is_gone_altogether_comes_back_for_recovery_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (capsules, _) = with_capsule(directory.path(), 0, true);
    std::fs::remove_dir_all(&path).unwrap();
    let restored = capsules.restore(&path, None).unwrap();
    assert_eq!(
        (restored.standing, restored.set_aside),
        (Standing::RecoveryOnly, None)
    );
    assert_eq!(Store::open(&path).unwrap().list_all_keys().unwrap().len(), 20);
}

#[test]
fn an_open_store_is_not_restored_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (capsules, _) = with_capsule(directory.path(), 0, true);
    let store = Store::open(&path).unwrap();
    let error = capsules.restore(&path, None).unwrap_err();
    assert!(
        matches!(error, CapsuleError::Open(OpenError::AlreadyOpen { .. })),
        "{error}"
    );
    assert_eq!(get(&store, "1"), vec![1; 900]);
}

#[test]
fn the_two_files_take_turns_and_one_is_always_whole() {
    let directory = tempfile::tempdir().unwrap();
    let capsules = Capsules::new(directory.path().join("capsules"), &SECRET);
    assert!(capsules.inspect().is_empty());
    let path = directory.path().join("store");
    assert!(matches!(capsules.restore(&path, None), Err(CapsuleError::None)));
    let store = Store::open(&path).unwrap();
    let mut generations = Vec::new();
    for n in 0..5u8 {
        put(&store, "k", 5000, n);
        generations.push(capsules.write(&store).unwrap());
    }
    let mut found: Vec<_> = capsules
        .inspect()
        .into_iter()
        .map(|slot| slot.content.unwrap().0)
        .collect();
    found.sort_unstable();
    assert_eq!(found, generations[3..]);
    let shown = format!("{capsules:?}");
    assert!(!shown.contains("42"), "{shown}");

    // The newer one is damaged: the older one is used, and the next write does not touch it.
    let newer = directory.path().join("capsules").join(
        capsules
            .inspect()
            .iter()
            .find(|slot| slot.content == Ok((generations[4], 1)))
            .unwrap()
            .file,
    );
    let mut bytes = std::fs::read(&newer).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&newer, bytes).unwrap();
    assert!(capsules.inspect().iter().any(|slot| slot.content.is_err()));
    store.close().unwrap();
    let restored = capsules.restore(&path, None).unwrap();
    assert_eq!(
        (restored.generation, restored.standing),
        (generations[3], Standing::RecoveryOnly)
    );
    let store = Store::open(&path).unwrap();
    assert_eq!(get(&store, "k"), vec![3; 5000]);
    capsules.write(&store).unwrap();
    assert!(capsules.inspect().iter().all(|slot| slot.content.is_ok()));

    // Another wallet's secret opens nothing.
    let stranger = Capsules::new(directory.path().join("capsules"), &[43; 32]);
    store.close().unwrap();
    assert!(matches!(
        stranger.restore(&path, None),
        Err(CapsuleError::Unreadable(_))
    ));
    assert_eq!(get(&Store::open(&path).unwrap(), "k"), vec![3; 5000]);
}
