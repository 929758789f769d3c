//! The desktop binary. Everything is in the library, which iOS links as well.

// No console window beside the app on Windows.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

fn main() {
    pilotlight_lib::run();
}
