//! How fast the store is, and how fast its SQLite twin, side by side in one run. Prints JSON.
//!
//! ```text
//! cargo run --release -p pilotlight-store --example store-bench
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use lightning::util::persist::KVStoreSync;
use pilotlight_store::{Change, SqliteStore, Store};
use serde_json::{Value, json};

/// About what LDK writes for one step of a channel.
const VALUE_LEN: usize = 904;
/// As many keys each writer has.
const KEYS: u64 = 64;
const WRITERS: [usize; 3] = [1, 8, 32];
const SIZES_MB: [usize; 2] = [5, 50];
/// Rounds in turn, so that a slow moment of the machine hits both stores.
const ROUNDS: usize = 3;
const OPENS: usize = 5;

/// Measures the store and its SQLite twin.
#[derive(Parser)]
struct Args {
    /// Writes to take the latency of.
    #[arg(long, default_value_t = 600)]
    puts: usize,
    /// How long each number of writers writes, in milliseconds per round.
    #[arg(long, default_value_t = 1000)]
    span_ms: u64,
    /// Where to work; a temporary directory if not given. In memory the figures mean little.
    #[arg(long)]
    directory: Option<std::path::PathBuf>,
}

/// What is measured of both.
trait Subject: KVStoreSync + Sync + Sized {
    const NAME: &str;
    fn open_in(directory: &Path) -> Self;
    fn fill(&self, changes: Vec<Change>);
}

impl Subject for Store {
    const NAME: &str = "sled";
    fn open_in(directory: &Path) -> Self {
        Self::open(directory.join("sled")).expect("the directory is ours")
    }
    fn fill(&self, changes: Vec<Change>) {
        self.durable_batch(changes).expect("the disk works");
    }
}

impl Subject for SqliteStore {
    const NAME: &str = "sqlite";
    fn open_in(directory: &Path) -> Self {
        Self::open(directory).expect("the directory is ours")
    }
    fn fill(&self, changes: Vec<Change>) {
        self.durable_batch(changes).expect("the disk works");
    }
}

#[derive(Default)]
struct Figures {
    latencies: Vec<Duration>,
    per_second: [Vec<f64>; WRITERS.len()],
    opens: [Vec<Duration>; SIZES_MB.len()],
}

impl Figures {
    fn into_json(mut self) -> Value {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (self.latencies.len() * percent / 100).min(self.latencies.len() - 1);
            micros(self.latencies[index])
        };
        let mut throughput = serde_json::Map::new();
        for (writers, mut rounds) in WRITERS.into_iter().zip(self.per_second) {
            rounds.sort_unstable_by(f64::total_cmp);
            throughput.insert(writers.to_string(), json!(rounds[rounds.len() / 2].round()));
        }
        let mut opens = serde_json::Map::new();
        for (size, mut rounds) in SIZES_MB.into_iter().zip(self.opens) {
            rounds.sort_unstable();
            opens.insert(
                format!("{size}_mb"),
                json!((micros(rounds[rounds.len() / 2]) / 10.0).round() / 100.0),
            );
        }
        json!({
            "put_us": { "p50": at(50), "p99": at(99) },
            "writes_per_second": throughput,
            "open_ms": opens,
        })
    }
}

fn main() {
    let args = Args::parse();
    let temporary = tempfile::tempdir().expect("a temporary directory can be made");
    let directory = args.directory.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(directory).expect("the directory can be made");
    let (mut sled, mut sqlite) = (Figures::default(), Figures::default());
    for round in 0..ROUNDS {
        let work = tempfile::tempdir_in(directory).expect("the directory can be written");
        write::<Store>(work.path(), &args, &mut sled);
        write::<SqliteStore>(work.path(), &args, &mut sqlite);
        eprintln!("round {} of {ROUNDS} is done", round + 1);
    }
    for (number, size) in SIZES_MB.into_iter().enumerate() {
        let work = tempfile::tempdir_in(directory).expect("the directory can be written");
        sled.opens[number] = open::<Store>(work.path(), size);
        sqlite.opens[number] = open::<SqliteStore>(work.path(), size);
        eprintln!("opening {size} MB is done");
    }
    let gain = |figures: &Figures| {
        let median = |rounds: &[f64]| {
            let mut rounds = rounds.to_vec();
            rounds.sort_unstable_by(f64::total_cmp);
            rounds[rounds.len() / 2]
        };
        let gain = median(&figures.per_second[WRITERS.len() - 1]) / median(&figures.per_second[0]);
        (gain * 100.0).round() / 100.0
    };
    let report = json!({
        "value_bytes": VALUE_LEN,
        "group_commit_gain": { Store::NAME: gain(&sled), SqliteStore::NAME: gain(&sqlite) },
        Store::NAME: sled.into_json(),
        SqliteStore::NAME: sqlite.into_json(),
    });
    println!("{report}");
}

fn write<S: Subject>(directory: &Path, args: &Args, figures: &mut Figures) {
    let store = S::open_in(directory);
    for n in 0..args.puts / ROUNDS {
        let begun = Instant::now();
        put(&store, "latency", n as u64);
        figures.latencies.push(begun.elapsed());
    }
    for (number, writers) in WRITERS.into_iter().enumerate() {
        let acknowledged = AtomicU64::new(0);
        let ended = AtomicBool::new(false);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (store, acknowledged, ended) = (&store, &acknowledged, &ended);
                scope.spawn(move || {
                    let namespace = format!("writer{writer}");
                    for n in 0.. {
                        if ended.load(Ordering::Relaxed) {
                            return;
                        }
                        put(store, &namespace, n);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(args.span_ms));
            ended.store(true, Ordering::Relaxed);
        });
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52 writes")]
        let rate = acknowledged.into_inner() as f64 / begun.elapsed().as_secs_f64();
        figures.per_second[number].push(rate);
    }
}

fn put(store: &impl KVStoreSync, namespace: &str, key: u64) {
    // Few keys, and a new value each time: SQLite does not write what is there already.
    let value = key.to_be_bytes().repeat(VALUE_LEN / 8);
    KVStoreSync::write(store, namespace, "", &(key % KEYS).to_string(), value).expect("the disk works");
}

/// Opens a store of so many megabytes of live data a few times, and reads a value.
fn open<S: Subject>(directory: &Path, size_mb: usize) -> Vec<Duration> {
    let store = S::open_in(directory);
    for megabyte in 0..size_mb {
        let changes = (0..250)
            .map(|n| Change::put("fill", &megabyte.to_string(), &n.to_string(), vec![9; 4000]))
            .collect();
        store.fill(changes);
    }
    drop(store);
    let mut times = Vec::new();
    for _ in 0..OPENS {
        let begun = Instant::now();
        let store = S::open_in(directory);
        KVStoreSync::read(&store, "fill", "0", "0").expect("it was written");
        times.push(begun.elapsed());
        drop(store);
    }
    times
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
