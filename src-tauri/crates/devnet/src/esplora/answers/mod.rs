//! The endpoints: paths in, answers out. What an answer looks like in JSON is in `json`; what can be made to go wrong
//! with it, in `fault`.

mod blocks;
mod mempool;
mod scripts;
mod txs;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bitcoin::BlockHash;
use serde_json::Value;

use super::follow::Follower;
use crate::Error;

/// Confirmed transactions per page, as Esplora has it (clients count on it to know the last page).
const PAGE: usize = 25;

/// What the endpoints answer from.
pub(crate) struct Face {
    pub(crate) follower: Follower,
    fees: tokio::sync::Mutex<Option<(BlockHash, Value)>>,
}

impl Face {
    pub(crate) fn new(follower: Follower) -> Self {
        Self {
            follower,
            fees: tokio::sync::Mutex::new(None),
        }
    }
}

type Shared = State<Arc<Face>>;

/// What an endpoint says instead of an answer.
pub(crate) enum Refusal {
    NotFound(&'static str),
    Bad(String),
    Broken(Error),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, what).into_response(),
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            Self::Broken(e) => (StatusCode::BAD_GATEWAY, e.to_string()).into_response(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self::Broken(e)
    }
}

const NO_TX: Refusal = Refusal::NotFound("Transaction not found");
const NO_BLOCK: Refusal = Refusal::NotFound("Block not found");

/// All endpoints. Paths are those of Blockstream's Esplora HTTP API.
pub(crate) fn router(face: Arc<Face>) -> Router {
    Router::new()
        .route(
            "/blocks",
            get(|s: Shared| async move { blocks::blocks(s, None).await }),
        )
        .route(
            "/blocks/{height}",
            get(|s: Shared, Path(h): Path<u32>| async move { blocks::blocks(s, Some(h)).await }),
        )
        .route("/blocks/tip/hash", get(blocks::tip_hash))
        .route("/blocks/tip/height", get(blocks::tip_height))
        .route("/block-height/{height}", get(blocks::block_height))
        .route("/block/{hash}", get(blocks::block))
        .route("/block/{hash}/header", get(blocks::block_header))
        .route("/block/{hash}/status", get(blocks::block_status))
        .route("/block/{hash}/raw", get(blocks::block_raw))
        .route("/block/{hash}/txids", get(blocks::block_txids))
        .route("/block/{hash}/txid/{index}", get(blocks::block_txid))
        .route(
            "/block/{hash}/txs",
            get(|s: Shared, Path(h): Path<String>| async move { blocks::block_txs(s, h, 0).await }),
        )
        .route(
            "/block/{hash}/txs/{start}",
            get(|s: Shared, Path((h, from)): Path<(String, usize)>| async move {
                blocks::block_txs(s, h, from).await
            }),
        )
        .route("/tx", post(txs::broadcast))
        .route("/txs/package", post(txs::package))
        .route("/tx/{txid}", get(txs::tx))
        .route("/tx/{txid}/hex", get(txs::tx_hex))
        .route("/tx/{txid}/raw", get(txs::tx_raw))
        .route("/tx/{txid}/status", get(txs::tx_status))
        .route("/tx/{txid}/merkle-proof", get(txs::tx_merkle_proof))
        .route("/tx/{txid}/merkleblock-proof", get(txs::tx_merkle_block))
        .route("/tx/{txid}/outspend/{vout}", get(txs::tx_outspend))
        .route("/tx/{txid}/outspends", get(txs::tx_outspends))
        .route("/{kind}/{id}", get(scripts::script_stats))
        .route("/{kind}/{id}/utxo", get(scripts::script_utxos))
        .route(
            "/{kind}/{id}/txs",
            get(|s: Shared, Path((k, id)): Path<(String, String)>| async move {
                scripts::script_txs(s, k, id, true, scripts::Confirmed::First).await
            }),
        )
        .route(
            "/{kind}/{id}/txs/chain",
            get(|s: Shared, Path((k, id)): Path<(String, String)>| async move {
                scripts::script_txs(s, k, id, false, scripts::Confirmed::First).await
            }),
        )
        .route(
            "/{kind}/{id}/txs/chain/{last}",
            get(
                |s: Shared, Path((k, id, last)): Path<(String, String, String)>| async move {
                    scripts::script_txs(s, k, id, false, scripts::Confirmed::After(last)).await
                },
            ),
        )
        .route(
            "/{kind}/{id}/txs/mempool",
            get(|s: Shared, Path((k, id)): Path<(String, String)>| async move {
                scripts::script_txs(s, k, id, true, scripts::Confirmed::None).await
            }),
        )
        .route("/mempool", get(mempool::mempool))
        .route("/mempool/txids", get(mempool::mempool_txids))
        .route("/mempool/recent", get(mempool::mempool_recent))
        .route("/fee-estimates", get(mempool::fee_estimates))
        .with_state(face)
}

fn read<T: FromStr>(text: &str, what: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::Bad(format!("Invalid {what}")))
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn bytes_answer(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}
