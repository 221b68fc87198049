//! Settings of TLS inside an installation: of the service's own listener, of the connections to engines, and of Envoy's
//! connections to the service. The files are read elsewhere.

use super::fault_collector::FaultCollector;
use super::{Config, Discovery, Pool};
use crate::core::tls::parse_server_name;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// PEM files of the service's listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTls {
    /// The chain of certificates.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// `None`: gateways authenticate with `gateways.secret` alone.
    #[serde(default)]
    pub clients: Option<ClientCertificates>,
}

/// Certificates with which gateways authenticate instead of a shared secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// The certificates that sign those of clients.
    pub ca: PathBuf,
    /// DNS names; a client whose certificate is valid for one of them is a gateway.
    pub gateways: Vec<String>,
}

/// TLS of a connection whose server is identified by a name of its own, whatever its address is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The certificates that sign those of the servers.
    pub ca: PathBuf,
    /// The DNS name that the certificate of each server is valid for.
    pub name: String,
    /// The own certificate; `None`: the servers ask for none.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl UpstreamTls {
    /// The own certificate and its key.
    #[must_use]
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let Some(tls) = &config.tls else {
        return;
    };
    check_file("tls.certificate", &tls.certificate, faults);
    check_file("tls.key", &tls.key, faults);
    if let Some(clients) = &tls.clients {
        check_file("tls.clients.ca", &clients.ca, faults);
        if clients.gateways.is_empty() {
            faults.add("tls.clients.gateways", "must not be empty");
        }
        for (index, name) in clients.gateways.iter().enumerate() {
            check_name(&format!("tls.clients.gateways[{index}]"), name, faults);
        }
    }
}

pub(super) fn check_upstream(path: &str, tls: &UpstreamTls, faults: &mut FaultCollector) {
    check_file(&format!("{path}.ca"), &tls.ca, faults);
    check_name(&format!("{path}.name"), &tls.name, faults);
    let files = [("certificate", &tls.certificate), ("key", &tls.key)];
    for (field, file) in files {
        if let Some(file) = file {
            check_file(&format!("{path}.{field}"), file, faults);
        }
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        faults.add(path, "certificate and key require each other");
    }
}

fn check_name(path: &str, name: &str, faults: &mut FaultCollector) {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || parse_server_name(name).is_err() {
        faults.add(path, "must be a DNS name such as engines.internal");
    }
}

pub(super) fn check_file(path: &str, file: &Path, faults: &mut FaultCollector) {
    let text = file.to_str().unwrap_or_default();
    if text.is_empty() || text.chars().any(char::is_control) {
        faults.add(path, "must be the path of a file");
    }
}

/// Connections over a network that carry cookies, tokens or session ids without TLS.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        warnings.push(format!(
            "tls is null and {listen} is not a loopback address: cookies and tokens of users cross the network in clear"
        ));
    }
    let session_service = config.compat.session_service.listen;
    if let Some(listen) = session_service.filter(|listen| !listen.ip().is_loopback()) {
        warnings.push(format!(
            "compat.session_service.listen is {listen}, which is not a loopback address and has no TLS: tokens of users cross the network in clear"
        ));
    }
    for (index, pool) in config.pools.iter().enumerate() {
        if pool.tls.is_none() && has_remote_engines(pool) {
            warnings.push(format!(
                "pools[{index}].tls is null and engines may be on other machines: tokens of users cross the network in clear"
            ));
        }
    }
    warnings
}

fn has_remote_engines(pool: &Pool) -> bool {
    pool.discovery.0.iter().any(|source| match source {
        Discovery::Static(engines) => engines.iter().any(|engine| !engine.ip.is_loopback()),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_the_field() {
        for (text, expected) in [
            (
                "tls: { certificate: '', key: k.pem }",
                "tls.certificate: must be the path of a file",
            ),
            ("tls: { certificate: c.pem }", "tls.key: is missing"),
            (
                "tls: { certificate: c.pem, key: k.pem, clients: { ca: ca.pem, gateways: [] } }",
                "tls.clients.gateways: must not be empty",
            ),
            (
                "tls: { certificate: c.pem, key: k.pem, clients: { ca: ca.pem, gateways: [10.0.0.1, 'a b'] } }",
                "tls.clients.gateways[0]: must be a DNS name such as engines.internal\n\
                 tls.clients.gateways[1]: must be a DNS name such as engines.internal",
            ),
        ] {
            assert_eq!(faults(text), expected, "{text}");
        }
        let pool = |tls: &str| {
            format!(
                "pools: [{{ name: a, driver: qix, cluster: e, discovery: {{ static: [] }}, tls: {tls} }}]"
            )
        };
        for (tls, expected) in [
            ("{ ca: ca.pem }", "pools[0].tls.name: is missing"),
            (
                "{ ca: ca.pem, name: '*' }",
                "pools[0].tls.name: must be a DNS name such as engines.internal",
            ),
            (
                "{ ca: ca.pem, name: e, key: k.pem }",
                "pools[0].tls: certificate and key require each other",
            ),
        ] {
            assert_eq!(faults(&pool(tls)), expected, "{tls}");
        }
    }

    #[test]
    fn connections_in_clear_beyond_loopback_are_warned_of() {
        let warnings = |listen: &str, tls: &str, discovery: &str| {
            let text = format!(
                "listen: {listen}\nedge: {{ service: ['127.0.0.1:1'] }}\n\
                 pools: [{{ name: a, driver: qix, cluster: e, discovery: {discovery}{tls} }}]"
            );
            let all = from_text(&text).unwrap().warnings;
            all.into_iter()
                .filter(|w| w.contains("in clear"))
                .collect::<Vec<_>>()
        };
        let engine = |ip: &str| format!("{{ static: [ {{ name: e, ip: {ip}, port: 1 }} ] }}");
        let none: [&str; 0] = [];
        assert_eq!(warnings("127.0.0.1:9455", "", &engine("127.0.0.1")), none);
        assert_eq!(
            warnings("0.0.0.0:9455", "", &engine("10.0.0.1")),
            [
                "tls is null and 0.0.0.0:9455 is not a loopback address: cookies and tokens of users cross the network in clear",
                "pools[0].tls is null and engines may be on other machines: tokens of users cross the network in clear",
            ]
        );
        let tls = ", tls: { ca: ca.pem, name: engines }";
        assert_eq!(warnings("127.0.0.1:9455", tls, &engine("10.0.0.1")), none);
    }
}
