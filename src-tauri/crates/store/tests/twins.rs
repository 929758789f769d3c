//! The sled store and its SQLite twin, through the same random history, closed and opened again at random points, hold
//! the same at every step. `PILOTLIGHT_STORE_CASES=10000` makes it as many histories as you like.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use lightning::io::ErrorKind;
use lightning::util::persist::{KVStoreSync, MigratableKVStore};
use pilotlight_store::{Change, SqliteStore, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const CASES: u32 = 250;
/// Names that are prefixes of one another, few enough to collide often, and some that are refused.
const PRIMARIES: [&str; 5] = ["", "m", "monitors", "mo", "a b"];
const SECONDARIES: [&str; 4] = ["", "m", "0", "ü"];
const KEYS: [&str; 6] = ["k", "k0", "K", "manager", "", "0"];
/// Around the borders of a chunk, and far above.
const LENGTHS: [usize; 9] = [0, 1, 200, 4071, 4072, 4073, 8168, 8169, 40_000];

type Place = (&'static str, &'static str, &'static str);

#[derive(Clone, Debug)]
enum Step {
    Write(Place, usize, u8),
    Remove(Place),
    Batch(Vec<(Place, Option<(usize, u8)>)>),
    Read(Place),
    List(Place),
    RemoveLazily(Place),
    Compact,
    Reopen,
}

fn place() -> impl Strategy<Value = Place> {
    let of = |names: &'static [&'static str]| prop::sample::select(names);
    (of(&PRIMARIES), of(&SECONDARIES), of(&KEYS))
}

fn fill() -> impl Strategy<Value = (usize, u8)> {
    (prop::sample::select(&LENGTHS[..]), any::<u8>())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (place(), fill()).prop_map(|(place, (len, fill))| Step::Write(place, len, fill)),
        3 => place().prop_map(Step::Remove),
        2 => place().prop_map(Step::RemoveLazily),
        3 => prop::collection::vec((place(), prop::option::of(fill())), 0..5).prop_map(Step::Batch),
        3 => place().prop_map(Step::Read),
        2 => place().prop_map(Step::List),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

/// What a call said, as far as both must say the same.
fn said<T>(result: Result<T, lightning::io::Error>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn all(store: &impl MigratableKVStore) -> Vec<(String, String, String, Vec<u8>)> {
    let mut keys = store.list_all_keys().unwrap();
    keys.sort();
    keys.into_iter()
        .map(|(primary, secondary, key)| {
            let value = KVStoreSync::read(store, &primary, &secondary, &key).unwrap();
            (primary, secondary, key, value)
        })
        .collect()
}

fn changes(batch: &[(Place, Option<(usize, u8)>)]) -> Vec<Change> {
    batch
        .iter()
        .map(|((primary, secondary, key), change)| match change {
            Some((len, fill)) => Change::put(primary, secondary, key, vec![*fill; *len]),
            None => Change::remove(primary, secondary, key),
        })
        .collect()
}

fn live_through(steps: &[Step], work: &Path) {
    let directory = tempfile::tempdir_in(work).unwrap();
    let mut sled = Store::open(directory.path().join("sled")).unwrap();
    let mut sqlite = SqliteStore::open(directory.path()).unwrap();
    for step in steps {
        match step {
            Step::Write((primary, secondary, key), len, fill) => assert_eq!(
                said(KVStoreSync::write(
                    &sled,
                    primary,
                    secondary,
                    key,
                    vec![*fill; *len]
                )),
                said(KVStoreSync::write(
                    &sqlite,
                    primary,
                    secondary,
                    key,
                    vec![*fill; *len]
                )),
            ),
            Step::Remove((primary, secondary, key)) => assert_eq!(
                said(KVStoreSync::remove(&sled, primary, secondary, key, false)),
                said(KVStoreSync::remove(&sqlite, primary, secondary, key, false)),
            ),
            // The sled store may leave it for later; a write after it or closing makes the two equal again.
            Step::RemoveLazily((primary, secondary, key)) => {
                assert_eq!(
                    said(KVStoreSync::remove(&sled, primary, secondary, key, true)),
                    said(KVStoreSync::remove(&sqlite, primary, secondary, key, true)),
                );
                let (fill, place) = (vec![1; 10], ("m", "after", "lazy"));
                KVStoreSync::write(&sled, place.0, place.1, place.2, fill.clone()).unwrap();
                KVStoreSync::write(&sqlite, place.0, place.1, place.2, fill).unwrap();
            }
            Step::Batch(batch) => assert_eq!(
                sled.durable_batch(changes(batch)),
                sqlite.durable_batch(changes(batch)),
            ),
            Step::Read((primary, secondary, key)) => assert_eq!(
                said(KVStoreSync::read(&sled, primary, secondary, key)),
                said(KVStoreSync::read(&sqlite, primary, secondary, key)),
            ),
            Step::List((primary, secondary, _)) => {
                let sorted = |mut keys: Vec<String>| {
                    keys.sort();
                    keys
                };
                assert_eq!(
                    said(KVStoreSync::list(&sled, primary, secondary)).map(sorted),
                    said(KVStoreSync::list(&sqlite, primary, secondary)).map(sorted),
                );
            }
            Step::Compact => drop(sled.compact().unwrap()),
            Step::Reopen => {
                drop(sled);
                drop(sqlite);
                sled = Store::open(directory.path().join("sled")).unwrap();
                sqlite = SqliteStore::open(directory.path()).unwrap();
                assert_eq!(all(&sled), all(&sqlite));
            }
        }
    }
    assert_eq!(all(&sled), all(&sqlite));
    drop(sled);
    let sled = Store::open(directory.path().join("sled")).unwrap();
    assert_eq!(all(&sled), all(&sqlite));
}

#[test]
fn sled_and_sqlite_hold_the_same() {
    let cases = std::env::var("PILOTLIGHT_STORE_CASES")
        .map_or(CASES, |cases| cases.parse().expect("a number of cases"));
    // In memory where that is offered: this is about what is kept, not how long it takes.
    let memory = PathBuf::from("/dev/shm");
    let work = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    });
    runner
        .run(&prop::collection::vec(step(), 1..25), |steps| {
            live_through(&steps, &work);
            Ok(())
        })
        .unwrap();
}
