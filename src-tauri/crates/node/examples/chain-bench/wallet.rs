//! A wallet with channels, asleep.

use std::path::Path;
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, Network};
use pilotlight_devnet::Devnet;
use pilotlight_node::{Config, Lifecycle, PeerAddress, WordCount};

pub const CHANNEL_SAT: u64 = 200_000;
/// Besides the channels: for their fees and reserves, and to have coins left.
pub const SPARE_SAT: u64 = 1_000_000;
pub const RESERVE_SAT: u64 = 50_000;
/// After so many blocks both ends call a channel usable.
pub const CHANNEL_BLOCKS: u32 = 6;
/// Preparations share the machine with compilers.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes it, in this folder: `channels` channels with the LSP, all confirmed, and everything seen.
pub async fn make(devnet: &Devnet, dir: &Path, channels: u32) {
    let lsp: PeerAddress = devnet.lsp().unwrap().info().uri().parse().unwrap();
    let mut config = Config::new(dir, Network::Regtest, devnet.plain_esplora_url());
    config.lsp = Some(lsp.clone());
    let lifecycle = Lifecycle::new(config);
    lifecycle.create_wallet(WordCount::Twelve, None).await.unwrap();
    let node = lifecycle.enter_foreground().await.unwrap();
    let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
    let sat = SPARE_SAT + u64::from(channels) * (CHANNEL_SAT + RESERVE_SAT);
    devnet
        .fund(&address.assume_checked(), Amount::from_sat(sat))
        .await
        .unwrap();
    devnet.mine(1).await.unwrap();
    node.sync().await.unwrap();
    node.connect_peers().await;
    for n in 1..=channels {
        eprintln!("channel {n} of {channels}");
        node.open_channel(&lsp, CHANNEL_SAT).await.unwrap();
        let begun = Instant::now();
        while devnet.mempool().await.unwrap().is_empty() {
            assert!(begun.elapsed() < LIMIT, "the funding of channel {n} was not sent");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The LSP wants no more than a few unconfirmed channels of one peer.
        devnet.mine(1).await.unwrap();
        node.sync().await.unwrap();
    }
    devnet.mine(CHANNEL_BLOCKS).await.unwrap();
    let begun = Instant::now();
    while node.channels().iter().filter(|channel| channel.usable).count() < channels as usize {
        assert!(begun.elapsed() < LIMIT, "not all channels are usable");
        node.sync().await.unwrap();
        node.connect_peers().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(node);
    lifecycle.enter_background().await.unwrap();
}
