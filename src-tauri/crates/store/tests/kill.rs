//! A child process writes and says what was acknowledged; it is killed at a random moment; everything
//! acknowledged must be there afterwards, whole.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use lightning::util::persist::KVStoreSync;
use pilotlight_store::{Change, Store};

const CHILD_DIRECTORY: &str = "PILOTLIGHT_STORE_TEST_DIRECTORY";
const ROUNDS: u64 = 40;
/// A monitor, a manager and a payment are changed together and must never be apart.
const TOGETHER: [(&str, &str, usize); 3] = [
    ("monitors", "abc", 30_000),
    ("", "manager", 41_000),
    ("payments", "p", 300),
];

/// A value that says which write it belongs to, and is wrong if any part of it is from another.
fn value(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn number_of(value: &[u8]) -> u64 {
    let number = u64::from_be_bytes(*value.first_chunk().unwrap());
    assert!(
        value.chunks_exact(8).all(|part| part == number.to_be_bytes()),
        "a torn value"
    );
    number
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    // A cheap sequence of moments; the time it takes until the kill differs from run to run anyway.
    let mut moment = u64::from(std::process::id());
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let mut lines_seen = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIRECTORY, directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
        moment = moment
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(40 + (moment >> 33) % 160));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            if let Some((key, number)) = line
                .strip_prefix("acknowledged ")
                .and_then(|rest| rest.split_once(' '))
            {
                // The last line may be cut; then its number is too small, which only asks for less.
                let number = number.parse().unwrap_or(0);
                let known = acknowledged.entry(key.to_owned()).or_default();
                *known = number.max(*known);
                lines_seen += 1;
            }
        }

        let store = Store::open(directory.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let together: Vec<u64> = TOGETHER
            .iter()
            .filter(|_| acknowledged.contains_key("together"))
            .map(|(primary, key, _)| number_of(&KVStoreSync::read(&store, primary, "", key).unwrap()))
            .collect();
        assert!(
            together.windows(2).all(|pair| pair[0] == pair[1]),
            "half a batch: {together:?}"
        );
        if let Some(number) = together.first() {
            assert!(
                *number >= acknowledged["together"],
                "lost a batch in round {round}"
            );
        }
        for (key, number) in &acknowledged {
            if key != "together" {
                let found = number_of(&KVStoreSync::read(&store, "updates", "", key).unwrap());
                assert!(found >= *number, "lost write {number} of {key} in round {round}");
            }
        }
    }
    assert!(
        lines_seen > ROUNDS,
        "the children wrote only {lines_seen} times: the test tested nothing"
    );
    let blobs = std::fs::read_dir(directory.path().join("db-1/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}

#[test]
#[ignore = "the child of nothing_acknowledged_is_lost_when_the_process_is_killed"]
fn child_writes_until_it_is_killed() {
    let directory = std::env::var_os(CHILD_DIRECTORY).expect("only started by its parent");
    let store = Store::open(directory).unwrap();
    let first = store.generation().unwrap() + 1;
    std::thread::scope(|scope| {
        // Two threads of single writes and one of batches, so that the kill meets group commits.
        for key in ["one", "two"] {
            let store = &store;
            scope.spawn(move || {
                for number in first.. {
                    let len = 100 + usize::try_from(number % 7).unwrap() * 1500;
                    KVStoreSync::write(store, "updates", "", key, value(number, len)).unwrap();
                    println!("acknowledged {key} {number}");
                }
            });
        }
        for number in first.. {
            let changes = TOGETHER
                .iter()
                .map(|(primary, key, len)| Change::put(primary, "", key, value(number, *len)))
                .collect();
            store.durable_batch(changes).unwrap();
            println!("acknowledged together {number}");
        }
    });
}
