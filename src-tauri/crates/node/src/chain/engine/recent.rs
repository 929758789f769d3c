//! A tip and the blocks under it, which its header commits to.

use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::proof::lie;
use crate::chain::source::Tip;
use crate::error::Result;

/// The tip, its header proved, and blocks under it without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// The tip.
    pub tip: Tip,
    /// Hashes and headers by descending height, the tip's first.
    blocks: Vec<(BlockHash, Header)>,
}

impl Recent {
    /// A tip at this height, and the headers under it by descending height, the tip's first. Their work is proved by the
    /// caller.
    ///
    /// # Errors
    /// [`crate::ErrorCode::ChainSyncFailed`] if there are none, or one is not under the one above it.
    pub fn new(height: u32, headers: &[Header]) -> Result<Self> {
        let Some((&header, below)) = headers.split_first() else {
            return Err(lie("it has no blocks"));
        };
        let hash = header.block_hash();
        let mut recent = Self {
            tip: Tip { hash, height, header },
            blocks: vec![(hash, header)],
        };
        recent.extend(below)?;
        Ok(recent)
    }

    /// Takes in the headers further down, by descending height. Their work is proved by the caller.
    ///
    /// # Errors
    /// [`crate::ErrorCode::ChainSyncFailed`] if one is not under the one above it.
    pub fn extend(&mut self, below: &[Header]) -> Result<()> {
        for header in below {
            let hash = header.block_hash();
            if self
                .blocks
                .last()
                .is_none_or(|(_, lowest)| lowest.prev_blockhash != hash)
            {
                return Err(lie(&format!("block {hash} is not under the one above it")));
            }
            self.below()?;
            self.blocks.push((hash, *header));
        }
        Ok(())
    }

    /// The height of the block under the lowest.
    ///
    /// # Errors
    /// [`crate::ErrorCode::ChainSyncFailed`] if there can be none.
    pub fn below(&self) -> Result<u32> {
        let known = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let next = self.tip.height.checked_sub(known);
        next.ok_or_else(|| lie("its chain is longer than its height"))
    }

    /// The block at this height, if it is among them.
    pub fn at(&self, height: u32) -> Option<BlockHash> {
        self.block(height).map(|(hash, _)| *hash)
    }

    /// The header of the block at this height, if it is among them.
    pub fn header_at(&self, height: u32) -> Option<Header> {
        self.block(height).map(|(_, header)| *header)
    }

    fn block(&self, height: u32) -> Option<&(BlockHash, Header)> {
        let below = usize::try_from(self.tip.height.checked_sub(height)?).ok()?;
        self.blocks.get(below)
    }

    /// The height of this block, if it is among them.
    pub fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        let below = self.blocks.iter().position(|(known, _)| known == hash)?;
        self.tip.height.checked_sub(u32::try_from(below).ok()?)
    }

    /// Heights and hashes by descending height, the tip's first.
    pub fn descending(&self) -> impl Iterator<Item = (u32, BlockHash)> {
        let heights = (0..=self.tip.height).rev();
        heights.zip(self.blocks.iter().map(|(hash, _)| *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    /// Headers on each other, the newest first; their work does not matter here.
    fn headers(count: u32) -> Vec<Header> {
        let mut header = genesis_block(Network::Regtest).header;
        let mut all = vec![header];
        for nonce in 1..count {
            header.prev_blockhash = header.block_hash();
            header.nonce = nonce;
            all.insert(0, header);
        }
        all
    }

    #[test]
    fn places_are_known_of_the_blocks_that_it_has_and_of_no_other() {
        let headers = headers(20);
        let recent = Recent::new(119, &headers[..10]).unwrap();
        assert_eq!(recent.tip.height, 119);
        assert_eq!(recent.at(119), Some(headers[0].block_hash()));
        assert_eq!(recent.at(110), Some(headers[9].block_hash()));
        assert_eq!(recent.header_at(118), Some(headers[1]));
        assert_eq!((recent.at(109), recent.at(120)), (None, None));
        assert_eq!(recent.height_of(&headers[9].block_hash()), Some(110));
        assert_eq!(recent.height_of(&headers[10].block_hash()), None);
        assert_eq!(recent.below().unwrap(), 109);
        assert_eq!(recent.descending().count(), 10);

        let mut more = recent.clone();
        more.extend(&headers[10..]).unwrap();
        assert_eq!(more.at(100), Some(headers[19].block_hash()));
        assert_eq!(more.descending().last(), Some((100, headers[19].block_hash())));
    }

    #[test]
    fn what_is_no_chain_is_a_lie() {
        let headers = headers(20);
        let swapped = [headers[0], headers[2], headers[1]];
        let below_genesis = Recent::new(3, &headers[..4]).unwrap();
        let mut recent = below_genesis.clone();
        for lie in [
            Recent::new(9, &[]),
            Recent::new(9, &swapped),
            Recent::new(3, &headers[..5]),
            recent.extend(&headers[4..5]).map(|()| below_genesis.clone()),
        ] {
            assert_eq!(lie.unwrap_err().code(), ErrorCode::ChainSyncFailed);
        }
        assert_eq!(recent, below_genesis, "and changes nothing");
        assert_ne!(below_genesis.tip.header.prev_blockhash, BlockHash::all_zeros());
    }
}
