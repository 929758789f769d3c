//! The example `soak` with fewer kills: nothing acknowledged is lost when the process is killed, while it writes and
//! while it compacts.

#![allow(clippy::unwrap_used)]

#[path = "../examples/soak/kills.rs"]
mod kills;
#[path = "../examples/soak/load.rs"]
mod load;

use std::process::Command;

const CHILD_DIRECTORY: &str = "PILOTLIGHT_STORE_TEST_DIRECTORY";

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "child_writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIRECTORY, directory.path());
        command
    };
    let count = kills::run(directory.path(), 40, 1, &child);
    let said = serde_json::Value::Object(count.to_json());
    assert!(count.is_whole() && count.wrong.is_empty(), "{said:#}");
    assert!(
        count.acknowledged > 200 && count.compactions > 5,
        "the children did too little to prove anything: {said:#}"
    );
    // Far above the budget even a slow machine cannot get between two looks at it.
    assert!(count.largest < 24 * 1024 * 1024, "{said:#}");
}

#[test]
#[ignore = "the child of nothing_acknowledged_is_lost_when_the_process_is_killed"]
fn child_writes_until_it_is_killed() {
    let directory = std::env::var_os(CHILD_DIRECTORY).expect("only started by its parent");
    kills::write_until_killed(directory.as_ref());
}
