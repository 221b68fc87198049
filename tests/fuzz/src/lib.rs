//! Fuzz targets: for each parser of untrusted input, a function that takes any bytes and asserts what must hold.
//! `tests/corpus.rs` runs the targets on the committed corpora in every `make test`; libFuzzer runs them in `make
//! fuzz`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

macro_rules! targets {
    ($($name:ident,)+) => {
        $(mod $name;)+

        /// Every target with its name, which is also the name of its corpus.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::run),)+];
    };
}

targets! {
    bearer_token,
    calls,
    client_frames,
    cookie,
    discovery_file,
    docker_answer,
    document_route,
    event_cursor,
    event_query,
    filter_config,
    forwarded_for,
    gateway_answer,
    gateway_report,
    healthcheck,
    jwt,
    key_set,
    login_cookie,
    login_form,
    logout_token,
    metrics_mapping,
    metrics_text,
    mira_answer,
    oidc_cookie,
    path_template,
    placement_answer,
    qix_message,
    request_head,
    security_event,
    service_config,
    session_payload,
    session_requests,
}

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<fn(&[u8])> {
    let (_, run) = TARGETS.iter().find(|(target, _)| *target == name)?;
    Some(*run)
}
