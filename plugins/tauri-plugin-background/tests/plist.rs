//! What the plugin writes into an Info.plist, on real files. The function is the one that `build.rs` runs.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod config {
    pub use tauri_plugin_background::config::*;
}
#[path = "../src/plist.rs"]
mod info_plist;

use std::fs;
use std::path::PathBuf;

use config::Config;
use info_plist::{PlistError, background_mode, declare, update_file};
use plist::{Dictionary, Value};
use tauri_plugin_background::TaskKind;

/// A file of its own for each test; the folder belongs to this test binary.
fn file(name: &str, content: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.plist", std::process::id()));
    fs::write(&path, content).unwrap();
    path
}

fn plist(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">{body}</plist>\n"
    )
}

fn config() -> Config {
    serde_json::from_str(
        r#"{ "tasks": [
            { "id": "com.example.app.refresh", "kind": "refresh" },
            { "id": "com.example.app.second", "kind": "processing" },
            { "id": "com.example.app.first", "kind": "processing" },
            { "id": "com.example.app.sync", "kind": "continued" } ] }"#,
    )
    .unwrap()
}

fn strings(plist: &Dictionary, key: &str) -> Vec<String> {
    let array = plist.get(key).and_then(Value::as_array).unwrap();
    array
        .iter()
        .map(|value| value.as_string().unwrap().to_owned())
        .collect()
}

fn read(path: &PathBuf) -> Dictionary {
    plist::from_file(path).unwrap()
}

#[test]
fn a_fresh_plist_gets_both_keys_in_the_order_of_the_declaration() {
    let fresh = "<dict><key>CFBundleName</key><string>$(PRODUCT_NAME)</string><key>LSRequiresIPhoneOS</key><true/></dict>";
    let path = file("fresh", &plist(fresh));
    assert!(update_file(&path, &config().tasks).unwrap());
    let written = read(&path);
    assert_eq!(
        strings(&written, "BGTaskSchedulerPermittedIdentifiers"),
        [
            "com.example.app.refresh",
            "com.example.app.second",
            "com.example.app.first",
            "com.example.app.sync"
        ]
    );
    assert_eq!(strings(&written, "UIBackgroundModes"), ["fetch", "processing"]);
    assert_eq!(written["CFBundleName"].as_string(), Some("$(PRODUCT_NAME)"));
    assert_eq!(written["LSRequiresIPhoneOS"].as_boolean(), Some(true));
    assert_eq!(written.len(), 4);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_others_wrote_stays_where_it_is() {
    let foreign = "<dict>
        <key>UIBackgroundModes</key><array><string>audio</string><string>processing</string></array>
        <key>BGTaskSchedulerPermittedIdentifiers</key><array>
            <string>com.transistorsoft.fetch</string><string>com.example.app.first</string><integer>7</integer>
        </array></dict>";
    let path = file("foreign", &plist(foreign));
    assert!(update_file(&path, &config().tasks).unwrap());
    let written = read(&path);
    assert_eq!(
        strings(&written, "UIBackgroundModes"),
        ["audio", "processing", "fetch"]
    );
    let identifiers: Vec<Value> = written["BGTaskSchedulerPermittedIdentifiers"]
        .as_array()
        .unwrap()
        .clone();
    let expected: Vec<Value> = vec![
        "com.transistorsoft.fetch".into(),
        "com.example.app.first".into(),
        7.into(),
        "com.example.app.refresh".into(),
        "com.example.app.second".into(),
        "com.example.app.sync".into(),
    ];
    assert_eq!(identifiers, expected);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_second_time_does_not_touch_the_file() {
    let path = file("twice", &plist("<dict/>"));
    assert!(update_file(&path, &config().tasks).unwrap());
    let once = fs::read(&path).unwrap();
    let written_at = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(!update_file(&path, &config().tasks).unwrap());
    assert_eq!(fs::read(&path).unwrap(), once);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written_at);
    // Nor does a file with everything in it, which was laid out by hand.
    let by_hand = plist("<dict><key>UIBackgroundModes</key>   <array/></dict>");
    fs::write(&path, &by_hand).unwrap();
    assert!(!update_file(&path, &[]).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), by_hand);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_binary_plist_is_read_as_well() {
    let path = file("binary", "");
    Value::Dictionary(Dictionary::new())
        .to_file_binary(&path)
        .unwrap();
    assert!(update_file(&path, &config().tasks).unwrap());
    assert_eq!(
        strings(&read(&path), "UIBackgroundModes"),
        ["fetch", "processing"]
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn no_file_is_no_error_and_makes_none() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-such-folder/Info.plist");
    assert!(!update_file(&path, &config().tasks).unwrap());
    assert!(!path.exists());
}

#[test]
fn what_is_not_understood_is_refused_and_left_alone() {
    let odd = plist("<dict><key>UIBackgroundModes</key><string>fetch</string></dict>");
    let list = plist("<array/>");
    for (name, content, expected) in [
        ("odd", odd.as_str(), "UIBackgroundModes is not an array"),
        ("list", list.as_str(), "is not a dictionary"),
        (
            "cut",
            "<?xml version=\"1.0\"?><plist><dict><key>A</ke",
            "cut.plist: ",
        ),
        ("text", "no property list at all", "text.plist: "),
    ] {
        let path = file(name, content);
        let error = update_file(&path, &config().tasks).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "{name}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn nothing_is_half_written() {
    let mut plist = Dictionary::new();
    plist.insert("UIBackgroundModes".into(), Value::Boolean(true));
    let before = plist.clone();
    assert!(matches!(
        declare(&mut plist, &config().tasks),
        Err(PlistError::NotAnArray("UIBackgroundModes"))
    ));
    assert_eq!(plist, before);
}

#[test]
fn the_modes_are_the_strings_that_ios_knows() {
    assert_eq!(background_mode(TaskKind::Refresh), Some("fetch"));
    assert_eq!(background_mode(TaskKind::Processing), Some("processing"));
    assert_eq!(background_mode(TaskKind::Continued), None);
    let mut plist = Dictionary::new();
    let processing: Vec<_> = config().tasks.into_iter().skip(1).collect();
    assert!(declare(&mut plist, &processing).unwrap());
    assert_eq!(strings(&plist, "UIBackgroundModes"), ["processing"]);
    let mut untouched = Dictionary::new();
    assert!(!declare(&mut untouched, &[]).unwrap());
    assert!(untouched.is_empty());
}
