//! Reading BIP158's filters: Golomb-coded sets of the scripts that a block pays to or spends from.
//!
//! rust-bitcoin can do this too, bit by bit from a reader; a phone that slept for a week has a thousand filters of some
//! ten thousand elements each to look through, so this reads words. It also takes nothing on trust: a filter comes from
//! a stranger, and one that is cut off or makes no sense is an answer, not a panic.

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, siphash24};

/// Bits of a remainder (BIP158: P).
const REMAINDER_BITS: u32 = 19;

/// Inverse of the rate of false positives, for each script asked for (BIP158: M).
const INVERSE_RATE: u64 = 784_931;

/// Bits that a window is sure to hold: 64 less the up to seven of the byte it begins in.
const WINDOW_BITS: u32 = 57;

/// The filter cannot be read: it ends too early, or its numbers cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// Whether a filter of this block may contain any of these scripts. A yes can be wrong (once in 784,931 for each script),
/// a no cannot.
///
/// # Errors
/// [`Damaged`].
pub fn contains_any<'a>(
    filter: &[u8],
    block: &BlockHash,
    scripts: impl Iterator<Item = &'a [u8]>,
) -> Result<bool, Damaged> {
    let set = Set::read(filter, block)?;
    let mut wanted: Vec<u64> = scripts.map(|script| set.map(script)).collect();
    wanted.sort_unstable();
    set.walk(&wanted, |_| true)
}

/// Which of these scripts a filter does not contain, by their places in the list.
///
/// # Errors
/// [`Damaged`].
pub fn missing(filter: &[u8], block: &BlockHash, scripts: &[&[u8]]) -> Result<Vec<usize>, Damaged> {
    let set = Set::read(filter, block)?;
    let mut wanted: Vec<(u64, usize)> = scripts
        .iter()
        .enumerate()
        .map(|(place, script)| (set.map(script), place))
        .collect();
    wanted.sort_unstable();
    let values: Vec<u64> = wanted.iter().map(|(value, _)| *value).collect();
    let mut found = vec![false; values.len()];
    set.walk(&values, |place| {
        found[place] = true;
        false
    })?;
    let absent = wanted.iter().zip(&found).filter(|(_, found)| !**found);
    Ok(absent.map(|((_, place), _)| *place).collect())
}

/// A filter, its count read and its keys known.
struct Set<'a> {
    coded: &'a [u8],
    count: u64,
    keys: (u64, u64),
}

impl<'a> Set<'a> {
    fn read(filter: &'a [u8], block: &BlockHash) -> Result<Self, Damaged> {
        let hash = block.to_byte_array();
        let key = |from: usize| {
            let bytes = hash[from..from + 8].try_into();
            u64::from_le_bytes(bytes.expect("a range of eight bytes has eight"))
        };
        let (count, coded) = compact_size(filter)?;
        // An element takes a bit of quotient and the remainder at the least. The bound keeps `count * M` small, too.
        let room = coded.len() as u64 * 8 / u64::from(REMAINDER_BITS + 1);
        if count > room {
            return Err(Damaged);
        }
        Ok(Self {
            coded,
            count,
            keys: (key(0), key(8)),
        })
    }

    /// Where a script would lie in the set.
    fn map(&self, script: &[u8]) -> u64 {
        let hash = siphash24::Hash::hash_to_u64_with_keys(self.keys.0, self.keys.1, script);
        let scaled = u128::from(hash) * u128::from(self.count * INVERSE_RATE);
        // The upper half of a product of two 64-bit numbers has 64 bits.
        #[allow(clippy::cast_possible_truncation)]
        let mapped = (scaled >> 64) as u64;
        mapped
    }

    /// Goes through the set and the sorted `wanted` side by side; calls `hit` with the place of each that is in both,
    /// until it says that this is enough. Whether there was a hit.
    fn walk(&self, wanted: &[u64], mut hit: impl FnMut(usize) -> bool) -> Result<bool, Damaged> {
        let (mut bits, mut value, mut place, mut any) = (Bits::new(self.coded), 0u64, 0, false);
        for _ in 0..self.count {
            if place == wanted.len() {
                break;
            }
            value = value.checked_add(bits.golomb()?).ok_or(Damaged)?;
            while place < wanted.len() && wanted[place] <= value {
                if wanted[place] == value {
                    any = true;
                    if hit(place) {
                        return Ok(true);
                    }
                }
                place += 1;
            }
        }
        Ok(any)
    }
}

/// Bitcoin's variable-length count, and what follows it. An empty filter is an empty set.
fn compact_size(bytes: &[u8]) -> Result<(u64, &[u8]), Damaged> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok((0, bytes));
    };
    let width = match first {
        0..=0xfc => return Ok((u64::from(first), rest)),
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
    };
    let (number, rest) = rest.split_at_checked(width).ok_or(Damaged)?;
    let mut wide = [0u8; 8];
    wide[..width].copy_from_slice(number);
    Ok((u64::from_le_bytes(wide), rest))
}

