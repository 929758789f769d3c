//! LDK's log lines, handed to `tracing`.

use lightning::util::logger::{Level, Logger as LdkLogger, Record};

/// Where LDK's lines go. Which of them are seen is the subscriber's choice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logger;

impl LdkLogger for Logger {
    fn log(&self, record: Record) {
        let module = record.module_path;
        match record.level {
            Level::Error => tracing::error!(target: "ldk", module, "{}", record.args),
            Level::Warn => tracing::warn!(target: "ldk", module, "{}", record.args),
            Level::Info => tracing::info!(target: "ldk", module, "{}", record.args),
            Level::Debug => tracing::debug!(target: "ldk", module, "{}", record.args),
            Level::Trace | Level::Gossip => tracing::trace!(target: "ldk", module, "{}", record.args),
        }
    }
}
