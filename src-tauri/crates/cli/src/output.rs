//! Answers and complaints.

use std::io::Write;
use std::process::ExitCode;

use pilotlight_node::{Error, ErrorClass, ErrorCode, WakeOutcome};
use serde::Serialize;
use serde_json::Value;

/// What a command has to say.
pub struct Answer {
    value: Value,
    /// The program's exit code.
    pub exit: ExitCode,
}

impl Answer {
    /// An answer of a command that was done.
    pub fn new(value: impl Serialize) -> Self {
        Self::with_exit(value, ExitCode::SUCCESS)
    }

    /// An answer that also says how it went.
    pub fn with_exit(value: impl Serialize, exit: ExitCode) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        Self { value, exit }
    }

    /// Prints it: one line of JSON, or for people.
    pub fn print(&self, json: bool) {
        let text = if json {
            self.value.to_string()
        } else {
            for_people(&self.value)
        };
        say(&text);
    }
}

/// Prints a line on stdout at once. A reader that went away is no fault of ours.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Says what went wrong, in plain words, and how a program can tell.
pub fn complain(error: &Error) -> ExitCode {
    eprintln!("{}", error.message());
    eprintln!("  ({})", error.detail());
    exit_code(error.code(), error.class())
}

/// The exit code of an error; see the help text.
fn exit_code(code: ErrorCode, class: ErrorClass) -> ExitCode {
    ExitCode::from(match class {
        _ if code == ErrorCode::Internal => 1,
        ErrorClass::Config => 3,
        ErrorClass::Transient | ErrorClass::RateLimited | ErrorClass::Cancelled => 4,
        ErrorClass::Corrupt => 5,
    })
}

/// The exit code of a wake.
pub fn wake_exit(outcome: WakeOutcome) -> ExitCode {
    ExitCode::from(match outcome {
        WakeOutcome::Completed => 0,
        WakeOutcome::Partial => 6,
        WakeOutcome::Expired | WakeOutcome::Failed | WakeOutcome::CutOff | WakeOutcome::InProgress => 4,
    })
}

/// JSON without its punctuation: a line for each field, a blank line between the items of a list.
fn for_people(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{}: {}", name.replace('_', " "), inline(value)))
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(for_people).collect::<Vec<_>>().join("\n\n"),
        other => inline(other),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "not known".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
