//! The example `soak` with fewer faults: a damaged store serves exactly what was acknowledged or tells of the damage.
//! `PILOTLIGHT_STORE_FAULTS=1000` makes it as many as you like.

#![allow(clippy::unwrap_used)]

#[path = "../examples/soak/faults.rs"]
mod faults;
#[path = "../examples/soak/load.rs"]
#[allow(dead_code, reason = "the kill test uses the rest")]
mod load;

use std::process::Command;

const CHILD_CASES: &str = "PILOTLIGHT_STORE_TEST_CASES";
const CASES: u64 = 150;

#[test]
fn damage_is_told_or_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let child = |first: u64, cases: u64| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child_judges", "--ignored", "--nocapture"])
            .env(
                CHILD_CASES,
                format!("{first} {cases} {}", directory.path().display()),
            );
        command
    };
    let cases = std::env::var("PILOTLIGHT_STORE_FAULTS")
        .map_or(CASES, |cases| cases.parse().expect("a number of cases"));
    let count = faults::run(1, cases, &child);
    let said = count.to_json();
    assert!(count.is_whole(), "{said:#}");
    assert_eq!(count.cases, cases, "{said:#}");
    assert_eq!(count.recovered, count.reported - count.timed_out, "{said:#}");
    assert!(
        count.served > 0 && count.reported > cases / 10,
        "the faults did too little to prove anything: {said:#}"
    );
}

#[test]
#[ignore = "the child of damage_is_told_or_does_no_harm"]
fn child_judges() {
    let told = std::env::var(CHILD_CASES).expect("only started by its parent");
    let [first, cases, directory] = told.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("three words, not {told}");
    };
    faults::judge(directory.as_ref(), first.parse().unwrap(), cases.parse().unwrap());
}
