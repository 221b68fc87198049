//! Rules for the Envoy process: a worker that hangs ends it, its admin interface is private, and the filter sees the
//! variables that it reads.

use super::Finding;
use super::parts::{Part, Parts};
use crate::render::model::EdgeModel;
use std::net::IpAddr;

pub(super) fn review(parts: &Parts<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    if let Some(first) = parts.bootstraps.first() {
        let kills = |part: &Part<'_>| part.at("watchdogs.worker_watchdog.kill_timeout").is_some();
        if !parts.bootstraps.iter().any(kills) {
            let message =
                "has no kill_timeout: a worker that hangs in the filter would stay forever";
            first.report_at("watchdogs.worker_watchdog", message, findings);
        }
    }
    for bootstrap in &parts.bootstraps {
        review_admin(bootstrap, findings);
    }
    for wasm in &parts.filters {
        review_variables(wasm, model, findings);
    }
}

fn review_admin(bootstrap: &Part<'_>, findings: &mut Vec<Finding>) {
    let Some(address) = bootstrap.at("admin.address.socket_address") else {
        return;
    };
    let host = address.text("address").unwrap_or_default();
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback {
        let message = "must be a loopback address: clients of the admin interface can stop Envoy";
        address.report_at("address", message, findings);
    }
}

/// Envoy gives the filter only the variables that are listed beside its code.
fn review_variables(wasm: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let path = "config.vm_config.environment_variables.host_env_keys";
    let listed = wasm.at(path).map(|list| list.items()).unwrap_or_default();
    for name in &model.variables {
        if !listed
            .iter()
            .any(|part| part.value().as_str() == Some(name))
        {
            wasm.report_at(path, format!("does not contain {name}"), findings);
        }
    }
}
