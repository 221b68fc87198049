//! Rules for clusters whose engines the filter selects by a header: the header is the filter's, and it does not reach an
//! engine.

use super::Finding;
use super::parts::{Part, Parts};

/// The header by which the filter selects the engine.
const DESTINATION_HEADER: &str = "x-berth-destination";
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CODEC: &str = ".UpstreamCodec";

pub(super) fn review(parts: &Parts<'_>, findings: &mut Vec<Finding>) {
    for cluster in &parts.engine_clusters {
        let name = cluster.at("original_dst_lb_config.http_header_name");
        if name.is_none_or(|name| name.value() != DESTINATION_HEADER) {
            let message = format!("must be {DESTINATION_HEADER}: the filter selects the engine");
            cluster.report_at("original_dst_lb_config.http_header_name", message, findings);
        }
        if !removes_destination(cluster) {
            let field = format!("typed_extension_protocol_options.{PROTOCOL_OPTIONS}.http_filters");
            let message = format!(
                "must remove {DESTINATION_HEADER} by header_mutation before upstream_codec: the header is for Envoy only, and a route would remove it too early"
            );
            cluster.report_at(&field, message, findings);
        }
    }
}

/// Whether an upstream filter removes the header before the request is sent.
fn removes_destination(cluster: &Part<'_>) -> bool {
    let options = cluster.get("typed_extension_protocol_options");
    let options = options.and_then(|options| options.get_exact(PROTOCOL_OPTIONS));
    let filters = options.and_then(|options| options.get("http_filters"));
    let filters = filters.map(|filters| filters.items()).unwrap_or_default();
    let settings = filters
        .iter()
        .filter_map(|filter| filter.get("typed_config"));
    settings
        .take_while(|settings| {
            let kind = settings.text("@type");
            !kind.is_some_and(|kind| kind.ends_with(CODEC))
        })
        .filter_map(|settings| settings.at("mutations.request_mutations"))
        .flat_map(|mutations| mutations.items())
        .any(|mutation| mutation.text("remove") == Some(DESTINATION_HEADER))
}
