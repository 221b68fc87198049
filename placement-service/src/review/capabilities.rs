//! The rule for the filter's list of capabilities: it has exactly those that the filter needs.

use super::Finding;
use super::parts::Part;
use crate::render::model::EdgeModel;
use std::collections::BTreeSet;

pub(super) fn review(wasm: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let Some(config) = wasm.get("config") else {
        return;
    };
    // Envoy accepts the list in both places; Istio only the second one.
    let places = [
        "vm_config.capability_restriction_config",
        "capability_restriction_config",
    ];
    let list = places
        .iter()
        .find_map(|place| config.at(place)?.get("allowed_capabilities"));
    let Some(list) = list else {
        let message = "is missing: the filter could call every function of Envoy";
        config.report_at("capability_restriction_config", message, findings);
        return;
    };
    let allowed = list
        .value()
        .as_object()
        .map(|map| map.keys().map(String::as_str));
    let allowed: BTreeSet<&str> = allowed.into_iter().flatten().collect();
    let needed: BTreeSet<&str> = model.capabilities.iter().map(|one| one.name).collect();
    for name in needed.difference(&allowed) {
        list.report(format!("has no {name}, which the filter needs"), findings);
    }
    for name in allowed.difference(&needed) {
        list.report(
            format!("has {name}, which the filter does not need"),
            findings,
        );
    }
}
