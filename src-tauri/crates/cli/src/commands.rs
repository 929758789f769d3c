//! Does what was asked.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilotlight_node::gossip::Server;
use pilotlight_node::{
    ChainChoice, Conditions, Config, Error, ErrorCode, Grant, GrantKind, Lifecycle, Node, NodeEvent, Payment,
    PaymentStatus, Result, WakeReason, WordCount,
};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, CapsuleAction, Command};
use crate::output::{Answer, say, wake_exit};

/// Longest wait for the channels to come up before a payment is tried without them.
const CHANNELS_LIMIT: Duration = Duration::from_secs(15);

/// Longest wait for things to settle before the node is closed.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Does one command.
pub async fn perform(args: Args) -> Result<Answer> {
    let mut config = Config::new(args.data_dir, args.network, args.esplora);
    if let Some(url) = args.electrum {
        config.chain = ChainChoice::Electrum {
            url,
            proxy: args.electrum_proxy,
        };
    }
    if !args.filters.is_empty() {
        config.chain = ChainChoice::filters(args.filters, args.filters_proxy);
    }
    config.lsp = args.lsp;
    if let Some(base) = &args.gossip {
        config.gossip = Some(Server::at(base));
    }
    let lifecycle = Lifecycle::new(config);
    match args.command {
        Command::Init {
            words,
            mnemonic,
            passphrase,
        } => init(&lifecycle, words, mnemonic, passphrase).await,
        Command::Wake {
            kind,
            budget_secs,
            phone,
        } => Ok(wake(&lifecycle, kind.into(), budget_secs, phone.into()).await),
        Command::History => Ok(Answer::new(lifecycle.history().await?)),
        Command::Run => run(&lifecycle, args.json).await,
        Command::Capsule {
            action: CapsuleAction::Inspect,
        } => Ok(Answer::new(lifecycle.inspect_capsules().await?)),
        Command::Capsule {
            action: CapsuleAction::Restore { recorded },
        } => Ok(Answer::new(lifecycle.restore_capsule(recorded).await?)),
        command => {
            let node = lifecycle.enter_foreground().await?;
            let answer = ask(&node, command, args.json).await;
            let closed = lifecycle.enter_background().await;
            let answer = answer?;
            closed.map(|()| answer)
        }
    }
}

async fn init(
    lifecycle: &Lifecycle,
    words: u32,
    mnemonic: Option<String>,
    passphrase: Option<String>,
) -> Result<Answer> {
    let Some(mnemonic) = mnemonic else {
        let words = lifecycle
            .create_wallet(WordCount::try_from(words)?, passphrase.as_deref())
            .await?;
        return Ok(Answer::new(json!({ "mnemonic": words.as_str() })));
    };
    let mnemonic = if mnemonic == "-" {
        let mut text = String::new();
        // Far more than 24 words; a stream without an end must not fill the memory.
        let read = std::io::stdin().take(4_096).read_to_string(&mut text);
        read.map_err(|e| Error::new(ErrorCode::InvalidInput, format!("stdin: {e}")))?;
        text
    } else {
        mnemonic
    };
    lifecycle.restore_wallet(&mnemonic, passphrase.as_deref()).await?;
    Ok(Answer::new(json!({ "restored": true })))
}

async fn wake(
    lifecycle: &Arc<Lifecycle>,
    kind: GrantKind,
    budget_secs: Option<u64>,
    conditions: Conditions,
) -> Answer {
    let seconds = budget_secs.unwrap_or(match kind {
        GrantKind::Refresh => 30,
        GrantKind::Processing => 240,
    });
    let cancel = CancellationToken::new();
    let deadline = Instant::now() + Duration::from_secs(seconds.min(3_600));
    let called = cancel.clone();
    tokio::spawn(async move {
        // Ctrl-C is the system calling the time.
        if tokio::signal::ctrl_c().await.is_ok() {
            called.cancel();
        }
    });
    let record = lifecycle
        .wake(Grant {
            kind,
            reason: WakeReason::Test,
            deadline,
            cancel,
            progress: None,
            conditions,
        })
        .await;
    let exit = wake_exit(record.outcome);
    Answer::with_exit(record, exit)
}

