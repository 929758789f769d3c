//! How far the blocks were read, on disk: the last headers, each with the filter header that was agreed on.
//!
//! A claim of this row is made only after everything that was learned up to its height is durable. It is small on
//! purpose: a peer that is shown the last hashes tells where its chain leaves ours, so that no more must be kept.

use bitcoin::bip158::FilterHeader;
use bitcoin::block::Header;
use bitcoin::{BlockHash, Work};
use pilotlight_store::Store;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::error::Result;
use crate::rows::{self, Kind};

const ROW: &str = "filters";

/// Headers kept. No reorganisation of Bitcoin's main chain was deeper than a quarter of this in ten years; one that is
/// costs a longer way back, not money.
pub const LENGTH: usize = 24;

/// A block that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its height.
    pub height: u32,
    /// Its header.
    #[serde(with = "bitcoin::consensus::serde::With::<bitcoin::consensus::serde::Hex>")]
    pub header: Header,
    /// Its filter header, if the peers agreed on one.
    pub filter_header: Option<FilterHeader>,
}

impl Mark {
    /// Which block it is.
    pub fn place(&self) -> Place {
        Place {
            height: self.height,
            hash: self.header.block_hash(),
        }
    }
}

/// The last blocks that were read, lowest first, each the parent of the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    marks: Vec<Mark>,
}

impl Trail {
    /// Reads the row; an absent one is an empty trail.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageCorrupt`] or [`crate::ErrorCode::StorageFailed`].
    pub fn load(store: &Store) -> Result<Self> {
        let trail: Self = rows::read(store, Kind::Chain, ROW)?.unwrap_or_default();
        // A row that does not hang together is worth nothing, and nothing depends on it: the followers know their own
        // heights, and peers are asked where that is.
        Ok(if trail.connected() { trail } else { Self::default() })
    }

    /// Writes the row. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorCode::StorageFailed`].
    pub fn save(&self, store: &Store) -> Result<()> {
        rows::write(store, Kind::Chain, ROW, self)
    }

    /// The last block.
    pub fn tip(&self) -> Option<&Mark> {
        self.marks.last()
    }

    /// The first of the blocks that are kept.
    pub fn lowest(&self) -> Option<&Mark> {
        self.marks.first()
    }

    /// The mark of a block, if it is among the last.
    pub fn at(&self, place: Place) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.place() == place)
    }

    /// The blocks, highest first.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.marks.iter().rev().map(Mark::place)
    }

    /// Adds the next block; if it does not follow the last one, the trail begins anew with it.
    pub fn push(&mut self, mark: Mark) {
        let follows = self.tip().is_some_and(|tip| follows(tip, &mark));
        if !follows {
            self.marks.clear();
        }
        self.marks.push(mark);
        let surplus = self.marks.len().saturating_sub(LENGTH);
        self.marks.drain(..surplus);
    }

    /// Forgets every block above a height.
    pub fn cut(&mut self, height: u32) {
        self.marks.retain(|mark| mark.height <= height);
    }

    /// The work in the block at a height, if it is among the last.
    pub fn work_at(&self, height: u32) -> Option<Work> {
        let mark = self.marks.iter().find(|mark| mark.height == height);
        mark.map(|mark| mark.header.work())
    }

    fn connected(&self) -> bool {
        self.marks.windows(2).all(|pair| follows(&pair[0], &pair[1]))
    }
}

fn follows(parent: &Mark, child: &Mark) -> bool {
    Some(child.height) == parent.height.checked_add(1)
        && child.header.prev_blockhash == parent.header.block_hash()
}

/// The work of no block at all.
pub fn no_work() -> Work {
    Work::from_be_bytes([0; 32])
}

/// Hashes for a question "where does your chain leave mine?", highest first.
pub fn locator(places: impl IntoIterator<Item = Place>) -> Vec<Place> {
    let mut places: Vec<Place> = places.into_iter().collect();
    places.sort_unstable_by_key(|place| (std::cmp::Reverse(place.height), place.hash));
    places.dedup();
    places
}

/// The hashes alone.
pub fn hashes(places: &[Place]) -> Vec<BlockHash> {
    places.iter().map(|place| place.hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn chain(length: u32) -> Vec<Mark> {
        let mut previous = BlockHash::all_zeros();
        let mut marks = Vec::new();
        for height in 0..length {
            let mut header = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
            header.prev_blockhash = previous;
            header.nonce = height;
            previous = header.block_hash();
            marks.push(Mark {
                height,
                header,
                filter_header: (height % 2 == 0).then(FilterHeader::all_zeros),
            });
        }
        marks
    }

    #[test]
    fn the_last_marks_are_kept_over_a_restart_and_a_gap_begins_a_new_trail() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        assert_eq!(Trail::load(&store).unwrap(), Trail::default());
        let marks = chain(60);
        let mut trail = Trail::default();
        for mark in &marks {
            trail.push(*mark);
        }
        assert_eq!(trail.places().count(), LENGTH);
        assert_eq!(trail.tip(), Some(&marks[59]));
        trail.save(&store).unwrap();
        assert_eq!(Trail::load(&store).unwrap(), trail);

        trail.cut(50);
        assert_eq!(trail.tip(), Some(&marks[50]));
        assert_eq!(trail.at(marks[50].place()), Some(&marks[50]));
        assert_eq!(trail.at(marks[51].place()), None);
        trail.push(marks[55]);
        assert_eq!(trail.places().collect::<Vec<_>>(), [marks[55].place()]);
    }

    #[test]
    fn a_row_that_does_not_hang_together_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let marks = chain(5);
        let broken = Trail {
            marks: vec![marks[1], marks[3]],
        };
        broken.save(&store).unwrap();
        assert_eq!(Trail::load(&store).unwrap(), Trail::default());
    }

    #[test]
    fn a_locator_goes_from_the_top_down_and_names_each_block_once() {
        let marks = chain(4);
        let place = |height: usize| marks[height].place();
        assert_eq!(
            locator([place(1), place(3), place(1), place(0)]),
            [place(3), place(1), place(0)]
        );
    }
}
