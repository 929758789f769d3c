//! What a whole process costs, from before its start to after its end.
//!
//! A process of its own does this because Linux counts what the parent held at the moment of the start into the child's
//! peak memory: this one is small, where the benchmark's script is not.

use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Outcome;

/// Runs `command` and gives wall and CPU time in ms, peak memory in KiB, and the exit code or the signal.
pub(crate) fn measure(command: &[OsString]) -> Outcome {
    let (program, args) = command.split_first().ok_or("there is nothing to run")?;
    let begun = Instant::now();
    let child = Command::new(program).args(args).spawn()?;
    let pid = libc::pid_t::try_from(child.id())?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to live variables of the right type; `child` is not waited for by anybody else.
    while unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) } != pid {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    let wall = begun.elapsed();
    // SAFETY: a struct of numbers, zeroed before and written by a successful wait4.
    let usage = unsafe { usage.assume_init() };
    Ok(json!({
        "wall_ms": millis(wall),
        "cpu_ms": millis(time(usage.ru_utime)? + time(usage.ru_stime)?),
        "rss_kib": kib(usage.ru_maxrss),
        "code": libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        "signal": libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
    }))
}

/// With a fraction: a wake without channels takes but some ten milliseconds of CPU.
fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn time(value: libc::timeval) -> Result<Duration, std::num::TryFromIntError> {
    let (seconds, micros) = (u64::try_from(value.tv_sec)?, u64::try_from(value.tv_usec)?);
    Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// `ru_maxrss` is in KiB on Linux and in bytes on macOS (getrusage(2) of either).
fn kib(maxrss: libc::c_long) -> libc::c_long {
    if cfg!(target_os = "macos") {
        maxrss / 1_024
    } else {
        maxrss
    }
}