/// Bits from the most significant one on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next number: a quotient of so many ones before a zero, and a remainder.
    fn golomb(&mut self) -> Result<u64, Damaged> {
        let mut quotient = 0u64;
        loop {
            let window = self.window();
            let ones = window.leading_ones().min(WINDOW_BITS);
            quotient += u64::from(ones);
            let used = ones + 1 + REMAINDER_BITS;
            if used <= WINDOW_BITS {
                let remainder = window << (ones + 1) >> (64 - REMAINDER_BITS);
                self.skip(used)?;
                return Ok(quotient << REMAINDER_BITS | remainder);
            }
            // A long quotient: take the ones that were seen, and look again. Bits past the end read as zero, so this ends.
            self.skip(ones)?;
        }
    }

    /// At least [`WINDOW_BITS`] bits from here, in the upper end; zeros past the end.
    fn window(&self) -> u64 {
        let from = self.at / 8;
        let word = if let Some(eight) = self.bytes.get(from..from + 8) {
            u64::from_be_bytes(eight.try_into().expect("a range of eight bytes has eight"))
        } else {
            let mut padded = [0u8; 8];
            let left = self.bytes.get(from..).unwrap_or_default();
            padded[..left.len()].copy_from_slice(left);
            u64::from_be_bytes(padded)
        };
        word << (self.at % 8)
    }

    fn skip(&mut self, bits: u32) -> Result<(), Damaged> {
        self.at += bits as usize;
        if self.at > self.bytes.len() * 8 {
            return Err(Damaged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::bip158::{BlockFilterReader, GcsFilterWriter};
    use proptest::prelude::*;

    fn filter(block: &BlockHash, elements: &[Vec<u8>]) -> Vec<u8> {
        let hash = block.to_byte_array();
        let key = |from: usize| u64::from_le_bytes(hash[from..from + 8].try_into().unwrap());
        let mut bytes = Vec::new();
        let mut writer = GcsFilterWriter::new(&mut bytes, key(0), key(8), INVERSE_RATE, 19);
        for element in elements {
            writer.add_element(element);
        }
        writer.finish().unwrap();
        bytes
    }

    fn says(filter: &[u8], block: &BlockHash, asked: &[Vec<u8>]) -> Result<bool, Damaged> {
        contains_any(filter, block, asked.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn it_says_what_rust_bitcoin_says(
            seed in any::<[u8; 32]>(),
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..300),
            others in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..30),
            take in 0usize..3,
        ) {
            let block = BlockHash::from_byte_array(seed);
            let bytes = filter(&block, &elements);
            let mut asked = others;
            asked.extend(elements.iter().take(take).cloned());
            let theirs = BlockFilterReader::new(&block).match_any(&mut bytes.as_slice(), asked.iter().map(Vec::as_slice));
            prop_assert_eq!(says(&bytes, &block, &asked), Ok(theirs.unwrap()));
            let places: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
            let absent = missing(&bytes, &block, &places).unwrap();
            for (place, script) in asked.iter().enumerate() {
                prop_assert_eq!(says(&bytes, &block, std::slice::from_ref(script)), Ok(!absent.contains(&place)));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), script in prop::collection::vec(any::<u8>(), 0..40)) {
            let block = BlockHash::all_zeros();
            let _ = says(&bytes, &block, std::slice::from_ref(&script));
            let _ = missing(&bytes, &block, &[&script]);
        }
    }

    #[test]
    fn a_filter_that_is_cut_off_or_counts_too_many_is_damaged() {
        let block = BlockHash::all_zeros();
        let elements: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n, 1]).collect();
        let whole = filter(&block, &elements);
        assert_eq!(says(&whole, &block, &elements), Ok(true));
        let beyond = [vec![0xff; 33]];
        assert_eq!(says(&whole[..whole.len() / 2], &block, &beyond), Err(Damaged));
        let mut many = whole.clone();
        many[0] = 0xff;
        assert_eq!(says(&many, &block, &beyond), Err(Damaged));
        assert_eq!(says(&[], &block, &beyond), Ok(false));
        assert_eq!(says(&[0xfe, 1], &block, &beyond), Err(Damaged));
        // Ones without end: a quotient that never comes to its remainder.
        assert_eq!(
            says(&[&[1u8][..], &[0xff; 64]].concat(), &block, &beyond),
            Err(Damaged)
        );
    }

    #[test]
    fn a_known_filter_of_bip158s_vectors_is_read() {
        // Testnet's genesis block: one output script, as in BIP158's test vectors.
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Testnet);
        let script = genesis.txdata[0].output[0].script_pubkey.to_bytes();
        let bytes = [0x01, 0x9d, 0xfc, 0xa8];
        assert_eq!(says(&bytes, &genesis.block_hash(), &[script]), Ok(true));
        assert_eq!(says(&bytes, &genesis.block_hash(), &[vec![0x51]]), Ok(false));
    }
}
