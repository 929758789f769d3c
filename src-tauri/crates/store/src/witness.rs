//! The witness: a small file beside the database that says what was acknowledged last. sled takes a log
//! whose end is missing for one that was never longer; the witness knows better.
//!
//! Written after the flush and before the answer, in turn into one of two slots, each under a checksum, so that a
//! torn write leaves the other. Not synced each time: a killed process leaves it exact, and a power cut at worst
//! leaves it old, which accuses nobody wrongly. Synced when the store opens and closes: a witness that says
//! "closed" is exact in any case.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::digest::Digest;
use crate::{files, layout};

const MAGIC: [u8; 4] = *b"PLW1";
const CHECKED_LEN: usize = 4 + 4 + 8 + 8 + Digest::LEN;
const SLOT_LEN: usize = CHECKED_LEN + 4;
/// Slots in blocks of their own, so that no disk writes both at once.
const SLOT_DISTANCE: u64 = 4096;
const FILE_LEN: usize = 4096 + SLOT_LEN;
const CLOSED: u32 = 1;

/// What the witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Testimony {
    /// The number of the last batch that was acknowledged.
    pub(crate) generation: u64,
    /// Over the values as that batch left them.
    pub(crate) digest: Digest,
    /// Whether the store was closed in order after it.
    pub(crate) closed: bool,
    sequence: u64,
}

/// What comes of asking the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is no such file.
    Nobody,
    /// The file can no longer be read.
    Gibberish,
    Said(Testimony),
}

impl Heard {
    pub(crate) fn testimony(self) -> Option<Testimony> {
        match self {
            Self::Said(testimony) => Some(testimony),
            Self::Nobody | Self::Gibberish => None,
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    sequence: u64,
}

impl Witness {
    /// Reads what was last said.
    pub(crate) fn hear(root: &Path) -> io::Result<Heard> {
        let mut bytes = Vec::new();
        match File::open(layout::witness_file(root)) {
            Ok(file) => file.take(FILE_LEN as u64).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Heard::Nobody),
            Err(error) => return Err(error),
        };
        let second = usize::try_from(SLOT_DISTANCE).unwrap_or(usize::MAX);
        let slots = [bytes.get(..SLOT_LEN), bytes.get(second..)];
        let said = slots.into_iter().flatten().filter_map(parse);
        let last = said.max_by_key(|testimony| testimony.sequence);
        Ok(last.map_or(Heard::Gibberish, Heard::Said))
    }

    /// Opens the witness for writing, going on after what it said, and lets it say what holds now, durably.
    pub(crate) fn swear(
        root: &Path,
        said: Option<Testimony>,
        generation: u64,
        digest: Digest,
    ) -> io::Result<Self> {
        let path = layout::witness_file(root);
        if said.is_none() {
            files::write_atomically(&path, &[0; FILE_LEN])?;
        }
        let file = File::options().read(true).write(true).open(&path)?;
        let mut witness = Self {
            file,
            sequence: said.map_or(0, |said| said.sequence),
        };
        witness.say(generation, digest)?;
        witness.file.sync_all()?;
        Ok(witness)
    }

    /// Says that a batch is about to be acknowledged.
    pub(crate) fn say(&mut self, generation: u64, digest: Digest) -> io::Result<()> {
        self.write(generation, digest, 0)
    }

    /// Says that the store is closed in order, durably.
    pub(crate) fn close(&mut self, generation: u64, digest: Digest) -> io::Result<()> {
        self.write(generation, digest, CLOSED)?;
        self.file.sync_all()
    }

    fn write(&mut self, generation: u64, digest: Digest, flags: u32) -> io::Result<()> {
        self.sequence += 1;
        let mut slot = Vec::with_capacity(SLOT_LEN);
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&flags.to_be_bytes());
        slot.extend_from_slice(&self.sequence.to_be_bytes());
        slot.extend_from_slice(&generation.to_be_bytes());
        slot.extend_from_slice(&digest.to_bytes());
        slot.extend_from_slice(&crc32c::crc32c(&slot).to_be_bytes());
        self.file
            .seek(SeekFrom::Start((self.sequence % 2) * SLOT_DISTANCE))?;
        self.file.write_all(&slot)
    }
}

fn parse(slot: &[u8]) -> Option<Testimony> {
    let (checked, checksum) = slot.split_first_chunk::<CHECKED_LEN>()?;
    if checksum != crc32c::crc32c(checked).to_be_bytes() {
        return None;
    }
    let (magic, rest) = checked.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let flags = u32::from_be_bytes(*flags);
    (*magic == MAGIC && flags <= CLOSED).then_some(Testimony {
        generation: u64::from_be_bytes(*generation),
        digest: Digest::from_bytes(*rest.first_chunk()?),
        closed: flags == CLOSED,
        sequence: u64::from_be_bytes(*sequence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_a_torn_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(Witness::hear(root).unwrap(), Heard::Nobody);
        let mut witness = Witness::swear(root, None, 0, Digest::default()).unwrap();
        for generation in 1..=5 {
            witness.say(generation, Digest::default()).unwrap();
        }
        let said = Witness::hear(root).unwrap().testimony().unwrap();
        assert_eq!((said.generation, said.closed), (5, false));

        let path = layout::witness_file(root);
        let bytes = std::fs::read(&path).unwrap();
        // Damage to one slot leaves the other: the last word, or the one before it.
        for at in (0..SLOT_LEN).chain(4096..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            std::fs::write(&path, changed).unwrap();
            let said = Witness::hear(root).unwrap().testimony().unwrap();
            assert!((4..=5).contains(&said.generation), "byte {at}");
        }
        std::fs::write(&path, [7; FILE_LEN]).unwrap();
        assert_eq!(Witness::hear(root).unwrap(), Heard::Gibberish);

        std::fs::write(&path, bytes).unwrap();
        let said = Witness::hear(root).unwrap().testimony();
        let mut witness = Witness::swear(root, said, 5, Digest::default()).unwrap();
        witness.close(6, Digest::default()).unwrap();
        let said = Witness::hear(root).unwrap().testimony().unwrap();
        assert_eq!((said.generation, said.closed), (6, true));
    }
}
