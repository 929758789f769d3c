//! What the webview may ask. Each command is one call to the node or the plugin; what it does is said there.
//!
//! Amounts in msat are strings on the way in as on the way out, because 2^53 is not enough to be sure of them in
//! JavaScript.

use std::sync::Arc;

use pilotlight_node::{
    Channel, Connection, ConnectionStatus, Destination, Error, ErrorCode, ErrorReport, GrantKind, Invoice,
    Lifecycle, Node, Overview, Payment, PeerAddress, WakeRecord, WordCount,
};
use serde::{Deserialize, Deserializer};
use tauri::{AppHandle, State};
use tauri_plugin_background::{BackgroundExt, Error as Refused, SchedulerError, Status, TaskKind};

use crate::wallets::{Networks, Wallets};
use crate::wiring;

type Answer<T> = Result<T, ErrorReport>;
type Wallet<'a> = State<'a, Arc<Wallets>>;

/// An amount in satoshi. A number in JavaScript: all the satoshi there will ever be are less than 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, specta::Type)]
#[specta(transparent, inline)]
pub struct Sat(#[specta(type = specta_typescript::Number)] u64);

/// An amount in millisatoshi, as a string of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, specta::Type)]
#[specta(transparent, inline)]
pub struct Msat(#[specta(type = String)] u64);

impl<'de> Deserialize<'de> for Msat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| serde::de::Error::custom("msat: a string of digits is expected"))
    }
}

/// The wallet at a glance.
#[tauri::command]
#[specta::specta]
pub async fn overview(wallet: Wallet<'_>) -> Answer<Overview> {
    wallet.overview().await.map_err(|e| e.report())
}

/// Makes a new wallet and returns its recovery words, 12 or 24. An empty passphrase is none.
#[tauri::command]
#[specta::specta]
pub async fn create_wallet(wallet: Wallet<'_>, word_count: u32, passphrase: String) -> Answer<Vec<String>> {
    let count = WordCount::try_from(word_count).map_err(|e| e.report())?;
    wallet
        .create_wallet(count, non_empty(&passphrase))
        .await
        .map_err(|e| e.report())
}

/// Restores a wallet from its recovery words. An empty passphrase is none.
#[tauri::command]
#[specta::specta]
pub async fn restore_wallet(wallet: Wallet<'_>, words: String, passphrase: String) -> Answer<()> {
    wallet
        .restore_wallet(&words, non_empty(&passphrase))
        .await
        .map_err(|e| e.report())
}

/// The recovery words, because the person asked to see them.
#[tauri::command]
#[specta::specta]
pub async fn reveal_words(wallet: Wallet<'_>) -> Answer<Vec<String>> {
    let words = in_use(&wallet)?.reveal_words().await.map_err(|e| e.report())?;
    Ok(words.split_whitespace().map(str::to_owned).collect())
}

/// A fresh on-chain address.
#[tauri::command]
#[specta::specta]
pub async fn new_address(wallet: Wallet<'_>) -> Answer<String> {
    let node = node(&wallet).await?;
    node.new_address().await.map_err(|e| e.report())
}

/// Sends on-chain; without an amount, everything there is. Returns the transaction's id.
#[tauri::command]
#[specta::specta]
pub async fn send_onchain(wallet: Wallet<'_>, address: String, amount_sat: Option<Sat>) -> Answer<String> {
    let node = node(&wallet).await?;
    let payment = node
        .send_onchain(&address, amount_sat.map(|sat| sat.0))
        .await
        .map_err(|e| e.report())?;
    Ok(payment.id)
}

/// What a pasted or scanned text asks us to pay.
#[tauri::command]
#[specta::specta]
pub async fn parse_destination(wallet: Wallet<'_>, text: String) -> Answer<Destination> {
    let node = node(&wallet).await?;
    node.parse(&text).map_err(|e| e.report())
}

/// A BOLT11 invoice; without an amount, the payer chooses.
#[tauri::command]
#[specta::specta]
pub async fn create_invoice(
    wallet: Wallet<'_>,
    amount_msat: Option<Msat>,
    description: String,
) -> Answer<Invoice> {
    let node = node(&wallet).await?;
    node.create_invoice(amount_msat.map(|msat| msat.0), &description)
        .await
        .map_err(|e| e.report())
}

/// Pays a BOLT11 invoice; the amount is for one that lets the payer choose. Returns the payment's id as soon as it is
/// under way; events tell the rest.
#[tauri::command]
#[specta::specta]
pub async fn pay(wallet: Wallet<'_>, bolt11: String, amount_msat: Option<Msat>) -> Answer<String> {
    let node = node(&wallet).await?;
    let payment = node
        .pay(&bolt11, amount_msat.map(|msat| msat.0))
        .await
        .map_err(|e| e.report())?;
    Ok(payment.id)
}

/// The activity list.
#[tauri::command]
#[specta::specta]
pub async fn payments(wallet: Wallet<'_>) -> Answer<Vec<Payment>> {
    let node = node(&wallet).await?;
    node.payments().await.map_err(|e| e.report())
}

/// The channels.
#[tauri::command]
#[specta::specta]
pub async fn channels(wallet: Wallet<'_>) -> Answer<Vec<Channel>> {
    Ok(node(&wallet).await?.channels())
}

/// Connects to a peer, `NODE_ID@HOST:PORT`.
#[tauri::command]
#[specta::specta]
pub async fn connect_peer(wallet: Wallet<'_>, address: String) -> Answer<()> {
    let peer = peer(&address)?;
    let node = node(&wallet).await?;
    node.connect(&peer).await.map_err(|e| e.report())
}

