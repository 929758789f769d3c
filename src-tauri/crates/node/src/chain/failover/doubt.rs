//! Whether two servers tell of the same chain. Plain functions of what both said; asking is the caller's.
//!
//! A server can hide the newest blocks, and with them a peer that cheats. One look at another server's tip finds that, for
//! two requests; so it is taken where time and data are not short: in the open app and on a charger.

use std::time::Duration;

use bitcoin::{BlockHash, Network};

use crate::chain::source::Tip;

/// A server may be so many blocks behind another: three within the minute that a block needs to spread and to be indexed
/// happen once in some six thousand minutes.
pub const LAG: u32 = 2;

/// And it may be behind for so long. Nine of ten blocks have followed another by then, and no server that works needs so
/// long for one.
pub const LAG_TIME: Duration = Duration::from_secs(20 * 60);

/// So deep two servers must have the same block: LDK takes what lies deeper for final (its `ANTI_REORG_DELAY`), and
/// Bitcoin's main chain was last reorganised so deeply in 2013.
pub const DEEP: u32 = 6;

/// In two weeks the difficulty changes by this factor at most.
const RETARGET: u32 = 4;

/// What two servers said.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// The tip of the one that is doubted.
    pub own: Tip,
    /// The other's.
    pub other: Tip,
    /// Their blocks at [`compared`], as far as they are known.
    pub deep: (Option<BlockHash>, Option<BlockHash>),
    /// For how long the doubted one has had this tip while others had more.
    pub behind_for: Duration,
}

/// What is to be thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Fine,
    /// It is behind, by no more and for no longer than a block may need to spread.
    Behind,
    /// It hides blocks, or has stopped.
    Stale,
    /// Its blocks took less work than blocks of this network do.
    Cheap,
    /// It has another block than the other where both must have the same. One of them lies, and it is not known which.
    Split,
}

/// The height at which both must have the same block.
pub fn compared(own: &Tip, other: &Tip) -> u32 {
    own.height.min(other.height).saturating_sub(DEEP)
}

/// Judges the doubted one.
pub fn judge(said: &Said, network: Network) -> Verdict {
    let Said { own, other, .. } = said;
    if own.hash == other.hash {
        return Verdict::Fine;
    }
    // A test network's difficulty may fall to the least for single blocks.
    let real = network == Network::Bitcoin;
    let cheaper = |one: &Tip, than: &Tip| {
        let (one, than) = (one.header.difficulty(network), than.header.difficulty(network));
        real && one.saturating_mul(u128::from(RETARGET)) < than
    };
    if cheaper(own, other) {
        return Verdict::Cheap;
    }
    // Whoever makes up easy blocks can have as many as it likes.
    if cheaper(other, own) {
        return Verdict::Fine;
    }
    if let (Some(one), Some(two)) = said.deep
        && one != two
    {
        return Verdict::Split;
    }
    match other.height.saturating_sub(own.height) {
        0 => Verdict::Fine,
        behind if behind > LAG || said.behind_for > LAG_TIME => Verdict::Stale,
        _ => Verdict::Behind,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::CompactTarget;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    use super::*;

    fn tip(height: u32, name: u8, bits: u32) -> Tip {
        let mut header = genesis_block(Network::Bitcoin).header;
        header.bits = CompactTarget::from_consensus(bits);
        let hash = BlockHash::from_byte_array([name; 32]);
        Tip { hash, height, header }
    }

    #[test]
    fn who_is_behind_for_long_or_by_much_or_elsewhere_is_found_and_who_is_a_moment_late_is_not() {
        use Verdict::{Behind, Cheap, Fine, Split, Stale};
        // Mainnet's difficulty in 2024, a tenth of it, and the least.
        let (hard, easier, least) = (0x1703_4219, 0x1720_94fa, 0x1d00_ffff);
        let block = |n: u8| Some(BlockHash::from_byte_array([n; 32]));
        let minute = Duration::from_secs(60);
        let same = (block(1), block(1));
        let table = [
            ((100, 1, hard), (100, 1, hard), same, 0, Fine),
            ((101, 2, hard), (100, 1, hard), same, 0, Fine),
            ((100, 1, hard), (100, 2, hard), same, 0, Fine),
            ((100, 1, hard), (101, 2, hard), same, 0, Behind),
            ((100, 1, hard), (102, 2, hard), (block(1), None), 20, Behind),
            ((100, 1, hard), (102, 2, hard), same, 21, Stale),
            ((100, 1, hard), (103, 2, hard), same, 0, Stale),
            ((100, 1, hard), (101, 2, hard), (block(1), block(2)), 0, Split),
            ((900, 1, hard), (100, 2, hard), (block(1), block(2)), 0, Split),
            ((900, 1, easier), (100, 2, hard), same, 0, Cheap),
            ((100, 1, hard), (900, 2, least), (block(1), block(2)), 99, Fine),
        ];
        for (own, other, deep, minutes, expected) in table {
            let said = Said {
                own: tip(own.0, own.1, own.2),
                other: tip(other.0, other.1, other.2),
                deep,
                behind_for: minutes * minute,
            };
            assert_eq!(judge(&said, Network::Bitcoin), expected, "{said:?}");
        }
    }

    #[test]
    fn easy_blocks_are_no_sign_on_a_test_network() {
        let said = Said {
            own: tip(100, 1, 0x1d00_ffff),
            other: tip(101, 2, 0x1703_4219),
            deep: (None, None),
            behind_for: Duration::ZERO,
        };
        assert_eq!(judge(&said, Network::Testnet4), Verdict::Behind);
    }
}
