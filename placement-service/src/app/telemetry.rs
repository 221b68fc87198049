//! Sets up the log on standard error, as JSON lines or as text. Audit lines (target `berth::audit`) are written at any
//! level.

use crate::config::{Log, LogFormat};
use crate::core::log_filter::parse_log_filter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Changes `log.level` of the running process.
pub struct LogLevel(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl LogLevel {
    /// Lines from now on are filtered by this level.
    pub fn set(&self, level: &str) -> Result<(), ParseError> {
        (self.0)(parse_log_filter(level)?);
        Ok(())
    }
}

/// Starts logging for the whole process. A second call has no effect.
pub fn start(config: &Log) -> Result<LogLevel, ParseError> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parse_log_filter(&config.level)?)
        .with_writer(std::io::stderr)
        // A reader that has closed the pipe gets no more lines. To report that on standard error would panic.
        .log_internal_errors(false);
    // Installing fails if a logger is installed already, such as by another test in the same process. Setting a level
    // fails if there is no logger.
    let set: Box<dyn Fn(EnvFilter) + Send + Sync> = match config.format {
        LogFormat::Json => {
            let logs = logs
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_filter_reloading();
            let handle = logs.reload_handle();
            let _ = logs.try_init();
            Box::new(move |filter| drop(handle.reload(filter)))
        }
        LogFormat::Text => {
            let logs = logs.with_ansi(false).with_filter_reloading();
            let handle = logs.reload_handle();
            let _ = logs.try_init();
            Box::new(move |filter| drop(handle.reload(filter)))
        }
    };
    Ok(LogLevel(set))
}
