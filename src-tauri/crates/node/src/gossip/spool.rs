//! News that were fetched and not applied yet: one file, replaced as a whole, that says what it may be applied to.
//!
//! A refresh wake writes it, seconds and no memory are enough for that; processing time or the foreground applies it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bitcoin::Network;
use pilotlight_store::files;

use super::format::{self, FormatError, Summary};

const MAGIC: [u8; 8] = *b"PLTNEWS\x01";
const HEADER: usize = 44;

/// What news say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// The timestamp they were asked from; 0 when they are the whole network.
    pub base: u32,
    /// Which server they are of; see [`super::server::Server::mark`].
    pub server: u32,
    /// The timestamp they lead to.
    pub timestamp: u32,
    /// Channels they tell of.
    pub channels: u32,
    /// Updates in them. LDK stops before the end when there are none.
    pub updates: u32,
    /// Bytes of the snapshot.
    pub bytes: u32,
    sum: u32,
}

/// A download on its way into the spool. Dropped, it leaves nothing behind that counts.
pub struct Incoming {
    file: BufWriter<File>,
    temporary: PathBuf,
}

/// Why a download is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The disk failed.
    #[error("the spool: {0}")]
    Disk(#[from] io::Error),
    /// It is no snapshot of ours.
    #[error(transparent)]
    Format(FormatError),
}

impl Incoming {
    /// Begins a download.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(spool: &Path) -> io::Result<Self> {
        let temporary = spool.with_extension("tmp");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::new(options.open(&temporary)?);
        file.write_all(&[0; HEADER])?;
        Ok(Self { file, temporary })
    }

    /// Where the snapshot's bytes go.
    pub fn body(&mut self) -> &mut (impl Write + Send + use<>) {
        &mut self.file
    }

    /// Reads what came from end to end and, if it is a snapshot of a moment between `base` and `latest` (Unix time in s),
    /// makes it the spool. Durable when it returns.
    ///
    /// # Errors
    /// [`KeepError`]; the spool is as it was then.
    pub fn keep(
        self,
        spool: &Path,
        network: Network,
        base: u32,
        server: u32,
        latest: u64,
    ) -> Result<News, KeepError> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(HEADER as u64))?;
        let mut body = Summed {
            input: BufReader::new(&mut file),
            sum: 0,
            bytes: 0,
        };
        let summary = format::summarise(&mut body, network).map_err(|error| match error {
            FormatError::Io(error) => KeepError::Disk(error),
            other => KeepError::Format(other),
        })?;
        if summary.timestamp < base || u64::from(summary.timestamp) > latest {
            return Err(KeepError::Format(FormatError::Nonsense("its time")));
        }
        io::copy(&mut body, &mut io::sink())?;
        let (sum, bytes) = (body.sum, body.bytes);
        let news = News {
            base,
            server,
            timestamp: summary.timestamp,
            channels: summary.channels,
            updates: summary.updates,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            sum,
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header_of(&news, network))?;
        file.sync_all()?;
        std::fs::rename(&self.temporary, spool)?;
        files::sync_directory(spool.parent().unwrap_or(Path::new(".")))?;
        Ok(news)
    }
}

/// What waits in the spool; `None` if nothing does, or nothing that is whole and of this network.
///
/// # Errors
/// The disk's.
pub fn look(spool: &Path, network: Network) -> io::Result<Option<News>> {
    match File::open(spool) {
        Ok(mut file) => match header(&mut file, network) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            news => news,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same with the snapshot itself.
///
/// # Errors
/// The disk's.
pub fn take(spool: &Path, network: Network) -> io::Result<Option<(News, Vec<u8>)>> {
    let Some(content) = files::read_if_present(spool)? else {
        return Ok(None);
    };
    let mut rest = content.as_slice();
    let Ok(Some(news)) = header(&mut rest, network) else {
        return Ok(None);
    };
    let whole = rest.len() as u64 == u64::from(news.bytes) && crc32c::crc32c(rest) == news.sum;
    Ok(whole.then(|| (news, rest.to_vec())))
}

/// What a snapshot at hand says, for one that does not come from a server.
///
/// # Errors
/// [`FormatError`]
pub fn summary(snapshot: &[u8], network: Network) -> Result<Summary, FormatError> {
    format::summarise(snapshot, network)
}

fn header_of(news: &News, network: Network) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    let chain = u32::from_le_bytes(network.magic().to_bytes());
    let words = [
        chain,
        news.base,
        news.server,
        news.timestamp,
        news.channels,
        news.updates,
        news.bytes,
        news.sum,
    ];
    for (word, place) in words.iter().zip(bytes[8..HEADER - 4].chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn header(input: &mut impl Read, network: Network) -> io::Result<Option<News>> {
    let mut bytes = [0; HEADER];
    input.read_exact(&mut bytes)?;
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[8 + 4 * at..12 + 4 * at]);
        u32::from_le_bytes(word)
    };
    let ours = bytes[..8] == MAGIC
        && crc32c::crc32c(&bytes[..HEADER - 4]) == word(8)
        && word(0) == u32::from_le_bytes(network.magic().to_bytes());
    Ok(ours.then(|| News {
        base: word(1),
        server: word(2),
        timestamp: word(3),
        channels: word(4),
        updates: word(5),
        bytes: word(6),
        sum: word(7),
    }))
}

/// Sums and counts what is read through it.
struct Summed<R> {
    input: R,
    sum: u32,
    bytes: u64,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, &bytes[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
