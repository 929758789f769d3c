//! How long a wake asks on a network that takes its time, beside the serial clients.

use std::time::{Duration, Instant};

use pilotlight_devnet::{Carried, Electrs, copy_folder};
use pilotlight_node::oracle::{AtRest, Engine};
use pilotlight_node::{ChainChoice, Config, Depth};

use super::common::{Stage, peer, until};

const RTT: Duration = Duration::from_millis(100);

/// What a wake of ours may take, as a share of what the serial clients take.
const SHARE: f64 = 0.35;

/// With `PILOTLIGHT_ELECTRUM_CHANNELS` channels; five by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_behind_with_five_channels_takes_a_third_of_the_serial_clients_time() {
    if !Electrs::wanted("the time that a sync over Electrum takes") {
        return;
    }
    let channels = std::env::var("PILOTLIGHT_ELECTRUM_CHANNELS").ok();
    let channels: u64 = channels.and_then(|count| count.parse().ok()).unwrap_or(5);
    let stage = Stage::new().await;
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.fund(&node, 1_000_000 + 300_000 * channels).await;
    for n in 1..=channels {
        node.open_channel(&peer(&stage.devnet), 200_000).await.unwrap();
        until("a funding in the mempool", || {
            let channels = node.channels();
            let funded = channels.iter().filter(|channel| channel.funding_txid.is_some());
            u64::try_from(funded.count()).unwrap() == n
        })
        .await;
        node.sync().await.unwrap();
        stage.devnet.mine(1).await.unwrap();
        node.sync().await.unwrap();
    }
    stage.devnet.mine(6).await.unwrap();
    node.sync().await.unwrap();
    drop(node);
    lifecycle.enter_background().await.unwrap();

    let electrs = Electrs::start(&stage.devnet).await.unwrap();
    let mut config = stage.config.clone();
    config.chain = ChainChoice::Electrum {
        url: electrs.url(),
        proxy: None,
    };
    // A last look by this server, which is then remembered.
    let wallet = AtRest::open(&config, Engine::Electrum).unwrap();
    wallet.sync(Depth::Quick).await.unwrap();
    wallet.close().await.unwrap();
    stage.devnet.mine(144).await.unwrap();
    electrs.settle().await.unwrap();

    electrs.line().set_rtt(RTT);
    let (mut serial, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        serial.push(look(&config, &electrs, Engine::SerialElectrum, Depth::Quick).await);
        ours.push(look(&config, &electrs, Engine::Electrum, Depth::Quick).await);
    }
    println!("{channels} channels, serial: {serial:?}");
    println!("{channels} channels, ours:   {ours:?}");
    let share = median(&ours).as_secs_f64() / median(&serial).as_secs_f64();
    println!("{channels} channels, share:  {share:.3}");
    assert!(share <= SHARE, "{share}");
    assert!(
        ours.iter().all(|(_, carried)| carried.connections == 1),
        "{ours:?}"
    );
}

/// One look of a cold wallet, and what it took.
async fn look(config: &Config, electrs: &Electrs, engine: Engine, depth: Depth) -> (Duration, Carried) {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&config.data_dir, dir.path()).unwrap();
    let mut config = config.clone();
    dir.path().clone_into(&mut config.data_dir);
    let wallet = AtRest::open(&config, engine).unwrap();
    electrs.line().take_carried();
    let begun = Instant::now();
    wallet.sync(depth).await.unwrap();
    let wall = begun.elapsed();
    wallet.close().await.unwrap();
    (wall, electrs.line().take_carried())
}

fn median(looks: &[(Duration, Carried)]) -> Duration {
    let mut walls: Vec<Duration> = looks.iter().map(|(wall, _)| *wall).collect();
    walls.sort_unstable();
    walls[walls.len() / 2]
}
