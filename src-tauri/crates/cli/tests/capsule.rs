//! A wallet whose database is destroyed comes back from its state capsule on the command line.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Nothing listens there: these commands need no chain.
const NOWHERE: &str = "http://127.0.0.1:9";

fn cli(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilotlight-cli"))
        .args([
            "--network",
            "regtest",
            "--json",
            "--esplora",
            NOWHERE,
            "--data-dir",
        ])
        .arg(dir)
        .args(args)
        .output()
        .unwrap()
}

fn ask(dir: &Path, args: &[&str]) -> Value {
    let output = cli(dir, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    let said = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(said.trim().lines().last().unwrap()).unwrap()
}

fn fail(dir: &Path, args: &[&str]) -> i32 {
    let output = cli(dir, args);
    assert!(!output.status.success(), "{args:?} did not fail");
    output.status.code().unwrap()
}

/// Overwrites the current database.
fn destroy(dir: &Path) {
    let store = dir.join("store");
    let databases = std::fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found = 0;
    for database in databases.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("db-")) {
        std::fs::write(database.join("db"), vec![7; 50_000]).unwrap();
        found += 1;
    }
    assert_eq!(found, 1);
}

#[test]
fn a_destroyed_wallet_comes_back_and_an_old_state_does_not_run() {
    let wallet = tempfile::tempdir().unwrap();
    let dir = wallet.path();
    ask(dir, &["init"]);
    assert_eq!(
        fail(dir, &["capsule", "restore"]),
        5,
        "there is nothing to restore yet"
    );
    let first = ask(dir, &["address"])["address"].clone();
    let slots = ask(dir, &["capsule", "inspect"]);
    assert_eq!(slots.as_array().unwrap().len(), 1, "{slots}");
    assert!(slots[0]["generation"].as_u64().unwrap() > 0);

    // Closed in order: the capsule is proven to be the last state, and the wallet goes on where it was.
    destroy(dir);
    assert_eq!(fail(dir, &["address"]), 5, "damage is told as damage");
    let restored = ask(dir, &["capsule", "restore"]);
    assert_eq!(restored["live"], true, "{restored}");
    let second = ask(dir, &["address"])["address"].clone();
    assert_ne!(first, second, "an address was given twice");

    // The newest capsule is lost: the one before it is old, and the wallet does not open on it.
    let slots = ask(dir, &["capsule", "inspect"]);
    let newest = slots
        .as_array()
        .unwrap()
        .iter()
        .max_by_key(|slot| slot["generation"].as_u64())
        .unwrap()["file"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::remove_file(dir.join("capsules").join(newest)).unwrap();
    destroy(dir);
    let restored = ask(dir, &["capsule", "restore"]);
    assert_eq!(restored["live"], false, "{restored}");
    assert!(restored["acknowledged"].as_u64() > restored["generation"].as_u64());
    assert_eq!(
        fail(dir, &["address"]),
        5,
        "channels must not run on an old state"
    );
}
