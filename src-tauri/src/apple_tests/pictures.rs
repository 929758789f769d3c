//! App icons and launch screen: every size that the catalog promises, no alpha channel, the colours of the first screen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{apple, json, read};

const ICONS: &str = "Assets.xcassets/AppIcon.appiconset";
const FLAME: &str = "Assets.xcassets/LaunchFlame.imageset";
const BACKGROUND: &str = "Assets.xcassets/LaunchBackground.colorset";

/// PNG's colour types: <https://www.w3.org/TR/png-3/#6Colour-values>
const RGB: u8 = 2;
const RGBA: u8 = 6;

struct Png {
    width: u32,
    height: u32,
    color: u8,
    /// Transparency by palette or key colour, which is alpha by another name.
    keyed: bool,
}

fn png(path: &Path) -> Png {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", path.display());
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    Png {
        width: number(16),
        height: number(20),
        color: bytes[25],
        keyed: bytes.windows(4).any(|window| window == b"tRNS"),
    }
}

fn files(folder: &str) -> BTreeSet<String> {
    fs::read_dir(apple(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The images of a catalog's entry: file, and the edge in pixels that its size in points (`size`, else `points`) makes.
fn images(folder: &str, points: f64) -> Vec<(PathBuf, f64)> {
    let contents = json(apple(folder).join("Contents.json"));
    let images = contents["images"].as_array().unwrap();
    images
        .iter()
        .map(|image| {
            let size = image["size"].as_str().map_or(points, |size| {
                let (width, height) = size.split_once('x').unwrap();
                assert_eq!(width, height);
                width.parse().unwrap()
            });
            let scale: f64 = image["scale"]
                .as_str()
                .unwrap()
                .strip_suffix('x')
                .unwrap()
                .parse()
                .unwrap();
            let name = image["filename"].as_str().unwrap();
            (apple(folder).join(name), size * scale)
        })
        .collect()
}

fn check(folder: &str, points: f64, color: u8) {
    let images = images(folder, points);
    for (path, pixels) in &images {
        let png = png(path);
        assert_eq!(
            (f64::from(png.width), f64::from(png.height)),
            (*pixels, *pixels),
            "{}",
            path.display()
        );
        assert_eq!(png.color, color, "{}", path.display());
        assert!(!png.keyed, "{}", path.display());
    }
    let mut expected: BTreeSet<_> = images
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    expected.insert("Contents.json".into());
    assert_eq!(files(folder), expected);
}

#[test]
fn every_app_icon_has_its_size_and_no_alpha() {
    check(ICONS, f64::NAN, RGB);
    // The names of Tauri's template, one and all: for one that is missing, `tauri ios init` puts Tauri's own icon.
    assert_eq!(files(ICONS).len(), 18 + 1);
    let store = png(&apple(ICONS).join("AppIcon-512@2x.png"));
    assert_eq!(store.width, 1024);
}

#[test]
fn the_launch_screen_looks_like_the_first_screen() {
    // Flame.svelte is drawn at this size by Splash.svelte.
    let splash = read("src-ui/src/screens/Splash.svelte");
    assert!(splash.contains("<Flame size={72}"));
    check(FLAME, 72.0, RGBA);
    let drawing = read("src-ui/src/parts/Flame.svelte");
    let source = read("src-tauri/icons/flame.svg");
    let outlines: Vec<_> = source
        .lines()
        .filter_map(|line| line.split_once(" d=\""))
        .collect();
    assert_eq!(outlines.len(), 2);
    for (_, outline) in outlines {
        let outline = outline.trim_end_matches("\"/>");
        assert!(drawing.contains(outline), "the flame was drawn anew: {outline}");
    }

    let storyboard = read("gen/apple/LaunchScreen.storyboard");
    assert!(storyboard.contains("launchScreen=\"YES\""));
    assert!(storyboard.contains("image=\"LaunchFlame\""));
    assert!(storyboard.contains("<color key=\"backgroundColor\" name=\"LaunchBackground\"/>"));
}

/// `--paper` of the style sheet, light and dark, against the catalog's colour.
#[test]
fn the_launch_screen_has_the_colour_of_the_page() {
    let css = read("src-ui/src/app.css");
    let paper: Vec<_> = css
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--paper: #"))
        .map(|value| value.trim_end_matches(';').to_uppercase())
        .collect();
    let contents = json(apple(BACKGROUND).join("Contents.json"));
    let colors = contents["colors"].as_array().unwrap();
    let catalog: Vec<_> = colors
        .iter()
        .map(|entry| {
            let part = |name: &str| {
                let text = entry["color"]["components"][name].as_str().unwrap();
                text.strip_prefix("0x").unwrap().to_owned()
            };
            ["red", "green", "blue"].map(part).concat()
        })
        .collect();
    assert_eq!(catalog, paper);
    assert_eq!(catalog.len(), 2);
    assert!(colors[0].get("appearances").is_none());
    assert_eq!(colors[1]["appearances"][0]["value"], "dark");
}
