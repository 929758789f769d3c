//! Whether headers may follow one another: pure rules, no network.
//!
//! `bip157` checks the difficulty from the second adjustment on that it has seen; a session that begins at yesterday's
//! block sees none. So the rule is held here, from the header that we know to the ones that we are shown.

use bitcoin::block::Header;
use bitcoin::{Network, Target, Work};

use super::trail::no_work;

/// The most that a header's time may be ahead of ours, in seconds (Bitcoin Core: two hours), and some for our own clock.
const AHEAD_SECS: u64 = 3 * 60 * 60;

/// Whether each header carries its work, follows its parent, and asks for as much work as the rules let it.
///
/// `parent` is the header before the first, if it is known; `height` is the first one's.
///
/// # Errors
/// What is wrong, in words.
pub fn check(
    headers: &[Header],
    parent: Option<&Header>,
    height: u32,
    network: Network,
    now_secs: u64,
) -> Result<(), &'static str> {
    let mut previous = parent;
    for (header, height) in headers.iter().zip(height..) {
        if header.validate_pow(header.target()).is_err() {
            return Err("a header carries no proof of work");
        }
        if u64::from(header.time) > now_secs.saturating_add(AHEAD_SECS) {
            return Err("a header is from the future");
        }
        if let Some(previous) = previous {
            if header.prev_blockhash != previous.block_hash() {
                return Err("a header does not follow its parent");
            }
            if !difficulty_may_follow(previous, header, height, network) {
                return Err("a header asks for too little work");
            }
        }
        previous = Some(header);
    }
    Ok(())
}

/// The difficulty stays, but for every 2,016th block, where it may change by a factor of four. Test networks let a block
/// that comes late be easy.
fn difficulty_may_follow(previous: &Header, header: &Header, height: u32, network: Network) -> bool {
    let params = network.params();
    if params.no_pow_retargeting {
        return header.bits == previous.bits;
    }
    if params.allow_min_difficulty_blocks {
        return header.target() <= params.max_attainable_target;
    }
    if u64::from(height) % params.difficulty_adjustment_interval() == 0 {
        let before = Target::from_compact(previous.bits);
        let now = Target::from_compact(header.bits);
        return now <= before.max_transition_threshold(params) && now >= before.min_transition_threshold();
    }
    header.bits == previous.bits
}

/// The work in headers.
pub fn work(headers: &[Header]) -> Work {
    headers
        .iter()
        .fold(no_work(), |work, header| work + header.work())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::CompactTarget;
    use bitcoin::constants::genesis_block;

    const NOW: u64 = 1_800_000_000;

    /// Regtest's difficulty is one that a test can meet.
    fn mine(parent: &Header, bits: CompactTarget, time: u32) -> Header {
        let mut header = Header {
            prev_blockhash: parent.block_hash(),
            bits,
            time,
            nonce: 0,
            ..*parent
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        header
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let genesis = genesis_block(Network::Regtest).header;
        let first = mine(&genesis, genesis.bits, genesis.time + 1);
        let second = mine(&first, genesis.bits, genesis.time + 2);
        let check = |headers: &[Header], parent| super::check(headers, parent, 1, Network::Regtest, NOW);
        assert_eq!(check(&[first, second], Some(&genesis)), Ok(()));
        assert_eq!(check(&[second], None), Ok(()));
        assert!(check(&[second], Some(&genesis)).is_err());
        let mut unworked = first;
        while unworked.validate_pow(unworked.target()).is_ok() {
            unworked.nonce += 1;
        }
        assert!(check(&[unworked], Some(&genesis)).is_err());
        let harder = mine(&genesis, CompactTarget::from_consensus(0x2070_0000), genesis.time);
        assert!(
            check(&[harder], Some(&genesis)).is_err(),
            "regtest does not retarget"
        );
        let future = mine(&genesis, genesis.bits, u32::try_from(NOW).unwrap() + 4 * 3600);
        assert!(check(&[future], Some(&genesis)).is_err());
        assert_eq!(work(&[first, second]), first.work() + second.work());
    }

    #[test]
    fn the_difficulty_changes_only_where_it_may_and_by_four_at_most() {
        let genesis = genesis_block(Network::Bitcoin).header;
        let with = |bits| Header {
            bits: CompactTarget::from_consensus(bits),
            ..genesis
        };
        let now = with(0x1702_0000);
        let cases = [
            (1_000, 0x1702_0000, true),
            (1_000, 0x1702_0001, false),
            (1_000, 0x1701_0000, false),
            (2_016, 0x1702_0001, true),
            (2_016, 0x1708_0000, true),
            (2_016, 0x1708_0001, false),
            (2_016, 0x1700_8000, true),
            (2_016, 0x1700_7fff, false),
        ];
        for (height, bits, may) in cases {
            assert_eq!(
                difficulty_may_follow(&now, &with(bits), height, Network::Bitcoin),
                may,
                "{bits:x} at {height}"
            );
        }
    }
}
