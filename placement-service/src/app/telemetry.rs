//! Sets up the log on standard error, as JSON lines or as text. Audit lines (target `berth::audit`) are written at any
//! level.

use crate::config::{Log, LogFormat};
use crate::core::log_filter::parse_log_filter;
use tracing_subscriber::filter::ParseError;

/// Starts logging for the whole process. A second call has no effect.
pub fn start(config: &Log) -> Result<(), ParseError> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parse_log_filter(&config.level)?)
        .with_writer(std::io::stderr)
        // A reader that has closed the pipe gets no more lines. To report that on standard error would panic.
        .log_internal_errors(false);
    // Fails if a logger is installed already, such as by another test in the same process.
    let _ = match config.format {
        LogFormat::Json => logs
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => logs.with_ansi(false).try_init(),
    };
    Ok(())
}
