//! LDK's own conformance tests for a store, which live unpublished in `lightning-persister`, done over;
//! and LDK's persisters on top of the store. The sled store and its SQLite twin stand the same tests.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use lightning::io::ErrorKind;
use lightning::util::persist::{
    KVSTORE_NAMESPACE_KEY_ALPHABET, KVSTORE_NAMESPACE_KEY_MAX_LEN, KVStore, KVStoreSync, MigratableKVStore,
    migrate_kv_store_data,
};
use pilotlight_store::{SqliteStore, Store, StoreError};

/// A store that the tests can open.
trait Twin: KVStoreSync + KVStore + MigratableKVStore + Clone + Send + Sync + 'static {
    fn open_in(directory: &Path) -> Self;
}

impl Twin for Store {
    fn open_in(directory: &Path) -> Self {
        Self::open(directory).unwrap()
    }
}

impl Twin for SqliteStore {
    fn open_in(directory: &Path) -> Self {
        Self::open(directory).unwrap()
    }
}

fn new_store<S: Twin>() -> (tempfile::TempDir, S) {
    let directory = tempfile::tempdir().unwrap();
    let store = S::open_in(directory.path());
    (directory, store)
}

/// Each test once on either store.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sled_store {
            $(#[test] fn $test() { super::$test::<pilotlight_store::Store>(); })+
        }
        mod sqlite_twin {
            $(#[test] fn $test() { super::$test::<pilotlight_store::SqliteStore>(); })+
        }
    };
}

on_both!(
    read_write_remove_list_persist,
    every_allowed_character_and_neighbouring_namespaces_keep_apart,
    everything_migrates_to_another_store,
    the_order_of_async_writes_is_the_order_of_the_calls,
    ldks_helpers_take_the_store,
);

/// `do_read_write_remove_list_persist`, with typed errors where LDK's own stores panic in debug builds.
fn read_write_remove_list_persist<S: Twin>() {
    let (_directory, store) = new_store::<S>();
    let kv: &dyn KVStoreSync = &store;
    let data = vec![42u8; 32];
    let (primary, secondary, key) = ("testspace", "testsubspace", "testkey");

    kv.write(primary, secondary, key, data.clone()).unwrap();
    kv.write("", "", key, data.clone()).unwrap();
    for result in [
        kv.write("", secondary, key, data.clone()),
        kv.write(primary, secondary, "", data.clone()),
        kv.read("", secondary, key).map(drop),
        kv.remove(primary, secondary, "", false),
        kv.remove(primary, "a b", key, true),
        kv.list("", secondary).map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(matches!(
            StoreError::find(&error),
            Some(StoreError::InvalidName { .. })
        ));
    }

    assert_eq!(kv.list(primary, secondary).unwrap(), [key]);
    assert_eq!(kv.list("", "").unwrap(), [key]);
    assert_eq!(kv.read(primary, secondary, key).unwrap(), data);
    kv.remove(primary, secondary, key, false).unwrap();
    assert!(kv.list(primary, secondary).unwrap().is_empty());
    let gone = kv.read(primary, secondary, key).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(StoreError::find(&gone), Some(&StoreError::Absent));
    // Removing what is not there is fine; a namespace that never was lists as empty.
    kv.remove(primary, secondary, key, false).unwrap();
    assert!(kv.list("never", "seen").unwrap().is_empty());

    let longest = "A".repeat(KVSTORE_NAMESPACE_KEY_MAX_LEN);
    kv.write(&longest, &longest, &longest, data.clone()).unwrap();
    assert_eq!(kv.list(&longest, &longest).unwrap(), [longest.as_str()]);
    assert_eq!(kv.read(&longest, &longest, &longest).unwrap(), data);
    kv.remove(&longest, &longest, &longest, false).unwrap();
    assert!(kv.list(&longest, &longest).unwrap().is_empty());
}

fn every_allowed_character_and_neighbouring_namespaces_keep_apart<S: Twin>() {
    let (_directory, store) = new_store::<S>();
    let kv: &dyn KVStoreSync = &store;
    for character in KVSTORE_NAMESPACE_KEY_ALPHABET.chars() {
        let name = character.to_string();
        kv.write(&name, &name, &name, name.clone().into_bytes()).unwrap();
    }
    // Names that are prefixes of one another, and large values beside small ones.
    for (primary, secondary, key) in [
        ("m", "", "k"),
        ("m", "", "k0"),
        ("mm", "", "k"),
        ("m", "m0", "k"),
        ("m", "k", "k"),
    ] {
        kv.write(primary, secondary, key, vec![7; 20_000]).unwrap();
    }
    let mut keys = kv.list("m", "").unwrap();
    keys.sort();
    assert_eq!(keys, ["k", "k0"]);
    assert_eq!(kv.list("mm", "").unwrap(), ["k"]);
    assert_eq!(kv.list("m", "m").unwrap(), ["m"]);
    kv.remove("m", "", "k", false).unwrap();
    assert_eq!(kv.list("m", "").unwrap(), ["k0"]);
    for character in KVSTORE_NAMESPACE_KEY_ALPHABET.chars() {
        let name = character.to_string();
        assert_eq!(kv.read(&name, &name, &name).unwrap(), name.as_bytes());
    }
}

