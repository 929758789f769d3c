//! A compaction is cut short after every one of its steps, as a kill would; nothing may be missing afterwards.

use std::path::Path;
use std::process::{Command, Stdio};

use lightning::util::persist::KVStoreSync;

use super::*;
use crate::{Change, Store};

const DIRECTORY: &str = "PILOTLIGHT_STORE_TEST_DIRECTORY";
const STOP_AT: &str = "PILOTLIGHT_STORE_TEST_STOP_AT";

const STEPS: [Step; 10] = [
    Step::Created,
    Step::HalfImported,
    Step::Imported,
    Step::Complete,
    Step::Reopened,
    Step::Verified,
    Step::Synced,
    Step::Swapped,
    Step::Closed,
    Step::Discarded,
];

/// In a child that was told so, ends the process on the spot: no destructor, no flush.
pub(crate) fn reached(step: Step) {
    if std::env::var(STOP_AT).is_ok_and(|wanted| wanted == format!("{step:?}")) {
        std::process::abort();
    }
}

fn fill(store: &Store, round: u8) {
    for n in 0..60u8 {
        let len = usize::from(n) * 400;
        KVStoreSync::write(store, "monitors", "", &n.to_string(), vec![n ^ round; len]).unwrap();
    }
    KVStoreSync::write(store, "", "", "manager", vec![round; 60_000]).unwrap();
    KVStoreSync::remove(store, "monitors", "", "7", false).unwrap();
}

fn check(store: &Store, round: u8) {
    for n in (0..60u8).filter(|n| *n != 7) {
        let value = KVStoreSync::read(store, "monitors", "", &n.to_string()).unwrap();
        assert_eq!(value, vec![n ^ round; usize::from(n) * 400]);
    }
    assert_eq!(KVStoreSync::list(store, "monitors", "").unwrap().len(), 59);
    assert_eq!(
        KVStoreSync::read(store, "", "", "manager").unwrap(),
        vec![round; 60_000]
    );
}

fn databases(root: &Path) -> usize {
    layout::places(root).unwrap().len()
}

#[test]
fn a_compaction_cut_short_at_any_step_loses_nothing() {
    for step in STEPS {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let store = Store::open(root).unwrap();
        fill(&store, 1);
        fill(&store, 2);
        let generation = store.generation().unwrap();
        store.close().unwrap();

        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compact::tests::child_compacts", "--ignored"])
            .env(DIRECTORY, root)
            .env(STOP_AT, format!("{step:?}"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            child.status.code().is_none(),
            "{step:?} was not reached: {child:?}"
        );

        let store = Store::open(root).unwrap_or_else(|error| panic!("after {step:?}: {error}"));
        check(&store, 2);
        assert_eq!(store.generation().unwrap(), generation, "after {step:?}");
        assert_eq!(databases(root), 1, "after {step:?} something was left behind");
        // It can be written to and compacted as if nothing had been.
        fill(&store, 3);
        store.compact().unwrap();
        check(&store, 3);
        store.close().unwrap();
        check(&Store::open(root).unwrap(), 3);
    }
}

#[test]
#[ignore = "the child of a_compaction_cut_short_at_any_step_loses_nothing"]
fn child_compacts() {
    let directory = std::env::var_os(DIRECTORY).expect("only started by its parent");
    Store::open(directory).unwrap().compact().unwrap();
}

/// Writes a store as the first format had it, with plain sled.
fn write_first_format(root: &Path, rows: &[(&str, Vec<u8>)]) {
    let db = sled::open(root.join("db")).unwrap();
    let kv = db.open_tree("kv").unwrap();
    let mut batch = sled::Batch::default();
    for (key, value) in rows {
        for (key, chunk) in record::encode(&Name::new("monitors", "", key).unwrap(), value, 41) {
            batch.insert(key, chunk);
        }
    }
    let mut row = 41u64.to_be_bytes().to_vec();
    row.extend_from_slice(&crc32c::crc32c(&41u64.to_be_bytes()).to_be_bytes());
    batch.insert(b"\x01generation", row);
    kv.apply_batch(batch).unwrap();
    let meta = db.open_tree("meta").unwrap();
    meta.insert("format", &1u32.to_be_bytes()).unwrap();
    db.flush().unwrap();
    std::fs::write(root.join("format"), "1\n").unwrap();
}

#[test]
fn the_first_format_is_brought_up_to_date_from_any_step() {
    let rows: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip([100, 9_000, 70_000])
        .map(|(key, len)| (key, vec![key.as_bytes()[0]; len]))
        .collect();
    let steps = STEPS.into_iter().take_while(|step| *step != Step::Swapped);
    for step in steps.map(Some).chain([None]) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write_first_format(root, &rows);
        if let Some(step) = step {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "compact::tests::child_compacts", "--ignored"])
                .env(DIRECTORY, root)
                .env(STOP_AT, format!("{step:?}"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(child.status.code().is_none(), "{step:?} was not reached");
        }
        let store = Store::open(root).unwrap_or_else(|error| panic!("after {step:?}: {error}"));
        assert_eq!(store.generation().unwrap(), 41);
        for (key, value) in &rows {
            assert_eq!(&KVStoreSync::read(&store, "monitors", "", key).unwrap(), value);
        }
        assert!(!root.join("db").exists());
        store
            .durable_batch(vec![Change::put("monitors", "", "d", vec![4])])
            .unwrap();
        drop(store);
        assert_eq!(Store::open(root).unwrap().generation().unwrap(), 42);
    }
}

#[test]
fn a_damaged_first_format_is_not_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write_first_format(root, &[("a", vec![1; 10_000])]);
    {
        let db = loop {
            if let Ok(db) = sled::open(root.join("db")) {
                break db;
            }
        };
        let kv = db.open_tree("kv").unwrap();
        kv.remove(Name::new("monitors", "", "a").unwrap().chunk_key(1))
            .unwrap();
        db.flush().unwrap();
    }
    let error = Store::open(root).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(root.join("db").exists(), "the original is kept");
    assert_eq!(databases(root), 1);
}

#[test]
fn a_damaged_value_stops_a_compaction_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    fill(&store, 1);
    store.close().unwrap();
    let place = layout::current(root).unwrap().unwrap();
    {
        let db = loop {
            if let Ok(db) = sled::open(place.directory(root)) {
                break db;
            }
        };
        let kv = db.open_tree("kv").unwrap();
        let key = Name::new("", "", "manager").unwrap().chunk_key(2);
        kv.insert(key, vec![0; 4096]).unwrap();
        db.flush().unwrap();
    }
    let store = Store::open(root).unwrap();
    let error = store.compact().unwrap_err();
    assert!(
        matches!(&error, StoreError::NotCompacted(reason) if reason.contains("checksum")),
        "{error}"
    );
    assert_eq!(databases(root), 1);
    assert!(KVStoreSync::read(&store, "", "", "manager").is_err());
    // Written over, it is whole again, and so is the store.
    KVStoreSync::write(&store, "", "", "manager", vec![1; 60_000]).unwrap();
    store.compact().unwrap();
    check(&store, 1);
}

#[test]
fn a_budget_is_a_floor_and_a_growth() {
    let budget = Budget {
        floor: 100,
        growth: 4,
    };
    assert!(!budget.is_due(100, 0));
    assert!(budget.is_due(101, 0));
    assert!(!budget.is_due(200, 50));
    assert!(budget.is_due(201, 50));
    assert!(!budget.is_overdue(400, 0));
    assert!(budget.is_overdue(404, 0));
    assert!(!Budget::default().is_due(24 * 1024 * 1024, u64::MAX));
}
