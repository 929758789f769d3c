//! The format of a Rapid Gossip Sync snapshot, read from start to end without keeping it: is it one, and what does it tell?
//!
//! Versions 1 and 2, as `lightning-rapid-gossip-sync` reads them, which is also what applies them. Whatever that takes, this
//! takes, and counts; a refresh wake can so tell of a snapshot that it has no memory to apply.

use std::io::{self, Read};

use bitcoin::Network;
use bitcoin::constants::ChainHash;
use lightning::ln::msgs::SocketAddress;
use lightning::util::ser::Readable;

/// LDK's bounds: ten times today's network.
const MOST_NODES: u32 = 200_000;
const MOST_CHANNELS: u32 = 600_000;

/// What a snapshot says of itself and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// When the server made it, Unix time in s: what the next news are asked from.
    pub timestamp: u32,
    /// Nodes named.
    pub nodes: u32,
    /// Channels announced.
    pub announcements: u32,
    /// Updates of one direction of a channel.
    pub updates: u32,
    /// Different channels announced or updated.
    pub channels: u32,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// They cannot be had.
    #[error("reading the snapshot: {0}")]
    Io(io::Error),
    /// They end too early.
    #[error("the snapshot is cut off")]
    Short,
    /// They mean nothing, or nothing good.
    #[error("not a snapshot: {0}")]
    Nonsense(&'static str),
    /// It is of another chain.
    #[error("a snapshot of another network")]
    Chain,
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Io(error),
        }
    }
}

/// Reads a whole snapshot. What follows its end is ignored, as LDK ignores it.
///
/// # Errors
/// [`FormatError`]
pub fn summarise(input: impl Read, network: Network) -> Result<Summary, FormatError> {
    let mut input = Bytes(input);
    if input.array()? != *b"LDK" {
        return Err(FormatError::Nonsense("its first bytes"));
    }
    let version = input.byte()?;
    if version != 1 && version != 2 {
        return Err(FormatError::Nonsense("its version"));
    }
    if ChainHash::from(input.array::<32>()?) != ChainHash::using_genesis_block(network) {
        return Err(FormatError::Chain);
    }
    let timestamp = input.u32()?;
    let nodes = nodes(&mut input, version)?;
    let (announcements, announced) = announcements(&mut input, version, nodes)?;
    let updates = input.u32()?;
    if updates > MOST_CHANNELS {
        return Err(FormatError::Nonsense("so many updates"));
    }
    let mut channels = Distinct::new(&announced);
    if updates > 0 {
        // What most policies have in common: delta, smallest amount, fees, largest amount.
        input.skip(2 + 8 + 4 + 4 + 8)?;
        read_updates(&mut input, version, updates, &mut channels)?;
    }
    Ok(Summary {
        timestamp,
        nodes,
        announcements,
        updates,
        channels: channels.count(),
    })
}

fn nodes(input: &mut Bytes<impl Read>, version: u8) -> Result<u32, FormatError> {
    let feature_sets = if version == 2 { input.byte()? } else { 0 };
    for _ in 0..feature_sets {
        input.features()?;
    }
    let nodes = input.u32()?;
    if nodes > MOST_NODES {
        return Err(FormatError::Nonsense("so many nodes"));
    }
    for _ in 0..nodes {
        let key: [u8; 33] = input.array()?;
        if version == 1 {
            continue;
        }
        // The key's first byte has six bits to spare; see `lightning-rapid-gossip-sync` for what they say.
        let flags = key[0];
        if flags & 1 << 2 != 0 {
            for _ in 0..input.byte()? {
                input.address()?;
            }
        }
        match flags >> 3 & 7 {
            0 => {}
            7 => input.features()?,
            set if set <= feature_sets => {}
            _ => return Err(FormatError::Nonsense("a node's features")),
        }
        if flags & 1 << 7 != 0 {
            input.more()?;
        }
    }
    Ok(nodes)
}

fn announcements(
    input: &mut Bytes<impl Read>,
    version: u8,
    nodes: u32,
) -> Result<(u32, Vec<u64>), FormatError> {
    let announcements = input.u32()?;
    if announcements > MOST_CHANNELS {
        return Err(FormatError::Nonsense("so many channels"));
    }
    let mut announced = Vec::new();
    let mut scid = 0u64;
    for _ in 0..announcements {
        input.features()?;
        scid = scid
            .checked_add(input.big_size()?)
            .ok_or(FormatError::Nonsense("a channel's id"))?;
        let one = input.big_size()?;
        let two = input.big_size()?;
        let more = two & 1 << 63 != 0;
        let two = two & !(1 << 63);
        if one.max(two) >= u64::from(nodes) || one == two {
            return Err(FormatError::Nonsense("a channel's ends"));
        }
        if version == 2 && more {
            input.capacity()?;
        }
        announced.push(scid);
    }
    Ok((announcements, announced))
}