/// Opens a channel with a peer, `NODE_ID@HOST:PORT`. Returns the channel's id so far.
#[tauri::command]
#[specta::specta]
pub async fn open_channel(wallet: Wallet<'_>, peer_address: String, amount_sat: Sat) -> Answer<String> {
    let peer = peer(&peer_address)?;
    let node = node(&wallet).await?;
    node.open_channel(&peer, amount_sat.0)
        .await
        .map_err(|e| e.report())
}

/// Closes a channel, together with the peer or by force.
#[tauri::command]
#[specta::specta]
pub async fn close_channel(wallet: Wallet<'_>, channel_id: String, force: bool) -> Answer<()> {
    let node = node(&wallet).await?;
    node.close_channel(&channel_id, force)
        .await
        .map_err(|e| e.report())
}

/// By which way the chain is heard.
#[tauri::command]
#[specta::specta]
pub async fn connection(wallet: Wallet<'_>) -> Answer<ConnectionStatus> {
    in_use(&wallet)?.connection().map_err(|e| e.report())
}

/// Takes another way to hear the chain. A server of the person's own is asked first whether it is one; answers when the
/// wallet runs with it.
#[tauri::command]
#[specta::specta]
pub async fn choose_connection(wallet: Wallet<'_>, choice: Connection) -> Answer<()> {
    let lifecycle = in_use(&wallet)?;
    lifecycle.choose_connection(choice).await.map_err(|e| e.report())
}

/// Which networks' wallets there are to choose from, and which one is in use.
#[tauri::command]
#[specta::specta]
pub async fn networks(wallet: Wallet<'_>) -> Answer<Networks> {
    wallet.networks().map_err(|e| e.report())
}

/// Puts another network's wallet in the place of the one in use; answers when that is done.
#[tauri::command]
#[specta::specta]
pub async fn choose_network(wallet: Wallet<'_>, network: String) -> Answer<()> {
    wallet.choose(&network).await.map_err(|e| e.report())
}

/// Looks at the chain now; answers when that is done.
#[tauri::command]
#[specta::specta]
pub async fn sync_now(wallet: Wallet<'_>) -> Answer<()> {
    let node = node(&wallet).await?;
    node.sync().await.map_err(|e| e.report())
}

/// The records of the last wakes, newest first.
#[tauri::command]
#[specta::specta]
pub async fn wakes(wallet: Wallet<'_>) -> Answer<Vec<WakeRecord>> {
    in_use(&wallet)?.history().await.map_err(|e| e.report())
}

/// Who grants background runs, and when the next may come.
#[tauri::command]
#[specta::specta]
pub async fn background_status(app: AppHandle) -> Answer<Status> {
    Ok(app.background().status())
}

/// Runs a refresh wake now. `false`: one is under way already.
#[tauri::command]
#[specta::specta]
pub async fn wake_now(app: AppHandle) -> Answer<bool> {
    did(first(&app, GrantKind::Refresh).and_then(|id| app.background().wake_now(id)))
}

/// Runs a full wake now, as long as a processing one. Where the system can, it shows how far it came and lets it go on
/// when the person leaves the app. `false`: one is under way already.
#[tauri::command]
#[specta::specta]
pub async fn full_check(app: AppHandle) -> Answer<bool> {
    let background = app.background();
    for id in background.tasks_of(TaskKind::Continued) {
        match background.start_continued(id, "Checking your channels", "The wallet looks at the chain") {
            // Before iOS 26, and when the system has no room: then it runs for as long as the app is open.
            Err(Refused::Scheduler(
                SchedulerError::Unsupported(_)
                | SchedulerError::Unavailable
                | SchedulerError::TooManyPending
                | SchedulerError::NotPermitted(_),
            )) => {}
            started => return did(started),
        }
    }
    did(first(&app, GrantKind::Processing).and_then(|id| background.wake_now(id)))
}

/// Has the simulated scheduler launch a task. `false`: it runs already.
#[tauri::command]
#[specta::specta]
pub async fn simulate_launch(app: AppHandle, kind: GrantKind) -> Answer<bool> {
    did(first(&app, kind).and_then(|id| app.background().simulate_launch(id)))
}

/// Calls time on every run under way, as the system would. `false`: there was none.
#[tauri::command]
#[specta::specta]
pub async fn simulate_expiration(app: AppHandle) -> Answer<bool> {
    let mut any = false;
    for run in app.background().status().active {
        any |= did(app.background().simulate_expiration(&run.id))?;
    }
    Ok(any)
}

fn in_use(wallet: &Wallets) -> Answer<Arc<Lifecycle>> {
    wallet.in_use().map_err(|e| e.report())
}

async fn node(wallet: &Wallets) -> Answer<Arc<Node>> {
    in_use(wallet)?.node().await.map_err(|e| e.report())
}

fn first(app: &AppHandle, kind: GrantKind) -> Result<&str, Refused> {
    let kind = wiring::task_kind(kind);
    let missing = || Refused::UnknownTask(format!("{kind:?}"));
    app.background().tasks_of(kind).next().ok_or_else(missing)
}

/// Whether it had an effect. What is so already is no error for a person who presses a button.
fn did(result: Result<(), Refused>) -> Answer<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Refused::Scheduler(SchedulerError::AlreadyRunning(_) | SchedulerError::NotRunning(_))) => {
            Ok(false)
        }
        Err(error @ (Refused::Config(_) | Refused::UnknownTask(_) | Refused::Scheduler(_))) => {
            Err(Error::new(ErrorCode::Misconfigured, error).report())
        }
        Err(error) => Err(Error::new(ErrorCode::Internal, error).report()),
    }
}

fn peer(address: &str) -> Answer<PeerAddress> {
    address.parse().map_err(|error: Error| error.report())
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
