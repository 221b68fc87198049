//! The demonstration of `make run`: which ports it uses, whether they are free, and what to try once it is ready.

use crate::envoy::{ADMIN_PORT, APP_PORT, HTTP_PORT, SERVICE_PORT};
use crate::stack::Ports;
use crate::{Result, paths};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};

/// Ports and size of the demonstration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// Its ports.
    pub ports: Ports,
    /// Number of engine simulators.
    pub engines: usize,
}

impl Default for Demo {
    fn default() -> Self {
        let ports = Ports {
            http: HTTP_PORT,
            admin: ADMIN_PORT,
            service: SERVICE_PORT,
            app: APP_PORT,
            engine: 9076,
            engine_metrics: 9090,
        };
        Self { ports, engines: 3 }
    }
}

impl Demo {
    /// The defaults, overridden by `BERTH_...` variables that `var` looks up.
    ///
    /// # Errors
    /// When a value is not a port or not a number of engines.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut demo = Self::default();
        let ports = &mut demo.ports;
        for (name, port) in [
            ("BERTH_HTTP_PORT", &mut ports.http),
            ("BERTH_ADMIN_PORT", &mut ports.admin),
            ("BERTH_SERVICE_PORT", &mut ports.service),
            ("BERTH_APP_PORT", &mut ports.app),
            ("BERTH_ENGINE_PORT", &mut ports.engine),
            ("BERTH_ENGINE_METRICS_PORT", &mut ports.engine_metrics),
        ] {
            if let Some(text) = var(name) {
                let invalid = || format!("{name}={text}: a port is a number from 1 to 65535");
                *port = text
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(invalid)?;
            }
        }
        if let Some(text) = var("BERTH_ENGINES") {
            let invalid = || format!("BERTH_ENGINES={text}: 1 to 1000 engines");
            let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
            demo.engines = count.ok_or_else(invalid)?;
        }
        Ok(demo)
    }

    /// Whether `envoy/config.yaml` can be used unchanged: same ports, and the filter at its default path.
    ///
    /// # Errors
    /// When the filter has not been built.
    pub fn uses_repository_config(&self) -> Result<bool> {
        let wasm_path = paths::repository_root().join("target/wasm/berth_filter.wasm");
        let Ports {
            http,
            admin,
            service,
            app,
            ..
        } = self.ports;
        let has_default_ports =
            (http, admin, service, app) == (HTTP_PORT, ADMIN_PORT, SERVICE_PORT, APP_PORT);
        Ok(has_default_ports && paths::filter_module()? == wasm_path)
    }

    /// Checks that every port is free.
    ///
    /// # Errors
    /// Names the port that is taken, its user, and the variable that moves it.
    pub fn check_ports(&self) -> Result<()> {
        let mut port_owners: HashMap<u16, String> = HashMap::new();
        for (port, owner, variable) in self.required_ports()? {
            if let Some(other) = port_owners.insert(port, owner.clone()) {
                return Err(format!(
                    "port {port} is used twice, for {other} and for {owner}: set {variable}"
                )
                .into());
            }
            if let Err(error) = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))) {
                return Err(format!(
                    "port {port}, for {owner}, is not free ({error}): set {variable} to another"
                )
                .into());
            }
        }
        Ok(())
    }

    fn required_ports(&self) -> Result<Vec<(u16, String, &'static str)>> {
        let ports = &self.ports;
        let mut all = vec![
            (ports.http, "Envoy".to_owned(), "BERTH_HTTP_PORT"),
            (
                ports.admin,
                "Envoy's admin page".to_owned(),
                "BERTH_ADMIN_PORT",
            ),
            (
                ports.service,
                "the placement service".to_owned(),
                "BERTH_SERVICE_PORT",
            ),
            (
                ports.app,
                "the app behind /api/".to_owned(),
                "BERTH_APP_PORT",
            ),
        ];
        for (first, owner, variable) in [
            (ports.engine, "engine", "BERTH_ENGINE_PORT"),
            (
                ports.engine_metrics,
                "metrics of engine",
                "BERTH_ENGINE_METRICS_PORT",
            ),
        ] {
            for index in 0..self.engines {
                let port = first.checked_add(u16::try_from(index)?);
                let port = port
                    .ok_or_else(|| format!("no port left for {owner} {index}: set {variable}"))?;
                all.push((port, format!("{owner} {index}"), variable));
            }
        }
        Ok(all)
    }

    /// The text to print below the `ready` line.
    #[must_use]
    pub fn usage_hints(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.ports.http);
        format!(
            "
  account   demo / demo-password
  page      {url}/
  shell     curl -s -c /tmp/berth.jar {url}/login -d username=demo -d password=demo-password
            curl -s -b /tmp/berth.jar {url}/api/whoami
  client    BERTH_URL={url} node tests/clients/enigma.mjs /app/sales.qvf /doc/doc/drugcases.qvf /doc/session-doc
  metrics   curl -s http://127.0.0.1:{}/metrics
  logs      target/run/*.log

  Ctrl-C ends everything.
",
            self.ports.service
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo_from_vars(pairs: &[(&str, &str)]) -> Result<Demo> {
        let vars: HashMap<&str, &str> = pairs.iter().copied().collect();
        Demo::from_vars(|name| vars.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn without_variables_it_is_the_default() {
        assert_eq!(demo_from_vars(&[]).unwrap(), Demo::default());
    }

    #[test]
    fn variables_move_ports_and_change_the_number_of_engines() {
        let demo = demo_from_vars(&[("BERTH_HTTP_PORT", "18080"), ("BERTH_ENGINES", "5")]).unwrap();
        assert_eq!((demo.ports.http, demo.engines), (18080, 5));
        assert!(demo.usage_hints().contains("http://127.0.0.1:18080/"));
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("BERTH_HTTP_PORT", "0"),
            ("BERTH_ADMIN_PORT", "x"),
            ("BERTH_ENGINES", "0"),
        ] {
            let error = demo_from_vars(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}={value}")), "{error}");
        }
    }

    #[test]
    fn a_taken_port_names_its_variable() {
        let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = occupied.local_addr().unwrap().port().to_string();
        let error = demo_from_vars(&[("BERTH_HTTP_PORT", &port)])
            .unwrap()
            .check_ports()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&port) && error.contains("BERTH_HTTP_PORT"),
            "{error}"
        );
    }

    #[test]
    fn a_port_that_is_used_twice_is_reported() {
        let error = demo_from_vars(&[("BERTH_ENGINE_METRICS_PORT", "9078")])
            .unwrap()
            .check_ports();
        let error = error.unwrap_err().to_string();
        // Another process of the test machine may hold one of the demonstration's ports: both messages are correct.
        assert!(
            error.contains("used twice") || error.contains("is not free"),
            "{error}"
        );
    }
}
