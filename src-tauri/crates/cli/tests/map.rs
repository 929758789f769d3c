//! What a map of mainnet's size costs a refresh wake, as a whole process: a request or two for a day's news, and no memory.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::path::Path;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use common::{Wallet, number, until};
use pilotlight_devnet::copy_folder;
use pilotlight_devnet::gossip::{Size, day_later, synthetic};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a refresh wake may take for having a map and fetching a day's news, in bytes.
const MOST: u64 = 3_000_000;

/// And in requests.
const MOST_REQUESTS: u64 = 2;

/// Wakes of each kind; their medians are compared, because peaks differ by some hundred kB from run to run.
const WAKES: usize = 3;

/// Wakes a wallet that somebody has put into this folder, when its LSP has noticed that nobody is there.
async fn wake(wallet: &Wallet, folder: &Path, ours: PublicKey, args: &[&str]) -> Value {
    let lsp = wallet.devnet.lsp().unwrap();
    until("the wallet to be gone", || !lsp.is_connected_to(ours)).await;
    let record = wallet.ask_in(folder, args).await;
    assert_eq!(record["outcome"], "completed", "{record:#}");
    record
}

fn channels_told(record: &Value) -> usize {
    number(record, "graph_channels_updated").try_into().unwrap()
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_mainnets_size_costs_a_refresh_no_memory_and_its_news_a_request() {
    let wallet = Wallet::new().await;
    wallet.ask(&["init"]).await;
    wallet.fund(1_000_000).await;
    wallet.open(500_000).await;
    wallet.ask(&["channels"]).await;
    wallet.pay_lsp(10_000).await;
    let ours = wallet.ask(&["node-id"]).await["node_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();

    let server = wallet.devnet.gossip();
    let url = server.url();
    let mainnet = synthetic(Size::MAINNET, 1);
    server.publish(mainnet.clone(), 2 * DAY);
    let folders = tempfile::tempdir().unwrap();
    let [mapped, awake] = ["mapped", "awake"].map(|name| folders.path().join(name));
    copy_folder(wallet.dir.path(), &mapped).unwrap();
    let charging = [
        "wake",
        "--kind",
        "processing",
        "--data",
        "unmetered",
        "--on-power",
        "true",
    ];
    let record = wake(
        &wallet,
        &mapped,
        ours,
        &[&["--gossip", &url], &charging[..]].concat(),
    )
    .await;
    assert_eq!(channels_told(&record), Size::MAINNET.channels);

    let later = day_later(&mainnet, 1);
    let changed = later.channels.iter();
    let changed = changed
        .filter(|(scid, channel)| mainnet.channels.get(scid) != Some(channel))
        .count();
    server.publish(later, DAY);
    wallet.devnet.mine(6).await.unwrap();
    server.asked();
    let (mut with, mut without, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..WAKES {
        let refresh = ["wake", "--kind", "refresh", "--data", "expensive"];
        copy_folder(wallet.dir.path(), &awake).unwrap();
        let record = wake(&wallet, &awake, ours, &refresh).await;
        without.push(number(&record, "peak_memory"));
        requests.push(number(&record, "requests"));
        std::fs::remove_dir_all(&awake).unwrap();

        copy_folder(&mapped, &awake).unwrap();
        let record = wake(
            &wallet,
            &awake,
            ours,
            &[&["--gossip", &url], &refresh[..]].concat(),
        )
        .await;
        assert_eq!(channels_told(&record), changed, "{record:#}");
        with.push(number(&record, "peak_memory"));
        let asked = server.asked();
        assert!(asked.len() == 1 && asked[0] != "/snapshot/v2/0", "{asked:?}");
        assert!(
            number(&record, "requests") <= requests.last().unwrap() + MOST_REQUESTS,
            "{record:#}"
        );
        std::fs::remove_dir_all(&awake).unwrap();
    }
    println!("with a map and news {with:?} bytes, with neither {without:?}");
    let (with, without) = (median(with), median(without));
    assert!(
        with < without + MOST,
        "{with} bytes with a map and news, {without} with neither"
    );
}
