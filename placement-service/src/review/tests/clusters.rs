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
    let mut files = rendered(CONFIG);
    let text = &mut files[0].text;
    let filter = |name: &str| format!("- name: envoy.filters.http.{name}\n");
    let mutation = text.find(&filter("header_mutation")).unwrap();
    let codec = text.find(&filter("upstream_codec")).unwrap();
    let end = "upstream_codec.v3.UpstreamCodec\n";
    let end = text[codec..].find(end).unwrap() + codec + end.len();
    // Both begin after the indentation of their line.
    let indent = codec - text[..codec].rfind('\n').unwrap() - 1;
    let (mutation, codec) = (mutation - indent, codec - indent);
    let swapped = format!("{}{}", &text[codec..end], &text[mutation..codec]);
    text.replace_range(mutation..end, &swapped);
    assert_eq!(lines(CONFIG, &files), [not_removed]);
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
