//! The wallet in use, with real nodes on real folders. The phone and its Keychain are played; the only server there is takes
//! connections and says nothing.

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::Duration;

use bitcoin::Network;
use pilotlight_node::config::ChainServer;
use pilotlight_node::{
    ChainChoice, Conditions, Found, Grant, GrantKind, Seed, SeedStore, WakeOutcome, WakeReason, WakeRecord,
};
use pilotlight_store::Store;

use super::*;
use crate::settings;

const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// What lives on when the app is deleted, and what of it can be read.
#[derive(Default)]
struct Keychain {
    seeds: HashMap<Network, Vec<u8>>,
    locked: bool,
}

struct Item(Network, Arc<Mutex<Keychain>>);

impl SeedStore for Item {
    fn load(&self) -> Result<Found> {
        let keychain = self.1.lock().unwrap();
        match keychain.seeds.get(&self.0) {
            _ if keychain.locked => Ok(Found::Unknown),
            Some(bytes) => Seed::decode(bytes).map(Found::Seed),
            None => Ok(Found::Nothing),
        }
    }

    fn keep(&self, seed: &Seed) -> Result<()> {
        let bytes = seed.encode()?.to_vec();
        self.1.lock().unwrap().seeds.insert(self.0, bytes);
        Ok(())
    }
}

/// One device, and all processes of the app on it.
struct Device {
    folder: tempfile::TempDir,
    keychain: Arc<Mutex<Keychain>>,
    server: TcpListener,
    computer: bool,
}

/// One process of the app on it.
struct Process {
    keychain: Arc<Mutex<Keychain>>,
    server: String,
    computer: bool,
    /// The folder of the last wallet that was given out.
    last: Mutex<Option<PathBuf>>,
}

impl Home for Process {
    fn lifecycle(&self, mut config: Config) -> Arc<Lifecycle> {
        // Whoever makes the next wallet while the store of the last is open would have two nodes.
        let last = self.last.lock().unwrap().replace(config.data_dir.clone());
        let store = last.map(|folder| folder.join("store"));
        if let Some(store) = store.filter(|store| store.exists()) {
            Store::open(store).unwrap().close().unwrap();
        }
        // Several, which are asked in turn: a wake has somebody to wait for until its time is over.
        let servers = (1..=8).map(|n| ChainServer::esplora(format!("{}/{n}", self.server)));
        config.chain = ChainChoice::Automatic {
            servers: servers.collect(),
        };
        config.gossip = None;
        let seeds = Item(config.network, Arc::clone(&self.keychain));
        Lifecycle::with_seeds(config, Box::new(seeds))
    }

    fn prepare(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
    }

    fn sees_files(&self) -> bool {
        !self.keychain.lock().unwrap().locked
    }

    fn keeps_real_money(&self) -> bool {
        !self.computer
    }
}

impl Device {
    fn phone() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            keychain: Arc::default(),
            // Connections are taken by the system, and nobody answers.
            server: TcpListener::bind("127.0.0.1:0").unwrap(),
            computer: false,
        }
    }

    fn computer() -> Self {
        Self {
            computer: true,
            ..Self::phone()
        }
    }

    fn start(&self) -> Arc<Wallets> {
        self.start_with(&[])
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Arc<Wallets> {
        let process = Process {
            keychain: Arc::clone(&self.keychain),
            server: format!("http://{}", self.server.local_addr().unwrap()),
            computer: self.computer,
            last: Mutex::default(),
        };
        let settings = settings::tests::read(environment).unwrap();
        Wallets::new(settings, self.folder.path().join("app"), Box::new(process))
    }

    fn lock(&self, locked: bool) {
        self.keychain.lock().unwrap().locked = locked;
    }

    fn has(&self, path: &str) -> bool {
        self.folder.path().join("app").join(path).exists()
    }
}

fn grant(secs: u64) -> Grant {
    Grant {
        kind: GrantKind::Refresh,
        reason: WakeReason::System,
        deadline: Instant::now() + Duration::from_secs(secs),
        cancel: CancellationToken::new(),
        progress: None,
        conditions: Conditions::default(),
    }
}

async fn for_a_wake(wallets: &Wallets) -> Result<Arc<Lifecycle>> {
    let Grant { deadline, cancel, .. } = grant(20);
    wallets.for_a_wake(deadline, &cancel).await
}

async fn state(wallets: &Wallets) -> (String, WalletState) {
    let overview = wallets.overview().await.unwrap();
    (overview.network, overview.state)
}

