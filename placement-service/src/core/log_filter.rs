//! Parses `log.level`. Audit lines (target `berth::audit`) pass every filter.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

const AUDIT: &str = "berth::audit=info";

/// Parses `log.level`, and lets audit lines pass.
pub fn parse_log_filter(level: &str) -> Result<EnvFilter, ParseError> {
    Ok(EnvFilter::try_new(level)?.add_directive(AUDIT.parse()?))
}
