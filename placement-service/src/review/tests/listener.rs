//! The rules for the listener.

use super::*;

#[test]
fn a_weaker_listener_is_a_finding() {
    for (old, new, field, message) in [
        (
            "normalize_path: true",
            "normalize_path: false",
            "normalize_path",
            "must be true: routes compare normalized paths",
        ),
        (
            "merge_slashes: true\n",
            "\n",
            "merge_slashes",
            "must be true: routes compare normalized paths",
        ),
        (
            "path_with_escaped_slashes_action: KEEP_UNCHANGED",
            "path_with_escaped_slashes_action: REJECT_REQUEST",
            "path_with_escaped_slashes_action",
            "must be \"KEEP_UNCHANGED\": names of documents may contain %2F, and unescaped it could lead around a route; the filter refuses other ones",
        ),
        (
            "max_headers_count: 1000",
            "max_headers_count: 100",
            "common_http_protocol_options.max_headers_count",
            "must be at least 250: over HTTP/2 each cookie of a browser counts as a header",
        ),
        (
            "use_remote_address: true",
            "use_remote_address: false",
            "use_remote_address",
            "must be true: clients could name their own address",
        ),
        (
            "delayed_close_timeout: 0s\n",
            "\n",
            "delayed_close_timeout",
            "must be \"0s\": a revoked WebSocket would close a second later",
        ),
        (
            "request_timeout: 60s\n",
            "\n",
            "request_timeout",
            "is missing: slow requests would hold connections",
        ),
        (
            "request_headers_timeout: 10s\n",
            "request_headers_timeout: 0s\n",
            "request_headers_timeout",
            "is missing: slow requests would hold connections",
        ),
        (
            "- remove_on_match: { key_matcher: { prefix: x-berth- } }",
            "",
            "early_header_mutation_extensions",
            "does not remove x-berth-*, which upstreams trust",
        ),
        (
            "- remove: forwarded",
            "",
            "early_header_mutation_extensions",
            "does not remove forwarded, which upstreams trust",
        ),
    ] {
        let expected = format!("{MANAGER}.{field}: {message}");
        assert_eq!(findings(CONFIG, old, new), [expected], "{old}");
    }
    assert_eq!(
        findings(
            PRODUCTION,
            "xff_num_trusted_hops: 1",
            "xff_num_trusted_hops: 2"
        ),
        [format!(
            "{MANAGER}.xff_num_trusted_hops: must be 1: the service's login.trusted_proxies without this one"
        )]
    );
    assert_eq!(
        findings(PRODUCTION, "- remove: x-user", ""),
        [format!(
            "{MANAGER}.early_header_mutation_extensions: does not remove x-user, which upstreams trust"
        )]
    );
}

#[test]
fn a_listener_without_the_filter_is_a_finding() {
    let expected = format!(
        "{MANAGER}.http_filters: has no enabled Berth filter: requests would be routed without a session"
    );
    let discovery = "config_discovery:";
    let type_urls = "type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]";
    let disabled = format!("disabled: true\n                    {discovery}");
    for (old, new) in [
        (discovery, disabled.as_str()),
        (discovery, "unknown:"),
        (type_urls, "type_urls: [another]"),
    ] {
        assert_eq!(findings(CONFIG, old, new), [expected.as_str()], "{new}");
    }
}

#[test]
fn a_buffer_before_the_filter_is_a_finding() {
    let files = rendered(CONFIG);
    let text = &files[0].text;
    let (berth, buffer, router) = (
        text.find("                  - name: berth\n").unwrap(),
        text.find("                  - name: envoy.filters.http.buffer\n")
            .unwrap(),
        text.find("                  - name: envoy.filters.http.router\n")
            .unwrap(),
    );
    let (berth, buffer) = (&text[berth..buffer], &text[buffer..router]);
    assert_eq!(
        findings(
            CONFIG,
            &format!("{berth}{buffer}"),
            &format!("{buffer}{berth}")
        ),
        [format!(
            "{MANAGER}.http_filters: envoy.filters.http.buffer must follow berth, which rejects requests before their bodies are read"
        )]
    );
}

#[test]
fn a_missing_buffer_is_a_finding() {
    assert_eq!(
        findings(
            CONFIG,
            "- name: envoy.filters.http.buffer",
            "- name: another"
        ),
        [format!(
            "{MANAGER}.http_filters: has no envoy.filters.http.buffer: slow bodies would hold connections of the service"
        )]
    );
    // The routes after the first share its buffer by an alias.
    let one = "                          route: *service\n                          typed_per_filter_config: *whole_body\n";
    let bare = "                          route: *service\n";
    assert_eq!(
        findings(CONFIG, one, bare),
        [format!(
            "{}.typed_per_filter_config: must enable envoy.filters.http.buffer with max_request_bytes: 65536",
            route(5)
        )]
    );
}
