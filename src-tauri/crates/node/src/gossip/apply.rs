//! News applied to the map. A plain function: what comes out is a new map or an error, and the old one is as it was.
//!
//! `lightning-rapid-gossip-sync` does the applying, on a `NetworkGraph` made for the purpose: LDK decides what counts as news.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use lightning_rapid_gossip_sync::RapidGossipSync;

use super::ldk;
use super::map::Map;
use crate::error::{Error, ErrorCode, Result};
use crate::log::Logger;

/// LDK forgets what was not heard of for two weeks (BOLT 7), and takes nothing older.
const FORGOTTEN: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Kept clear of that limit, so that it does not pass while we work.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// Longest that news may wait for being applied: LDK dates them back a week, and takes nothing older than two.
pub const KEEPS: Duration = Duration::from_secs(7 * 24 * 60 * 60 - 2 * 60 * 60);

/// The map after the news. Without `old` the news must be the whole network. `now` is the time since the Unix epoch.
///
/// Takes some 150 MB and a second for as long as it runs.
///
/// # Errors
/// [`ErrorCode::GossipFailed`] if LDK refuses the news, or nothing would be left of the map.
pub fn apply(old: Option<&Map>, snapshot: &[u8], network: Network, now: Duration) -> Result<Map> {
    let summary =
        super::format::summarise(snapshot, network).map_err(|e| Error::new(ErrorCode::GossipFailed, e))?;
    let oldest = now.saturating_sub(FORGOTTEN).saturating_add(MARGIN).as_secs();
    let oldest = u32::try_from(oldest).unwrap_or(u32::MAX);
    let graph = old.map_or_else(|| ldk::empty(network), |map| ldk::whole(map, oldest));
    RapidGossipSync::new(Arc::clone(&graph), Arc::new(Logger))
        .update_network_graph_no_std(snapshot, Some(now.as_secs()))
        .map_err(|e| Error::new(ErrorCode::GossipFailed, format!("the news were refused: {e:?}")))?;
    // LDK keeps no timestamp when there were no updates, and would ask for the same news for ever.
    let map = ldk::map_of(&graph, network, summary.timestamp, oldest, old)
        .map_err(|e| Error::new(ErrorCode::GossipFailed, e))?;
    if map.channels().is_empty() && old.is_some_and(|old| !old.channels().is_empty()) {
        return Err(Error::new(
            ErrorCode::GossipFailed,
            "the news would leave nothing of the map",
        ));
    }
    Ok(map)
}
