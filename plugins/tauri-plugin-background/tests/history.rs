//! The history on disk: what a process leaves to the next, whatever happened to it or to the file.

// clippy.toml allows it in functions marked #[test]; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scripted::Scripted;
use tauri_plugin_background::clock::{Moment, VirtualClock};
use tauri_plugin_background::{
    Background, Config, Error, HistoryStatus, Outcome, RunEnd, RunEvent, RunRecord, RunResult,
};

const REFRESH: &str = "app.test.refresh";
const MINUTE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);

/// One process of the app.
struct Process {
    clock: Arc<VirtualClock>,
    system: Arc<Scripted>,
    background: Background,
    ended: Receiver<RunRecord>,
}

impl Process {
    fn on(system: Scripted) -> Self {
        let config: Config = serde_json::from_str(
            r#"{ "tasks": [{ "id": "app.test.refresh", "kind": "refresh", "minIntervalMinutes": 30 }] }"#,
        )
        .unwrap();
        let clock = Arc::new(VirtualClock::new(Moment::now()));
        let system = Arc::new(system);
        let background = Background::new(config, system.clone(), clock.clone()).unwrap();
        let (sender, ended) = channel();
        let sender = Mutex::new(sender);
        background.on_event(move |event| {
            if let RunEvent::Completed { record } = event {
                let _ = sender.lock().unwrap().send(record.clone());
            }
        });
        Self {
            clock,
            system,
            background,
            ended,
        }
    }

    fn start(folder: &Path, result: RunResult) -> Self {
        let process = Self::on(Scripted::default());
        process.background.keep_history(folder).unwrap();
        process.background.attach(move |_| Outcome::new(result)).unwrap();
        process
    }

    fn run(&self) -> RunRecord {
        self.system.launch(REFRESH);
        self.ended.recv_timeout(PATIENCE).unwrap()
    }

    fn next(&self) -> Duration {
        self.system.submitted().last().unwrap().1
    }

    fn ends(&self) -> Vec<(u64, RunEnd)> {
        let rows = self.background.history();
        rows.iter().map(|row| (row.run, row.end)).collect()
    }

    fn trouble(&self) -> Option<String> {
        self.background.status().history.trouble
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("background-runs.jsonl")
}

#[test]
fn runs_and_failures_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), RunResult::Failed);
    let (one, two) = (first.run(), first.run());
    assert_eq!((one.run, two.run, first.next()), (1, 2, 120 * MINUTE));
    let twice = first.background.keep_history("/elsewhere");
    assert_eq!(twice, Err(Error::HistoryKept));
    drop(first);

    let second = Process::start(folder.path(), RunResult::Failed);
    assert_eq!(second.background.history(), [two.clone(), one.clone()]);
    assert_eq!(second.background.status().tasks[0].failures_in_a_row, 2);
    let three = second.run();
    assert_eq!((three.run, second.next()), (3, 240 * MINUTE));
    assert_eq!(second.background.history(), [three.clone(), two, one]);
    assert_eq!(second.background.status().last, Some(three));
    drop(second);

    let third = Process::start(folder.path(), RunResult::Completed);
    let four = third.run();
    assert_eq!((four.run, third.next()), (4, 30 * MINUTE));
    let status = third.background.status();
    let expected = HistoryStatus {
        on_disk: true,
        trouble: None,
    };
    assert_eq!(status.history, expected);
    assert_eq!(status.tasks[0].last_success_at_ms, four.finished_at_ms);
    assert_eq!(status.tasks[0].failures_in_a_row, 0);
}

#[test]
fn a_run_that_lost_its_process_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), RunResult::Completed);
    first.run();
    let (started, starts) = channel();
    let doomed = Process::on(Scripted::default());
    // The process that is killed: a copy of its file is all that is left of it.
    let other = tempfile::tempdir().unwrap();
    fs::copy(file(folder.path()), file(other.path())).unwrap();
    doomed.background.keep_history(other.path()).unwrap();
    let (release, released) = channel::<()>();
    let (started, released) = (Mutex::new(started), Mutex::new(released));
    doomed
        .background
        .attach(move |_| {
            started.lock().unwrap().send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(PATIENCE);
            Outcome::new(RunResult::Completed)
        })
        .unwrap();
    doomed.system.launch(REFRESH);
    starts.recv_timeout(PATIENCE).unwrap();
    let left = tempfile::tempdir().unwrap();
    fs::copy(file(other.path()), file(left.path())).unwrap();
    // Under way, it is no row of the past.
    assert_eq!(doomed.ends(), [(1, RunEnd::Completed)]);
    drop(release);

    let next = Process::start(left.path(), RunResult::Failed);
    assert_eq!(next.ends(), [(2, RunEnd::CutOff), (1, RunEnd::Completed)]);
    let row = &next.background.history()[0];
    assert!(
        row.finished_at_ms.is_none() && row.cause.is_some() && row.device.is_some(),
        "{row:?}"
    );
    assert_eq!(next.background.status().tasks[0].failures_in_a_row, 1);
    assert_eq!((next.run().run, next.next()), (3, 120 * MINUTE));
    drop(next);
    // And it stays found.
    let after = Process::start(left.path(), RunResult::Failed);
    let ends = [(3, RunEnd::Failed), (2, RunEnd::CutOff), (1, RunEnd::Completed)];
    assert_eq!(after.ends(), ends);
}

