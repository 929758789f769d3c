//! The map of the network, as the engine and the person see it: fetch news, apply them, give memory back.

use std::time::Instant;

use super::Node;
use crate::error::Result;
use crate::gossip::{Applied, Fetched};

impl Node {
    /// Fetches the news of the network since the map on disk, in one request and without loading it. The whole network only
    /// if that is allowed (`full`). For any wake.
    ///
    /// # Errors
    /// Those of [`crate::gossip::Gossip::fetch`]; [`crate::ErrorCode::Cancelled`] if the node stops meanwhile.
    pub async fn fetch_news(&self, full: bool, deadline: Instant) -> Result<Fetched> {
        self.doors.within(self.gossip.fetch(full, deadline)).await
    }

    /// Applies the news that were fetched; `None` if there are none. Takes some 150 MB and a second for as long as it runs:
    /// for processing time and the open app.
    ///
    /// # Errors
    /// Those of [`crate::gossip::Gossip::apply`]; [`crate::ErrorCode::Cancelled`] if the node stops meanwhile.
    pub async fn apply_news(&self) -> Result<Option<Applied>> {
        self.doors.within(self.gossip.apply()).await
    }

    /// The news of a wake: fetches what there is since the map on disk, and where there is time and memory (`apply`) applies
    /// what waits. Gives the channels that the server told of; `None` if there was nothing to do.
    ///
    /// # Errors
    /// Those of [`Self::fetch_news`] and [`Self::apply_news`].
    pub async fn news(&self, full: bool, apply: bool, deadline: Instant) -> Result<Option<u32>> {
        let told = match self.fetch_news(full, deadline).await? {
            Fetched::Spooled(news) => Some(news.channels),
            Fetched::NoServer | Fetched::Fresh | Fetched::Postponed => None,
        };
        let applied = if apply { self.apply_news().await? } else { None };
        // What an earlier wake fetched was counted there.
        Ok(told.or(applied.map(|_| 0)))
    }

    /// The system is short of memory: what can be loaded again is given back.
    pub fn free_memory(&self) {
        self.gossip.release();
    }

    /// How many public channels the map on disk has; `None` without one.
    pub fn map_channels(&self) -> Option<u32> {
        self.gossip.channels_on_disk()
    }

    /// Whether the map is in memory.
    pub fn map_loaded(&self) -> bool {
        self.gossip.loaded()
    }
}
