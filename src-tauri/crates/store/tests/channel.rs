//! A real channel between two of LDK's channel managers, whose monitors LDK's own `MonitorUpdatingPersister` keeps in the
//! store: after every payment, what a reader finds in the store is where the live monitor is. On sled and on SQLite.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use lightning::bitcoin::absolute::LockTime;
use lightning::bitcoin::block::{Header, Version};
use lightning::bitcoin::hashes::Hash;
use lightning::bitcoin::secp256k1::PublicKey;
use lightning::bitcoin::{
    Amount, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, transaction,
};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use lightning::chain::chainmonitor::ChainMonitor;
use lightning::chain::{BestBlock, Confirm, Filter, WatchedOutput};
use lightning::events::{Event, EventsProvider};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{ChainParameters, ChannelManager, PaymentId, RecipientOnionFields};
use lightning::ln::msgs::{BaseMessageHandler, ChannelMessageHandler, Init, MessageSendEvent};
use lightning::onion_message::messenger::NullMessageRouter;
use lightning::routing::router::{
    InFlightHtlcs, Path as RoutePath, Route, RouteHop, RouteParameters, Router,
};
use lightning::sign::{InMemorySigner, KeysManager, NodeSigner, Recipient};
use lightning::types::features::{ChannelFeatures, NodeFeatures};
use lightning::util::config::UserConfig;
use lightning::util::logger::{Logger, Record};
use lightning::util::persist::{KVStoreSync, MonitorUpdatingPersister};
use lightning::util::ser::Writeable;
use pilotlight_store::{SqliteStore, Store};

const PAYMENTS: usize = 12;
const PENDING_UPDATES: u64 = 3;

/// What a node needs and this test does not.
struct Nothing;
static NOTHING: Nothing = Nothing;
static NO_ROUTES: NullMessageRouter = NullMessageRouter {};

impl Logger for Nothing {
    fn log(&self, _record: Record) {}
}

impl BroadcasterInterface for Nothing {
    fn broadcast_transactions(&self, _transactions: &[&Transaction]) {}
}

impl FeeEstimator for Nothing {
    fn get_est_sat_per_1000_weight(&self, _target: ConfirmationTarget) -> u32 {
        253
    }
}

impl Filter for Nothing {
    fn register_tx(&self, _txid: &Txid, _script: &lightning::bitcoin::Script) {}
    fn register_output(&self, _output: WatchedOutput) {}
}

impl Router for Nothing {
    fn find_route(
        &self,
        _payer: &PublicKey,
        _parameters: &RouteParameters,
        _first_hops: Option<&[&ChannelDetails]>,
        _inflight: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        Err("the test brings its own")
    }

    fn create_blinded_payment_paths<
        T: lightning::bitcoin::secp256k1::Signing + lightning::bitcoin::secp256k1::Verification,
    >(
        &self,
        _recipient: PublicKey,
        _first_hops: Vec<ChannelDetails>,
        _tlvs: ReceiveTlvs,
        _amount: Option<u64>,
        _secp: &lightning::bitcoin::secp256k1::Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        Err(())
    }
}

type N = &'static Nothing;
type K = &'static KeysManager;
type Persister<S> = MonitorUpdatingPersister<Arc<S>, N, K, K, N, N>;
type Monitors<S> = ChainMonitor<InMemorySigner, N, N, N, N, Arc<Persister<S>>, K>;
type Channels<S> = ChannelManager<Arc<Monitors<S>>, N, K, K, K, N, N, &'static NullMessageRouter, N>;

fn persister<S: KVStoreSync>(store: &Arc<S>, keys: K) -> Persister<S> {
    MonitorUpdatingPersister::new(
        Arc::clone(store),
        &NOTHING,
        PENDING_UPDATES,
        keys,
        keys,
        &NOTHING,
        &NOTHING,
    )
}

struct Peer<S: KVStoreSync> {
    id: PublicKey,
    keys: K,
    store: Arc<S>,
    monitors: Arc<Monitors<S>>,
    channels: Channels<S>,
}

