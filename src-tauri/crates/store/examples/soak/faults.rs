//! Damages the files of a store in every way a number stands for, and judges how the store takes it: it may serve
//! exactly what was acknowledged, or report the damage. Nothing else.
//!
//! The cases run in a child process, so that one that ends the process or never ends is a count and not the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lightning::util::persist::{KVStoreSync, MigratableKVStore};
use pilotlight_store::{Capsules, Change, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::load::{len_of, value};

/// Longer than this nobody may wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// As many different stores are damaged, each in many ways.
const TEMPLATES: u64 = 8;

/// What came of it.
#[derive(Debug, Default)]
pub struct Count {
    pub cases: u64,
    /// Everything acknowledged was there.
    pub served: u64,
    /// The damage was told: by the open, or by the read that met it.
    pub reported: u64,
    /// Something was there that was not acknowledged last, or was missing without a word.
    pub wrong: u64,
    /// A panic reached the caller, or the process ended.
    pub escaped: u64,
    /// No answer within five seconds.
    pub hung: u64,
    /// Of the reports, those after which a capsule brought everything back.
    pub recovered: u64,
    /// The slowest answer, in milliseconds.
    pub slowest_ms: u64,
    /// Of the reports, those that an open ended at its time limit.
    pub timed_out: u64,
    /// The first few cases that went wrong.
    pub bad: Vec<String>,
}

impl Count {
    pub fn is_whole(&self) -> bool {
        self.wrong + self.escaped + self.hung == 0 && self.served + self.reported == self.cases
    }

    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "cases": self.cases,
            "served": self.served,
            "reported": self.reported,
            "wrong": self.wrong,
            "escaped": self.escaped,
            "hung": self.hung,
            "recovered": self.recovered,
            "slowest_ms": self.slowest_ms,
            "timed_out": self.timed_out,
            "bad": self.bad,
        })
    }

    fn tell(&mut self, line: &str) {
        if self.bad.len() < 10 {
            self.bad.push(line.to_owned());
        }
    }
}

