//! The README's declaration of tasks is one that the plugin takes, its Info.plist permits exactly those tasks, and its
//! tables know every key. Its Rust examples are doctests; its TypeScript is held by `guest-js/readme.test.ts`.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use tauri_plugin_background::{Config, TaskKind};

const README: &str = include_str!("../README.md");

/// What stands in the code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    README
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect()
}

fn example() -> serde_json::Value {
    let app = blocks("json")
        .into_iter()
        .find(|text| text.contains("\"plugins\""));
    serde_json::from_str(app.unwrap()).unwrap()
}

fn declared() -> Config {
    let config: Config = serde_json::from_value(example()["plugins"]["background"].clone()).unwrap();
    config.validate().unwrap();
    assert!(!config.tasks.is_empty());
    config
}

#[test]
fn every_json_block_is_json() {
    let found = blocks("json");
    assert!(found.len() >= 2);
    for text in found {
        serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

#[test]
fn the_plist_permits_exactly_the_declared_tasks() {
    let xml = blocks("xml").concat();
    let text = format!("<plist version=\"1.0\"><dict>{xml}</dict></plist>");
    let plist: plist::Dictionary = plist::from_bytes(text.as_bytes()).unwrap();
    let strings = |key: &str| -> BTreeSet<String> {
        let values = plist[key].as_array().unwrap().iter();
        values
            .map(|value| value.as_string().unwrap().to_owned())
            .collect()
    };
    let tasks = declared().tasks;
    let ids: BTreeSet<_> = tasks.iter().map(|task| task.id.clone()).collect();
    assert_eq!(strings("BGTaskSchedulerPermittedIdentifiers"), ids);
    let modes = tasks.iter().filter_map(|task| match task.kind {
        TaskKind::Refresh => Some("fetch".to_owned()),
        TaskKind::Processing => Some("processing".to_owned()),
        TaskKind::Continued => None,
    });
    assert_eq!(strings("UIBackgroundModes"), modes.collect());
    assert!(!plist.contains_key("UIApplicationSceneManifest"));
}

/// A default in the table is what a declaration without the key gets.
#[test]
fn the_defaults_are_those_of_the_table() {
    let secs = |kind: &str| {
        let json = format!(r#"{{ "tasks": [{{ "id": "a.b", "kind": "{kind}" }}] }}"#);
        let config: Config = serde_json::from_str(&json).unwrap();
        config.validate().unwrap();
        let task = &config.tasks[0];
        (task.min_interval().as_secs() / 60, task.soft_budget().as_secs())
    };
    let (refresh, processing, continued) = (secs("refresh"), secs("processing"), secs("continued"));
    let last_cell = |key: &str| {
        let row = README
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}`")));
        let cells: Vec<_> = row.unwrap().split('|').map(str::trim).collect();
        cells[cells.len() - 2].to_owned()
    };
    assert_eq!(
        last_cell("minIntervalMinutes"),
        format!("{}, {}", refresh.0, processing.0)
    );
    assert_eq!(
        last_cell("softBudgetSecs"),
        format!("{}, {}, {}", refresh.1, processing.1, continued.1)
    );
}