#[test]
fn no_file_is_touched_before_the_device_was_unlocked() {
    let folder = tempfile::tempdir().unwrap();
    Process::start(folder.path(), RunResult::Failed).run();
    let folder = folder.path();
    let before = fs::read(file(folder)).unwrap();
    let process = Process::on(Scripted::locked());
    process.background.keep_history(folder).unwrap();
    process
        .background
        .attach(|_| Outcome::new(RunResult::Failed))
        .unwrap();
    process.system.launch(REFRESH);
    process.clock.advance(Duration::from_secs(10));
    process.background.tick();
    let row = process.ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!((row.run, row.end), (1, RunEnd::Locked));
    assert_eq!(process.ends(), [(1, RunEnd::Locked)], "in memory");
    assert!(!process.background.status().history.on_disk);
    assert_eq!(fs::read(file(folder)).unwrap(), before);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    process.system.unlock();
    // It goes to the end of what was there, under the next number.
    let ends = [(2, RunEnd::Locked), (1, RunEnd::Failed)];
    assert_eq!(process.ends(), ends);
    assert_eq!(process.run().run, 3);
    assert_eq!(
        process.next(),
        120 * MINUTE,
        "the failure of the earlier process counts"
    );
    drop(process);
    let after = Process::start(folder, RunResult::Failed);
    assert_eq!(
        after.ends(),
        [(3, RunEnd::Failed), (2, RunEnd::Locked), (1, RunEnd::Failed)]
    );
}

#[test]
fn a_damaged_file_is_moved_aside_and_what_can_be_read_is_kept() {
    let row = |run: u64| {
        format!(
            r#"{{"run":{run},"id":"app.test.refresh","kind":"refresh","reason":"system","launchedAtMs":1,"finishedAtMs":2,"end":"failed","timeCalled":false}}"#
        )
    };
    let good = format!("{{\"version\":1}}\n{}\n", row(1));
    let damaged: [(&str, Vec<u8>, usize); 8] = [
        (
            "nonsense in the middle",
            format!("{good}nonsense\n{}\n", row(2)).into(),
            2,
        ),
        ("zeros", vec![0; 10_000], 0),
        ("no header", format!("{}\n{}\n", row(1), row(2)).into(), 1),
        ("a newer version", "{\"version\":2}\n".into(), 0),
        ("not UTF-8", [good.as_bytes(), b"\xff\xfe\n"].concat(), 1),
        (
            "a number past all others",
            format!("{good}{}\n", row(u64::MAX)).into(),
            1,
        ),
        (
            "an end that is not known",
            good.replace("\"failed\"", "\"vanished\"").into(),
            0,
        ),
        ("a giant", vec![b' '; 9 * 1024 * 1024], 0),
    ];
    for (what, bytes, saved) in damaged {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path()), &bytes).unwrap();
        let process = Process::start(folder.path(), RunResult::Completed);
        let trouble = process.trouble().unwrap_or_else(|| panic!("{what}: not noticed"));
        assert!(trouble.contains("damaged"), "{what}: {trouble}");
        assert_eq!(process.ends().len(), saved, "{what}");
        let aside = folder.path().join("background-runs.jsonl.damaged");
        assert_eq!(fs::read(aside).unwrap(), bytes, "{what}");
        process.run();
        assert!(process.trouble().is_some(), "{what}: said once only");
        drop(process);
        let next = Process::start(folder.path(), RunResult::Completed);
        assert_eq!((next.trouble(), next.ends().len()), (None, saved + 1), "{what}");
    }
    // A last line that was not written to its end is what a loss of power leaves, and an empty file what a full disk does.
    for (bytes, rows) in [(format!("{good}{}", &row(2)[..40]), 1), (String::new(), 0)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path()), bytes).unwrap();
        let process = Process::start(folder.path(), RunResult::Completed);
        assert_eq!((process.trouble(), process.ends().len()), (None, rows));
        process.run();
        drop(process);
        assert_eq!(
            Process::start(folder.path(), RunResult::Completed).ends().len(),
            rows + 1
        );
    }
}

#[test]
fn runs_go_on_where_the_history_cannot_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("a-file");
    fs::write(&occupied, "x").unwrap();
    let process = Process::start(&occupied, RunResult::Completed);
    assert_eq!(process.run().end, RunEnd::Completed);
    let status = process.background.status().history;
    assert!(!status.on_disk && status.trouble.unwrap().contains("cannot be read"));
    // It is tried again at the next occasion.
    fs::remove_file(&occupied).unwrap();
    process.run();
    assert_eq!(process.trouble(), None);
    drop(process);
    assert_eq!(Process::start(&occupied, RunResult::Completed).ends().len(), 2);
}

#[test]
fn two_hundred_runs_are_kept_and_each_tasks_last_success() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), RunResult::Completed);
    let success = process.run();
    drop(process);
    let process = Process::start(folder.path(), RunResult::Failed);
    for _ in 0..450 {
        process.run();
    }
    drop(process);
    let text = fs::read_to_string(file(folder.path())).unwrap();
    assert!(
        text.lines().count() <= 4 * 200 + 2,
        "{} lines",
        text.lines().count()
    );
    assert!(text.len() < 512 * 1024, "{} bytes", text.len());
    let next = Process::start(folder.path(), RunResult::Failed);
    let rows = next.background.history();
    assert_eq!((rows.len(), rows[0].run, rows[198].run), (200, 451, 253));
    assert_eq!(rows[199], success);
    let status = next.background.status();
    assert_eq!(status.tasks[0].last_success_at_ms, success.finished_at_ms);
}
