//! The wallet that ours is measured against: the least that ldk-node asks one to write, on its default database.
//!
//! Background sync is off, or ldk-node would sync besides us; then nothing is done twice, which is the best case for it.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ldk_node::bitcoin::Network;
use ldk_node::config::{ElectrumSyncConfig, EsploraSyncConfig};
use ldk_node::payment::PaymentKind;
use ldk_node::{Builder, Event, Node};
use pilotlight_devnet::peak_memory;
use serde_json::json;

use crate::{Chain, Outcome, Theirs};

/// How long preparations may take; they share the machine with compilers.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Does one thing with the wallet, from a cold start to its stop.
pub(crate) fn perform(dir: &Path, chain: Chain, what: Theirs) -> Outcome {
    let mut builder = Builder::new();
    builder
        .set_network(Network::Regtest)
        .set_storage_dir_path(dir.display().to_string())
        .set_gossip_source_p2p();
    match (chain.esplora, chain.electrum) {
        (Some(url), _) => builder.set_chain_source_esplora(
            url,
            Some(EsploraSyncConfig {
                background_sync_config: None,
            }),
        ),
        (None, Some(url)) => builder.set_chain_source_electrum(
            url,
            Some(ElectrumSyncConfig {
                background_sync_config: None,
            }),
        ),
        (None, None) => return Err("no chain server is named".into()),
    };
    let node = builder.build()?;
    node.start()?;
    let begun = Instant::now();
    node.sync_wallets()?;
    let sync = begun.elapsed();
    let outcome = ask(&node, what, sync);
    node.stop()?;
    outcome
}

fn ask(node: &Node, what: Theirs, sync: Duration) -> Outcome {
    match what {
        Theirs::Wake => {
            let best = node.status().current_best_block;
            let channels = node.list_channels();
            Ok(json!({
                "rss_kib": peak_memory().map(|bytes| bytes / 1024),
                "sync_ms": sync.as_secs_f64() * 1_000.0,
                "height": best.height,
                "tip": best.block_hash,
                "channels": channels.len(),
                "usable": channels.iter().filter(|channel| channel.is_usable).count(),
            }))
        }
        Theirs::Address => Ok(json!({ "address": node.onchain_payment().new_address()? })),
        Theirs::Open {
            node_id,
            address,
            sats,
        } => {
            node.open_channel(node_id, address.into(), sats, None, None)?;
            let Event::ChannelPending { funding_txo, .. } = event(node, "the channel's funding", |event| {
                matches!(event, Event::ChannelPending { .. } | Event::ChannelClosed { .. })
            })?
            else {
                return Err("the channel was not opened".into());
            };
            until("the funding transaction in the mempool", || {
                node.sync_wallets()?;
                let known = |kind: &PaymentKind| matches!(kind, PaymentKind::Onchain { txid, .. } if *txid == funding_txo.txid);
                Ok(node.list_payments().iter().any(|payment| known(&payment.kind)))
            })?;
            Ok(json!({ "funding": funding_txo }))
        }
        Theirs::AwaitChannels { count } => {
            usable(node, count)?;
            Ok(json!({ "usable": count }))
        }
        Theirs::Pay { bolt11 } => {
            usable(node, 1)?;
            let invoice = bolt11.parse().map_err(|e| format!("not an invoice: {e:?}"))?;
            node.bolt11_payment().send(&invoice, None)?;
            let ended = event(node, "the payment's end", |event| {
                matches!(
                    event,
                    Event::PaymentSuccessful { .. } | Event::PaymentFailed { .. }
                )
            })?;
            if !matches!(ended, Event::PaymentSuccessful { .. }) {
                return Err(format!("not paid: {ended:?}").into());
            }
            // The last signatures follow the event.
            sleep(Duration::from_millis(500));
            Ok(json!({ "paid": true }))
        }
        Theirs::Graph => {
            let graph = node.network_graph();
            Ok(json!({ "nodes": graph.list_nodes().len(), "channels": graph.list_channels().len() }))
        }
    }
}

fn usable(node: &Node, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    until("usable channels", || {
        Ok(node
            .list_channels()
            .iter()
            .filter(|channel| channel.is_usable)
            .count()
            >= count)
    })
}

/// The first event that `wanted` says is one, all before it handled.
fn event(
    node: &Node,
    what: &str,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Event, Box<dyn std::error::Error>> {
    let mut found = None;
    until(what, || {
        while found.is_none()
            && let Some(event) = node.next_event()
        {
            node.event_handled()?;
            found = Some(event).filter(&wanted);
        }
        Ok(found.is_some())
    })?;
    found.ok_or_else(|| what.into())
}

fn until(
    what: &str,
    mut done: impl FnMut() -> Result<bool, Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > LIMIT {
            return Err(format!("waited in vain for {what}").into());
        }
        sleep(POLL);
    }
    Ok(())
}
