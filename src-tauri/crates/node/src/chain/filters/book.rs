//! The peers we know, on disk: which were good, which failed, which lied. A wake that knows good peers needs no DNS.

use std::time::Duration;

use pilotlight_store::Store;
use serde::{Deserialize, Serialize};

use crate::chain::host::HostPort;
use crate::clock::millis;
use crate::error::Result;
use crate::rows::{self, Kind};

const ROW: &str = "filter-peers";

/// Peers remembered. A wake needs two, and half of the network's are gone within weeks.
const REMEMBERED: usize = 32;

/// How long a peer that was caught in a lie is not asked again. Long enough that a wake or two cannot bring it back, and
/// short enough that a person's own node, repaired, comes back by itself.
const BAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest reason kept, in characters: the words come from us, names in them may be long.
const REASON_LIMIT: usize = 200;

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    peer: HostPort,
    /// When it last did all that was asked of it, Unix time in ms; 0 for never.
    good_at_ms: u64,
    /// Failures since then.
    failures: u32,
    ban: Option<Ban>,
}

/// Why and until when a peer is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Unix time in ms.
    pub until_ms: u64,
    /// What it did.
    pub why: String,
}

/// The peers we know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    entries: Vec<Entry>,
}

impl Book {
    /// Reads the row; an absent one is an empty book.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn load(store: &Store) -> Result<Self> {
        Ok(rows::read(store, Kind::Chain, ROW)?.unwrap_or_default())
    }

    /// Writes the row. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub fn save(&self, store: &Store) -> Result<()> {
        rows::write(store, Kind::Chain, ROW, self)
    }

    /// Whom to ask, the best first: `named` by the person, and if they named none, whom we know. Nobody who is banned.
    pub fn candidates(&self, named: &[HostPort], now_ms: u64) -> Vec<HostPort> {
        let mut candidates: Vec<HostPort> = if named.is_empty() {
            self.entries.iter().map(|entry| entry.peer.clone()).collect()
        } else {
            named.to_vec()
        };
        candidates.retain(|peer| self.ban(peer, now_ms).is_none());
        // Stable: among strangers, the order given counts.
        candidates.sort_by_key(|peer| {
            self.entry(peer).map_or((0, std::cmp::Reverse(0)), |entry| {
                (entry.failures, std::cmp::Reverse(entry.good_at_ms))
            })
        });
        candidates.dedup();
        candidates
    }

    /// Why a peer is not asked now, if it is not.
    pub fn ban(&self, peer: &HostPort, now_ms: u64) -> Option<&Ban> {
        let ban = self.entry(peer)?.ban.as_ref()?;
        // A clock that was set back must not make a ban last for ever.
        let left = ban.until_ms.checked_sub(now_ms)?;
        (left > 0 && left <= millis(BAN)).then_some(ban)
    }

    /// It did all that was asked of it.
    pub fn good(&mut self, peer: &HostPort, now_ms: u64) {
        let entry = self.entry_mut(peer);
        entry.good_at_ms = now_ms;
        entry.failures = 0;
        entry.ban = None;
        self.forget_surplus();
    }

    /// It was not there, or too slow.
    pub fn failed(&mut self, peer: &HostPort) {
        let entry = self.entry_mut(peer);
        entry.failures = entry.failures.saturating_add(1);
        self.forget_surplus();
    }

    /// It was caught in a lie.
    pub fn lied(&mut self, peer: &HostPort, why: &str, now_ms: u64) {
        self.entry_mut(peer).ban = Some(Ban {
            until_ms: now_ms.saturating_add(millis(BAN)),
            why: why.chars().take(REASON_LIMIT).collect(),
        });
        self.forget_surplus();
    }

    /// Strangers, from DNS; those who are known already stay as they are.
    pub fn meet(&mut self, peers: impl IntoIterator<Item = HostPort>) {
        for peer in peers {
            if self.entries.len() >= REMEMBERED {
                return;
            }
            self.entry_mut(&peer);
        }
    }

    fn entry(&self, peer: &HostPort) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.peer == *peer)
    }

    fn entry_mut(&mut self, peer: &HostPort) -> &mut Entry {
        let place = self.entries.iter().position(|entry| entry.peer == *peer);
        let place = place.unwrap_or_else(|| {
            self.entries.push(Entry {
                peer: peer.clone(),
                good_at_ms: 0,
                failures: 0,
                ban: None,
            });
            self.entries.len() - 1
        });
        &mut self.entries[place]
    }

    /// Forgets those who are worth least; not the banned ones, or they would come back as strangers.
    fn forget_surplus(&mut self) {
        while self.entries.len() > REMEMBERED {
            let worst = self.entries.iter().enumerate().min_by_key(|(_, entry)| {
                (
                    entry.ban.is_some(),
                    std::cmp::Reverse(entry.failures),
                    entry.good_at_ms,
                )
            });
            let Some((place, _)) = worst else { return };
            self.entries.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn peer(n: u16) -> HostPort {
        format!("10.0.0.1:{n}").parse().unwrap()
    }

    #[test]
    fn the_good_come_first_and_liars_not_at_all() {
        let mut book = Book::default();
        book.meet((1..=4).map(peer));
        book.good(&peer(3), NOW);
        book.failed(&peer(1));
        book.lied(&peer(2), "it hid a block", NOW);
        assert_eq!(book.candidates(&[], NOW), [peer(3), peer(4), peer(1)]);
        // Those whom the person named, and nobody else.
        assert_eq!(book.candidates(&[peer(9), peer(2)], NOW), [peer(9)]);
        assert_eq!(book.ban(&peer(2), NOW).unwrap().why, "it hid a block");
        let later = NOW + millis(BAN) + 1;
        assert_eq!(book.candidates(&[peer(2)], later), [peer(2)]);
        assert_eq!(book.ban(&peer(2), NOW / 2), None, "the clock was set back");
    }

    #[test]
    fn it_stays_small_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let mut book = Book::load(&store).unwrap();
        book.lied(&peer(1), &"x".repeat(10_000), NOW);
        (2..200).for_each(|n| book.good(&peer(n), NOW + u64::from(n)));
        book.meet((200..400).map(peer));
        assert_eq!(book.entries.len(), REMEMBERED);
        assert_eq!(book.candidates(&[], NOW)[0], peer(199));
        book.save(&store).unwrap();
        let again = Book::load(&store).unwrap();
        assert_eq!(again, book);
        assert_eq!(again.ban(&peer(1), NOW).unwrap().why.len(), REASON_LIMIT);
    }
}
