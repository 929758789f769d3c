//! Holds the TypeScript types of `guest-js/bindings.ts` to the Rust types they are made from. Owns that file's content;
//! names and arguments of the commands are held by `guest-js/index.test.ts`.
//!
//! Needs the feature `specta`: `cargo test -p tauri-plugin-background --features specta --test guest_js`. With
//! `UPDATE_BINDINGS=1` it writes the file anew.

#![cfg(feature = "specta")]
// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use specta::Types;
use specta_typescript::Typescript;
use tauri_plugin_background::{ActiveRun, COMPLETED_EVENT, LAUNCHED_EVENT, RunRecord, Status};

const FILE: &str = "guest-js/bindings.ts";

/// A formatter would undo the file at each generation.
const HEADER: &str = "\
// The plugin's models as a webview gets them; moments are milliseconds since the Unix epoch.
// Made from the Rust types by tests/guest_js.rs, which says how to make it anew. Do not edit.
// biome-ignore-all format: generated
// biome-ignore-all lint: generated
// biome-ignore-all assist: generated";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The codes as `Error::code` writes them, in the order of its source: an enum does not list its own variants.
fn error_codes() -> Vec<String> {
    let source = read("src/error.rs");
    let (_, body) = source.split_once("fn code(&self) -> &'static str {").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    let codes = body.split("=> \"").skip(1);
    codes
        .map(|rest| rest.split_once('"').unwrap().0.to_owned())
        .collect()
}

fn bindings() -> String {
    let types = Types::default()
        .register::<Status>()
        .register::<RunRecord>()
        .register::<ActiveRun>();
    let mut file = Typescript::default()
        .header(HEADER)
        .export(&types, specta_serde::Format)
        .unwrap();
    let codes: Vec<_> = error_codes()
        .iter()
        .map(|code| format!("\t| \"{code}\""))
        .collect();
    write!(
        file,
        "\n/** Why a call was refused. */\nexport type ErrorCode =\n{};\n\
         \n/** The event of a started run; its payload is an {{@link ActiveRun}}. */\n\
         export const LAUNCHED_EVENT = \"{LAUNCHED_EVENT}\";\n\
         \n/** The event of a completed run; its payload is a {{@link RunRecord}}. */\n\
         export const COMPLETED_EVENT = \"{COMPLETED_EVENT}\";\n",
        codes.join("\n")
    )
    .unwrap();
    file
}

#[test]
fn the_typescript_types_are_those_of_rust() {
    let expected = bindings();
    if env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), &expected).unwrap();
    }
    let found = read(FILE);
    let differs = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{FILE} is out of date from line {:?}; run: UPDATE_BINDINGS=1 cargo test -p tauri-plugin-background \
         --features specta --test guest_js",
        differs.map(|line| line + 1)
    );
}

/// Held here because the codes above are read from source text: the text must be what `Error` says.
#[test]
fn the_codes_are_those_that_errors_carry() {
    use tauri_plugin_background::{Error, SchedulerError};
    let codes = error_codes();
    for error in [
        Error::UnknownTask("a.b".into()),
        Error::NoHandler,
        Error::AlreadyAttached,
        SchedulerError::Unsupported("here").into(),
        SchedulerError::AlreadyRunning("a.b".into()).into(),
    ] {
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json["code"], error.code());
        assert_eq!(json["message"], error.to_string());
        assert!(codes.contains(&error.code().to_owned()), "{error:?}: {codes:?}");
    }
}
