//! Checks of engine sources that types cannot express.

use super::{Discovery, DnsSource, Sources, StaticEngine};
use crate::config::fault::Fault;
use crate::config::fault_collector::{FaultCollector, SECOND};
use crate::config::web_address;
use std::collections::BTreeSet;

pub(in crate::config) fn check(path: &str, sources: &Sources, faults: &mut FaultCollector) {
    if sources.0.is_empty() {
        faults.add(path, "must name a source");
    }
    for (index, source) in sources.0.iter().enumerate() {
        let place = match sources.0.len() {
            1 => format!("{path}.{}", source.as_str()),
            _ => format!("{path}[{index}].{}", source.as_str()),
        };
        check_source(&place, source, faults);
    }
}

fn check_source(path: &str, source: &Discovery, faults: &mut FaultCollector) {
    let field = |name: &str| format!("{path}.{name}");
    let hour = 3600 * SECOND;
    let tenth = SECOND / 10;
    match source {
        Discovery::Static(engines) => faults.0.extend(check_engines(path, engines)),
        Discovery::File(file) => faults.check_range(&field("poll"), file.poll, tenth, hour),
        Discovery::Dns(dns) => check_dns(path, dns, faults),
        Discovery::Kubernetes(kubernetes) => kubernetes.check(path, faults),
        Discovery::Docker(docker) => {
            check_ports(path, Some(docker.port), docker.metrics_port, faults);
            faults.check_range(&field("poll"), docker.poll, tenth, hour);
            if docker.label.is_empty() || !docker.label.bytes().all(|b| b.is_ascii_graphic()) {
                faults.add(field("label"), "must be key or key=value");
            }
            let socket = docker.host.strip_prefix("unix://");
            let fine = match socket {
                Some(path) => path.starts_with('/'),
                None => web_address::is_origin(&docker.host),
            };
            if !fine {
                faults.add(field("host"), "must be unix:///path or http://host:port");
            }
        }
        Discovery::Mira(mira) => {
            faults.check_range(&field("poll"), mira.poll, tenth, hour);
            if !web_address::is_origin(&mira.url) {
                faults.add(field("url"), "must be http://host:port, or https");
            }
        }
    }
}

fn check_dns(path: &str, dns: &DnsSource, faults: &mut FaultCollector) {
    let field = |name: &str| format!("{path}.{name}");
    match (&dns.host, &dns.srv) {
        (Some(_), None) if dns.port.is_none() => {
            faults.add(
                field("port"),
                "is missing: A and AAAA records contain no port",
            );
        }
        (Some(_), None) => {}
        (None, Some(_)) if dns.port.is_some() => {
            faults.add(field("port"), "has no effect: SRV records contain the port");
        }
        (None, Some(_)) => {}
        (Some(_), Some(_)) => faults.add(field("srv"), "excludes host"),
        (None, None) => faults.add(field("host"), "is missing: host or srv"),
    }
    for (name, value) in [("host", &dns.host), ("srv", &dns.srv)] {
        if let Some(value) = value {
            faults.check_name(&field(name), value);
        }
    }
    check_ports(path, dns.port, dns.metrics_port, faults);
    faults.check_range(&field("min_ttl"), dns.min_ttl, SECOND / 10, 3600 * SECOND);
    faults.check_range(
        &field("max_ttl"),
        dns.max_ttl,
        dns.min_ttl,
        24 * 3600 * SECOND,
    );
    faults.check_range(&field("timeout"), dns.timeout, SECOND / 10, 60 * SECOND);
}

fn check_ports(
    path: &str,
    port: Option<u16>,
    metrics_port: Option<u16>,
    faults: &mut FaultCollector,
) {
    for (name, value) in [("port", port), ("metrics_port", metrics_port)] {
        if value == Some(0) {
            faults.add(format!("{path}.{name}"), "must be 1 to 65535");
        }
    }
}

/// The faults of a list of engines, in the configuration or in a separate file.
pub(crate) fn check_engines(list: &str, engines: &[StaticEngine]) -> Vec<Fault> {
    let mut faults = FaultCollector::default();
    for (index, engine) in engines.iter().enumerate() {
        let place = format!("{list}[{index}]");
        faults.check_name(&format!("{place}.name"), &engine.name);
        check_ports(&place, Some(engine.port), engine.metrics_port, &mut faults);
        if engine.ip.is_unspecified() || engine.ip.is_multicast() {
            let message = "must be the address of one machine";
            faults.add(format!("{place}.ip"), message);
        }
    }
    faults.check_unique_names(list, engines.iter().map(|engine| engine.name.as_str()));
    let mut seen = BTreeSet::new();
    for (index, engine) in engines.iter().enumerate() {
        if !seen.insert((engine.ip, engine.port)) {
            let message = "another engine has the same address and port";
            faults.add(format!("{list}[{index}].port"), message);
        }
    }
    faults.0
}
