//! Parses the responses of the Docker Engine API to `GET /containers/json`, `GET /services` and `GET /tasks`. A label
//! marks an engine, and its endpoint is its address in one of its networks. Sends no request.

use super::Wanted;
use crate::engines::discovery::entries::entries;
use crate::engines::discovery::{Found, Wish};
use berth_scheduler::engine::EngineName;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The engines in a response.
#[derive(Debug, Default, PartialEq)]
pub struct Engines {
    /// Engines with an endpoint.
    pub found: Vec<Found>,
    /// Why the other engines are skipped, one text for each.
    pub left_out: Vec<String>,
}

type Labels = BTreeMap<String, String>;

/// Reads `null` as the default value, because Docker writes `null` for an empty value.
fn nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default, deserialize_with = "nothing")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "nothing")]
    labels: Labels,
    #[serde(default, deserialize_with = "nothing")]
    state: String,
    #[serde(default, deserialize_with = "nothing")]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default, deserialize_with = "nothing")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress", default, deserialize_with = "nothing")]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address", default, deserialize_with = "nothing")]
    ipv6: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Spec")]
    spec: Named,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    #[serde(default, deserialize_with = "nothing")]
    name: String,
    #[serde(default, deserialize_with = "nothing")]
    labels: Labels,
    #[serde(default, deserialize_with = "nothing")]
    ingress: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID", default, deserialize_with = "nothing")]
    service: String,
    #[serde(default)]
    slot: Option<u64>,
    #[serde(default, deserialize_with = "nothing")]
    spec: TaskSpec,
    status: TaskStatus,
    #[serde(default, deserialize_with = "nothing")]
    desired_state: String,
    #[serde(default, deserialize_with = "nothing")]
    networks_attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskSpec {
    #[serde(default, deserialize_with = "nothing")]
    container_spec: Named,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskStatus {
    #[serde(default, deserialize_with = "nothing")]
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    #[serde(default, deserialize_with = "nothing")]
    network: Network,
    #[serde(default, deserialize_with = "nothing")]
    addresses: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default, deserialize_with = "nothing")]
    spec: Named,
}

impl Wanted<'_> {
    fn marks(&self, labels: &Labels) -> bool {
        match self.label.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(self.label),
        }
    }

    fn network(&self, name: &str) -> bool {
        self.network.is_none_or(|wanted| wanted == name)
    }

    fn take(
        &self,
        engines: &mut Engines,
        name: &str,
        ip: Option<IpAddr>,
        labels: &[&Labels],
        wish: Wish,
    ) {
        let Some(ip) = ip else {
            let network = self.network.map_or("any network", |network| network);
            let why = format!("{name} has no address in {network}");
            engines.left_out.push(why);
            return;
        };
        let label = |key: &str| labels.iter().find_map(|l| l.get(key)).map(String::as_str);
        match self.ports.endpoint(ip, label) {
            Ok(endpoint) => engines.found.push(Found {
                name: EngineName::from(name),
                endpoint,
                wish,
            }),
            Err(why) => engines.left_out.push(format!("{name}: {why}")),
        }
    }
}

/// Parses the response of `GET /containers/json`.
///
/// # Errors
/// When it is not a list of containers.
pub fn containers(body: &[u8], wanted: Wanted<'_>) -> Result<Engines, serde_json::Error> {
    let (containers, left_out) = entries::<Container>(body, "containers")?;
    let mut engines = Engines {
        left_out,
        ..Engines::default()
    };
    for (_, container) in containers {
        if container.state != "running" || !wanted.marks(&container.labels) {
            continue;
        }
        let name = container.names.first().unwrap_or(&container.id);
        let networks = container.network_settings.networks.iter();
        let mut fitting = networks.filter(|(network, _)| wanted.network(network));
        let ip = fitting.find_map(|(_, endpoint)| {
            let endpoint = endpoint.as_ref()?;
            let v4 = endpoint.ipv4.parse::<IpAddr>().ok();
            v4.or_else(|| endpoint.ipv6.parse().ok())
        });
        let name = name.trim_start_matches('/');
        wanted.take(&mut engines, name, ip, &[&container.labels], Wish::InUse);
    }
    Ok(engines)
}

/// Parses the responses of `GET /services` and `GET /tasks`. A running task with another desired state is draining.
///
/// # Errors
/// When they are not lists of services and tasks.
pub fn tasks(
    services: &[u8],
    tasks: &[u8],
    wanted: Wanted<'_>,
) -> Result<Engines, serde_json::Error> {
    let (services, malformed) = entries::<Service>(services, "services")?;
    let (tasks, left_out) = entries::<Task>(tasks, "tasks")?;
    let services = services.iter().map(|(_, s)| (s.id.as_str(), &s.spec));
    let services: BTreeMap<&str, &Named> = services.collect();
    let none = Named::default();
    let mut engines = Engines {
        left_out: [malformed, left_out].concat(),
        ..Engines::default()
    };
    for (_, task) in &tasks {
        let service = services
            .get(task.service.as_str())
            .copied()
            .unwrap_or(&none);
        let own = &task.spec.container_spec.labels;
        let marked = wanted.marks(own) || wanted.marks(&service.labels);
        if task.status.state != "running" || !marked {
            continue;
        }
        let short: String = task.id.chars().take(12).collect();
        let name = match (service.name.as_str(), task.slot) {
            ("", _) => short,
            (service, Some(slot)) => format!("{service}.{slot}.{short}"),
            (service, None) => format!("{service}.{short}"),
        };
        // The ingress network connects Docker's own load balancers: engines are not reached through it.
        let networks = task.networks_attachments.iter();
        let networks = networks.filter(|a| !a.network.spec.ingress);
        let mut networks: Vec<_> = networks
            .filter(|a| a.network.spec.name != "ingress" && wanted.network(&a.network.spec.name))
            .collect();
        networks.sort_by(|a, b| a.network.spec.name.cmp(&b.network.spec.name));
        let addresses = networks.iter().flat_map(|a| &a.addresses);
        let mut ips = addresses.filter_map(|text| text.split('/').next()?.parse().ok());
        let wish = Wish::drained_if(task.desired_state != "running");
        let labels = [own, &service.labels];
        wanted.take(&mut engines, &name, ips.next(), &labels, wish);
    }
    Ok(engines)
}
