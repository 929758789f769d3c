//! The program as a person or a script uses it; above all, that nothing of it is left when it has ended.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pilotlight_devnet::Info;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight-devnet"));
    command.env_remove("PILOTLIGHT_DEVNET");
    command
}

/// Starts `up` without peers and waits until it says that it is ready.
fn up(dir: &Path, more: &[&str]) -> (Child, Info) {
    let mut child = program()
        .args(["up", "--json", "--peers", "0", "--dir"])
        .arg(dir)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let info: Info = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    (child, info)
}

fn tell(dir: &Path, words: &[&str]) -> Output {
    program().arg("--dir").arg(dir).args(words).output().unwrap()
}

fn told(dir: &Path, words: &[&str]) -> Value {
    let output = tell(dir, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn answers(info: &Info) -> bool {
    let rpc = info
        .bitcoind
        .rpc
        .url
        .trim_start_matches("http://")
        .trim_end_matches('/');
    std::net::TcpStream::connect(rpc).is_ok()
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child of ours that has not been waited for.
    assert_eq!(
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) },
        0
    );
}

#[test]
fn commands_reach_it_and_stop_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let nobody = tell(dir, &["info"]);
    assert_eq!(nobody.status.code(), Some(3), "there is no devnet yet");
    assert!(
        String::from_utf8_lossy(&nobody.stderr).contains("up"),
        "it says what to do"
    );

    let (mut child, info) = up(dir, &[]);
    assert!(answers(&info));
    let again = program()
        .args(["up", "--json", "--peers", "0", "--dir"])
        .arg(dir)
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1), "the folder is taken");

    let said = told(dir, &["info"]);
    assert_eq!(said["esplora_url"], info.esplora_url);
    assert_eq!(said["height"], info.height);
    assert_eq!(told(dir, &["mine", "2"])["height"], info.height + 2);
    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let txid = told(dir, &["fund", address, "12345"])["txid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(txid.len(), 64);
    assert_eq!(told(dir, &["reorg", "2"])["instead"].as_array().unwrap().len(), 3);
    let id = told(
        dir,
        &[
            "fault", "set", "status", "--code", "503", "--path", "/blocks", "--times", "2",
        ],
    );
    assert_eq!(told(dir, &["fault", "list"])[0]["id"], id["id"]);
    told(dir, &["fault", "clear"]);
    assert_eq!(told(dir, &["rtt", "5"])["rtt_ms"], 5);
    assert_eq!(told(dir, &["traffic"])["requests"], 0);

    for (words, code, hint) in [
        (&["mine", "many"][..], 2, "many"),
        (&["fund", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "5"], 1, "network"),
        (&["fund", address, "1"], 1, "dust"),
        (&["fund", address, "2000000000000000"], 1, "dry"),
        (&["fund", address, "18446744073709551615"], 1, "more money"),
        (&["invoice", "lsp", "1000"], 1, "no peer"),
        (&["reorg", "9999"], 1, "depth"),
    ] {
        let output = tell(dir, words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(
            stderr.contains(hint) && output.stdout.is_empty(),
            "{words:?}: {stderr}"
        );
    }
    let control = info.control_url.as_deref().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let by_url = program()
        .current_dir(elsewhere.path())
        .args(["--control", control, "info"])
        .output()
        .unwrap();
    assert!(by_url.status.success());
    let by_environment = program()
        .env("PILOTLIGHT_DEVNET", control)
        .arg("info")
        .output()
        .unwrap();
    assert!(by_environment.status.success());

    told(dir, &["stop"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!answers(&info) && !dir.join("devnet.json").exists());
}

#[test]
fn its_daemon_dies_with_it_however_it_ends() {
    for (signal_number, code) in [
        (libc::SIGTERM, Some(0)),
        (libc::SIGINT, Some(0)),
        (libc::SIGKILL, None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, info) = up(dir.path(), &[]);
        signal(&child, signal_number);
        assert_eq!(child.wait().unwrap().code(), code, "signal {signal_number}");
        wait_until("bitcoind to be gone", || !answers(&info));
        // The folder can be used again at once, also after a violent end.
        let (mut child, info) = up(dir.path(), &[]);
        signal(&child, libc::SIGTERM);
        child.wait().unwrap();
        assert!(!answers(&info));
    }
}

#[test]
fn it_ends_with_its_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, info) = up(dir.path(), &["--until-stdin-closes"]);
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!answers(&info));
}

#[test]
fn it_ends_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    // A shell starts it in the background and waits for our word to end, without a signal to its child.
    let mut shell = Command::new("sh")
        .args([
            "-c",
            r#""$0" up --json --peers 0 --dir "$1" >/dev/null & read -r _"#,
        ])
        .arg(env!("CARGO_BIN_EXE_pilotlight-devnet"))
        .arg(dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let file = dir.path().join("devnet.json");
    wait_until("the devnet to be ready", || file.exists());
    let info: Info = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(answers(&info));
    drop(shell.stdin.take());
    shell.wait().unwrap();
    wait_until("bitcoind to be gone", || !answers(&info));
    wait_until("devnet.json to be gone", || !file.exists());
}

#[test]
fn a_strangers_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("bitcoind");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("wallet.dat"), "precious").unwrap();
    let output = program()
        .args(["up", "--json", "--peers", "0", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(precious.join("wallet.dat").exists());
}

#[test]
fn a_daemon_that_will_not_do_is_named() {
    for (exe, hint) in [("/does/not/exist", "No such file"), ("/bin/true", "-version")] {
        let output = program()
            .env("BITCOIND_EXE", exe)
            .arg("bitcoind")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains(exe) && stderr.contains(hint), "{stderr}");
    }
}

/// Not even its daemon, which likes to leave a settings file behind wherever it is asked for its version.
#[test]
fn it_touches_nothing_in_the_users_home() {
    let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = pilotlight_devnet::ensure_bitcoind().unwrap().path;
    let mut child = program()
        .env("BITCOIND_EXE", daemon)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .args(["up", "--json", "--peers", "1", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("esplora_url"), "{line}");
    signal(&child, libc::SIGTERM);
    child.wait().unwrap();
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
