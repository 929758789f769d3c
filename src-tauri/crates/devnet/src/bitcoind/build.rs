//! Building `bitcoind` once per version from the Bitcoin Core source that the crate `libbitcoinkernel-sys` carries.
//!
//! About 8 minutes of CPU when cold. The result is kept outside the checkout, in
//! `${XDG_CACHE_HOME:-~/.cache}/pilotlight/bitcoind/<crate version>/bitcoind`.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, progress};

/// The crate whose package holds Bitcoin Core's source in its folder `bitcoin`.
const SOURCE_CRATE: &str = "libbitcoinkernel-sys";
/// The package leaves out the wallet, ZMQ, the GUI and the embedded AS map: those that are on by default must be off.
/// -O1 halves the build's time, and regtest does not notice.
const FLAGS: [&str; 19] = [
    "-G",
    "Ninja",
    "-DCMAKE_BUILD_TYPE=None",
    "-DAPPEND_CXXFLAGS=-O1 -g0",
    "-DAPPEND_CFLAGS=-O1 -g0",
    "-DBUILD_BITCOIN_BIN=OFF",
    "-DBUILD_DAEMON=ON",
    "-DBUILD_CLI=OFF",
    "-DENABLE_WALLET=OFF",
    "-DBUILD_TESTS=OFF",
    "-DBUILD_TX=OFF",
    "-DBUILD_UTIL=OFF",
    "-DENABLE_IPC=OFF",
    "-DWITH_ZMQ=OFF",
    "-DENABLE_EXTERNAL_SIGNER=OFF",
    "-DWITH_EMBEDDED_ASMAP=OFF",
    "-DINSTALL_MAN=OFF",
    "-DWITH_CCACHE=ON",
    "-Wno-dev",
];
/// One line of progress at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Lines of a failed build worth showing.
const LAST_LINES: usize = 40;

/// The cached daemon, after building it if this version was never built on this machine.
pub(super) fn cached_or_built() -> Result<PathBuf, Error> {
    let home = cache_home()?;
    let mut version = locked_version(Path::new(env!("CARGO_MANIFEST_DIR")));
    if let Some(version) = &version {
        let program = home.join(version).join("bitcoind");
        if program.is_file() {
            return Ok(program);
        }
    }
    check_tools()?;
    let (source, exact) = source()?;
    let version = version.take().unwrap_or(exact);
    fs::create_dir_all(&home).map_err(Error::io(format!("making {}", home.display())))?;
    let lock_path = home.join(format!("{version}.lock"));
    let lock = File::create(&lock_path).map_err(Error::io(format!("making {}", lock_path.display())))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress("another process is building bitcoind; waiting for it");
            lock.lock().map_err(Error::io("waiting for the build's lock"))?;
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("taking the build's lock")(e)),
    }
    // Held until `lock` is dropped, that is, until after the rename.
    let program = home.join(&version).join("bitcoind");
    if !program.is_file() {
        build(&source, &home, &version)?;
    }
    Ok(program)
}

fn build(source: &Path, home: &Path, version: &str) -> Result<(), Error> {
    let begun = Instant::now();
    progress(&format!(
        "building bitcoind {version} once, from the source cargo has (about 8 minutes of CPU; kept in {})",
        home.display()
    ));
    // Not a random name: a build that was interrupted goes on where it stopped.
    let folder = home.join(format!("{version}.building"));
    fs::create_dir_all(&folder).map_err(Error::io(format!("making {}", folder.display())))?;
    run(
        Command::new("cmake")
            .arg("-S")
            .arg(source)
            .arg("-B")
            .arg(&folder)
            .args(FLAGS),
        begun,
    )?;
    let jobs = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .to_string();
    run(
        Command::new("cmake")
            .arg("--build")
            .arg(&folder)
            .args(["-j", &jobs, "--target", "bitcoind"]),
        begun,
    )?;

    let fresh = home.join(format!("{version}.fresh"));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(Error::io(format!("making {}", fresh.display())))?;
    let built = folder.join("bin").join("bitcoind");
    fs::copy(&built, fresh.join("bitcoind")).map_err(Error::io(format!("copying {}", built.display())))?;
    // Symbols are most of its size. Without `strip` it is only larger.
    let _ = Command::new("strip")
        .arg(fresh.join("bitcoind"))
        .stderr(Stdio::null())
        .status();
    let done = home.join(version);
    let _ = fs::remove_dir_all(&done);
    fs::rename(&fresh, &done).map_err(Error::io(format!("renaming to {}", done.display())))?;
    let _ = fs::remove_dir_all(&folder);
    progress(&format!(
        "bitcoind {version} is built ({} s)",
        begun.elapsed().as_secs()
    ));
    Ok(())
}

