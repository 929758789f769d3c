//! What can go wrong in the devnet, in words a person at a terminal can act on.

use std::path::PathBuf;
use std::time::Duration;

/// Everything the devnet's functions can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `bitcoind` is nowhere and cannot be built here.
    #[error("bitcoind cannot be had: {0}")]
    NoBitcoind(String),
    /// `bitcoind` stopped, or never answered.
    #[error("bitcoind failed: {0}")]
    Bitcoind(String),
    /// There is no `electrs` on this machine.
    #[error("electrs cannot be had: {0}")]
    NoElectrs(String),
    /// `electrs` stopped, or never answered.
    #[error("electrs failed: {0}")]
    Electrs(String),
    /// `bitcoind` answered a call with an error of its own.
    #[error("bitcoind refused {method}: {message} (code {code})")]
    Rpc {
        /// The RPC method called.
        method: String,
        /// Bitcoin Core's error code, e.g. -26 for a transaction its mempool rejects.
        code: i64,
        /// Bitcoin Core's words.
        message: String,
    },
    /// A call did not reach `bitcoind`, or its answer could not be read.
    #[error("call to bitcoind failed ({method}): {reason}")]
    Transport {
        /// The RPC method called.
        method: String,
        /// What the HTTP client or the JSON reader said.
        reason: String,
    },
    /// An LSP or peer refused, or failed at, what was asked of it.
    #[error("{peer}: {reason}")]
    Peer {
        /// Name of the peer (`lsp`, `alice`, `bob`).
        peer: String,
        /// What happened.
        reason: String,
    },
    /// No peer of that name is in this devnet.
    #[error("there is no peer called \"{0}\" here")]
    NoSuchPeer(String),
    /// Something was waited for and did not come.
    #[error("waited {waited:?} in vain for {what}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// The faucet has no ripe coin large enough.
    #[error("the faucet is dry: {0}")]
    Faucet(String),
    /// Input that makes no sense.
    #[error("{0}")]
    Input(String),
    /// Another devnet lives in the same folder.
    #[error("a devnet is running in {0} already")]
    Occupied(PathBuf),
    /// A file or socket of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] with its context, for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