impl<S: KVStoreSync> Peer<S> {
    fn new(seed: u8, store: S) -> Self {
        let keys: K = Box::leak(Box::new(KeysManager::new(&[seed; 32], 0, 0, true)));
        let store = Arc::new(store);
        let monitors = Arc::new(ChainMonitor::new(
            None,
            &NOTHING,
            &NOTHING,
            &NOTHING,
            Arc::new(persister(&store, keys)),
            keys,
            keys.get_peer_storage_key(),
        ));
        let parameters = ChainParameters {
            network: Network::Regtest,
            best_block: BestBlock::from_network(Network::Regtest),
        };
        let channels = ChannelManager::new(
            &NOTHING,
            Arc::clone(&monitors),
            &NOTHING,
            &NOTHING,
            &NO_ROUTES,
            &NOTHING,
            keys,
            keys,
            keys,
            UserConfig::default(),
            parameters,
            1_700_000_000,
        );
        Self {
            id: keys.get_node_id(Recipient::Node).unwrap(),
            keys,
            store,
            monitors,
            channels,
        }
    }

    fn events(&self) -> Vec<Event> {
        let events = std::cell::RefCell::new(Vec::new());
        self.channels.process_pending_events(&|event| {
            events.borrow_mut().push(event);
            Ok(())
        });
        events.into_inner()
    }

    /// The chain, as far as there is one.
    fn confirm(&self, transaction: &Transaction) {
        let header = |nonce| Header {
            version: Version::TWO,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: 1_700_000_000,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce,
        };
        for listener in [&*self.monitors as &dyn Confirm, &self.channels] {
            listener.transactions_confirmed(&header(1), &[(1, transaction)], 1);
            listener.best_block_updated(&header(2), 10);
        }
    }

    /// What is in the store is where the live monitor is, and no more updates wait than were allowed.
    fn check(&self) {
        let [id] = self.monitors.list_monitors()[..] else {
            panic!("one channel");
        };
        let live = self.monitors.get_monitor(id).unwrap();
        let stored = persister(&self.store, self.keys)
            .read_all_channel_monitors_with_updates()
            .unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].1.get_latest_update_id(), live.get_latest_update_id());
        assert_eq!(
            stored[0].1.get_claimable_balances(),
            live.get_claimable_balances()
        );
        let key = live.persistence_key().to_string();
        let waiting = self.store.list("monitor_updates", &key).unwrap();
        assert!(waiting.len() as u64 <= PENDING_UPDATES, "{waiting:?}");
    }
}

/// Carries messages to and fro until nobody says anything more.
fn talk<S: KVStoreSync>(a: &Peer<S>, b: &Peer<S>) {
    loop {
        let mut quiet = true;
        for (from, to) in [(a, b), (b, a)] {
            for message in from.channels.get_and_clear_pending_msg_events() {
                quiet = false;
                deliver(from.id, &to.channels, message);
            }
        }
        if quiet {
            return;
        }
    }
}

fn deliver(from: PublicKey, to: &impl ChannelMessageHandler, message: MessageSendEvent) {
    match message {
        MessageSendEvent::SendOpenChannel { msg, .. } => to.handle_open_channel(from, &msg),
        MessageSendEvent::SendAcceptChannel { msg, .. } => to.handle_accept_channel(from, &msg),
        MessageSendEvent::SendFundingCreated { msg, .. } => to.handle_funding_created(from, &msg),
        MessageSendEvent::SendFundingSigned { msg, .. } => to.handle_funding_signed(from, &msg),
        MessageSendEvent::SendChannelReady { msg, .. } => to.handle_channel_ready(from, &msg),
        MessageSendEvent::SendRevokeAndACK { msg, .. } => to.handle_revoke_and_ack(from, &msg),
        MessageSendEvent::UpdateHTLCs { updates, .. } => {
            for add in &updates.update_add_htlcs {
                to.handle_update_add_htlc(from, add);
            }
            for fulfill in updates.update_fulfill_htlcs {
                to.handle_update_fulfill_htlc(from, fulfill);
            }
            for signed in &updates.commitment_signed {
                to.handle_commitment_signed(from, signed);
            }
        }
        MessageSendEvent::HandleError { action, .. } => panic!("{action:?}"),
        // Gossip, which nobody needs here.
        _ => {}
    }
}

