//! A small JSON-RPC client of `bitcoind`: single calls and batches. It knows no method by name.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::Error;

/// Where `bitcoind` answers JSON-RPC, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RpcAccess {
    /// `http://127.0.0.1:PORT/`
    pub url: String,
    /// User name (the cookie's).
    pub user: String,
    /// Password (the cookie's).
    pub password: String,
}

/// Client of one `bitcoind`. Cheap to clone; usable from any runtime.
#[derive(Clone)]
pub struct Rpc {
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    access: RpcAccess,
    // Requests run on the devnet's own runtime: pooled connections would otherwise die with whichever test
    // runtime happened to open them.
    runtime: Handle,
}

#[derive(Deserialize)]
struct Answer {
    id: usize,
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

impl Rpc {
    pub(crate) fn new(access: RpcAccess, runtime: Handle) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|e| Error::Transport {
                method: "(setup)".into(),
                reason: e.to_string(),
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                access,
                runtime,
            }),
        })
    }

    /// Where and as whom this client calls.
    pub fn access(&self) -> &RpcAccess {
        &self.inner.access
    }

    /// Calls `method` with positional `params` (a JSON array).
    ///
    /// # Errors
    /// [`Error::Rpc`] when `bitcoind` refuses, [`Error::Transport`] when no readable answer came.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, Error> {
        let mut answers = self.batch(vec![(method, params)]).await?;
        let value = answers
            .pop()
            .unwrap_or_else(|| Err(transport(method, "empty answer")))?;
        serde_json::from_value(value).map_err(|e| transport(method, e))
    }

    /// Makes several calls in one request; `bitcoind` runs them in order. One result each, in the same order.
    ///
    /// # Errors
    /// [`Error::Transport`] when no readable answer came; refusals are in the results.
    pub async fn batch(&self, calls: Vec<(&str, Value)>) -> Result<Vec<Result<Value, Error>>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = calls.iter().map(|(name, _)| (*name).to_owned()).collect();
        let body: Vec<Value> = calls
            .into_iter()
            .enumerate()
            .map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let inner = Arc::clone(&self.inner);
        let first = names[0].clone();
        let answers = self
            .inner
            .runtime
            .spawn(async move { inner.post(&body).await })
            .await
            .map_err(|e| transport(&first, e))?
            .map_err(|e| transport(&first, e))?;

        let mut results: Vec<Option<Result<Value, Error>>> = names.iter().map(|_| None).collect();
        for answer in answers {
            let Some(slot) = results.get_mut(answer.id) else {
                continue;
            };
            let method = &names[answer.id];
            *slot = Some(match answer.error {
                Some(e) => Err(Error::Rpc {
                    method: method.clone(),
                    code: e.code,
                    message: e.message,
                }),
                None => Ok(answer.result.unwrap_or(Value::Null)),
            });
        }
        Ok(results
            .into_iter()
            .zip(&names)
            .map(|(result, name)| result.unwrap_or_else(|| Err(transport(name, "no answer to this call"))))
            .collect())
    }
}

impl Inner {
    async fn post(&self, body: &[Value]) -> Result<Vec<Answer>, String> {
        let response = self
            .client
            .post(&self.access.url)
            .basic_auth(&self.access.user, Some(&self.access.password))
            .json(body)
            .send()
            .await
            .map_err(|e| e.to_string())?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| {
            format!(
                "HTTP {status}: {e}: {}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
            )
        })
    }
}

fn transport(method: &str, reason: impl std::fmt::Display) -> Error {
    Error::Transport {
        method: method.to_owned(),
        reason: reason.to_string(),
    }
}
