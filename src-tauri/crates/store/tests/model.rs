//! The store against a plain map: random operations, closed and opened again at random points.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use lightning::io::ErrorKind;
use lightning::util::persist::KVStoreSync;
use pilotlight_store::{Change, Store};
use proptest::prelude::*;

/// Namespaces and keys that are prefixes of one another, few enough to collide often.
const NAMESPACES: [(&str, &str); 5] = [
    ("", ""),
    ("m", ""),
    ("m", "a"),
    ("ma", ""),
    ("monitor_updates", "m"),
];
const KEYS: [&str; 4] = ["k", "k0", "1", "manager"];
/// Around the borders of a chunk, and far above.
const LENGTHS: [usize; 8] = [0, 1, 200, 4071, 4072, 4073, 12_000, 70_000];

type Place = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    Write(Place, usize, u8),
    Remove(Place),
    RemoveLazily(Place),
    Batch(Vec<(Place, Option<(usize, u8)>)>),
    Reopen,
    Check,
}

fn place() -> impl Strategy<Value = Place> {
    (0..NAMESPACES.len(), 0..KEYS.len())
}

fn length() -> impl Strategy<Value = usize> {
    prop::sample::select(&LENGTHS[..])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (place(), length(), any::<u8>()).prop_map(|(place, len, fill)| Step::Write(place, len, fill)),
        2 => place().prop_map(Step::Remove),
        2 => place().prop_map(Step::RemoveLazily),
        2 => prop::collection::vec((place(), prop::option::of((length(), any::<u8>()))), 0..6).prop_map(Step::Batch),
        1 => Just(Step::Reopen),
        1 => Just(Step::Check),
    ]
}

#[derive(Default)]
struct Model {
    values: BTreeMap<Place, Vec<u8>>,
    /// Removed lazily: until the next write or a clean close the old value may still be seen.
    fading: BTreeMap<Place, Vec<u8>>,
}

fn names((namespace, key): Place) -> (&'static str, &'static str, &'static str) {
    (NAMESPACES[namespace].0, NAMESPACES[namespace].1, KEYS[key])
}

fn check(store: &Store, model: &Model) {
    for (namespace, (primary, secondary)) in NAMESPACES.into_iter().enumerate() {
        let listed = KVStoreSync::list(store, primary, secondary).unwrap();
        for (key, name) in KEYS.iter().enumerate() {
            let place = (namespace, key);
            let read = match KVStoreSync::read(store, primary, secondary, name) {
                Ok(value) => Some(value),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => panic!("{error}"),
            };
            let is_listed = listed.iter().any(|listed| listed == name);
            if let Some(old) = model.fading.get(&place) {
                assert!(read.is_none() || read.as_ref() == Some(old));
            } else {
                assert_eq!(read.as_ref(), model.values.get(&place));
                assert_eq!(is_listed, read.is_some());
            }
        }
        assert!(listed.iter().all(|listed| KEYS.contains(&listed.as_str())));
    }
}

fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Write(place, len, fill) => {
                let (primary, secondary, key) = names(place);
                KVStoreSync::write(&store, primary, secondary, key, vec![fill; len]).unwrap();
                model.values.insert(place, vec![fill; len]);
                // What was removed lazily went with this write.
                model.fading.clear();
            }
            Step::Remove(place) => {
                let (primary, secondary, key) = names(place);
                KVStoreSync::remove(&store, primary, secondary, key, false).unwrap();
                model.values.remove(&place);
                model.fading.clear();
            }
            Step::RemoveLazily(place) => {
                let (primary, secondary, key) = names(place);
                KVStoreSync::remove(&store, primary, secondary, key, true).unwrap();
                if let Some(old) = model.values.remove(&place) {
                    model.fading.insert(place, old);
                }
            }
            Step::Batch(changes) => {
                let mut batch = Vec::new();
                for (place, change) in changes {
                    let (primary, secondary, key) = names(place);
                    if let Some((len, fill)) = change {
                        batch.push(Change::put(primary, secondary, key, vec![fill; len]));
                        model.values.insert(place, vec![fill; len]);
                    } else {
                        batch.push(Change::remove(primary, secondary, key));
                        model.values.remove(&place);
                    }
                }
                store.durable_batch(batch).unwrap();
                model.fading.clear();
            }
            Step::Reopen => {
                let before = store.generation().unwrap();
                drop(store);
                store = Store::open(directory.path()).unwrap();
                assert!(store.generation().unwrap() >= before);
                model.fading.clear();
                check(&store, &model);
            }
            Step::Check => check(&store, &model),
        }
    }
    check(&store, &model);
    assert!(no_blobs(directory.path()));
}

/// sled never moved a value into a blob file.
fn no_blobs(path: &std::path::Path) -> bool {
    std::fs::read_dir(path.join("db-1/blobs")).map_or(true, |mut blobs| blobs.next().is_none())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_store_behaves_like_a_map(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

/// The load that made 101 blob files with plain sled: a large value, written over and over, among others.
#[test]
fn large_values_never_become_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for round in 0..60u8 {
        KVStoreSync::write(&store, "", "", "manager", vec![round; 200_000]).unwrap();
        KVStoreSync::write(&store, "monitors", "", "abc", vec![round; 40_000]).unwrap();
        KVStoreSync::write(
            &store,
            "monitor_updates",
            "abc",
            &round.to_string(),
            vec![round; 900],
        )
        .unwrap();
    }
    KVStoreSync::write(&store, "", "", "graph", vec![1; 7_000_000]).unwrap();
    assert!(no_blobs(directory.path()));
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert!(no_blobs(directory.path()));
    assert_eq!(
        KVStoreSync::read(&store, "", "", "manager").unwrap(),
        vec![59; 200_000]
    );
    assert_eq!(
        KVStoreSync::read(&store, "", "", "graph").unwrap(),
        vec![1; 7_000_000]
    );
    assert_eq!(
        KVStoreSync::list(&store, "monitor_updates", "abc").unwrap().len(),
        60
    );
    assert!(store.size_on_disk().unwrap() > 7_000_000);
}

/// Readers beside a writer see whole values, old or new.
#[test]
fn a_reader_never_sees_half_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    KVStoreSync::write(&store, "m", "", "k", vec![0; 60_000]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=80u8 {
                let len = 20_000 + usize::from(round) * 700;
                KVStoreSync::write(&store, "m", "", "k", vec![round; len]).unwrap();
            }
        });
        let mut reads = 0;
        let mut last = 0;
        while !writer.is_finished() {
            let value = KVStoreSync::read(&store, "m", "", "k").unwrap();
            assert!(value.iter().all(|byte| *byte == value[0]));
            assert!(value[0] >= last, "a write was seen and then unseen");
            last = value[0];
            reads += 1;
        }
        assert!(reads > 0);
    });
}
