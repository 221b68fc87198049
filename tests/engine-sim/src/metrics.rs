//! `GET /metrics`: the engine's families in the Prometheus text format.

use crate::engine::SharedState;
use crate::health;
use std::fmt::Write;

/// Media type of the text format, version 0.0.4.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub(crate) fn page(shared: &SharedState) -> String {
    let (count, requests) = (shared.sessions.count(), &shared.requests);
    let (documents, calls) = (shared.documents.loaded_names().len(), requests.total());
    let rows = [
        (
            "qix_active_sessions",
            "gauge",
            "Live engine sessions",
            health::reported_sessions(shared, &count).to_string(),
        ),
        (
            "qix_sessions_total",
            "counter",
            "Engine sessions created",
            count.created.to_string(),
        ),
        (
            "qix_active_documents",
            "gauge",
            "Documents in use",
            count.documents.len().to_string(),
        ),
        (
            "qix_documents_total",
            "counter",
            "Documents loaded",
            documents.to_string(),
        ),
        (
            "qix_active_requests",
            "gauge",
            "Requests in work",
            requests.active().to_string(),
        ),
        (
            "qix_requests_total",
            "counter",
            "Requests answered",
            calls.to_string(),
        ),
        (
            "qix_cache_memory_bytes",
            "gauge",
            "Memory of the result cache",
            "0".to_owned(),
        ),
    ];
    let mut page = String::with_capacity(1_024);
    for (name, kind, help, value) in rows {
        write_family_header(&mut page, name, kind, help);
        let _ = writeln!(page, "{name} {value}");
    }
    let name = "qix_request_duration_seconds";
    write_family_header(&mut page, name, "summary", "Time in requests");
    let _ = writeln!(
        page,
        "{name}_sum {}",
        requests.total_duration().as_secs_f64()
    );
    let _ = writeln!(page, "{name}_count {calls}");
    write_family_header(&mut page, "qix_build_info", "gauge", "The engine's version");
    let version = &shared.options.engine_version;
    let _ = writeln!(page, "qix_build_info{{version=\"{version}\"}} 1");
    page
}

/// Writing to a string cannot fail.
fn write_family_header(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
