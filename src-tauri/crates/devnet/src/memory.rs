//! What the program itself has taken of memory, for tests and benchmarks.

/// The most that this program has had resident so far, in bytes; `None` where the system does not tell (it is Linux that
/// does). Not from `getrusage`: Linux counts in there what the parent held when it started us.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
