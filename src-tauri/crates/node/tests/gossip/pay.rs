//! Paying through the network, on a devnet with other people's nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, Network};
use pilotlight_devnet::{Devnet, Options, Peer};
use pilotlight_node::gossip::{Fetched, Server};
use pilotlight_node::{Config, ErrorCode, Lifecycle, MapStep, Node, NodeEvent, PaymentStatus, WordCount};

use super::common::{peer, until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CHANNEL_SAT: u64 = 1_000_000;

/// The wallet has a channel with the LSP, the LSP has one with Alice, and Bob none yet.
struct Line {
    devnet: Devnet,
    lifecycle: Arc<Lifecycle>,
    node: Arc<Node>,
    directory: tempfile::TempDir,
}

async fn open(devnet: &Devnet, from: &Peer, to: &Peer) {
    let push = CHANNEL_SAT * 1_000 / 2;
    from.open_channel(to.node_id(), to.address(), CHANNEL_SAT, push, true)
        .await
        .unwrap();
    devnet.mine(6).await.unwrap();
    from.wait_usable(to.node_id(), Duration::from_secs(60))
        .await
        .unwrap();
    to.wait_usable(from.node_id(), Duration::from_secs(60))
        .await
        .unwrap();
}

/// Waits until the LSP knows both ends' terms of so many channels, and puts them on the gossip server.
async fn publish(devnet: &Devnet, channels: usize, ago: Duration) {
    let started = Instant::now();
    loop {
        let heard = devnet.heard_gossip();
        let complete = heard
            .channels
            .values()
            .filter(|channel| channel.policies.iter().all(Option::is_some));
        if complete.count() == channels {
            devnet.gossip().publish(heard, ago);
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{heard:?}");
        // A new connection makes both ends tell everything once more.
        let (lsp, alice) = (devnet.lsp().unwrap(), devnet.alice().unwrap());
        let _ = lsp.disconnect(alice.node_id()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _ = lsp.connect(alice.node_id(), alice.address()).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
}

impl Line {
    async fn new(gossip: bool) -> Self {
        let devnet = Devnet::start(Options {
            peers: 3,
            ..Options::default()
        })
        .await
        .unwrap();
        open(&devnet, &devnet.lsp().unwrap(), &devnet.alice().unwrap()).await;
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path(), Network::Regtest, devnet.esplora_url());
        config.lsp = Some(peer(&devnet));
        config.gossip = gossip.then(|| Server::at(&devnet.gossip().url()));
        let lifecycle = Lifecycle::new(config);
        lifecycle.create_wallet(WordCount::Twelve, None).await.unwrap();
        let node = lifecycle.enter_foreground().await.unwrap();
        let address: Address<_> = node.new_address().await.unwrap().parse().unwrap();
        let coins = Amount::from_sat(1_000_000);
        devnet.fund(&address.assume_checked(), coins).await.unwrap();
        devnet.mine(1).await.unwrap();
        node.sync().await.unwrap();
        node.open_channel(&peer(&devnet), 500_000).await.unwrap();
        devnet.mine(6).await.unwrap();
        node.sync().await.unwrap();
        until("a usable channel", || {
            node.channels().iter().any(|channel| channel.usable)
        })
        .await;
        Self {
            devnet,
            lifecycle,
            node,
            directory,
        }
    }

    async fn pays(&self, payee: &Peer) -> PaymentStatus {
        let invoice = payee.invoice(Some(20_000_000), "").await.unwrap();
        let payment = match self.node.pay(&invoice, None).await {
            Ok(payment) => payment,
            Err(error) if error.code() == ErrorCode::RouteNotFound => return PaymentStatus::Failed,
            Err(error) => panic!("{:?}: {}", error.code(), error.detail()),
        };
        let started = Instant::now();
        loop {
            let now = self.node.payment(&payment.id).await.unwrap().unwrap();
            if now.status != PaymentStatus::Pending {
                return now.status;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no end of a payment");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_over_three_hops_takes_a_channel_that_only_news_told_of() {
    let line = Line::new(true).await;
    let (devnet, node) = (&line.devnet, &line.node);
    let mut events = line.lifecycle.events();
    publish(devnet, 1, 2 * DAY).await;
    // Nothing was there when the app was opened; who pays waits for the map, and sees it come.
    assert!(node.map_channels().is_none());
    let alice = devnet.alice().unwrap();
    assert_eq!(line.pays(&alice).await, PaymentStatus::Succeeded);
    assert!(node.map_loaded());
    let mut steps = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let NodeEvent::MapProgress { step } = event {
            steps.push(step);
        }
    }
    assert_eq!(steps, [MapStep::Fetching, MapStep::Applying, MapStep::Ready]);

    let bob = devnet.bob().unwrap();
    assert_eq!(line.pays(&bob).await, PaymentStatus::Failed);
    open(devnet, &alice, &bob).await;
    node.sync().await.unwrap();
    publish(devnet, 2, DAY).await;
    devnet.gossip().asked();
    let soon = Instant::now() + Duration::from_secs(20);
    let Fetched::Spooled(news) = node.fetch_news(false, soon).await.unwrap() else {
        panic!("no news");
    };
    assert!(!news.full);
    let asked = devnet.gossip().asked();
    assert!(asked.len() == 1 && asked[0] != "/snapshot/v2/0", "{asked:?}");
    let applied = node.apply_news().await.unwrap().unwrap();
    assert_eq!((applied.channels, applied.known), (news.channels, 2));
    until("a usable channel", || {
        node.channels().iter().any(|channel| channel.usable)
    })
    .await;
    assert_eq!(line.pays(&bob).await, PaymentStatus::Succeeded);

    // The map goes with the person, what was learned stays, and the map is as it was.
    line.lifecycle.enter_background().await.unwrap();
    assert!(!node.map_loaded());
    let scores = line.directory.path().join("gossip/scores.ours");
    assert!(scores.metadata().unwrap().len() > 8);
    assert_eq!(node.map_channels(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_map_peers_can_be_paid_and_others_are_told_apart_from_having_no_way() {
    let line = Line::new(true).await;
    line.devnet
        .gossip()
        .fail(Some(pilotlight_devnet::gossip::GossipFault::Status(503)));
    assert_eq!(
        line.pays(&line.devnet.lsp().unwrap()).await,
        PaymentStatus::Succeeded
    );
    let invoice = line
        .devnet
        .alice()
        .unwrap()
        .invoice(Some(1_000_000), "")
        .await
        .unwrap();
    let error = line.node.pay(&invoice, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::GraphNotReady, "{}", error.detail());
    assert!(
        line.node
            .payments()
            .await
            .unwrap()
            .iter()
            .all(|payment| payment.status != PaymentStatus::Failed)
    );
}