/// Runs one step of the build, condensing its output to a line now and then.
fn run(command: &mut Command, begun: Instant) -> Result<(), Error> {
    let (reader, writer) = std::io::pipe().map_err(Error::io("making a pipe"))?;
    let errors = writer.try_clone().map_err(Error::io("making a pipe"))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .map_err(Error::io("starting cmake"))?;
    // The command keeps its ends of the pipe open until it is given other ones; without this we read forever.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut last_lines: VecDeque<String> = VecDeque::new();
    let mut reported = Instant::now();
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some((n, of)) = ninja_step(&line)
            && (reported.elapsed() >= REPORT_INTERVAL || n == of)
        {
            progress(&format!(
                "building bitcoind: {n} of {of} files, {} s",
                begun.elapsed().as_secs()
            ));
            reported = Instant::now();
        }
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line);
    }
    let status = child.wait().map_err(Error::io("waiting for cmake"))?;
    if status.success() {
        return Ok(());
    }
    let tail = last_lines.into_iter().collect::<Vec<_>>().join("\n");
    Err(Error::NoBitcoind(format!("the build failed ({status}):\n{tail}")))
}

/// Reads ninja's `[12/345] Building ...`.
fn ninja_step(line: &str) -> Option<(u32, u32)> {
    let (n, of) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((n.trim().parse().ok()?, of.trim().parse().ok()?))
}

/// Says at once which package is missing, rather than minutes later in a compiler's words.
fn check_tools() -> Result<(), Error> {
    let runs = |program: &str| {
        Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let mut missing = Vec::new();
    for (program, package) in [("cmake", "cmake"), ("ninja", "ninja-build"), ("c++", "g++")] {
        if !runs(program) {
            missing.push(package);
        }
    }
    let includes = [
        "/usr/include",
        "/usr/local/include",
        "/opt/homebrew/include",
        "/opt/local/include",
    ];
    let boost_elsewhere = ["BOOST_ROOT", "Boost_ROOT", "CMAKE_PREFIX_PATH"];
    if !includes
        .iter()
        .any(|dir| Path::new(dir).join("boost/version.hpp").is_file())
        && !boost_elsewhere
            .iter()
            .any(|name| std::env::var_os(name).is_some())
    {
        missing.push("libboost-dev");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let install = if cfg!(target_os = "macos") {
        let names = missing.iter().map(|name| match *name {
            "ninja-build" => "ninja",
            "libboost-dev" => "boost",
            "g++" => "llvm",
            name => name,
        });
        format!("brew install {}", names.collect::<Vec<_>>().join(" "))
    } else {
        format!("apt-get install -y --no-install-recommends {}", missing.join(" "))
    };
    Err(Error::NoBitcoind(format!(
        "none is installed, and building it needs {} first: {install}\n(or name one with BITCOIND_EXE, or put \
         version 28 or newer on PATH)",
        missing.join(", ")
    )))
}

/// The folder of Bitcoin Core's source, and the crate's version.
fn source() -> Result<(PathBuf, String), Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(&manifest)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::NoBitcoind(format!("cargo, which has its source, does not run: {e}")))?;
    if !output.status.success() {
        return Err(Error::NoBitcoind(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::NoBitcoind(format!("cargo metadata: {e}")))?;
    let package = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == SOURCE_CRATE))
        .ok_or_else(|| Error::NoBitcoind(format!("cargo metadata names no {SOURCE_CRATE}")))?;
    let field = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let folder = Path::new(&field("manifest_path")).with_file_name("bitcoin");
    if !folder.join("CMakeLists.txt").is_file() {
        return Err(Error::NoBitcoind(format!("no source in {}", folder.display())));
    }
    Ok((folder, field("version")))
}

/// The crate's version from the nearest `Cargo.lock`: a cached daemon is then found without asking cargo.
fn locked_version(from: &Path) -> Option<String> {
    let lock = from
        .ancestors()
        .map(|dir| dir.join("Cargo.lock"))
        .find(|path| path.is_file())?;
    version_in_lock(&fs::read_to_string(lock).ok()?)
}

fn version_in_lock(text: &str) -> Option<String> {
    let named = format!("name = \"{SOURCE_CRATE}\"");
    let mut lines = text.lines().skip_while(|line| *line != named);
    lines.next()?;
    Some(
        lines
            .next()?
            .strip_prefix("version = \"")?
            .strip_suffix('"')?
            .to_owned(),
    )
}

fn cache_home() -> Result<PathBuf, Error> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("pilotlight").join("bitcoind"))
        .ok_or_else(|| Error::NoBitcoind("neither XDG_CACHE_HOME nor HOME says where to keep it".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninja_lines_are_condensed() {
        assert_eq!(ninja_step("[12/345] Building CXX object x.o"), Some((12, 345)));
        assert_eq!(ninja_step("-- Configuring done"), None);
        assert_eq!(ninja_step("[x/3]"), None);
    }

    #[test]
    fn the_workspace_lock_names_the_source() {
        let version = locked_version(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(version.split('.').count() >= 3, "{version}");
        assert_eq!(version_in_lock("name = \"other\"\nversion = \"1.0.0\"\n"), None);
    }

    #[test]
    fn a_failing_step_shows_its_last_words() {
        let error = run(
            Command::new("sh").args(["-c", "echo '[1/2] a'; echo boom >&2; exit 3"]),
            Instant::now(),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("boom") && error.contains('3'), "{error}");
    }
}
