//! `/mempool` and `/fee-estimates`.

use axum::extract::State;
use axum::response::Response;
use bitcoin::Txid;
use serde_json::json;

use super::{NO_BLOCK, Refusal, Shared, json_answer};
use crate::esplora::chain::Chain;
use crate::esplora::fees;

fn mempool_list(chain: &Chain) -> Vec<(u64, Txid)> {
    let mut list: Vec<(u64, Txid)> = chain
        .mempool()
        .iter()
        .filter_map(|txid| Some((chain.tx(txid)?.seen, *txid)))
        .collect();
    list.sort_unstable_by(|a, b| b.cmp(a));
    list
}

pub(super) async fn mempool(State(face): Shared) -> Result<Response, Refusal> {
    let chain = face.follower.fresh().await?;
    let (mut size, mut fee) = (0u64, 0u64);
    let mut rates: Vec<(f64, u64)> = Vec::new();
    for entry in chain.mempool().iter().filter_map(|txid| chain.tx(txid)) {
        let vsize = entry.tx.weight().to_vbytes_ceil();
        let paid = chain.fee(&entry.tx);
        size += vsize;
        fee += paid;
        #[allow(clippy::cast_precision_loss, reason = "fees and sizes are far below 2^52")]
        rates.push((paid as f64 / vsize.max(1) as f64, vsize));
    }
    rates.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(json_answer(&json!({
        "count": chain.mempool().len(),
        "vsize": size,
        "total_fee": fee,
        "fee_histogram": rates,
    })))
}

pub(super) async fn mempool_txids(State(face): Shared) -> Result<Response, Refusal> {
    let chain = face.follower.fresh().await?;
    Ok(json_answer(
        &mempool_list(&chain)
            .into_iter()
            .map(|(_, txid)| json!(txid))
            .collect(),
    ))
}

pub(super) async fn mempool_recent(State(face): Shared) -> Result<Response, Refusal> {
    let chain = face.follower.fresh().await?;
    let list = mempool_list(&chain).into_iter().take(10).filter_map(|(_, txid)| {
        let tx = &chain.tx(&txid)?.tx;
        let value: u64 = tx.output.iter().map(|out| out.value.to_sat()).sum();
        let vsize = tx.weight().to_vbytes_ceil();
        Some(json!({ "txid": txid, "fee": chain.fee(tx), "vsize": vsize, "value": value }))
    });
    Ok(json_answer(&list.collect()))
}

pub(super) async fn fee_estimates(State(face): Shared) -> Result<Response, Refusal> {
    let tip = face
        .follower
        .fresh()
        .await?
        .tip()
        .map(|tip| tip.hash)
        .ok_or(NO_BLOCK)?;
    // Estimates only change with blocks.
    let mut cached = face.fees.lock().await;
    if let Some((at, value)) = cached.as_ref()
        && *at == tip
    {
        return Ok(json_answer(value));
    }
    let value = json!(fees::estimates(face.follower.rpc()).await?);
    let answer = json_answer(&value);
    *cached = Some((tip, value));
    Ok(answer)
}