fn open_channel<S: KVStoreSync>(a: &Peer<S>, b: &Peer<S>) {
    for (one, other, inbound) in [(a, b, false), (b, a, true)] {
        let init = Init {
            features: other.channels.provided_init_features(one.id),
            networks: None,
            remote_network_address: None,
        };
        one.channels.peer_connected(other.id, &init, inbound).unwrap();
    }
    a.channels
        .create_channel(b.id, 1_000_000, 300_000_000, 0, None, None)
        .unwrap();
    talk(a, b);
    let Some(Event::FundingGenerationReady {
        temporary_channel_id,
        channel_value_satoshis,
        output_script,
        ..
    }) = a.events().pop()
    else {
        panic!("the channel was not accepted");
    };
    let funding = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), 7),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[1; 64]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(channel_value_satoshis),
            script_pubkey: output_script,
        }],
    };
    a.channels
        .funding_transaction_generated(temporary_channel_id, b.id, funding.clone())
        .unwrap();
    talk(a, b);
    a.confirm(&funding);
    b.confirm(&funding);
    talk(a, b);
    a.events();
    b.events();
    assert_eq!(a.channels.list_usable_channels().len(), 1);
}

fn pay<S: KVStoreSync>(from: &Peer<S>, to: &Peer<S>) {
    let (hash, secret) = to.channels.create_inbound_payment(None, 3600, None).unwrap();
    let channel = from.channels.list_usable_channels().remove(0);
    let route = Route {
        paths: vec![RoutePath {
            hops: vec![RouteHop {
                pubkey: to.id,
                node_features: NodeFeatures::empty(),
                short_channel_id: channel.get_outbound_payment_scid().unwrap(),
                channel_features: ChannelFeatures::empty(),
                fee_msat: 5_000_000,
                cltv_expiry_delta: 80,
                maybe_announced_channel: false,
            }],
            blinded_tail: None,
        }],
        route_params: None,
    };
    let onion = RecipientOnionFields::secret_only(secret);
    from.channels
        .send_payment_with_route(route, hash, onion, PaymentId(hash.0))
        .unwrap();
    talk(from, to);
    to.channels.process_pending_htlc_forwards();
    let preimage = to.events().into_iter().find_map(|event| match event {
        Event::PaymentClaimable { purpose, .. } => purpose.preimage(),
        _ => None,
    });
    to.channels.claim_funds(preimage.expect("the payment arrived"));
    talk(from, to);
    let sent = from.events();
    assert!(
        sent.iter()
            .any(|event| matches!(event, Event::PaymentSent { .. })),
        "{sent:?}"
    );
    to.events();
}

fn a_channel_lives_in_the_store<S: KVStoreSync>(open: impl Fn(&Path) -> S) {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let a = Peer::new(1, open(directories[0].path()));
    let b = Peer::new(2, open(directories[1].path()));
    open_channel(&a, &b);
    for number in 0..PAYMENTS {
        if number % 2 == 0 {
            pay(&a, &b);
        } else {
            pay(&b, &a);
        }
        for peer in [&a, &b] {
            peer.check();
            peer.store
                .write("", "", "manager", peer.channels.encode())
                .unwrap();
        }
    }
    let ids = [&a, &b].map(|peer| {
        let id = peer.monitors.list_monitors()[0];
        peer.monitors.get_monitor(id).unwrap().get_latest_update_id()
    });
    assert!(ids[0] > PAYMENTS as u64, "{ids:?}");
    let keys = [a.keys, b.keys];
    drop((a, b));
    // Closed and opened again, it is all there.
    for ((directory, keys), id) in directories.iter().zip(keys).zip(ids) {
        let store = Arc::new(open(directory.path()));
        let stored = persister(&store, keys)
            .read_all_channel_monitors_with_updates()
            .unwrap();
        assert_eq!(stored[0].1.get_latest_update_id(), id);
    }
}

#[test]
fn a_channel_lives_in_sled() {
    a_channel_lives_in_the_store(|path| Store::open(path).unwrap());
}

#[test]
fn a_channel_lives_in_the_sqlite_twin() {
    a_channel_lives_in_the_store(|path| SqliteStore::open(path).unwrap());
}
