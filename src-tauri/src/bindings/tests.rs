//! What is written twice is held equal here: commands and their TypeScript, commands and permissions. What the Xcode
//! project repeats is held by `apple_tests`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use specta_typescript::Typescript;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `UPDATE_BINDINGS=1 cargo test -p pilotlight bindings` writes the file anew.
#[test]
fn typescript_matches_the_commands() {
    let file = "src-ui/src/lib/bindings.ts";
    let fresh = std::env::temp_dir().join(format!("pilotlight-bindings-{}.ts", std::process::id()));
    super::builder().export(Typescript::default(), &fresh).unwrap();
    let expected = fs::read_to_string(&fresh).unwrap();
    fs::remove_file(&fresh).unwrap();
    if std::env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(root().join(file), &expected).unwrap();
    }
    let found = read(file);
    let differs = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{file} is out of date from line {:?}; run: UPDATE_BINDINGS=1 cargo test -p pilotlight bindings",
        differs.map(|line| line + 1)
    );
}

/// The commands as `collect_commands!` in `bindings.rs` lists them: tauri-specta does not tell.
fn registered_commands() -> BTreeSet<String> {
    let source = read("src-tauri/src/bindings.rs");
    let list = source
        .split_once("collect_commands![")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0;
    list.split(',')
        .filter_map(|item| item.trim().strip_prefix("commands::"))
        .map(str::to_owned)
        .collect()
}

fn files_in(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_command_has_one_permission_and_the_window_has_them_all() {
    let mut permitted = Vec::new();
    let mut identifiers = BTreeSet::new();
    for file in files_in("src-tauri/permissions") {
        let table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        for permission in table["permission"].as_array().unwrap() {
            assert!(identifiers.insert(permission["identifier"].as_str().unwrap().to_owned()));
            let commands = permission["commands"]["allow"].as_array().unwrap();
            permitted.extend(
                commands
                    .iter()
                    .map(|command| command.as_str().unwrap().to_owned()),
            );
        }
    }
    let once: BTreeSet<_> = permitted.iter().cloned().collect();
    assert_eq!(
        once.len(),
        permitted.len(),
        "a command stands in two permissions: {permitted:?}"
    );
    assert_eq!(once, registered_commands());

    let capability: serde_json::Value =
        serde_json::from_str(&read("src-tauri/capabilities/main.json")).unwrap();
    let granted: BTreeSet<_> = capability["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|permission| permission.as_str().unwrap().to_owned())
        .filter(|permission| !permission.contains(':'))
        .collect();
    assert_eq!(granted, identifiers);
    assert_eq!(
        files_in("src-tauri/capabilities").len(),
        1,
        "a new capability must be thought about here"
    );
}

fn app_config() -> serde_json::Value {
    serde_json::from_str(&read("tauri.conf.json")).unwrap()
}

#[test]
fn the_content_policy_lets_nothing_in_from_outside() {
    let config = app_config();
    let csp = config["app"]["security"]["csp"].as_object().unwrap();
    assert_eq!(csp["default-src"], "'none'");
    for (directive, sources) in csp {
        for source in sources.as_str().unwrap().split_whitespace() {
            let ours = ["'none'", "'self'", "ipc:", "http://ipc.localhost"].contains(&source);
            assert!(ours, "{directive} {source}");
        }
    }
}

/// What the models promise TypeScript about amounts must be what serde writes.
#[test]
fn msat_amounts_are_strings_on_the_wire() {
    let destination = pilotlight_node::Destination::Bolt11 {
        bolt11: String::new(),
        amount_msat: Some(21_000),
        description: String::new(),
        expires_at_ms: 1,
        payee: String::new(),
    };
    let json = serde_json::to_value(destination).unwrap();
    assert_eq!(json["amount_msat"], "21000");
    assert_eq!(json["expires_at_ms"], 1);
    let msat: crate::commands::Msat = serde_json::from_str("\"18446744073709551615\"").unwrap();
    assert_eq!(
        serde_json::to_value(format!("{msat:?}")).unwrap(),
        "Msat(18446744073709551615)"
    );
    for bad in ["21000", "\"\"", "\"-1\"", "\"1.5\"", "\"18446744073709551616\""] {
        assert!(
            serde_json::from_str::<crate::commands::Msat>(bad).is_err(),
            "{bad}"
        );
    }
}