async fn becomes(wallets: &Wallets, network: &str, wanted: WalletState) {
    let wanted = (network.to_owned(), wanted);
    let begun = Instant::now();
    while state(wallets).await != wanted {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            state(wallets).await
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn refusal(wallets: &Wallets, network: &str) -> Option<ErrorCode> {
    let networks = wallets.networks().unwrap();
    let offer = networks.offered.iter().find(|offer| offer.network == network);
    offer.unwrap().refused.as_ref().map(|report| report.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_choice_it_is_practice_and_a_choice_outlives_the_process() {
    let device = Device::phone();
    let wallets = device.start();
    assert!(wallets.known().is_none(), "nothing is read before it is needed");
    let networks = wallets.networks().unwrap();
    assert_eq!((networks.current.as_str(), networks.settled), ("signet", false));
    let offered: Vec<_> = networks
        .offered
        .iter()
        .map(|offer| (&*offer.network, offer.real))
        .collect();
    assert_eq!(offered, [("signet", false), ("bitcoin", true)]);
    assert!(networks.offered.iter().all(|offer| offer.refused.is_none()));
    wallets.choose("testnet4").await.unwrap();
    assert_eq!(state(&wallets).await, ("testnet4".into(), WalletState::None));
    assert_eq!(
        state(&device.start()).await,
        ("testnet4".into(), WalletState::None)
    );
    // The same again changes nothing, and the wallet in use stays the same one.
    let same = wallets.in_use().unwrap();
    wallets.choose("testnet4").await.unwrap();
    assert!(wallets.is_in_use(&same));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_stops_before_the_other_comes_up_and_each_keeps_its_folder() {
    let device = Device::phone();
    let wallets = device.start();
    wallets.enter_foreground().await;
    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    becomes(&wallets, "signet", WalletState::Running).await;
    let practice = wallets.in_use().unwrap();
    let id = practice.node().await.unwrap().node_id().to_owned();
    let mut events = wallets.events();

    wallets.choose("testnet4").await.unwrap();
    assert_eq!(state(&wallets).await, ("testnet4".into(), WalletState::None));
    assert!(!wallets.is_in_use(&practice));
    assert!(device.has("signet/store") && !device.has("testnet4/store"));
    // The wallet that was left is left for good: nobody who still knows it can open it beside the other.
    assert_eq!(practice.overview().await.state, WalletState::Stopped);
    let refused = practice.enter_foreground().await.map(drop).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Cancelled);
    let record = practice.wake(grant(20)).await;
    assert!(
        matches!(record.outcome, WakeOutcome::Expired | WakeOutcome::Failed),
        "{record:?}"
    );

    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    becomes(&wallets, "testnet4", WalletState::Running).await;
    assert_ne!(wallets.in_use().unwrap().node().await.unwrap().node_id(), id);
    let other = wallets.in_use().unwrap();
    let waking = tokio::spawn(async move { other.wake(grant(7)).await });
    // Of the two wakes only that of the wallet in use is heard of.
    let heard = loop {
        if let NodeEvent::WakeStarted { record } = events.recv().await.unwrap() {
            break record;
        }
    };
    let record = waking.await.unwrap();
    assert_eq!((heard.id, heard.started_at_ms), (record.id, record.started_at_ms));
    assert!(record.joined);

    wallets.choose("signet").await.unwrap();
    becomes(&wallets, "signet", WalletState::Running).await;
    let back = wallets.in_use().unwrap();
    assert_eq!(
        back.node().await.unwrap().node_id(),
        id,
        "the wallet that was there is opened"
    );
    // The person goes: the wallet that came last is put away.
    wallets.enter_background_within(&Grace::none()).await.unwrap();
    assert_eq!(state(&wallets).await, ("signet".into(), WalletState::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_under_way_is_called_off_and_one_that_begins_meanwhile_wakes_the_other_wallet() {
    let device = Device::phone();
    let wallets = device.start();
    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    let practice = for_a_wake(&wallets).await.unwrap();
    let waking: tokio::task::JoinHandle<WakeRecord> = {
        let practice = Arc::clone(&practice);
        tokio::spawn(async move { practice.wake(grant(30)).await })
    };
    becomes(&wallets, "signet", WalletState::Running).await;
    let choosing = {
        let wallets = Arc::clone(&wallets);
        tokio::spawn(async move { wallets.choose("testnet4").await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(wallets.is_in_use(&practice), "the wake is given a moment");
    let next = for_a_wake(&wallets).await.unwrap();
    assert!(wallets.is_in_use(&next) && !Arc::ptr_eq(&next, &practice));
    choosing.await.unwrap().unwrap();
    let record = waking.await.unwrap();
    assert_eq!(record.outcome, WakeOutcome::Expired, "{record:?}");
    assert_eq!(practice.overview().await.state, WalletState::Stopped);
    assert_eq!(
        practice.history().await.unwrap()[0],
        record,
        "what it did is kept"
    );

    // Nobody waits longer than a wake has.
    let _changing = wallets.changing.lock().await;
    let soon = Instant::now() + Duration::from_millis(50);
    let late = wallets.for_a_wake(soon, &CancellationToken::new()).await;
    assert_eq!(late.map(drop).unwrap_err().code(), ErrorCode::InsufficientTime);
    let called = CancellationToken::new();
    called.cancel();
    let called = wallets.for_a_wake(grant(20).deadline, &called).await;
    assert_eq!(called.map(drop).unwrap_err().code(), ErrorCode::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_money_is_opened_as_it_is_and_then_never_left_nor_forgotten() {
    let device = Device::phone();
    let wallets = device.start();
    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    // Of a time before the app was deleted.
    let seed = Seed::parse(WORDS, None).unwrap().encode().unwrap().to_vec();
    device
        .keychain
        .lock()
        .unwrap()
        .seeds
        .insert(Network::Bitcoin, seed);
    wallets.choose("bitcoin").await.unwrap();
    assert_eq!(state(&wallets).await, ("bitcoin".into(), WalletState::Stopped));
    let words = wallets.in_use().unwrap().reveal_words().await.unwrap();
    assert_eq!(*words, WORDS);
    assert_eq!(
        wallets
            .create_wallet(WordCount::Twelve, None)
            .await
            .unwrap_err()
            .code(),
        ErrorCode::WalletExists
    );
    for practice in ["signet", "testnet4"] {
        let refused = wallets.choose(practice).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::RealMoneyStays);
    }
    assert_eq!(refusal(&wallets, "signet"), Some(ErrorCode::RealMoneyStays));
    assert_eq!(refusal(&wallets, "bitcoin"), None);
    assert_eq!(state(&wallets).await.0, "bitcoin");

    // The choice is lost or damaged, and a practice wallet is there as well.
    let file = device.folder.path().join("app/network-in-use.json");
    std::fs::write(&file, "{").unwrap();
    assert_eq!(state(&device.start()).await.0, "bitcoin");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(state(&device.start()).await.0, "bitcoin");
    // A locked phone does not say whether there is real money: nothing else is taken for it.
    device.lock(true);
    assert_eq!(
        device.start().in_use().map(drop).unwrap_err().code(),
        ErrorCode::Locked
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn real_money_can_be_left_for_as_long_as_there_is_no_wallet() {
    let device = Device::phone();
    let wallets = device.start();
    wallets.choose("bitcoin").await.unwrap();
    assert_eq!(refusal(&wallets, "signet"), None);
    device.lock(true);
    let refused = wallets.choose("signet").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Locked, "there may be one");
    device.lock(false);
    wallets.choose("signet").await.unwrap();
    assert_eq!(state(&wallets).await, ("signet".into(), WalletState::None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_was_never_unlocked_wakes_no_wallet_and_the_right_one_later() {
    let device = Device::phone();
    let before = device.start();
    before.choose("testnet4").await.unwrap();
    before.create_wallet(WordCount::Twelve, None).await.unwrap();
    drop(before);
    std::fs::remove_dir_all(device.folder.path().join("app/signet")).unwrap();

    device.lock(true);
    let file = device.folder.path().join("app/network-in-use.json");
    let aside = device.folder.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    let wallets = device.start();
    for _ in 0..2 {
        let refused = for_a_wake(&wallets).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Locked);
        assert_eq!(state(&wallets).await, (String::new(), WalletState::Locked));
    }
    wallets.enter_foreground().await;
    assert!(wallets.known().is_none());
    let refused = wallets.create_wallet(WordCount::Twelve, None).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Locked, "one may be there already");
    assert!(!device.has("signet"), "nothing was made for another network");

    std::fs::rename(&aside, &file).unwrap();
    device.lock(false);
    // The person is there already: once it is known, it comes up by itself.
    becomes(&wallets, "testnet4", WalletState::Running).await;
    wallets.enter_background_within(&Grace::none()).await.unwrap();
    let woken = for_a_wake(&wallets).await.unwrap();
    assert_eq!(woken.overview().await.network, "testnet4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computer_keeps_to_practice_and_nothing_is_changed() {
    let device = Device::computer();
    let wallets = device.start();
    assert_eq!(refusal(&wallets, "bitcoin"), Some(ErrorCode::RealMoneyElsewhere));
    let refused = wallets.choose("bitcoin").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RealMoneyElsewhere);
    assert_eq!(state(&wallets).await, ("signet".into(), WalletState::None));
    assert!(!device.has("network-in-use.json") && !device.has("bitcoin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_wallet_is_made_it_stays_whatever_the_default_is() {
    let device = Device::phone();
    let wallets = device.start();
    assert!(wallets.known().is_none() && !device.has("network-in-use.json"));
    wallets.restore_wallet(WORDS, None).await.unwrap();
    let kept = choice::read(&device.folder.path().join("app"), || true).unwrap();
    assert_eq!(kept, choice::Choice::Found(Chain::Signet));
    // What the environment settled is not the person's choice.
    let settled = Device::phone();
    let wallets = settled.start_with(&[("PILOTLIGHT_NETWORK", "testnet4")]);
    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    assert!(!settled.has("network-in-use.json") && settled.has("testnet4"));
}

/// Comings, goings, wakes and exchanges at random moments. That there are never two nodes is held where each next wallet is
/// made: the store of the last one must be closed.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_together_there_is_one_wallet_and_it_is_the_chosen_one() {
    let rounds = std::env::var("PILOTLIGHT_EXCHANGES").map_or(12, |n| n.parse().unwrap());
    let device = Device::phone();
    let wallets = device.start();
    for network in ["testnet4", "signet"] {
        wallets.choose(network).await.unwrap();
        wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    }
    wallets.enter_foreground().await;
    // The same each time: what differs is how it comes together.
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..rounds {
        let chosen = ["signet", "testnet4"][round % 2];
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (wallets, delay) = (Arc::clone(&wallets), Duration::from_millis(random(120)));
            let what = random(3);
            tasks.spawn(async move {
                tokio::time::sleep(delay).await;
                match what {
                    0 => wallets.enter_foreground().await,
                    1 => wallets.enter_background_within(&Grace::none()).await.unwrap(),
                    _ => {
                        let lifecycle = for_a_wake(&wallets).await.unwrap();
                        // With so little time a wake opens and does nothing more.
                        drop(lifecycle.wake(grant(6)).await);
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(random(120))).await;
        wallets.choose(chosen).await.unwrap();
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        assert_eq!(wallets.overview().await.unwrap().network, chosen, "{round}");
        wallets.enter_foreground().await;
        becomes(&wallets, chosen, WalletState::Running).await;
    }
    wallets.enter_background_within(&Grace::none()).await.unwrap();
    assert_eq!(wallets.overview().await.unwrap().state, WalletState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_nothing_and_a_settled_network_are_refused() {
    let device = Device::phone();
    let wallets = device.start();
    for name in ["", "regtest", "mainnet", "../bitcoin", &"x".repeat(100_000)] {
        let refused = wallets.choose(name).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidInput);
    }
    assert!(wallets.known().is_none() && !device.has("network-in-use.json"));

    wallets.choose("testnet4").await.unwrap();
    let settled = device.start_with(&[("PILOTLIGHT_NETWORK", "signet")]);
    let networks = settled.networks().unwrap();
    assert_eq!((networks.current.as_str(), networks.settled), ("signet", true));
    assert!(networks.offered.is_empty());
    let refused = settled.choose("testnet4").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Misconfigured);
    assert_eq!(
        state(&settled).await.0,
        "signet",
        "the environment goes before the choice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_cannot_be_kept_changes_nothing() {
    let device = Device::phone();
    let wallets = device.start();
    wallets.enter_foreground().await;
    wallets.create_wallet(WordCount::Twelve, None).await.unwrap();
    becomes(&wallets, "signet", WalletState::Running).await;
    let node = wallets.in_use().unwrap().node().await.unwrap();
    // A folder in the place of the temporary file makes the write fail, for root too.
    let in_the_way = device.folder.path().join("app/.network-in-use.json.tmp");
    std::fs::create_dir(in_the_way).unwrap();
    let refused = wallets.choose("bitcoin").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StorageFailed);
    assert_eq!(state(&wallets).await, ("signet".into(), WalletState::Running));
    let same = wallets.in_use().unwrap().node().await.unwrap();
    assert!(Arc::ptr_eq(&node, &same));
    wallets.enter_background_within(&Grace::none()).await.unwrap();
}
