//! One measurement of the map of the network in a process of its own: `scripts/bench/gossip.mjs` runs many of them and sets
//! ours beside LDK's `NetworkGraph`.
//!
//! `make DIR [--snapshot FILE]` lays down the same network in both forms, `ours DIR` and `stock DIR` make themselves ready to
//! route from cold and then route. Each prints one line of JSON.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use clap::{Parser, Subcommand};
use lightning::routing::gossip::NetworkGraph;
use lightning::routing::router::{
    InFlightHtlcs, PaymentParameters, Route, RouteParameters, ScorerAccountingForInFlightHtlcs, find_route,
};
use lightning::routing::scoring::{
    ProbabilisticScorer, ProbabilisticScoringDecayParameters, ProbabilisticScoringFeeParameters,
};
use lightning::util::logger::{Logger, Record};
use lightning::util::ser::{ReadableArgs, Writeable};
use lightning_rapid_gossip_sync::RapidGossipSync;
use pilotlight_devnet::gossip::{Size, day_later, delta, full, synthetic};
use pilotlight_devnet::peak_memory;
use pilotlight_node::gossip::apply::apply;
use pilotlight_node::gossip::file;
use pilotlight_node::gossip::map::Map;
use pilotlight_node::gossip::scores::Scores;
use pilotlight_node::gossip::search::{Question, on_map};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Amounts that are routed in turn, in msat: a coffee, a dinner, a bicycle.
const AMOUNTS: [u64; 3] = [5_000_000, 50_000_000, 500_000_000];

/// Where the timestamp of a snapshot stands.
const TIME: std::ops::Range<usize> = 36..40;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make both forms of a network.
    Make {
        dir: PathBuf,
        /// A real snapshot, of mainnet; it is told as if it were of today. Else a made-up network of mainnet's size.
        #[arg(long)]
        snapshot: Option<PathBuf>,
    },
    /// Ready to route with our map, and routes.
    Ours {
        dir: PathBuf,
        #[arg(long, default_value_t = 100)]
        routes: usize,
    },
    /// The same with LDK's graph.
    Stock {
        dir: PathBuf,
        #[arg(long, default_value_t = 100)]
        routes: usize,
    },
}

struct Silent;