/// Judges so many cases, in as many children as it takes.
pub fn run(first: u64, cases: u64, child: &dyn Fn(u64, u64) -> Command) -> Count {
    let mut count = Count::default();
    let mut next = first;
    let end = first + cases;
    while next < end {
        let mut running = child(next, end - next)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child is this program");
        let output = BufReader::new(running.stdout.take().expect("its stdout is a pipe"));
        let before = next;
        for line in output.lines().map_while(Result::ok) {
            let Some((_, verdict)) = line.split_once("case ") else {
                continue;
            };
            let [number, verdict, took, what] = verdict.splitn(4, ' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            next = number.parse::<u64>().expect("the child counts") + 1;
            count.cases += 1;
            let took: u64 = took.parse().unwrap_or(u64::MAX);
            count.slowest_ms = count.slowest_ms.max(took);
            match verdict {
                "served" => count.served += 1,
                "reported" => count.reported += 1,
                "recovered" => {
                    count.reported += 1;
                    count.recovered += 1;
                }
                "wrong" => count.wrong += 1,
                _ => count.escaped += 1,
            }
            if what.contains("did not open within") {
                count.timed_out += 1;
            }
            if u128::from(took) > PATIENCE.as_millis() {
                count.hung += 1;
            }
            if !matches!(verdict, "served" | "reported" | "recovered")
                || u128::from(took) > PATIENCE.as_millis()
            {
                count.tell(&line);
            }
        }
        let ended = running.wait().expect("the child ends by itself");
        if !ended.success() {
            count.cases += 1;
            count.escaped += 1;
            count.tell(&format!("case {next} ended the process: {ended}"));
            next += 1;
        } else if next == before {
            count.tell("a child did nothing");
            break;
        }
    }
    count
}

/// The child: judges cases until one leaves a thread behind that does not end, or all are done.
pub fn judge(directory: &Path, first: u64, cases: u64) {
    std::panic::set_hook(Box::new(|_| {}));
    let templates: Vec<_> = (0..TEMPLATES)
        .map(|number| Template::make(&directory.join(format!("template-{number}")), number))
        .collect();
    for number in first..first + cases {
        let template = &templates[usize::try_from(number % TEMPLATES).expect("there are few")];
        let place = directory.join("case");
        copy(&template.path, &place);
        let mut random = StdRng::seed_from_u64(number);
        let fault = hurt(&place, &mut random);
        let begun = Instant::now();
        let verdict = std::panic::catch_unwind(|| template.judge(&place));
        let took = begun.elapsed().as_millis();
        let (verdict, what) = match verdict {
            Ok(Verdict::Served) => ("served", String::new()),
            // The thread of an open without end holds on to the directory; only a new process could go on.
            Ok(Verdict::Reported(what)) if what.contains("did not open within") => ("reported", what),
            Ok(Verdict::Reported(what)) => match template.recover(&place) {
                Ok(()) => ("recovered", what),
                Err(failure) => ("wrong", format!("{what}; not restored: {failure}")),
            },
            Ok(Verdict::Wrong(what)) => ("wrong", what),
            Err(_) => ("panicked", String::new()),
        };
        let mut out = std::io::stdout().lock();
        let what = what.replace('\n', " ");
        let _ = writeln!(out, "case {number} {verdict} {took} {fault}: {what}");
        let _ = out.flush();
        drop(out);
        if what.contains("did not open within") {
            // A thread of sled's may spin for ever. The next cases get a process without it.
            std::process::exit(0);
        }
        let _ = fs::remove_dir_all(&place);
    }
}

enum Verdict {
    Served,
    Reported(String),
    Wrong(String),
}

type Values = BTreeMap<(String, String, String), Vec<u8>>;

/// A store, and what was acknowledged in it.
struct Template {
    path: PathBuf,
    capsules: Capsules,
    values: Values,
}

impl Template {
    /// Some are closed in order, some left as a kill would leave them; some were compacted before.
    fn make(path: &Path, number: u64) -> Self {
        let _ = fs::remove_dir_all(path);
        let work = path.with_extension("work");
        let _ = fs::remove_dir_all(&work);
        let mut values = Values::new();
        let store = Store::open(&work).expect("an empty directory can be opened");
        for write in 1..120 + number * 30 {
            let (primary, key) = match write % 5 {
                0 => ("", "manager".to_owned()),
                1 => ("monitors", format!("m{}", write % 3)),
                _ => ("updates", format!("u{}", write % 60)),
            };
            let place = (primary.to_owned(), String::new(), key.clone());
            if write % 17 == 0 {
                KVStoreSync::remove(&store, primary, "", &key, false).expect("the disk works");
                values.remove(&place);
            } else {
                let bytes = value(write, len_of(write));
                store
                    .durable_batch(vec![Change::put(primary, "", &key, bytes.clone())])
                    .expect("the disk works");
                values.insert(place, bytes);
            }
            if number % 4 == 3 && write == 100 {
                store.compact().expect("the disk works");
            }
        }
        let capsules = Capsules::new(path.with_extension("capsules"), &[1; 32]);
        capsules.write(&store).expect("the disk works");
        if number.is_multiple_of(2) {
            store.close().expect("the disk works");
        }
        copy(&work, path);
        drop(store);
        let _ = fs::remove_dir_all(&work);
        Self {
            path: path.to_owned(),
            capsules,
            values,
        }
    }

    fn judge(&self, place: &Path) -> Verdict {
        let store = match Store::open(place) {
            Ok(store) => store,
            Err(error) => return Verdict::Reported(error.to_string()),
        };
        match self.compare(&store) {
            Verdict::Served => {}
            other => return other,
        }
        // It goes on: one more write, and everything must still be there after opening again.
        let extra = Change::put("updates", "", "extra", vec![7; 5000]);
        if let Err(error) = store.durable_batch(vec![extra]).and_then(|()| store.close()) {
            return Verdict::Reported(format!("while writing: {error}"));
        }
        drop(store);
        let store = match Store::open(place) {
            Ok(store) => store,
            Err(error) => return Verdict::Reported(format!("at the second open: {error}")),
        };
        match KVStoreSync::read(&store, "updates", "", "extra") {
            Ok(bytes) if bytes == vec![7; 5000] => {}
            Ok(_) => return Verdict::Wrong("the new value is another".to_owned()),
            Err(error) if error.kind() == lightning::io::ErrorKind::NotFound => {
                return Verdict::Wrong("the new value is gone".to_owned());
            }
            Err(error) => return Verdict::Reported(error.to_string()),
        }
        KVStoreSync::remove(&store, "updates", "", "extra", false).map_or_else(
            |error| Verdict::Reported(error.to_string()),
            |()| self.compare(&store),
        )
    }

    /// Restores the damaged store from its capsule.
    fn recover(&self, place: &Path) -> Result<(), String> {
        self.capsules
            .restore(place, None)
            .map_err(|error| error.to_string())?;
        let store = Store::open(place).map_err(|error| error.to_string())?;
        match self.compare(&store) {
            Verdict::Served => Ok(()),
            Verdict::Reported(what) | Verdict::Wrong(what) => Err(what),
        }
    }

    fn compare(&self, store: &Store) -> Verdict {
        for ((primary, secondary, key), value) in &self.values {
            match KVStoreSync::read(store, primary, secondary, key) {
                Ok(found) if found == *value => {}
                Ok(_) => return Verdict::Wrong(format!("{primary}/{key} is another")),
                Err(error) if error.kind() == lightning::io::ErrorKind::NotFound => {
                    return Verdict::Wrong(format!("{primary}/{key} is gone without a word"));
                }
                Err(error) => return Verdict::Reported(error.to_string()),
            }
        }
        match store.list_all_keys() {
            Ok(keys) if keys.len() == self.values.len() => Verdict::Served,
            Ok(keys) => Verdict::Wrong(format!("{} keys, not {}", keys.len(), self.values.len())),
            Err(error) => Verdict::Reported(error.to_string()),
        }
    }
}

/// One fault, by chance. Says what it did.
fn hurt(place: &Path, random: &mut StdRng) -> String {
    let files = files_below(place);
    // sled's own file is where the money is; the others get their share.
    let main = files
        .iter()
        .find(|file| file.file_name().is_some_and(|name| name == "db"));
    let file = match main {
        Some(main) if random.gen_bool(0.7) => main,
        _ => &files[random.gen_range(0..files.len())],
    };
    let name = file.strip_prefix(place).unwrap_or(file).display().to_string();
    let mut bytes = fs::read(file).expect("the copy can be read");
    if bytes.is_empty() || random.gen_bool(0.06) {
        fs::remove_file(file).expect("the copy can be removed");
        return format!("removed {name}");
    }
    let at = random.gen_range(0..bytes.len());
    let said = match random.gen_range(0..10) {
        0..3 => {
            bytes.truncate(at);
            format!("cut {name} at {at}")
        }
        3..7 => {
            let flips = random.gen_range(1..=8);
            for _ in 0..flips {
                let at = random.gen_range(0..bytes.len());
                bytes[at] ^= 1 << random.gen_range(0..8);
            }
            format!("flipped {flips} bits in {name}")
        }
        7 => {
            let len = random.gen_range(1..64).min(bytes.len() - at);
            random.fill(&mut bytes[at..at + len]);
            format!("scribbled {len} bytes over {name} at {at}")
        }
        8 => {
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            format!("zeroed a block of {name} at {at}")
        }
        _ => {
            let from = random.gen_range(0..bytes.len());
            let len = 4096.min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
            format!("copied a block of {name} from {from} to {at}")
        }
    };
    fs::write(file, bytes).expect("the copy can be written");
    said
}

fn files_below(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).expect("the copy can be listed").flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("there is space");
    for entry in fs::read_dir(from).expect("the template is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("there is space");
        }
    }
}
