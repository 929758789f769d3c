//! What a wake costs, as the kernel counts it: bytes on our sockets, peak memory, CPU time.
//!
//! The bytes are read from the TCP state of the sockets this process has open, TLS and headers included, so no client
//! library has to be wrapped and nothing is estimated. A socket that opens and closes between two samples is missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lock::lock;

/// How often the sockets are looked at. Short against the life of a keep-alive connection, long against the cost of a
/// look (some microseconds for each open file).
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// What was used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent (and acknowledged, on Linux).
    pub bytes_out: u64,
    /// Peak resident memory of the process, in bytes.
    pub peak_memory: u64,
    /// CPU time of the process since the meter started.
    pub cpu: Duration,
}

/// Counts from its start until it is dropped.
pub struct Meter {
    sockets: Arc<Mutex<Sockets>>,
    cpu_at_start: Duration,
    _sampler: DropGuard,
}

#[derive(Default)]
struct Sockets {
    /// Highest counters seen of each socket.
    seen: HashMap<SocketId, (u64, u64)>,
    /// Counters of the sockets that were open when the meter started.
    before: HashMap<SocketId, (u64, u64)>,
}

/// A socket that outlives a sample: its descriptor and the inode behind it, so that a reused descriptor is a new one.
type SocketId = (i32, u64);

impl Meter {
    /// Starts counting. Must be called within a tokio runtime.
    pub fn start() -> Self {
        let before = platform::tcp_counters();
        let sockets = Arc::new(Mutex::new(Sockets {
            seen: before.clone(),
            before,
        }));
        let stop = CancellationToken::new();
        let sampler = {
            let (sockets, stop) = (Arc::clone(&sockets), stop.clone());
            async move {
                while tokio::time::timeout(SAMPLE_EVERY, stop.cancelled())
                    .await
                    .is_err()
                {
                    sample(&sockets);
                }
            }
        };
        tokio::spawn(sampler);
        Self {
            sockets,
            cpu_at_start: platform::cpu_time(),
            _sampler: stop.drop_guard(),
        }
    }

    /// What was used up to now.
    pub fn usage(&self) -> Usage {
        sample(&self.sockets);
        let sockets = lock(&self.sockets);
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for (id, (received, sent)) in &sockets.seen {
            let (received_before, sent_before) = sockets.before.get(id).copied().unwrap_or_default();
            bytes_in += received.saturating_sub(received_before);
            bytes_out += sent.saturating_sub(sent_before);
        }
        Usage {
            bytes_in,
            bytes_out,
            peak_memory: platform::peak_memory(),
            cpu: platform::cpu_time().saturating_sub(self.cpu_at_start),
        }
    }
}

fn sample(sockets: &Mutex<Sockets>) {
    let now = platform::tcp_counters();
    let mut sockets = lock(sockets);
    for (id, (received, sent)) in now {
        let entry = sockets.seen.entry(id).or_default();
        *entry = (entry.0.max(received), entry.1.max(sent));
    }
}

/// Memory that the process holds now, in bytes; `None` if the system does not say.
pub fn resident_memory() -> Option<u64> {
    platform::resident_memory()
}

#[cfg(unix)]
mod platform {
    use super::{Duration, HashMap, SocketId};

    /// Descriptors looked at. A phone app has some dozens open; the kernel hands out the lowest free number.
    const HIGHEST_DESCRIPTOR: i32 = 1024;

    /// Reads (received, sent) of every TCP socket of this process.
    pub fn tcp_counters() -> HashMap<SocketId, (u64, u64)> {
        (0..HIGHEST_DESCRIPTOR)
            .filter_map(|fd| {
                let inode = inode_of_socket(fd)?;
                Some(((fd, inode), counters(fd)?))
            })
            .collect()
    }

    fn inode_of_socket(fd: i32) -> Option<u64> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: fstat only writes to the buffer given, and fails with EBADF on a number that is no open descriptor.
        let status = unsafe { libc::fstat(fd, stat.as_mut_ptr()) };
        if status != 0 {
            return None;
        }
        // SAFETY: fstat returned 0, so it has filled the buffer.
        let stat = unsafe { stat.assume_init() };
        (stat.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(stat.st_ino)
    }

    /// The kernel's TCP state of a socket, as bytes; `None` if it is not a TCP socket.
    fn tcp_state<const N: usize>(fd: i32, option: i32) -> Option<[u8; N]> {
        let mut state = [0u8; N];
        let mut length = libc::socklen_t::try_from(N).ok()?;
        // SAFETY: the kernel writes at most `length` bytes into `state`, which is that long.
        let status = unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                option,
                state.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        (status == 0 && length as usize == N).then_some(state)
    }

