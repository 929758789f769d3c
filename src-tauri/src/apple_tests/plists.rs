//! Property lists: the background tasks are the declared ones, and nothing in there opens a door.

use std::collections::BTreeSet;

use plist::{Dictionary, Value};
use tauri_plugin_background::{Config, TaskKind};

use super::{app_config, apple, root};

const IDENTIFIERS: &str = "BGTaskSchedulerPermittedIdentifiers";
const MODES: &str = "UIBackgroundModes";

fn tasks(config: &serde_json::Value) -> Config {
    let tasks: Config = serde_json::from_value(config["plugins"]["background"].clone()).unwrap();
    tasks.validate().unwrap();
    tasks
}

/// The file that the CLI merges into the app's Info.plist.
pub(super) fn info() -> Dictionary {
    let path = app_config()["bundle"]["iOS"]["infoPlist"]
        .as_str()
        .unwrap()
        .to_owned();
    plist::from_file(root().join(path)).unwrap()
}

fn strings(plist: &Dictionary, key: &str) -> Vec<String> {
    let array = plist.get(key).and_then(Value::as_array);
    let array = array.unwrap_or_else(|| panic!("{key} is not an array"));
    array
        .iter()
        .map(|value| value.as_string().unwrap().to_owned())
        .collect()
}

/// Where plist and declaration disagree, one line for each point.
fn disagreements(config: &Config, plist: &Dictionary) -> Vec<String> {
    let declared: BTreeSet<_> = config.tasks.iter().map(|task| task.id.clone()).collect();
    let needed: BTreeSet<_> = config
        .tasks
        .iter()
        .filter_map(|task| match task.kind {
            TaskKind::Refresh => Some("fetch".to_owned()),
            TaskKind::Processing => Some("processing".to_owned()),
            TaskKind::Continued => None,
        })
        .collect();
    let mut found = Vec::new();
    for (key, wanted) in [(IDENTIFIERS, declared), (MODES, needed)] {
        let list = strings(plist, key);
        let there: BTreeSet<_> = list.iter().cloned().collect();
        if there.len() < list.len() {
            found.push(format!("{key} has a value twice"));
        }
        found.extend(
            wanted
                .difference(&there)
                .map(|value| format!("{key} lacks {value}")),
        );
        found.extend(
            there
                .difference(&wanted)
                .map(|value| format!("{key} has {value}, which no task needs")),
        );
    }
    found
}

#[test]
fn the_plist_permits_exactly_the_declared_tasks() {
    let config = app_config();
    let tasks = tasks(&config);
    assert_eq!(disagreements(&tasks, &info()), Vec::<String>::new());
    // iOS takes identifiers in anybody's name, but a continued task must carry the app's, and a reader likes it too.
    let app = config["identifier"].as_str().unwrap();
    assert!(
        tasks
            .tasks
            .iter()
            .all(|task| task.id.starts_with(&format!("{app}.")))
    );
}

/// The test above is worth something only if it can fail: each side is changed in turn.
#[test]
fn a_task_in_only_one_of_the_two_is_noticed() {
    let (config, plist) = (tasks(&app_config()), info());
    for at in 0..config.tasks.len() {
        let id = config.tasks[at].id.clone();

        let mut forgotten_in_plist = plist.clone();
        let list = forgotten_in_plist
            .get_mut(IDENTIFIERS)
            .unwrap()
            .as_array_mut()
            .unwrap();
        list.retain(|value| value.as_string() != Some(&id));
        assert_eq!(
            disagreements(&config, &forgotten_in_plist),
            [format!("{IDENTIFIERS} lacks {id}")]
        );

        let mut forgotten_in_config = config.clone();
        forgotten_in_config.tasks.remove(at);
        let found = disagreements(&forgotten_in_config, &plist);
        assert_eq!(found[0], format!("{IDENTIFIERS} has {id}, which no task needs"));

        let mut renamed = config.clone();
        renamed.tasks[at].id.push('2');
        assert_eq!(
            disagreements(&renamed, &plist),
            [
                format!("{IDENTIFIERS} lacks {id}2"),
                format!("{IDENTIFIERS} has {id}, which no task needs")
            ]
        );
    }

    for mode in strings(&plist, MODES) {
        let mut without = plist.clone();
        let list = without.get_mut(MODES).unwrap().as_array_mut().unwrap();
        list.retain(|value| value.as_string() != Some(&mode));
        assert_eq!(
            disagreements(&config, &without),
            [format!("{MODES} lacks {mode}")]
        );
    }
    let mut audible = plist.clone();
    let list = audible.get_mut(MODES).unwrap().as_array_mut().unwrap();
    list.push("audio".into());
    list.push("fetch".into());
    assert_eq!(
        disagreements(&config, &audible),
        [
            format!("{MODES} has a value twice"),
            format!("{MODES} has audio, which no task needs")
        ]
    );
}

#[test]
fn nothing_in_the_plist_opens_a_door() {
    let plist = info();
    for (key, why) in [
        (
            "UIApplicationSceneManifest",
            "a launch in the background would not reach the app's setup",
        ),
        (
            "UIFileSharingEnabled",
            "the node's files could be copied off the phone",
        ),
        (
            "LSSupportsOpeningDocumentsInPlace",
            "the node's files would show in the Files app",
        ),
        (
            "NSAppTransportSecurity",
            "the page loads nothing from the network, and Rust has its own rule",
        ),
        ("UIRequiresFullScreen", "not for a phone's app, and deprecated"),
    ] {
        assert!(!plist.contains_key(key), "{key}: {why}");
    }
    // Asking for something that the app does not use is a reason to refuse the app.
    let asks: Vec<_> = plist
        .keys()
        .filter(|key| key.ends_with("UsageDescription"))
        .collect();
    assert!(asks.is_empty(), "think about it here first: {asks:?}");
    assert!(plist["ITSAppUsesNonExemptEncryption"].as_boolean().is_some());
}

#[test]
fn the_privacy_manifest_is_one() {
    let manifest: Dictionary = plist::from_file(apple("PrivacyInfo.xcprivacy")).unwrap();
    assert_eq!(manifest["NSPrivacyTracking"].as_boolean(), Some(false));
    for empty in ["NSPrivacyTrackingDomains", "NSPrivacyCollectedDataTypes"] {
        assert!(manifest[empty].as_array().unwrap().is_empty(), "{empty}");
    }
    // Apple's codes for the one category that our code calls: the metadata of files in the app's own container.
    let used = manifest["NSPrivacyAccessedAPITypes"].as_array().unwrap();
    assert_eq!(used.len(), 1);
    let used = used[0].as_dictionary().unwrap();
    assert_eq!(
        used["NSPrivacyAccessedAPIType"].as_string(),
        Some("NSPrivacyAccessedAPICategoryFileTimestamp")
    );
    assert_eq!(strings(used, "NSPrivacyAccessedAPITypeReasons"), ["C617.1"]);
}

#[test]
fn the_app_asks_for_no_entitlement_and_exports_for_debugging() {
    let entitlements: Dictionary =
        plist::from_file(apple("pilotlight_iOS/pilotlight_iOS.entitlements")).unwrap();
    assert!(
        entitlements.is_empty(),
        "an entitlement needs a provisioning profile that has it: {entitlements:?}"
    );
    let export: Dictionary = plist::from_file(apple("ExportOptions.plist")).unwrap();
    assert_eq!(export["method"].as_string(), Some("debugging"));
}
