//! The wallet's side of the wire: what it asks, and what it makes of a server that is slow, broken or hostile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Network;
use pilotlight_devnet::gossip::{GossipFault, GossipServer, Size, day_later, synthetic};
use pilotlight_node::gossip::{Applied, Fetched, Gossip, Server};
use pilotlight_node::{Config, ErrorCode};

const SMALL: Size = Size {
    nodes: 40,
    channels: 120,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server with one network on it, two days old, and a wallet's gossip that knows of it.
struct Scene {
    server: GossipServer,
    network: pilotlight_devnet::gossip::Network,
    directory: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let server = GossipServer::start(Network::Regtest).await.unwrap();
        let network = synthetic(SMALL, 31);
        server.publish(network.clone(), 2 * DAY);
        Self {
            server,
            network,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// As a new process would have it.
    fn gossip(&self) -> Arc<Gossip> {
        self.gossip_of(&self.server)
    }

    fn gossip_of(&self, server: &GossipServer) -> Arc<Gossip> {
        let mut config = Config::new(self.directory.path(), Network::Regtest, "http://127.0.0.1:1");
        config.gossip = Some(Server::at(&server.url()));
        Arc::new(Gossip::new(&config, tokio::sync::broadcast::channel(4).0))
    }

    /// The map as of two days ago, on disk.
    async fn with_map(self) -> Self {
        let gossip = self.gossip();
        gossip.fetch(true, soon()).await.unwrap();
        gossip.apply().await.unwrap().unwrap();
        self.server.asked();
        self
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.directory.path().join("gossip").join(name)).ok()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn first_everything_then_only_what_changed_and_nothing_too_often() {
    let scene = Scene::new().await;
    let gossip = scene.gossip();
    assert_eq!(gossip.fetch(false, soon()).await.unwrap(), Fetched::Postponed);
    assert!(
        scene.server.asked().is_empty(),
        "the whole network only if allowed"
    );
    let Fetched::Spooled(all) = gossip.fetch(true, soon()).await.unwrap() else {
        panic!("nothing was fetched");
    };
    assert_eq!((all.channels as usize, all.full), (SMALL.channels, true));
    assert_eq!(scene.server.asked(), ["/snapshot/v2/0"]);
    let applied = gossip.apply().await.unwrap().unwrap();
    let expected = Applied {
        channels: all.channels,
        known: all.channels,
        full: true,
    };
    assert_eq!(applied, expected);
    assert_eq!(gossip.apply().await.unwrap(), None, "once is enough");
    assert!(scene.file("news").is_none());

    let from = gossip.channels_on_disk().unwrap();
    assert_eq!(from, all.channels);
    let later = day_later(&scene.network, 1);
    let changed = later
        .channels
        .iter()
        .filter(|(scid, channel)| scene.network.channels.get(scid) != Some(channel))
        .count();
    scene.server.publish(later, DAY);
    let Fetched::Spooled(news) = scene.gossip().fetch(false, soon()).await.unwrap() else {
        panic!("nothing was fetched");
    };
    assert_eq!((news.channels as usize, news.full), (changed, false));
    let asked = scene.server.asked();
    assert!(asked.len() == 1 && asked[0] != "/snapshot/v2/0", "{asked:?}");
    // A day old is news, an hour old is not.
    scene
        .server
        .publish(scene.network.clone(), Duration::from_secs(3_600));
    assert!(matches!(
        gossip.fetch(false, soon()).await.unwrap(),
        Fetched::Spooled(_)
    ));
    scene.server.asked();
    assert_eq!(gossip.fetch(false, soon()).await.unwrap(), Fetched::Fresh);
    assert!(scene.server.asked().is_empty());
    assert!(gossip.apply().await.unwrap().is_some());
}

#[tokio::test]
async fn news_of_another_base_or_another_server_are_never_applied() {
    let scene = Scene::new().await.with_map().await;
    let map = scene.file("map");
    scene.server.publish(day_later(&scene.network, 2), DAY);
    scene.gossip().fetch(false, soon()).await.unwrap();
    let spool = scene.file("news").unwrap();
    assert!(scene.gossip().apply().await.unwrap().is_some());
    let newer = scene.file("map");
    assert_ne!(newer, map);
    // The same news once more: as if the process had ended before it could remove them.
    let path = scene.directory.path().join("gossip/news");
    std::fs::write(&path, &spool).unwrap();
    assert_eq!(scene.gossip().apply().await.unwrap(), None);
    assert!(scene.file("news").is_none() && scene.file("map") == newer);

    // Another server: its news do not fit our map, and it is asked for everything.
    let other = GossipServer::start(Network::Regtest).await.unwrap();
    other.publish(synthetic(SMALL, 77), DAY);
    let gossip = scene.gossip_of(&other);
    std::fs::write(&path, &spool).unwrap();
    assert_eq!(gossip.apply().await.unwrap(), None);
    assert_eq!(gossip.fetch(false, soon()).await.unwrap(), Fetched::Postponed);
    assert!(matches!(gossip.fetch(true, soon()).await.unwrap(), Fetched::Spooled(news) if news.full));
    assert_eq!(other.asked(), ["/snapshot/v2/0"]);
    assert!(gossip.apply().await.unwrap().unwrap().full);
}

#[tokio::test]
async fn an_older_server_is_asked_the_old_way() {
    let scene = Scene::new().await;
    scene.server.fail(Some(GossipFault::Old));
    assert!(matches!(
        scene.gossip().fetch(true, soon()).await.unwrap(),
        Fetched::Spooled(_)
    ));
    assert_eq!(scene.server.asked(), ["/snapshot/v2/0", "/snapshot/0"]);
    scene.gossip().apply().await.unwrap().unwrap();
}

#[tokio::test]
async fn every_fault_of_a_server_has_a_name_and_costs_neither_the_map_nor_what_waits() {
    let scene = Scene::new().await.with_map().await;
    scene.server.publish(day_later(&scene.network, 3), DAY);
    scene.gossip().fetch(false, soon()).await.unwrap();
    let (map, news) = (scene.file("map"), scene.file("news"));
    scene.server.publish(day_later(&scene.network, 4), DAY / 2);
    for (fault, expected) in [
        (GossipFault::Hang, ErrorCode::SyncTimeout),
        (GossipFault::Stall, ErrorCode::SyncTimeout),
        (GossipFault::Cut, ErrorCode::NetworkUnavailable),
        (GossipFault::Garbage, ErrorCode::GossipFailed),
        (GossipFault::Endless, ErrorCode::GossipFailed),
        (GossipFault::Bomb, ErrorCode::GossipFailed),
        (GossipFault::OtherChain, ErrorCode::GossipFailed),
        (GossipFault::Status(429), ErrorCode::RateLimited),
        (GossipFault::Status(500), ErrorCode::NetworkUnavailable),
        (GossipFault::Status(301), ErrorCode::NetworkUnavailable),
    ] {
        scene.server.fail(Some(fault));
        let deadline = match fault {
            GossipFault::Hang | GossipFault::Stall => Instant::now() + Duration::from_millis(500),
            // Time for what a busy machine needs to swallow it up to the limit.
            _ => Instant::now() + Duration::from_secs(60),
        };
        let error = scene.gossip().fetch(false, deadline).await.unwrap_err();
        assert_eq!(error.code(), expected, "{fault:?}: {}", error.detail());
        assert!(
            scene.file("map") == map && scene.file("news") == news,
            "{fault:?}"
        );
        let files = std::fs::read_dir(scene.directory.path().join("gossip")).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes < 40 << 20, "{fault:?} left {bytes} bytes");
    }
    scene.server.fail(None);
    assert!(matches!(
        scene.gossip().fetch(false, soon()).await.unwrap(),
        Fetched::Spooled(_)
    ));
}

#[tokio::test]
async fn a_damaged_map_is_fetched_anew_and_a_server_ahead_of_its_time_is_not_believed() {
    let scene = Scene::new().await.with_map().await;
    let path = scene.directory.path().join("gossip/map");
    let mut damaged = scene.file("map").unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let gossip = scene.gossip();
    gossip.wake_up();
    assert!(gossip.map().is_none() && scene.file("map").is_none());
    damaged[20] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(
        scene.gossip().fetch(false, soon()).await.unwrap(),
        Fetched::Postponed
    );
    gossip.ready().await.unwrap();
    assert!(scene.gossip().channels_on_disk().is_some());

    let fresh = Scene::new().await;
    let ahead = GossipServer::start(Network::Regtest).await.unwrap();
    let mut config = Config::new(fresh.directory.path(), Network::Regtest, "http://127.0.0.1:1");
    config.gossip = Some(Server::at(&ahead.url()));
    ahead.publish_at(fresh.network.clone(), super::ago(0) + 3 * super::DAY);
    let gossip = Arc::new(Gossip::new(&config, tokio::sync::broadcast::channel(4).0));
    let error = gossip.fetch(true, soon()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::GossipFailed);
}

#[tokio::test]
async fn the_map_is_loaded_when_awake_and_dropped_when_asleep() {
    let scene = Scene::new().await.with_map().await;
    let gossip = scene.gossip();
    assert!(gossip.map().is_none() && !gossip.loaded(), "asleep at first");
    gossip.wake_up();
    assert_eq!(gossip.map().unwrap().channels().len(), SMALL.channels);
    let held = gossip.map().unwrap();
    gossip.release();
    assert!(!gossip.loaded() && held.channels().len() == SMALL.channels);
    assert!(gossip.map().is_some(), "under pressure it is only given back");
    gossip.fall_asleep();
    assert!(gossip.map().is_none());
}
