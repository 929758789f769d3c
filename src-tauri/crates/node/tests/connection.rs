//! The person chooses who is asked about the chain, in the open app, with a channel and a payment under way.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::cheat::pay;
use common::faces::Face;
use common::{Stage, grant, until};
use pilotlight_devnet::{Devnet, Fault, FaultKind, Options};
use pilotlight_node::{
    ChainChoice, Connection, ErrorCode, GrantKind, Lifecycle, Network as Data, Node, PaymentStatus,
    WakeOutcome,
};

fn own(url: &str) -> Connection {
    Connection::Own { url: url.to_owned() }
}

/// The node that is up now, its channel usable.
async fn ready(stage: &Stage, lifecycle: &Lifecycle) -> Arc<Node> {
    let node = lifecycle.node().await.unwrap();
    stage.usable(&node).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_open_app_keeps_the_channel_and_the_payment_and_outlives_the_process() {
    let mut stage = Stage::with_channel().await;
    let honest = Face::honest(stage.devnet.p2p_address()).await;
    stage.config.filter_peers = vec![stage.devnet.p2p_address().into(), honest.address.into()];
    let (first, second) = (stage.devnet.esplora_url(), stage.devnet.plain_esplora_url());
    let lifecycle = stage.lifecycle();
    lifecycle.enter_foreground().await.unwrap();
    let before = ready(&stage, &lifecycle).await;
    let status = lifecycle.connection().unwrap();
    assert_eq!(
        (status.choice, status.servers),
        (Connection::Automatic, vec![first])
    );

    // A payment that has just left, and nobody waits for its end.
    let lsp = stage.devnet.lsp().unwrap();
    let invoice = lsp.invoice(Some(20_000_000), "").await.unwrap();
    let sent = before.pay(&invoice, None).await.unwrap();
    lifecycle.choose_connection(own(&second)).await.unwrap();
    assert_eq!(
        before.sync().await.unwrap_err().code(),
        ErrorCode::Cancelled,
        "it has stopped"
    );
    stage.devnet.reset_traffic();
    let node = ready(&stage, &lifecycle).await;
    assert!(!Arc::ptr_eq(&before, &node));
    until("the payment to end", || {
        let payment = futures::executor::block_on(node.payment(&sent.id)).unwrap();
        payment.is_some_and(|payment| payment.status == PaymentStatus::Succeeded)
    })
    .await;
    pay(&stage, &node, 30_000).await;
    stage.devnet.mine(1).await.unwrap();
    node.sync().await.unwrap();
    assert_eq!(
        stage.devnet.traffic().requests,
        0,
        "the first is not asked any more"
    );

    lifecycle.choose_connection(Connection::Private).await.unwrap();
    let node = ready(&stage, &lifecycle).await;
    pay(&stage, &node, 10_000).await;
    lifecycle.enter_background().await.unwrap();

    // Another process.
    stage.devnet.mine(2).await.unwrap();
    let lifecycle = stage.lifecycle();
    assert_eq!(lifecycle.connection().unwrap().choice, Connection::Private);
    let asked = honest.asked("getcfheaders") + honest.asked("getheaders");
    let record = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert_eq!(record.outcome, WakeOutcome::Completed, "{record:#?}");
    assert_eq!(record.blocks_synced, 2);
    assert!(honest.asked("getcfheaders") + honest.asked("getheaders") > asked);
    assert_eq!(stage.devnet.traffic().requests, 0);

    // A wake of the closed app, and back.
    lifecycle.choose_connection(Connection::Automatic).await.unwrap();
    assert!(lifecycle.node().await.is_err(), "nobody needs it: it stays down");
    stage.devnet.mine(1).await.unwrap();
    let record = lifecycle.wake(grant(GrantKind::Refresh, 30)).await;
    assert_eq!(
        (record.outcome, record.blocks_synced),
        (WakeOutcome::Completed, 1),
        "{record:#?}"
    );
    assert!(stage.devnet.traffic().requests > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_looked_at_before_it_is_taken_and_a_refusal_changes_nothing() {
    let stage = Stage::with_channel().await;
    let other = Devnet::start(Options::default()).await.unwrap();
    other.mine(30).await.unwrap();
    let lifecycle = stage.lifecycle();
    let node = lifecycle.enter_foreground().await.unwrap();
    stage.usable(&node).await;
    let broken = other.esplora_url();
    other.faults().set(Fault::new("/", FaultKind::Garbage));
    let table = [
        ("", ErrorCode::InvalidInput),
        ("http://example.com", ErrorCode::Misconfigured),
        ("http://127.0.0.1:1", ErrorCode::NetworkUnavailable),
        (other.plain_esplora_url().leak(), ErrorCode::WrongNetwork),
        (broken.as_str(), ErrorCode::ChainSyncFailed),
    ];
    for (url, code) in table {
        let error = lifecycle.choose_connection(own(url)).await.unwrap_err();
        assert_eq!(error.code(), code, "{url}: {}", error.detail());
    }
    let error = lifecycle
        .choose_connection(Connection::Private)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Misconfigured, "regtest has no seeds");
    assert_eq!(lifecycle.connection().unwrap().choice, Connection::Automatic);
    assert!(
        Arc::ptr_eq(&node, &lifecycle.node().await.unwrap()),
        "the node is as it was"
    );
    node.sync().await.unwrap();
    lifecycle.enter_background().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_read_first_where_nothing_costs_and_servers_go_on_where_they_fail() {
    use pilotlight_node::chain::Server;
    use pilotlight_node::chain::server::FilterPeers;
    let mut stage = Stage::with_channel().await;
    let honest = Face::honest(stage.devnet.p2p_address()).await;
    let servers = |peers: Vec<_>, server: &str| ChainChoice::Automatic {
        servers: vec![
            Server::esplora(server),
            Server::Filters(FilterPeers {
                required: peers.len(),
                peers,
                proxy: None,
            }),
        ],
    };
    let peers = vec![stage.devnet.p2p_address().into(), honest.address.into()];
    let url = stage.devnet.esplora_url();
    stage.config.chain = servers(peers.clone(), &url);
    let generous = || {
        let mut grant = grant(GrantKind::Processing, 120);
        grant.conditions.network = Some(Data::Unmetered);
        grant.conditions.on_power = Some(true);
        grant
    };
    let filters = || honest.asked("getcfilters") + honest.asked("getcfheaders");
    // In a refresh the server alone.
    stage.devnet.mine(2).await.unwrap();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        (record.outcome, record.blocks_synced),
        (WakeOutcome::Completed, 2),
        "{record:#?}"
    );
    assert_eq!(filters(), 0);
    // On a charger the filters.
    stage.devnet.mine(2).await.unwrap();
    let record = stage.lifecycle().wake(generous()).await;
    assert_eq!(
        (record.outcome, record.blocks_synced),
        (WakeOutcome::Completed, 2),
        "{record:#?}"
    );
    let read = filters();
    assert!(read > 0);
    // And the server again after it, though it must ask for everything.
    stage.devnet.mine(1).await.unwrap();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        (record.outcome, record.blocks_synced),
        (WakeOutcome::Completed, 1),
        "{record:#?}"
    );
    assert_eq!(filters(), read);
    // Peers that are not there hold nothing up.
    let nobody: Vec<pilotlight_node::HostPort> = vec!["127.0.0.1:1".parse().unwrap()];
    stage.config.chain = servers(nobody, &url);
    stage.devnet.mine(1).await.unwrap();
    let record = stage.lifecycle().wake(generous()).await;
    assert_eq!(
        (record.outcome, record.blocks_synced),
        (WakeOutcome::Completed, 1),
        "{record:#?}"
    );
    // And they go on where the only server does not.
    stage.config.chain = servers(peers, "http://127.0.0.1:1");
    stage.devnet.mine(1).await.unwrap();
    let started = std::time::Instant::now();
    let record = stage.wake(GrantKind::Refresh, 30).await;
    assert_eq!(
        record.stage(pilotlight_node::StageName::Chain).unwrap().blocks,
        Some(1),
        "{record:#?}"
    );
    assert!(started.elapsed() < Duration::from_secs(25));
}
