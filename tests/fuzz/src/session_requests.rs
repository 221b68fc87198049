//! Requests of runtimes about child sessions: names, times and results are bounded, and no claim is a reserved one.
use berth_placement::http::operators::session_requests::{ChildRequest, Completion, MAX_RESULT_BYTES, is_runtime_name};
use berth_store::RESERVED_CLAIMS;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(request) = ChildRequest::parse(data) {
        assert!(request.runtime.as_deref().is_none_or(is_runtime_name));
        assert!(
            request
                .idle_timeout()
                .is_none_or(|idle| idle.as_secs() >= 1)
        );
        assert!(
            RESERVED_CLAIMS
                .iter()
                .all(|own| !request.claims.contains_key(*own))
        );
    }
    if let Ok(completion) = Completion::parse(data) {
        assert!(completion.result.to_string().len() <= MAX_RESULT_BYTES);
    }
}
