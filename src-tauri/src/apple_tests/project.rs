//! `gen/apple/project.yml` agrees with `tauri.conf.json`, `Cargo.toml`, the Tauri CLI and the disk.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{app_config, apple, info_keys, read};

/// Made by `tauri ios init` and the build: not in the repository.
const GENERATED: [&str; 2] = ["Externals", "assets"];

fn project() -> Value {
    serde_yaml_ng::from_str(&read("gen/apple/project.yml")).unwrap()
}

fn manifest() -> toml::Table {
    read("Cargo.toml").parse().unwrap()
}

fn package_name() -> String {
    manifest()["package"]["name"].as_str().unwrap().to_owned()
}

/// The one target; the CLI looks for `<package>_iOS`, as target, scheme and folder.
fn target(project: &Value) -> &Value {
    let targets = project["targets"].as_object().unwrap();
    assert_eq!(
        targets.keys().collect::<Vec<_>>(),
        [&format!("{}_iOS", package_name())]
    );
    targets.values().next().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[test]
fn names_and_versions_are_those_of_the_configuration() {
    let (project, config) = (project(), app_config());
    let target = target(&project);
    assert_eq!(text(&project["name"]), package_name());
    assert_eq!(project["options"]["bundleIdPrefix"], config["identifier"]);
    assert_eq!(
        project["options"]["deploymentTarget"]["iOS"],
        config["bundle"]["iOS"]["minimumSystemVersion"]
    );
    let app = &project["settingGroups"]["app"]["base"];
    assert_eq!(app["PRODUCT_BUNDLE_IDENTIFIER"], config["identifier"]);
    assert_eq!(app["PRODUCT_NAME"], config["productName"]);
    // iOS identifiers know no underscore: the CLI would change it, and nothing else would.
    assert!(!text(&config["identifier"]).contains('_'));
    let info = &target["info"]["properties"];
    assert_eq!(info["CFBundleShortVersionString"], config["version"]);
    assert_eq!(info["CFBundleVersion"], config["version"]);
}

#[test]
fn what_the_app_links_is_all_there() {
    let (project, config) = (project(), app_config());
    let dependencies = target(&project)["dependencies"].as_array().unwrap();
    let linked: BTreeSet<_> = dependencies
        .iter()
        .filter_map(|dependency| dependency["sdk"].as_str())
        .collect();
    // The template's own, without which no Tauri app links; then what the plugin's Swift host and wry's proxies import.
    let mut needed: BTreeSet<String> = [
        "CoreGraphics",
        "Metal",
        "MetalKit",
        "QuartzCore",
        "Security",
        "UIKit",
        "WebKit",
        "Network",
        "UserNotifications",
    ]
    .map(str::to_owned)
    .into();
    let configured = config["bundle"]["iOS"]["frameworks"].as_array().unwrap();
    needed.extend(configured.iter().map(|name| text(name).to_owned()));
    for name in needed {
        assert!(linked.contains(format!("{name}.framework").as_str()), "{name}");
    }
    // The CLI copies the Rust library to this name, and looks for a static one.
    assert!(
        dependencies
            .iter()
            .any(|dependency| dependency["framework"] == "libapp.a" && dependency["embed"] == false)
    );
    let kinds = manifest()["lib"]["crate-type"].as_array().unwrap().clone();
    assert!(kinds.iter().any(|kind| kind.as_str() == Some("staticlib")));
}

#[test]
fn what_the_project_names_is_on_disk() {
    let project = project();
    let target = target(&project);
    for group in project["fileGroups"].as_array().unwrap() {
        // XcodeGen refuses a group that does not exist; Tauri's own template names one here.
        assert!(apple(text(group)).is_dir(), "{group}");
    }
    for source in target["sources"].as_array().unwrap() {
        let path = text(&source["path"]);
        assert!(apple(path).exists() || GENERATED.contains(&path), "{path}");
    }
    for generated in GENERATED {
        let ignored = read("gen/apple/.gitignore");
        assert!(ignored.lines().any(|line| line == format!("{generated}/")));
    }
    // As a setting: XcodeGen's own key would make it write the file anew, empty.
    assert!(target.get("entitlements").is_none());
    let entitlements = text(&target["settings"]["base"]["CODE_SIGN_ENTITLEMENTS"]);
    let name = package_name();
    assert_eq!(entitlements, format!("{name}_iOS/{name}_iOS.entitlements"));
    assert!(apple(entitlements).is_file());
    assert_eq!(text(&target["info"]["path"]), format!("{name}_iOS/Info.plist"));
}

#[test]
fn the_build_phase_is_the_one_that_the_cli_answers() {
    let project = project();
    let scripts = target(&project)["preBuildScripts"].as_array().unwrap();
    assert_eq!(scripts.len(), 1);
    let script = text(&scripts[0]["script"]);
    assert!(
        script.starts_with("npm run -- tauri ios xcode-script -v "),
        "{script}"
    );
    // Each is an argument that xcode-script requires, or that the C code of dependencies is built with.
    for argument in [
        "--platform \"${PLATFORM_DISPLAY_NAME:?}\"",
        "--sdk-root \"${SDKROOT:?}\"",
        "--framework-search-paths \"${FRAMEWORK_SEARCH_PATHS:?}\"",
        "--header-search-paths \"${HEADER_SEARCH_PATHS:?}\"",
        "--gcc-preprocessor-definitions \"${GCC_PREPROCESSOR_DEFINITIONS:-}\"",
        "--configuration \"${CONFIGURATION:?}\"",
        "${FORCE_COLOR} ${ARCHS:?}",
    ] {
        assert!(script.contains(argument), "{argument}");
    }
    let package = super::json("package.json");
    assert_eq!(package["scripts"]["tauri"], "node scripts/tauri.mjs");
    // Exactly these two: the CLI's profiles, by which it finds the library.
    let configs: Vec<_> = project["configs"].as_object().unwrap().keys().collect();
    assert_eq!(configs, ["debug", "release"]);
}

#[test]
fn the_plist_has_every_key_from_one_place() {
    let project = project();
    let here = target(&project)["info"]["properties"].as_object().unwrap();
    let merged = info_keys();
    for key in here.keys() {
        assert!(
            !merged.contains(key),
            "{key} is in Info.ios.plist as well, which would win"
        );
    }
    assert!(!here.contains_key("UIApplicationSceneManifest"));
    assert_eq!(
        here["UISupportedInterfaceOrientations"],
        serde_json::json!(["UIInterfaceOrientationPortrait"])
    );
    let launch = text(&here["UILaunchStoryboardName"]);
    assert!(apple(&format!("{launch}.storyboard")).is_file());
}

#[test]
fn main_starts_the_rust_app() {
    let name = package_name();
    let main = read(format!("gen/apple/Sources/{name}/main.mm"));
    assert!(main.contains("#include \"bindings/bindings.h\""));
    assert!(main.contains("ffi::start_app();"));
    let bindings = read(format!("gen/apple/Sources/{name}/bindings/bindings.h"));
    assert!(bindings.contains("void start_app();"));
    // The macro that makes `start_app`.
    assert!(read("src-tauri/src/lib.rs").contains("tauri::mobile_entry_point)]\npub fn run()"));
}
