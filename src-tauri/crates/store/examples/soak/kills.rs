//! A child process writes and says what was acknowledged; it is killed at a random moment; everything
//! acknowledged must be there afterwards, whole. The store compacts all the while.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lightning::io::ErrorKind;
use lightning::util::persist::KVStoreSync;
use pilotlight_store::{Budget, Change, Options, Store};
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::load::{SLOTS, TOGETHER, len_of, live_bytes, number_of, value};

/// Small, so that every child compacts several times and some are killed while they do.
const BUDGET: Budget = Budget {
    floor: 3 * 1024 * 1024,
    growth: 2,
};
/// A child has opened the store by then, on a busy machine too, and compacted it a few times by the latest.
const MOMENTS_MS: std::ops::Range<u64> = 20..220;

/// What came of it.
#[derive(Debug, Default)]
pub struct Count {
    pub kills: u64,
    pub acknowledged: u64,
    pub lost: u64,
    pub torn: u64,
    pub failed_opens: u64,
    pub compactions: u64,
    pub kills_in_compaction: u64,
    pub blobs: u64,
    /// The largest the store ever was between two children.
    pub largest: u64,
    /// Its size at the end, compacted.
    pub size: u64,
    pub live: u64,
    /// The first few things that went wrong, in words.
    pub wrong: Vec<String>,
}

impl Count {
    pub fn is_whole(&self) -> bool {
        self.lost + self.torn + self.failed_opens + self.blobs == 0
    }

    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = json!({
            "kills": self.kills,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "torn": self.torn,
            "failed_opens": self.failed_opens,
            "compactions": self.compactions,
            "kills_in_compaction": self.kills_in_compaction,
            "blobs": self.blobs,
            "largest": self.largest,
            "size": self.size,
            "live": self.live,
            "wrong": self.wrong,
        });
        value.as_object().cloned().unwrap_or_default()
    }

    fn tell(&mut self, what: String) {
        if self.wrong.len() < 5 {
            self.wrong.push(what);
        }
    }
}

/// What is known of a key: the last write that was acknowledged, and whether its removal was.
#[derive(Clone, Copy, Default)]
struct Known {
    number: u64,
    removed: bool,
}

/// Kills so many children that work on the store in `directory`.
pub fn run(directory: &Path, kills: u64, seed: u64, child: &dyn Fn() -> Command) -> Count {
    let mut count = Count::default();
    let mut moments = rand::rngs::StdRng::seed_from_u64(seed);
    let mut known = BTreeMap::new();
    for _ in 0..kills {
        let after = Duration::from_millis(moments.gen_range(MOMENTS_MS));
        let (lines, killed) = kill_one(&mut child(), after);
        count.kills += 1;
        if !killed {
            count.failed_opens += 1;
            count.tell("a child ended by itself".to_owned());
        }
        for line in lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["compacted", "."] => count.compactions += 1,
                ["written" | "removed", key, number, "."] => {
                    let removed = line.starts_with("removed");
                    let number = number.parse().expect("the line is whole");
                    known.insert(key.to_owned(), Known { number, removed });
                    count.acknowledged += 1;
                }
                // The test harness's own lines, and a last one that was cut.
                _ => {}
            }
        }
        count.kills_in_compaction += u64::from(databases(directory).count() > 1);
        match Store::open(directory) {
            Ok(store) => {
                check(&store, &known, &mut count);
                count.largest = count.largest.max(store.size_on_disk().unwrap_or(u64::MAX));
                count.blobs += blobs(directory);
            }
            Err(error) => {
                count.failed_opens += 1;
                count.tell(error.to_string());
            }
        }
    }
    if let Ok(store) = Store::open(directory) {
        if let Err(error) = store.compact() {
            count.tell(error.to_string());
        }
        check(&store, &known, &mut count);
        count.size = store.size_on_disk().unwrap_or(u64::MAX);
        count.live = live_bytes(&store);
    }
    count
}

