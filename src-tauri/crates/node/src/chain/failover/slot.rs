//! A place in the list of sources: whom it stands for, the source once it is made, and what is remembered of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bitcoin::{BlockHash, Network};
use pilotlight_store::Store;
use tokio::time::Instant;

use crate::backoff::Endpoint;
use crate::birthday;
use crate::chain::engine::Memory;
use crate::chain::filters::FiltersSource;
use crate::chain::server::Server;
use crate::chain::source::{Source, Tip};
use crate::error::{Error, ErrorCode, Result};
use crate::lock::lock;

/// What sources are made with.
pub struct Making {
    /// By whose rules.
    pub network: Network,
    /// The folder that has the wallet's birthday in it, for a source that reads every block.
    pub data_dir: PathBuf,
    /// Where sources keep their own rows.
    pub store: Arc<Store>,
    /// What servers have shown, each under its own name.
    pub memory: Arc<Memory>,
}

/// One of the sources; made when it is first asked.
pub struct Slot {
    /// Who it is.
    pub server: Server,
    /// What a person calls it.
    pub name: String,
    /// Under what its health is kept.
    pub endpoint: Endpoint,
    /// The source, once made.
    pub source: OnceLock<Arc<dyn Source>>,
    /// The tip that it had when it was first seen to be behind others, and when that was.
    pub behind: Mutex<Option<(BlockHash, Instant)>>,
}

impl Slot {
    /// For how long it has had this tip while another server had more.
    pub fn behind_for(&self, tip: &Tip) -> Duration {
        let mut behind = lock(&self.behind);
        match *behind {
            Some((hash, since)) if hash == tip.hash => since.elapsed(),
            _ => {
                *behind = Some((tip.hash, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

impl Making {
    /// The source for a server, not connected yet.
    ///
    /// # Errors
    /// [`ErrorCode::Misconfigured`], [`ErrorCode::StorageCorrupt`] or [`ErrorCode::StorageFailed`].
    pub fn make(&self, server: &Server) -> Result<Arc<dyn Source>> {
        if let Server::Filters(peers) = server {
            // When the wallet was made matters only to a source that reads every block.
            let settings = peers.settings(self.network, birthday::read(&self.data_dir));
            return Ok(Arc::new(FiltersSource::new(settings, Arc::clone(&self.store))?));
        }
        let source = server.source(self.network, Arc::clone(&self.memory))?;
        source.ok_or_else(|| Error::new(ErrorCode::Internal, "a server without a source"))
    }
}
