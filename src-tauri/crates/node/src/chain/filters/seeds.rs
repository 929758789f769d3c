//! Where peers are found when none are known: Bitcoin Core's DNS seeds, asked for peers that serve filters.

use std::time::Duration;

use bitcoin::Network;
use tokio::time::timeout;

use crate::chain::host::HostPort;

/// Longest wait for all seeds together. DNS answers in a second or not at all.
const LIMIT: Duration = Duration::from_secs(5);

/// Seeds that keep lists by service; asked as `x49`: NODE_NETWORK, NODE_WITNESS and NODE_COMPACT_FILTERS (BIP157), as
/// Bitcoin Core's own `chainparams` documents it.
fn seeds(network: Network) -> (&'static [&'static str], u16) {
    match network {
        Network::Bitcoin => (
            &[
                "x49.seed.bitcoin.sipa.be",
                "x49.dnsseed.bluematt.me",
                "x49.seed.bitcoin.jonasschnelli.ch",
                "x49.seed.btc.petertodd.net",
                "x49.seed.bitcoin.sprovoost.nl",
                "x49.seed.bitcoin.wiz.biz",
            ],
            8333,
        ),
        Network::Signet => (
            &[
                "x49.seed.signet.bitcoin.sprovoost.nl",
                "x49.seed.signet.achownodes.xyz",
            ],
            38333,
        ),
        Network::Testnet4 => (
            &[
                "x49.seed.testnet4.bitcoin.sprovoost.nl",
                "x49.seed.testnet4.wiz.biz",
            ],
            48333,
        ),
        // Regtest is nobody's network, and testnet3 is on its way out.
        Network::Testnet | Network::Regtest => (&[], 0),
    }
}

/// Addresses of peers that say they serve filters; none if no seed answers.
pub async fn ask(network: Network) -> Vec<HostPort> {
    let (names, port) = seeds(network);
    let lookups = names.iter().map(|name| async move {
        match timeout(LIMIT, tokio::net::lookup_host((*name, port))).await {
            Ok(Ok(found)) => found.map(HostPort::from).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    });
    let found = futures::future::join_all(lookups).await;
    // One of each in turn: no single seed's operator chooses all our peers.
    let longest = found.iter().map(Vec::len).max().unwrap_or(0);
    let mut turns = Vec::new();
    for turn in 0..longest {
        turns.extend(
            found
                .iter()
                .filter_map(|list: &Vec<HostPort>| list.get(turn).cloned()),
        );
    }
    turns
}