    fn u64_at(state: &[u8], offset: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(
            state.get(offset..offset + 8)?.try_into().ok()?,
        ))
    }

    /// `tcpi_bytes_acked` and `tcpi_bytes_received` of `struct tcp_info` (linux/tcp.h), there since Linux 4.1.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn counters(fd: i32) -> Option<(u64, u64)> {
        let state = tcp_state::<136>(fd, libc::TCP_INFO)?;
        Some((u64_at(&state, 128)?, u64_at(&state, 120)?))
    }

    /// `tcpi_rxbytes` and `tcpi_txbytes` of `struct tcp_connection_info` (netinet/tcp.h).
    #[cfg(target_vendor = "apple")]
    fn counters(fd: i32) -> Option<(u64, u64)> {
        const TCP_CONNECTION_INFO: i32 = 0x106;
        const SIZE: usize = std::mem::size_of::<libc::tcp_connection_info>();
        let state = tcp_state::<SIZE>(fd, TCP_CONNECTION_INFO)?;
        Some((
            u64_at(
                &state,
                std::mem::offset_of!(libc::tcp_connection_info, tcpi_rxbytes),
            )?,
            u64_at(
                &state,
                std::mem::offset_of!(libc::tcp_connection_info, tcpi_txbytes),
            )?,
        ))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn counters(_fd: i32) -> Option<(u64, u64)> {
        None
    }

    fn rusage() -> Option<libc::rusage> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: getrusage fills the buffer given when it returns 0.
        unsafe { (libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) == 0).then(|| usage.assume_init()) }
    }

    pub fn cpu_time() -> Duration {
        let of = |t: libc::timeval| {
            Duration::from_secs(u64::try_from(t.tv_sec).unwrap_or(0))
                + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
        };
        rusage()
            .map(|usage| of(usage.ru_utime) + of(usage.ru_stime))
            .unwrap_or_default()
    }

    /// The second figure of `/proc/self/statm` is resident pages.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn resident_memory() -> Option<u64> {
        let figures = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = figures.split_whitespace().nth(1)?.parse().ok()?;
        // SAFETY: sysconf only reads, and gives -1 for what it does not know.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Some(pages * u64::try_from(page).ok()?)
    }

    /// `resident_size` of `struct mach_task_basic_info` (mach/task_info.h).
    #[cfg(target_vendor = "apple")]
    #[allow(deprecated)] // libc points to another crate for Mach; these two calls are not worth one.
    pub fn resident_memory() -> Option<u64> {
        let mut info = std::mem::MaybeUninit::<libc::mach_task_basic_info>::zeroed();
        let mut count = libc::MACH_TASK_BASIC_INFO_COUNT;
        // SAFETY: the kernel writes at most `count` words into `info`, which is that long; the task port is our own.
        let status = unsafe {
            libc::task_info(
                libc::mach_task_self(),
                libc::MACH_TASK_BASIC_INFO,
                info.as_mut_ptr().cast(),
                &raw mut count,
            )
        };
        // SAFETY: zeroes are a valid value of this struct of numbers, and the call has filled it if it gave 0.
        (status == libc::KERN_SUCCESS).then(|| unsafe { info.assume_init() }.resident_size)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub fn resident_memory() -> Option<u64> {
        None
    }

    /// The program's own: `getrusage` would count what the process held before it became this program, its parent's memory.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn peak_memory() -> u64 {
        let peak = || {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let figure = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            figure.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        peak().unwrap_or(0) * 1024
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn peak_memory() -> u64 {
        // getrusage(2): bytes on Apple, kilobytes elsewhere.
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        rusage()
            .and_then(|usage| u64::try_from(usage.ru_maxrss).ok())
            .unwrap_or(0)
            * unit
    }
}

#[cfg(not(unix))]
mod platform {
    use super::{Duration, HashMap, SocketId};

    pub fn tcp_counters() -> HashMap<SocketId, (u64, u64)> {
        HashMap::new()
    }
    pub fn cpu_time() -> Duration {
        Duration::ZERO
    }
    pub fn peak_memory() -> u64 {
        0
    }
    pub fn resident_memory() -> Option<u64> {
        None
    }
}

#[cfg(all(test, any(target_os = "linux", target_vendor = "apple")))]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn counts_what_went_over_a_socket_since_the_start_and_nothing_before() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 70_000];
        near.write_all(&buffer[..5_000]).await.unwrap();
        far.read_exact(&mut buffer[..5_000]).await.unwrap();

        let meter = Meter::start();
        near.write_all(&buffer[..60_000]).await.unwrap();
        far.read_exact(&mut buffer[..60_000]).await.unwrap();
        let usage = meter.usage();
        // Both ends are ours, so the bytes are counted once going out and once coming in. Other tests may add to it.
        assert!(usage.bytes_in >= 60_000, "{usage:?}");
        assert!(usage.peak_memory > 1_000_000, "{usage:?}");
        let resident = resident_memory().unwrap();
        assert!(
            (1_000_000..=usage.peak_memory.max(resident)).contains(&resident),
            "{resident}"
        );
    }
}