/// `do_test_data_migration`.
fn everything_migrates_to_another_store<S: Twin>() {
    let (_a, mut source) = new_store::<S>();
    let (_b, mut target) = new_store::<S>();
    let mut expected = Vec::new();
    for (primary, secondary) in [
        ("", ""),
        ("testspaceb", ""),
        ("testspaceb", "testsubspaceb"),
        ("testspacec", "x"),
    ] {
        for (key, len) in [("testkeya", 0), ("testkeyb", 32), ("testkeyc", 50_000)] {
            KVStoreSync::write(&source, primary, secondary, key, vec![42; len]).unwrap();
            expected.push((primary.to_owned(), secondary.to_owned(), key.to_owned()));
        }
    }
    expected.sort();
    migrate_kv_store_data(&mut source, &mut target).unwrap();
    let mut found = target.list_all_keys().unwrap();
    found.sort();
    assert_eq!(found, expected);
    for (primary, secondary, key) in &found {
        assert_eq!(
            KVStoreSync::read(&target, primary, secondary, key).unwrap(),
            KVStoreSync::read(&source, primary, secondary, key).unwrap()
        );
    }
}

fn the_order_of_async_writes_is_the_order_of_the_calls<S: Twin>() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_directory, store) = new_store::<S>();
    let kv: &dyn KVStore = &store;
    runtime.block_on(async {
        // Called in order, awaited backwards, one of them never.
        let first = kv.write("a", "", "k", b"1".to_vec());
        let second = kv.write("a", "", "k", b"2".to_vec());
        drop(kv.write("a", "", "k", b"3".to_vec()));
        let other = kv.write("a", "", "other", vec![1; 9000]);
        other.await.unwrap();
        second.await.unwrap();
        first.await.unwrap();
        assert_eq!(kv.read("a", "", "k").await.unwrap(), b"3");
        let removed = kv.remove("a", "", "k", false);
        let again = kv.write("a", "", "k", b"4".to_vec());
        let gone = kv.remove("a", "", "other", false);
        gone.await.unwrap();
        again.await.unwrap();
        removed.await.unwrap();
        assert_eq!(kv.read("a", "", "k").await.unwrap(), b"4");
        assert_eq!(kv.list("a", "").await.unwrap(), ["k"]);
        let error = kv.write("", "b", "k", Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

fn ldks_helpers_take_the_store<S: Twin>() {
    use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
    use lightning::chain::chainmonitor::Persist;
    use lightning::sign::{InMemorySigner, KeysManager};
    use lightning::util::logger::{Logger, Record};
    use lightning::util::persist::MonitorUpdatingPersister;

    struct Nothing;
    impl Logger for Nothing {
        fn log(&self, _record: Record) {}
    }
    impl BroadcasterInterface for Nothing {
        fn broadcast_transactions(&self, _transactions: &[&lightning::bitcoin::Transaction]) {}
    }
    impl FeeEstimator for Nothing {
        fn get_est_sat_per_1000_weight(&self, _target: ConfirmationTarget) -> u32 {
            253
        }
    }
    fn is_persister<P: Persist<InMemorySigner>>(_persister: &P) {}

    let (_directory, store) = new_store::<S>();
    let keys = KeysManager::new(&[7; 32], 0, 0, true);
    let persister = MonitorUpdatingPersister::new(
        Arc::new(store.clone()),
        &Nothing,
        10,
        &keys,
        &keys,
        &Nothing,
        &Nothing,
    );
    is_persister(&persister);
    assert!(
        persister
            .read_all_channel_monitors_with_updates()
            .unwrap()
            .is_empty()
    );
    // A monitor that cannot be read must be an error, never an empty list.
    let name = format!("{}_0", "ab".repeat(32));
    KVStoreSync::write(&store, "monitors", "", &name, vec![1, 2, 3]).unwrap();
    assert!(persister.read_all_channel_monitors_with_updates().is_err());
}
