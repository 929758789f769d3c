//! Group commit and lazy removals: what waits together is written together, and the last word counts.

#![allow(clippy::unwrap_used)]

use lightning::io::ErrorKind;
use lightning::util::persist::{KVStore, KVStoreSync};
use pilotlight_store::{Change, Store, StoreError};

#[test]
fn many_waiting_writes_share_a_flush() {
    const WRITES: u64 = 400;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let before = store.generation().unwrap();
    let writes: Vec<_> = (0..WRITES)
        .map(|n| KVStore::write(&store, "a", "", &n.to_string(), vec![1; 500]))
        .collect();
    for write in writes {
        runtime.block_on(write).unwrap();
    }
    // Each batch, and so each flush, raises the generation by one.
    let batches = store.generation().unwrap() - before;
    assert!(
        (1..=WRITES / 4).contains(&batches),
        "{batches} batches for {WRITES} writes"
    );
    assert_eq!(
        KVStoreSync::list(&store, "a", "").unwrap().len(),
        usize::try_from(WRITES).unwrap()
    );
}

#[test]
fn a_lazy_removal_costs_no_flush_and_rides_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    KVStoreSync::write(&store, "a", "", "old", vec![1; 9000]).unwrap();
    let before = store.generation().unwrap();
    KVStoreSync::remove(&store, "a", "", "old", true).unwrap();
    KVStoreSync::write(&store, "a", "", "new", vec![2]).unwrap();
    assert_eq!(store.generation().unwrap(), before + 1);
    assert_eq!(KVStoreSync::list(&store, "a", "").unwrap(), ["new"]);
}

#[test]
fn a_later_write_cancels_a_lazy_removal() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    KVStoreSync::write(&store, "a", "", "k", vec![1]).unwrap();
    KVStoreSync::remove(&store, "a", "", "k", true).unwrap();
    KVStoreSync::write(&store, "a", "", "k", vec![2]).unwrap();
    KVStoreSync::write(&store, "a", "", "other", vec![3]).unwrap();
    assert_eq!(KVStoreSync::read(&store, "a", "", "k").unwrap(), [2]);
    store.close().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(KVStoreSync::read(&store, "a", "", "k").unwrap(), [2]);
}

#[test]
fn lazy_removals_do_not_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let puts = (0..400)
        .map(|n| Change::put("a", "", &n.to_string(), vec![1]))
        .collect();
    store.durable_batch(puts).unwrap();
    for n in 0..400 {
        KVStoreSync::remove(&store, "a", "", &n.to_string(), true).unwrap();
    }
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while KVStoreSync::list(&store, "a", "").unwrap().len() > 200 {
        assert!(std::time::Instant::now() < until, "no removal was written");
        std::thread::yield_now();
    }
}

#[test]
fn a_batch_with_one_bad_name_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let refused = store.durable_batch(vec![
        Change::put("a", "", "k", vec![1]),
        Change::put("a", "", "", vec![2]),
    ]);
    assert!(matches!(refused, Err(StoreError::InvalidName { .. })));
    assert_eq!(
        KVStoreSync::read(&store, "a", "", "k").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // The last change of a key counts, and an empty batch is fine.
    store
        .durable_batch(vec![
            Change::put("a", "", "k", vec![1]),
            Change::remove("a", "", "k"),
            Change::put("a", "", "k", vec![3]),
        ])
        .unwrap();
    assert_eq!(KVStoreSync::read(&store, "a", "", "k").unwrap(), [3]);
    store.durable_batch(Vec::new()).unwrap();
}

/// A disk that takes no more, as the system's limit on file sizes plays it: the writer is told, nothing is
/// served any more, and what was acknowledged is there after opening again.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let child = std::process::Command::new("sh")
        // 512-byte blocks: 4 MiB. The child ignores SIGXFSZ because the shell does.
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 8192; exec \"$0\" --exact child_fills_the_disk --ignored --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("PILOTLIGHT_STORE_TEST_DIRECTORY", directory.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&child.stderr)
    );
    let acknowledged: u32 = said
        .split_once("acknowledged ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(acknowledged > 3, "the limit was hit too early to say anything");

    let store = Store::open(directory.path()).unwrap();
    for n in 0..acknowledged {
        let value = KVStoreSync::read(&store, "a", "", &n.to_string()).unwrap();
        assert_eq!(
            value,
            n.to_be_bytes().repeat(25_000),
            "value {n} of {acknowledged}"
        );
    }
    KVStoreSync::write(&store, "a", "", "after", vec![1]).unwrap();
}

#[cfg(unix)]
#[test]
#[ignore = "the child of a_full_disk_is_told_and_loses_nothing"]
fn child_fills_the_disk() {
    let directory = std::env::var_os("PILOTLIGHT_STORE_TEST_DIRECTORY").expect("only started by its parent");
    let store = Store::open(directory).unwrap();
    for n in 0..1000u32 {
        if let Err(error) =
            KVStoreSync::write(&store, "a", "", &n.to_string(), n.to_be_bytes().repeat(25_000))
        {
            assert!(
                matches!(StoreError::find(&error), Some(StoreError::Failed(_))),
                "{error}"
            );
            let read = KVStoreSync::read(&store, "a", "", "0").unwrap_err();
            assert!(
                matches!(StoreError::find(&read), Some(StoreError::Failed(_))),
                "{read}"
            );
            assert!(matches!(store.close(), Err(StoreError::Failed(_))));
            println!("acknowledged {n}");
            return;
        }
    }
    panic!("100 MB went into a 4 MB disk");
}