impl Logger for Silent {
    fn log(&self, _: Record<'_>) {}
}

type Graph = NetworkGraph<Arc<Silent>>;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn seconds() -> u32 {
    u32::try_from(now().as_secs()).unwrap()
}

fn ms(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1_000.0
}

/// Peak memory of this process so far, in bytes; 0 where the system does not tell.
fn peak() -> i64 {
    peak_memory().map_or(0, |bytes| bytes.try_into().unwrap())
}

fn main() {
    let out = match Cli::parse().what {
        What::Make { dir, snapshot } => make(&dir, snapshot.as_deref()),
        What::Ours { dir, routes } => ours(&dir, routes),
        What::Stock { dir, routes } => stock(&dir, routes),
    };
    println!("{out}");
}

fn make(dir: &Path, snapshot: Option<&Path>) -> Value {
    std::fs::create_dir_all(dir).unwrap();
    let (network, whole, news) = if let Some(snapshot) = snapshot {
        let mut bytes = std::fs::read(snapshot).unwrap();
        bytes[TIME].copy_from_slice(&(seconds() - 86_400).to_be_bytes());
        (Network::Bitcoin, bytes, None)
    } else {
        let today = synthetic(Size::MAINNET, 1);
        let whole = full(&today, Network::Regtest, seconds() - 86_400);
        let news = delta(&today, &day_later(&today, 1), Network::Regtest, seconds() - 60);
        (Network::Regtest, whole, Some(news))
    };
    let begun = Instant::now();
    let mut map = apply(None, &whole, network, now()).unwrap();
    let apply_full_ms = ms(begun);
    let begun = Instant::now();
    let graph = Arc::new(Graph::new(network, Arc::new(Silent)));
    let sync = RapidGossipSync::new(Arc::clone(&graph), Arc::new(Silent));
    sync.update_network_graph(&whole).unwrap();
    let stock_apply_full_ms = ms(begun);
    let mut days = None;
    if let Some(news) = &news {
        let begun = Instant::now();
        map = apply(Some(&map), news, network, now()).unwrap();
        let ours = ms(begun);
        let begun = Instant::now();
        sync.update_network_graph(news).unwrap();
        days = Some((ours, ms(begun)));
    }
    let begun = Instant::now();
    let bytes = file::encode(&map, 1);
    let encode_ms = ms(begun);
    let begun = Instant::now();
    let stock_bytes = graph.encode();
    let stock_encode_ms = ms(begun);
    std::fs::write(dir.join("map"), &bytes).unwrap();
    std::fs::write(dir.join("graph"), &stock_bytes).unwrap();
    std::fs::write(dir.join("network"), network.to_string()).unwrap();
    json!({
        "nodes": map.nodes().len(), "channels": map.channels().len(), "snapshot_bytes": whole.len(),
        "ours": { "apply_full_ms": apply_full_ms, "apply_day_ms": days.map(|(ours, _)| ours), "encode_ms": encode_ms, "bytes": bytes.len() },
        "stock": { "apply_full_ms": stock_apply_full_ms, "apply_day_ms": days.map(|(_, stock)| stock), "encode_ms": stock_encode_ms, "bytes": stock_bytes.len() },
    })
}

fn network(dir: &Path) -> Network {
    std::fs::read_to_string(dir.join("network"))
        .unwrap()
        .parse()
        .unwrap()
}

/// Who pays whom, and how much: the same for both.
fn payments(map: &Map, count: usize) -> Vec<(PublicKey, PublicKey, u64)> {
    let mut random = StdRng::seed_from_u64(9);
    let nodes = u32::try_from(map.nodes().len()).unwrap();
    let mut draw = || loop {
        // Who has a single channel that is closed now can neither pay nor be paid.
        let node = random.gen_range(0..nodes);
        let usable = map.channels_of(node).iter().filter(|at| {
            let policies = map.channels()[**at as usize].policies;
            policies
                .iter()
                .all(|policy| policy.is_some_and(|policy| policy.enabled))
        });
        if usable.count() >= 2 {
            return map.nodes()[node as usize].id.as_pubkey().unwrap();
        }
    };
    (0..count)
        .map(|nth| (draw(), draw(), AMOUNTS[nth % AMOUNTS.len()]))
        .collect()
}

fn question(payee: PublicKey, amount_msat: u64) -> RouteParameters {
    let payee = PaymentParameters::from_node_id(payee, 144);
    RouteParameters::from_payment_params_and_value(payee, amount_msat)
}

fn told(ready_ms: f64, before: i64, ready: i64, first_ms: f64, routes: &[(f64, Option<Route>)]) -> Value {
    let found: Vec<Value> = routes
        .iter()
        .map(|(_, route)| {
            route.as_ref().map_or(Value::Null, |route| {
                json!({ "fee_msat": route.get_total_fees(), "hops": route.paths[0].hops.len(), "parts": route.paths.len() })
            })
        })
        .collect();
    let times: Vec<f64> = routes.iter().map(|(ms, _)| *ms).collect();
    json!({
        "ready_ms": ready_ms, "ready_bytes": ready - before, "first_route_ms": first_ms,
        "peak_bytes": peak() - before, "route_ms": times, "found": found,
    })
}

fn ours(dir: &Path, count: usize) -> Value {
    let network = network(dir);
    let before = peak();
    let begun = Instant::now();
    let (_, map) = file::read(&dir.join("map"), network).unwrap().unwrap();
    let scores = Scores::open(&dir.join("none"), &dir.join("none"), network, now());
    let (ready_ms, ready) = (ms(begun), peak());
    let payments = payments(&map, count);
    let mut routes = Vec::new();
    for (payer, payee, amount) in payments {
        let params = question(payee, amount);
        let begun = Instant::now();
        let inflight = InFlightHtlcs::new();
        let question = Question {
            payer: &payer,
            params: &params,
            first_hops: None,
            inflight: &inflight,
            random: [7; 32],
        };
        let found = on_map(&map, scores.scorer(), &question, &[], seconds());
        routes.push((ms(begun), found.ok()));
    }
    told(ready_ms, before, ready, ready_ms + routes[0].0, &routes)
}

fn stock(dir: &Path, count: usize) -> Value {
    let network = network(dir);
    let before = peak();
    let begun = Instant::now();
    let bytes = std::fs::read(dir.join("graph")).unwrap();
    let graph = Arc::new(Graph::read(&mut bytes.as_slice(), Arc::new(Silent)).unwrap());
    drop(bytes);
    let decay = ProbabilisticScoringDecayParameters::default();
    let scorer = ProbabilisticScorer::new(decay, Arc::clone(&graph), Arc::new(Silent));
    let (ready_ms, ready) = (ms(begun), peak());
    let (_, map) = file::read(&dir.join("map"), network).unwrap().unwrap();
    let payments = payments(&map, count);
    drop(map);
    let mut routes = Vec::new();
    for (payer, payee, amount) in payments {
        let params = question(payee, amount);
        let begun = Instant::now();
        let inflight = InFlightHtlcs::new();
        let scorer = ScorerAccountingForInFlightHtlcs::new(&scorer, &inflight);
        let penalties = ProbabilisticScoringFeeParameters::default();
        let found = find_route(
            &payer, &params, &graph, None, &Silent, &scorer, &penalties, &[7; 32],
        );
        routes.push((ms(begun), found.ok()));
    }
    told(ready_ms, before, ready, ready_ms + routes[0].0, &routes)
}
