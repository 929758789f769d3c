//! `/blocks` and `/block`.

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{BlockHash, Txid};
use serde_json::{Value, json};

use super::{NO_BLOCK, NO_TX, PAGE, Refusal, Shared, bytes_answer, json_answer, read};
use crate::Error;
use crate::esplora::json as shape;

/// Blocks per page of `/blocks`.
const BLOCKS: u32 = 10;

pub(super) async fn tip_hash(State(face): Shared) -> Result<String, Refusal> {
    let chain = face.follower.fresh().await?;
    chain.tip().map(|tip| tip.hash.to_string()).ok_or(NO_BLOCK)
}

pub(super) async fn tip_height(State(face): Shared) -> Result<String, Refusal> {
    let chain = face.follower.fresh().await?;
    chain.height().map(|height| height.to_string()).ok_or(NO_BLOCK)
}

pub(super) async fn block_height(State(face): Shared, Path(height): Path<u32>) -> Result<String, Refusal> {
    let chain = face.follower.fresh().await?;
    chain
        .block_at(height)
        .map(|block| block.hash.to_string())
        .ok_or(NO_BLOCK)
}

pub(super) async fn blocks(State(face): Shared, from: Option<u32>) -> Result<Response, Refusal> {
    let chain = face.follower.fresh().await?;
    let tip = chain.height().ok_or(NO_BLOCK)?;
    let from = from.unwrap_or(tip);
    if from > tip {
        return Err(NO_BLOCK);
    }
    let down_to = from.saturating_sub(BLOCKS - 1);
    let list: Value = (down_to..=from)
        .rev()
        .filter_map(|height| shape::block(&chain, height))
        .collect();
    Ok(json_answer(&list))
}

pub(super) async fn block(State(face): Shared, Path(hash): Path<String>) -> Result<Response, Refusal> {
    let hash = read(&hash, "block hash")?;
    let chain = face.follower.fresh().await?;
    let (height, _) = chain.block(&hash).ok_or(NO_BLOCK)?;
    shape::block(&chain, height)
        .map(|value| json_answer(&value))
        .ok_or(NO_BLOCK)
}

pub(super) async fn block_header(State(face): Shared, Path(hash): Path<String>) -> Result<String, Refusal> {
    let hash = read(&hash, "block hash")?;
    let chain = face.follower.fresh().await?;
    chain
        .header(&hash)
        .map(|header| serialize_hex(&header))
        .ok_or(NO_BLOCK)
}

pub(super) async fn block_status(State(face): Shared, Path(hash): Path<String>) -> Result<Response, Refusal> {
    let hash = read(&hash, "block hash")?;
    let chain = face.follower.fresh().await?;
    if let Some((height, _)) = chain.block(&hash) {
        let next = chain.block_at(height + 1).map(|block| block.hash);
        return Ok(json_answer(
            &json!({ "in_best_chain": true, "height": height, "next_best": next }),
        ));
    }
    // Esplora says so of unknown blocks, too.
    Ok(json_answer(&json!({ "in_best_chain": false, "next_best": null })))
}

pub(super) async fn block_raw(State(face): Shared, Path(hash): Path<String>) -> Result<Response, Refusal> {
    let hash: BlockHash = read(&hash, "block hash")?;
    match face
        .follower
        .rpc()
        .call::<String>("getblock", json!([hash, 0]))
        .await
    {
        Ok(text) => {
            let bytes = bitcoin::hex::FromHex::from_hex(&text).map_err(|_| NO_BLOCK)?;
            Ok(bytes_answer(bytes))
        }
        Err(Error::Rpc { .. }) => Err(NO_BLOCK),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn block_txids(State(face): Shared, Path(hash): Path<String>) -> Result<Response, Refusal> {
    let hash = read(&hash, "block hash")?;
    let chain = face.follower.fresh().await?;
    let (_, block) = chain.block(&hash).ok_or(NO_BLOCK)?;
    Ok(json_answer(&json!(block.txids)))
}

pub(super) async fn block_txid(
    State(face): Shared,
    Path((hash, index)): Path<(String, usize)>,
) -> Result<String, Refusal> {
    let hash = read(&hash, "block hash")?;
    let chain = face.follower.fresh().await?;
    let (_, block) = chain.block(&hash).ok_or(NO_BLOCK)?;
    block.txids.get(index).map(Txid::to_string).ok_or(NO_TX)
}

pub(super) async fn block_txs(State(face): Shared, hash: String, from: usize) -> Result<Response, Refusal> {
    let hash = read(&hash, "block hash")?;
    if !from.is_multiple_of(PAGE) {
        return Err(Refusal::Bad("start index must be a multipication of 25".into()));
    }
    let chain = face.follower.fresh().await?;
    let (_, block) = chain.block(&hash).ok_or(NO_BLOCK)?;
    let page = block.txids.iter().skip(from).take(PAGE);
    Ok(json_answer(
        &page.filter_map(|txid| shape::tx(&chain, txid)).collect(),
    ))
}