fn read_updates(
    input: &mut Bytes<impl Read>,
    version: u8,
    updates: u32,
    channels: &mut Distinct<'_>,
) -> Result<(), FormatError> {
    let mut scid = 0u64;
    let mut last_direction = None;
    for _ in 0..updates {
        let step = input.big_size()?;
        scid = scid
            .checked_add(step)
            .ok_or(FormatError::Nonsense("a channel's id"))?;
        let flags = input.byte()?;
        let direction = flags & 1;
        if version == 2 {
            let again = last_direction.replace(direction) == Some(direction);
            if step == 0 && again {
                input.more()?;
                continue;
            }
        }
        // Delta, smallest amount, base fee, proportional fee, largest amount: those that differ.
        for (bit, bytes) in [(6, 2), (5, 8), (4, 4), (3, 4), (2, 8)] {
            if flags & 1 << bit != 0 {
                input.skip(bytes)?;
            }
        }
        channels.note(scid);
    }
    Ok(())
}

/// Counts the channels that two ascending lists name.
struct Distinct<'a> {
    announced: std::iter::Peekable<std::slice::Iter<'a, u64>>,
    last: Option<u64>,
    count: u32,
}

impl<'a> Distinct<'a> {
    fn new(announced: &'a [u64]) -> Self {
        Self {
            announced: announced.iter().peekable(),
            last: None,
            count: 0,
        }
    }

    fn note(&mut self, scid: u64) {
        while let Some(before) = self.announced.next_if(|announced| **announced <= scid) {
            self.one(*before);
        }
        self.one(scid);
    }

    fn one(&mut self, scid: u64) {
        if self.last.replace(scid) != Some(scid) {
            self.count += 1;
        }
    }

    fn count(mut self) -> u32 {
        while let Some(rest) = self.announced.next() {
            self.one(*rest);
        }
        self.count
    }
}

/// The pieces a snapshot is made of.
struct Bytes<R>(R);

impl<R: Read> Bytes<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), FormatError> {
        let skipped = io::copy(&mut self.0.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(FormatError::Short)
        }
    }

    /// BOLT 1's variable-length number, in its shortest form only.
    fn big_size(&mut self) -> Result<u64, FormatError> {
        let (number, least) = match self.byte()? {
            0xff => (u64::from_be_bytes(self.array()?), 1 << 32),
            0xfe => (u64::from(self.u32()?), 1 << 16),
            0xfd => (u64::from(u16::from_be_bytes(self.array()?)), 0xfd),
            small => (u64::from(small), 0),
        };
        if number < least {
            return Err(FormatError::Nonsense("a number"));
        }
        Ok(number)
    }

    fn features(&mut self) -> Result<(), FormatError> {
        let length = u16::from_be_bytes(self.array()?);
        self.skip(length.into())
    }

    /// LDK's length of a collection: two bytes, or eight more.
    fn length(&mut self) -> Result<u64, FormatError> {
        match u16::from_be_bytes(self.array()?) {
            u16::MAX => u64::from_be_bytes(self.array()?)
                .checked_add(u16::MAX.into())
                .ok_or(FormatError::Nonsense("a length")),
            short => Ok(short.into()),
        }
    }

    /// Room for what later versions may say.
    fn more(&mut self) -> Result<(), FormatError> {
        let length = self.length()?;
        self.skip(length)
    }

    /// The same, with a channel's capacity in it.
    fn capacity(&mut self) -> Result<(), FormatError> {
        let length = self.length()?;
        let mut inside = Bytes(self.0.by_ref().take(length));
        inside.big_size()?;
        let rest = inside.0.limit();
        self.skip(rest)
    }

    /// An address of a kind we know must fill its place; of others nothing is known.
    fn address(&mut self) -> Result<(), FormatError> {
        let length = usize::from(self.byte()?);
        let mut bytes = [0; u8::MAX as usize];
        let bytes = &mut bytes[..length];
        self.0.read_exact(bytes)?;
        let mut rest = &*bytes;
        let known = <SocketAddress as Readable>::read(&mut rest).is_ok();
        if known && !rest.is_empty() {
            return Err(FormatError::Nonsense("a node's address"));
        }
        Ok(())
    }
}
