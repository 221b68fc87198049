//! The id of the request that the current task serves: Envoy's `x-request-id`. Every log line of the task has it, in the
//! span `request`, and so has the problem that the caller receives. A task that this one spawns has none.

use berth_api::is_request_id;
use std::future::Future;
use tracing::Instrument;

tokio::task_local! {
    static CURRENT: String;
}

/// Serves a request with this id. An absent or malformed one changes nothing.
pub(crate) async fn with_request_id<F: Future>(id: Option<&str>, serving: F) -> F::Output {
    let Some(id) = id.filter(|id| is_request_id(id)) else {
        return serving.await;
    };
    // Of the highest level, so that lines have it whatever `log.level` is.
    let span = tracing::error_span!("request", request_id = id);
    CURRENT.scope(id.to_owned(), serving.instrument(span)).await
}

/// The id of the request that this task serves.
pub(crate) fn current_request_id() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}
