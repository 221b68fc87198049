//! The log line of a refused call.

use crate::http::problem::HttpProblem;

/// Writes the line by which a failed request of a client is found with its id. The line of a client without a session is
/// written elsewhere, a bounded number of times.
pub(super) fn log_refusal(problem: &HttpProblem) {
    let (status, reason) = (problem.status().as_u16(), problem.reason());
    if matches!(status, 401 | 440) {
        tracing::debug!(status, reason, "a call is refused");
    } else {
        tracing::info!(
            status,
            reason,
            detail = problem.detail(),
            "a call is refused"
        );
    }
}
