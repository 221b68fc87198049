//! Settings of the programs that may call `/v1`, besides the gateways.

use super::fault_collector::FaultCollector;
use super::{Config, SecretSource};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub clients: Vec<ApiClient>,
}

/// A program that authenticates with `Authorization: Bearer <secret>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiClient {
    /// For a runtime: the `runtime` of its sessions.
    pub name: String,
    pub secret: SecretSource,
    pub role: Role,
    /// For a runtime: further runtimes that it may start child sessions for.
    #[serde(default)]
    pub child_runtimes: Vec<String>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Operator,
    /// Its own sessions and their children.
    Runtime,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let api = &config.api;
    for (index, client) in api.clients.iter().enumerate() {
        let path = format!("api.clients[{index}]");
        faults.check_name(&format!("{path}.name"), &client.name);
        let child_runtimes = &client.child_runtimes;
        if client.role == Role::Operator && !child_runtimes.is_empty() {
            let message = "is for the role runtime: an operator may start any child session";
            faults.add(format!("{path}.child_runtimes"), message);
        }
        for (position, runtime) in child_runtimes.iter().enumerate() {
            faults.check_name(&format!("{path}.child_runtimes[{position}]"), runtime);
        }
    }
    let names = api.clients.iter().map(|client| client.name.as_str());
    faults.check_unique_names("api.clients", names);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::secrets;
    use crate::config::load::from_text;

    #[test]
    fn clients_need_unique_names_and_secrets_and_a_known_role() {
        let clients = |clients: &str| format!("api: {{ clients: [{clients}] }}");
        let faults = |text: &str| from_text(&clients(text)).unwrap_err().to_string();
        assert_eq!(
            faults("{ name: a, role: king, secret: { env: A } }"),
            "api.clients[0].role: unknown variant `king`, expected `operator` or `runtime`"
        );
        assert_eq!(
            faults("{ name: a, role: operator, secret: { env: A } }, { name: b, role: runtime }"),
            "api.clients[1].secret: is missing"
        );
        assert_eq!(
            faults(
                "{ name: a b, role: runtime, secret: { env: A } }, \
                 { name: c, role: runtime, secret: { env: C } }, { name: c, role: operator, secret: { env: D } }"
            ),
            "api.clients[0].name: must be 1 to 128 letters, digits and - _ .\n\
             api.clients[2].name: the name \"c\" is already used"
        );
        assert_eq!(
            faults(
                "{ name: a, role: operator, secret: { env: A }, child_runtimes: [b] }, \
                 { name: b, role: runtime, secret: { env: B }, child_runtimes: [a, 'c d'] }"
            ),
            "api.clients[0].child_runtimes: is for the role runtime: an operator may start any child session\n\
             api.clients[1].child_runtimes[1]: must be 1 to 128 letters, digits and - _ ."
        );
        let fetch = |text: &str| {
            let text = format!("gateways: {{ secret: {{ env: G }} }}\n{}", clients(text));
            let env = |name: &str| match name {
                "A" | "B" => Some("a-secret-of-many".to_owned()),
                "G" => Some("the-secret-of-gateways".to_owned()),
                "SHORT" => Some("fifteen-letters".to_owned()),
                _ => Some("e".repeat(32)),
            };
            let secrets = secrets::fetch(&from_text(&text).unwrap().config, &env);
            secrets.map(|s| s.clients).map_err(|f| f.to_string())
        };
        let known = fetch("{ name: ops, role: operator, secret: { env: A } }").unwrap();
        assert_eq!(
            (known[0].name.as_str(), known[0].role),
            ("ops", Role::Operator)
        );
        assert_eq!(
            fetch(
                "{ name: a, role: operator, secret: { env: A } }, { name: b, role: runtime, secret: { env: B } }, \
                 { name: g, role: runtime, secret: { env: G } }, { name: s, role: runtime, secret: { env: SHORT } }"
            )
            .unwrap_err(),
            "api.clients[1].secret: must be unlike every other secret\n\
             api.clients[2].secret: must be unlike every other secret\n\
             api.clients[3].secret: must have 16 or more visible ASCII characters"
        );
    }
}
