//! News of the network as wakes bring them home: what their records say is what the server told.

use std::time::Duration;

use pilotlight_devnet::gossip::{Size, day_later, synthetic};
use pilotlight_node::gossip::Server;
use pilotlight_node::{Conditions, GrantKind, Network, StageEnd, StageName, WakeRecord};

use super::common::{Stage, grant};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const SMALL: Size = Size {
    nodes: 40,
    channels: 120,
};

async fn wake(stage: &Stage, kind: GrantKind, network: Network) -> WakeRecord {
    let mut grant = grant(kind, 60);
    grant.conditions = Conditions {
        network: Some(network),
        on_power: Some(network == Network::Unmetered),
        ..Conditions::default()
    };
    stage.lifecycle().wake(grant).await
}

fn end(record: &WakeRecord) -> StageEnd {
    record.stage(StageName::Gossip).unwrap().end
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_wake_that_may_takes_the_whole_network_and_later_ones_what_changed() {
    let mut stage = Stage::with_channel().await;
    let without = wake(&stage, GrantKind::Refresh, Network::Expensive).await;
    assert_eq!(
        (end(&without), without.graph_channels_updated),
        (StageEnd::NothingToDo, 0)
    );

    let server = stage.devnet.gossip();
    let network = synthetic(SMALL, 5);
    server.publish(network.clone(), 2 * DAY);
    server.asked();
    stage.config.gossip = Some(Server::at(&server.url()));
    let server = stage.devnet.gossip();
    let costly = wake(&stage, GrantKind::Refresh, Network::Expensive).await;
    assert_eq!(
        (end(&costly), costly.graph_channels_updated),
        (StageEnd::NothingToDo, 0)
    );
    assert!(
        server.asked().is_empty(),
        "the whole network is not for a metered network"
    );

    let first = wake(&stage, GrantKind::Processing, Network::Unmetered).await;
    assert_eq!(end(&first), StageEnd::Done, "{first:#?}");
    assert_eq!(first.graph_channels_updated as usize, SMALL.channels);
    assert_eq!(server.asked(), ["/snapshot/v2/0"]);

    let later = day_later(&network, 1);
    let changed = later.channels.iter();
    let changed = changed.filter(|(scid, channel)| network.channels.get(scid) != Some(channel));
    let changed = changed.count();
    server.publish(later, DAY);
    let news = wake(&stage, GrantKind::Refresh, Network::Expensive).await;
    assert_eq!(end(&news), StageEnd::Done, "{news:#?}");
    assert_eq!(news.graph_channels_updated as usize, changed);
    let asked = server.asked();
    assert!(asked.len() == 1 && asked[0] != "/snapshot/v2/0", "{asked:?}");
    // They wait for the time to apply them, and ask for it.
    assert!(news.wants_processing, "{news:#?}");
    assert!(
        news.requests <= without.requests + 2,
        "{} {}",
        news.requests,
        without.requests
    );
}
