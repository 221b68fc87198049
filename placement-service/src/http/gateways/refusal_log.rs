//! The log line of a refused call.

use crate::http::problem::HttpProblem;
use berth_api::RejectReason;

/// Writes the line by which a failed request of a client is found with its id. Clients without a session cannot fill the
/// log, and neither can all clients during an outage of the store, which has lines of its own.
pub(super) fn log_refusal(problem: &HttpProblem) {
    let (status, reason) = (problem.status().as_u16(), problem.reason());
    if matches!(status, 401 | 440) || reason == RejectReason::StoreDown.as_str() {
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
