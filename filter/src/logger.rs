//! The logger of the module: writes records of the `log` facade to Envoy's log. It cannot panic; the SDK's logger does
//! when Envoy refuses a line.

use crate::abi::{self, LogLevel};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Write;

struct EnvoyLogger;

static LOGGER: EnvoyLogger = EnvoyLogger;

/// Installs the logger. Envoy filters by its own log level.
pub(crate) fn install() {
    // An error means that a logger is installed already.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Trace);
}

impl Log for EnvoyLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        let mut text = String::new();
        // Unlike `to_string`, this does not panic when a `Display` implementation fails.
        if text.write_fmt(*record.args()).is_ok() {
            abi::log(level, &text);
        }
    }

    fn flush(&self) {}
}
