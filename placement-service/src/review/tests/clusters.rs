//! The rules for clusters of engines.

use super::*;

const CLUSTER: &str = "config.yaml: static_resources.clusters[0]";

#[test]
fn the_destination_is_removed_behind_the_selection_of_the_engine() {
    let not_removed = format!(
        "{CLUSTER}.typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.http_filters: \
         must remove x-berth-destination by header_mutation before upstream_codec: the header is for Envoy only, and a route would remove it too early"
    );
    let mutation = "request_mutations: [{ remove: x-berth-destination }]";
    for other in [
        "request_mutations: [{ remove: x-other }]",
        "request_mutations: []",
        "response_mutations: [{ remove: x-berth-destination }]",
    ] {
        assert_eq!(findings(CONFIG, mutation, other), [not_removed.as_str()]);
    }
    // Behind the codec it would have no effect.
    let codec = "filters.http.upstream_codec.v3.UpstreamCodec";
    let first = "filters.http.header_mutation.v3.HeaderMutation\n              mutations:";
    let text = rendered(CONFIG).remove(0).text;
    let mut file = EdgeFile {
        name: "config.yaml".to_owned(),
        text: text.replace(codec, "x.Other"),
    };
    assert!(file.text.contains(first));
    file.text = file
        .text
        .replace(first, &format!("{codec}\n              mutations:"));
    assert_eq!(lines(CONFIG, &[file]), [not_removed]);
}

#[test]
fn engines_are_selected_by_the_header_of_the_filter() {
    assert_eq!(
        findings(
            CONFIG,
            "http_header_name: x-berth-destination",
            "http_header_name: x-other"
        ),
        [format!(
            "{CLUSTER}.original_dst_lb_config.http_header_name: must be x-berth-destination: the filter selects the engine"
        )]
    );
}
