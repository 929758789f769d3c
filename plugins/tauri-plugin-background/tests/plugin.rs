//! The plugin in an app: tasks given to the builder wait for the app's setup, and an undeclared one is refused.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scripted::Scripted;
use tauri::Manager;
use tauri::test::{MockRuntime, mock_builder, mock_context, noop_assets};
use tauri_plugin_background::{BackgroundExt, Builder, Outcome, RunResult};

const PATIENCE: Duration = Duration::from_secs(20);

fn context() -> tauri::Context<MockRuntime> {
    let mut context = mock_context(noop_assets());
    let tasks = serde_json::json!({ "tasks": [
        { "id": "app.test.refresh", "kind": "refresh" },
        { "id": "app.test.processing", "kind": "processing" } ] });
    context.config_mut().plugins.0.insert("background".into(), tasks);
    context
}

#[test]
fn a_task_of_the_builder_runs_after_setup_with_what_that_manages() {
    let system = Arc::new(Scripted::default());
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let plugin = Builder::new()
        .scheduler(system.clone())
        .task("app.test.refresh", move |app, launch| {
            let word = app.state::<&'static str>().inner();
            sender
                .lock()
                .unwrap()
                .send(format!("{} {word}", launch.id))
                .unwrap();
            Outcome::new(RunResult::Completed)
        })
        .build();
    // On a thread that is left behind: the mock runtime has no way out of its loop.
    std::thread::spawn(move || {
        let app = mock_builder().plugin(plugin).setup(move |app| {
            // Nothing was asked of the system yet; a launch waits.
            assert_eq!(system.submitted(), []);
            system.launch("app.test.refresh");
            assert!(!app.background().status().active[0].started);
            app.manage("managed");
            Ok(())
        });
        app.build(context()).unwrap().run(|_, _| {});
    });
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), "app.test.refresh managed");
}

#[test]
fn an_undeclared_task_is_refused_at_the_start() {
    let plugin = Builder::new()
        .scheduler(Arc::new(Scripted::default()))
        .task("app.test.x", |_, _| Outcome::new(RunResult::Completed))
        .build();
    let refused = mock_builder().plugin(plugin).build(context()).err().unwrap();
    assert!(refused.to_string().contains("\"app.test.x\""), "{refused}");
}
