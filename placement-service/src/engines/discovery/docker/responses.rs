//! Parses the responses of the Docker Engine API to `GET /containers/json`, `GET /services` and `GET /tasks`. A label
//! marks an engine, and its endpoint is its address in one of its networks. Sends no request.

use super::EngineFilter;
use crate::engines::discovery::lenient_list::parse_lenient_list;
use crate::engines::discovery::{DesiredState, DiscoveredEngine, EngineList};
use berth_scheduler::engine::EngineName;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::IpAddr;

type Labels = BTreeMap<String, String>;

/// Reads `null` as the default value, because Docker writes `null` for an empty value.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    labels: Labels,
    #[serde(default, deserialize_with = "null_as_default")]
    state: String,
    #[serde(default, deserialize_with = "null_as_default")]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default, deserialize_with = "null_as_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress", default, deserialize_with = "null_as_default")]
    ipv4: String,
    #[serde(
        rename = "GlobalIPv6Address",
        default,
        deserialize_with = "null_as_default"
    )]
    ipv6: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Spec")]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default, deserialize_with = "null_as_default")]
    name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    labels: Labels,
    #[serde(default, deserialize_with = "null_as_default")]
    ingress: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID", default, deserialize_with = "null_as_default")]
    service: String,
    #[serde(default)]
    slot: Option<u64>,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: TaskSpec,
    status: TaskStatus,
    #[serde(default, deserialize_with = "null_as_default")]
    desired_state: String,
    #[serde(default, deserialize_with = "null_as_default")]
    networks_attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskSpec {
    #[serde(default, deserialize_with = "null_as_default")]
    container_spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskStatus {
    #[serde(default, deserialize_with = "null_as_default")]
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    #[serde(default, deserialize_with = "null_as_default")]
    network: Network,
    #[serde(default, deserialize_with = "null_as_default")]
    addresses: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default, deserialize_with = "null_as_default")]
    spec: Spec,
}

impl EngineFilter<'_> {
    fn matches_label(&self, labels: &Labels) -> bool {
        match self.label.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|actual| actual == value),
            None => labels.contains_key(self.label),
        }
    }

    fn matches_network(&self, name: &str) -> bool {
        self.network.is_none_or(|network| network == name)
    }

    fn add_engine(
        &self,
        engines: &mut EngineList,
        (name, id): (&str, &str),
        ip: Option<IpAddr>,
        labels: &[&Labels],
        desired_state: DesiredState,
    ) {
        let Some(ip) = ip else {
            let network = self.network.map_or("any network", |network| network);
            let reason = format!("{name} has no address in {network}");
            engines.skipped.push(reason);
            return;
        };
        let label = |key: &str| labels.iter().find_map(|l| l.get(key)).map(String::as_str);
        match self.ports.with_labels(label) {
            Ok(ports) => engines.usable.push(DiscoveredEngine {
                name: EngineName::from(name),
                endpoint: ports.endpoint(ip),
                incarnation: Some(id.into()),
                desired_state,
            }),
            Err(reason) => engines.skipped.push(format!("{name}: {reason}")),
        }
    }
}

/// Parses the response of `GET /containers/json`.
///
/// # Errors
/// When it is not a list of containers.
pub fn parse_containers(
    body: &[u8],
    filter: EngineFilter<'_>,
) -> Result<EngineList, serde_json::Error> {
    let (containers, left_out) = parse_lenient_list::<Container>(body, "containers")?;
    let mut engines = EngineList {
        skipped: left_out,
        ..EngineList::default()
    };
    for (_, container) in containers {
        if container.state != "running" || !filter.matches_label(&container.labels) {
            continue;
        }
        // A link to the container from another one is a name of two segments, such as `/other/alias`.
        let own_name = |name: &&String| name.matches('/').count() == 1;
        let names = &container.names;
        let name = names.iter().find(own_name).or_else(|| names.first());
        let name = name.unwrap_or(&container.id);
        let networks = container.network_settings.networks.iter();
        let mut fitting = networks.filter(|(network, _)| filter.matches_network(network));
        let ip = fitting.find_map(|(_, endpoint)| {
            let endpoint = endpoint.as_ref()?;
            let v4 = endpoint.ipv4.parse::<IpAddr>().ok();
            v4.or_else(|| endpoint.ipv6.parse().ok())
        });
        let name = name.trim_start_matches('/');
        filter.add_engine(
            &mut engines,
            (name, &container.id),
            ip,
            &[&container.labels],
            DesiredState::Active,
        );
    }
    Ok(engines)
}

/// Parses the responses of `GET /services` and `GET /tasks`. A running task with another desired state is draining.
///
/// # Errors
/// When they are not lists of services and tasks.
pub fn parse_tasks(
    services: &[u8],
    tasks: &[u8],
    filter: EngineFilter<'_>,
) -> Result<EngineList, serde_json::Error> {
    let (services, malformed) = parse_lenient_list::<Service>(services, "services")?;
    let (tasks, left_out) = parse_lenient_list::<Task>(tasks, "tasks")?;
    let services = services.iter().map(|(_, s)| (s.id.as_str(), &s.spec));
    let services: BTreeMap<&str, &Spec> = services.collect();
    let empty_spec = Spec::default();
    let mut engines = EngineList {
        skipped: [malformed, left_out].concat(),
        ..EngineList::default()
    };
    for (_, task) in &tasks {
        let service = services
            .get(task.service.as_str())
            .copied()
            .unwrap_or(&empty_spec);
        let labels = &task.spec.container_spec.labels;
        let marked = filter.matches_label(labels) || filter.matches_label(&service.labels);
        if task.status.state != "running" || !marked {
            continue;
        }
        let short_id: String = task.id.chars().take(12).collect();
        let name = match (service.name.as_str(), task.slot) {
            ("", _) => short_id,
            (service, Some(slot)) => format!("{service}.{slot}.{short_id}"),
            (service, None) => format!("{service}.{short_id}"),
        };
        // The ingress network connects Docker's own load balancers: engines are not reached through it.
        let networks = task.networks_attachments.iter();
        let networks = networks.filter(|a| !a.network.spec.ingress);
        let mut networks: Vec<_> = networks
            .filter(|a| {
                a.network.spec.name != "ingress" && filter.matches_network(&a.network.spec.name)
            })
            .collect();
        networks.sort_by(|a, b| a.network.spec.name.cmp(&b.network.spec.name));
        let addresses = networks.iter().flat_map(|a| &a.addresses);
        let mut ips = addresses.filter_map(|text| text.split('/').next()?.parse().ok());
        let desired_state = DesiredState::from_draining(task.desired_state != "running");
        let labels = [labels, &service.labels];
        let identity = (name.as_str(), task.id.as_str());
        filter.add_engine(&mut engines, identity, ips.next(), &labels, desired_state);
    }
    Ok(engines)
}