fn kill_one(child: &mut Command, after: Duration) -> (Vec<String>, bool) {
    let mut child = child
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child is this program");
    let output = BufReader::new(child.stdout.take().expect("its stdout is a pipe"));
    let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect());
    std::thread::sleep(after);
    child.kill().expect("the child writes until it is killed");
    let ended = child.wait().expect("a killed child ends");
    let lines = reader.join().expect("reading lines does not panic");
    // Without a code it was a signal, and that was ours.
    (lines, ended.code().is_none())
}

fn check(store: &Store, known: &BTreeMap<String, Known>, count: &mut Count) {
    let together: Vec<_> = TOGETHER
        .iter()
        .filter(|_| known.contains_key("together"))
        .map(|(primary, key, len)| {
            KVStoreSync::read(store, primary, "", key)
                .ok()
                .and_then(|found| number_of(&found, |_| *len))
        })
        .collect();
    if together.windows(2).any(|pair| pair[0] != pair[1]) {
        count.torn += 1;
        count.tell(format!("half a batch: {together:?}"));
    }
    for (key, known) in known {
        if key == "together" {
            if together[0].is_none_or(|number| number < known.number) {
                count.lost += 1;
                count.tell(format!("batch {} is lost: {together:?}", known.number));
            }
            continue;
        }
        match KVStoreSync::read(store, "updates", "", key) {
            Ok(found) => match number_of(&found, len_of) {
                None => {
                    count.torn += 1;
                    count.tell(format!("{key} is torn"));
                }
                Some(number) if number < known.number || (number == known.number && known.removed) => {
                    count.lost += 1;
                    count.tell(format!("{key} is {number}, {} was acknowledged", known.number));
                }
                Some(_) => {}
            },
            // Its removal may have been done and not said.
            Err(error)
                if error.kind() == ErrorKind::NotFound && (known.removed || is_removed(known.number)) => {}
            Err(error) => {
                count.lost += 1;
                count.tell(format!("{key}: {error}"));
            }
        }
    }
}

fn is_removed(number: u64) -> bool {
    number.is_multiple_of(4)
}

fn blobs(directory: &Path) -> u64 {
    databases(directory)
        .map(|database| std::fs::read_dir(database.join("blobs")).map_or(0, |blobs| blobs.count() as u64))
        .sum()
}

/// A killed compaction leaves two.
fn databases(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// The child: two threads of single writes and removals, one of batches, and one that compacts.
pub fn write_until_killed(directory: &Path) -> ! {
    let options = Options {
        budget: BUDGET,
        ..Options::default()
    };
    let store = Store::open_with(directory, options).expect("the parent has let go of the store");
    let first = store.generation().expect("it was just opened") + 1;
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let store = &store;
            scope.spawn(move || write_and_remove(store, name, first));
        }
        scope.spawn(|| {
            for number in first.. {
                let changes = TOGETHER
                    .iter()
                    .map(|(primary, key, len)| Change::put(primary, "", key, value(number, *len)))
                    .collect();
                store
                    .durable_batch(changes)
                    .expect("nothing is wrong with the disk");
                say(&format!("written together {number} ."));
            }
        });
        loop {
            let done = store.compact_if_due().expect("nothing is wrong with the disk");
            if done.is_some() {
                say("compacted .");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

fn write_and_remove(store: &Store, name: &str, first: u64) {
    for number in first.. {
        let key = format!("{name}{}", number % SLOTS);
        KVStoreSync::write(store, "updates", "", &key, value(number, len_of(number)))
            .expect("nothing is wrong with the disk");
        say(&format!("written {key} {number} ."));
        if is_removed(number) {
            KVStoreSync::remove(store, "updates", "", &key, false).expect("nothing is wrong with the disk");
            say(&format!("removed {key} {number} ."));
        }
    }
}

/// One line at once: a kill may cut it, and the final dot says whether it did.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}
