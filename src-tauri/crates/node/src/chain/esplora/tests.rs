//! Answers of a real server, spoilt: whatever comes of them is an error with a type, or true.

#[allow(clippy::duplicate_mod)] // The same strict ear, with its own scenes.
#[path = "../filters/tests/ear.rs"]
mod ear;
mod mutate;
mod scene;
mod spoilt;
mod stale;
mod tape;
