//! `/scripthash` and `/address`: the same under two names.

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::{Address, Network, Txid};

use super::{PAGE, Refusal, Shared, json_answer, read};
use crate::esplora::chain::{ScriptHash, script_hash};
use crate::esplora::json as shape;

/// Unconfirmed transactions shown at most.
const UNCONFIRMED: usize = 50;

/// `scripthash/HASH` or `address/ADDRESS`.
fn script(kind: &str, id: &str) -> Result<ScriptHash, Refusal> {
    match kind {
        "scripthash" => read(id, "script hash"),
        "address" => id
            .parse::<Address<_>>()
            .ok()
            .and_then(|address| address.require_network(Network::Regtest).ok())
            .map(|address| script_hash(&address.script_pubkey()))
            .ok_or_else(|| Refusal::Bad("Invalid Bitcoin address".into())),
        _ => Err(Refusal::NotFound("endpoint does not exist")),
    }
}

pub(super) async fn script_stats(
    State(face): Shared,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let hash = script(&kind, &id)?;
    let chain = face.follower.fresh().await?;
    let mut value = shape::script_stats(&chain, &hash);
    value[kind] = id.into();
    Ok(json_answer(&value))
}

pub(super) async fn script_utxos(
    State(face): Shared,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let hash = script(&kind, &id)?;
    let chain = face.follower.fresh().await?;
    Ok(json_answer(&shape::utxos(&chain, &hash)))
}

/// Which page of a script's confirmed transactions is wanted.
pub(super) enum Confirmed {
    None,
    First,
    After(String),
}

pub(super) async fn script_txs(
    State(face): Shared,
    kind: String,
    id: String,
    unconfirmed: bool,
    confirmed: Confirmed,
) -> Result<Response, Refusal> {
    let hash = script(&kind, &id)?;
    let after = match &confirmed {
        Confirmed::After(last) => Some(read::<Txid>(last, "transaction id")?),
        _ => None,
    };
    let chain = face.follower.fresh().await?;
    let (in_mempool, in_chain) = chain.history(&hash);
    let mut page: Vec<Txid> = Vec::new();
    if unconfirmed {
        page.extend(in_mempool.into_iter().take(UNCONFIRMED));
    }
    if !matches!(confirmed, Confirmed::None) {
        let start = match after {
            // An unknown "last" ends the list, as it does there.
            Some(last) => in_chain
                .iter()
                .position(|txid| *txid == last)
                .map_or(in_chain.len(), |at| at + 1),
            None => 0,
        };
        page.extend(in_chain.iter().skip(start).take(PAGE));
    }
    Ok(json_answer(
        &page.iter().filter_map(|txid| shape::tx(&chain, txid)).collect(),
    ))
}
