//! `/tx` and `/txs`.

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::OutPoint;
use bitcoin::consensus::encode::{serialize, serialize_hex};
use serde_json::{Value, json};

use super::{NO_TX, Refusal, Shared, bytes_answer, json_answer, read};
use crate::Error;
use crate::esplora::json as shape;

pub(super) async fn tx(State(face): Shared, Path(txid): Path<String>) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    shape::tx(&chain, &txid)
        .map(|value| json_answer(&value))
        .ok_or(NO_TX)
}

pub(super) async fn tx_hex(State(face): Shared, Path(txid): Path<String>) -> Result<String, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    chain.tx(&txid).map(|entry| serialize_hex(&entry.tx)).ok_or(NO_TX)
}

pub(super) async fn tx_raw(State(face): Shared, Path(txid): Path<String>) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    chain
        .tx(&txid)
        .map(|entry| bytes_answer(serialize(&entry.tx)))
        .ok_or(NO_TX)
}

pub(super) async fn tx_status(State(face): Shared, Path(txid): Path<String>) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    chain
        .tx(&txid)
        .map(|entry| json_answer(&shape::status(&chain, entry.place)))
        .ok_or(NO_TX)
}

pub(super) async fn tx_merkle_proof(
    State(face): Shared,
    Path(txid): Path<String>,
) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    let place = chain.tx(&txid).and_then(|entry| entry.place).ok_or(NO_TX)?;
    shape::merkle_proof(&chain, place)
        .map(|value| json_answer(&value))
        .ok_or(NO_TX)
}

pub(super) async fn tx_merkle_block(
    State(face): Shared,
    Path(txid): Path<String>,
) -> Result<String, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    let place = chain.tx(&txid).and_then(|entry| entry.place).ok_or(NO_TX)?;
    shape::merkle_block(&chain, &txid, place).ok_or(NO_TX)
}

pub(super) async fn tx_outspend(
    State(face): Shared,
    Path((txid, vout)): Path<(String, u32)>,
) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    Ok(json_answer(&shape::outspend(&chain, &OutPoint { txid, vout })))
}

pub(super) async fn tx_outspends(State(face): Shared, Path(txid): Path<String>) -> Result<Response, Refusal> {
    let txid = read(&txid, "transaction id")?;
    let chain = face.follower.fresh().await?;
    let outputs = chain.tx(&txid).ok_or(NO_TX)?.tx.output.len();
    let list = (0u32..)
        .take(outputs)
        .map(|vout| shape::outspend(&chain, &OutPoint { txid, vout }))
        .collect();
    Ok(json_answer(&list))
}

pub(super) async fn broadcast(State(face): Shared, body: String) -> Result<String, Refusal> {
    match face
        .follower
        .rpc()
        .call::<String>("sendrawtransaction", json!([body.trim()]))
        .await
    {
        Ok(txid) => Ok(txid),
        Err(Error::Rpc { code, message, .. }) => {
            let reason = json!({ "code": code, "message": message });
            Err(Refusal::Bad(format!("sendrawtransaction RPC error: {reason}")))
        }
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn package(State(face): Shared, body: String) -> Result<Response, Refusal> {
    let txs: Vec<String> = serde_json::from_str(&body).map_err(|e| Refusal::Bad(e.to_string()))?;
    match face
        .follower
        .rpc()
        .call::<Value>("submitpackage", json!([txs]))
        .await
    {
        Ok(answer) => Ok(json_answer(&answer)),
        Err(Error::Rpc { message, .. }) => Err(Refusal::Bad(message)),
        Err(e) => Err(e.into()),
    }
}