/// Commands that need the node up.
async fn ask(node: &Arc<Node>, command: Command, json: bool) -> Result<Answer> {
    match command {
        Command::Address => Ok(Answer::new(json!({ "address": node.new_address().await? }))),
        Command::NodeId => Ok(Answer::new(json!({ "node_id": node.node_id() }))),
        Command::Balance => {
            node.sync().await?;
            Ok(Answer::new(node.balances()))
        }
        Command::Send { address, amount } => {
            node.sync().await?;
            Ok(Answer::new(node.send_onchain(&address, amount.0).await?))
        }
        Command::Connect { peer } => {
            node.sync().await?;
            node.connect(&peer).await?;
            Ok(Answer::new(json!({ "connected": peer })))
        }
        Command::Open { peer, amount_sat } => {
            node.sync().await?;
            let channel_id = node.open_channel(&peer, amount_sat).await?;
            settle(node).await;
            Ok(Answer::new(json!({ "channel_id": channel_id })))
        }
        Command::Close { channel_id, force } => {
            ready(node).await?;
            node.close_channel(&channel_id, force).await?;
            settle(node).await;
            node.sweep().await;
            Ok(Answer::new(json!({ "closing": channel_id })))
        }
        Command::Channels => {
            ready(node).await?;
            Ok(Answer::new(node.channels()))
        }
        Command::Invoice {
            amount_msat,
            description,
            wait,
        } => {
            ready(node).await?;
            let invoice = node.create_invoice(amount_msat, &description).await?;
            let Some(seconds) = wait else {
                return Ok(Answer::new(invoice));
            };
            Answer::new(&invoice).print(json);
            let payment = ended(node, &invoice.payment_hash, seconds).await?;
            settle(node).await;
            Ok(answer_of(payment))
        }
        Command::Pay {
            bolt11,
            amount_msat,
            wait,
        } => {
            ready(node).await?;
            let payment = node.pay(&bolt11, amount_msat).await?;
            let payment = ended(node, &payment.id, wait).await?;
            settle(node).await;
            Ok(answer_of(payment))
        }
        Command::Payments => {
            node.sync().await?;
            Ok(Answer::new(node.payments().await?))
        }
        Command::Init { .. }
        | Command::Wake { .. }
        | Command::History
        | Command::Capsule { .. }
        | Command::Run => Err(Error::new(ErrorCode::Internal, "this command needs no node")),
    }
}

/// The chain seen, the peers connected, the channels usable as far as they will be.
async fn ready(node: &Arc<Node>) -> Result<()> {
    node.sync().await?;
    let up = async {
        node.connect_peers().await;
        node.reestablished().await;
    };
    // A peer that is away is no reason to fail: the command will say what it needed.
    let _ = tokio::time::timeout(CHANNELS_LIMIT, up).await;
    Ok(())
}

/// Lets the peer have our last word before the connection closes.
async fn settle(node: &Arc<Node>) {
    let _ = tokio::time::timeout(SETTLE_LIMIT, node.settled()).await;
}

/// Waits for the end of a payment.
async fn ended(node: &Arc<Node>, hash: &str, seconds: u64) -> Result<Payment> {
    let deadline = Instant::now() + Duration::from_secs(seconds.min(86_400));
    loop {
        let payment = node.payment(hash).await?;
        let payment =
            payment.ok_or_else(|| Error::new(ErrorCode::Internal, "the payment is not on record"))?;
        if payment.status != PaymentStatus::Pending || Instant::now() >= deadline {
            return Ok(payment);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn answer_of(payment: Payment) -> Answer {
    let exit = match payment.status {
        PaymentStatus::Succeeded => ExitCode::SUCCESS,
        PaymentStatus::Pending | PaymentStatus::Failed => ExitCode::from(4),
    };
    Answer::with_exit(payment, exit)
}

async fn run(lifecycle: &Arc<Lifecycle>, json: bool) -> Result<Answer> {
    let mut events = lifecycle.events();
    let node = lifecycle.enter_foreground().await?;
    Answer::new(json!({ "type": "running", "node_id": node.node_id() })).print(json);
    let printing = async {
        loop {
            match events.recv().await {
                // The first is too frequent to be worth a line; the second only means that lines were missed.
                Ok(NodeEvent::OverviewChanged) | Err(RecvError::Lagged(_)) => {}
                Ok(event) => say(&serde_json::to_string(&event).unwrap_or_default()),
                Err(RecvError::Closed) => return,
            }
        }
    };
    tokio::select! {
        () = printing => {}
        () = asked_to_stop() => {}
    }
    lifecycle.enter_background().await?;
    Ok(Answer::new(json!({ "type": "stopped" })))
}

/// SIGINT, SIGTERM, or the end of stdin.
async fn asked_to_stop() {
    let terminated = async {
        #[cfg(unix)]
        if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            signal.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    };
    let end_of_input = async {
        let mut buffer = [0; 64];
        while tokio::io::stdin()
            .read(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {}
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
        () = end_of_input => {}
    }
}
