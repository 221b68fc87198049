//! Docker discovery against a Unix socket that answers as the Docker Engine API 1.43 does, shortened to the fields
//! that matter here.

use crate::{format_engines, is_quiet, next_list, next_list_after_faults};
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use berth_placement::config::{DockerMode, DockerSource};
use berth_placement::engines::discovery::docker::Docker;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct FakeDocker(Arc<Mutex<DockerContent>>);

#[derive(Default)]
struct DockerContent {
    containers: Value,
    services: Value,
    tasks: Value,
    filters: Vec<Value>,
}

type RequestQuery = Query<HashMap<String, String>>;

fn respond(
    fake: &FakeDocker,
    asked: &RequestQuery,
    select: impl Fn(&DockerContent) -> Value,
) -> String {
    let mut content = fake.0.lock().unwrap();
    let filters = serde_json::from_str(&asked.0["filters"]).unwrap();
    content.filters.push(filters);
    select(&content).to_string()
}

async fn start_docker(dir: &tempfile::TempDir, fake: FakeDocker, mode: DockerMode) -> Docker {
    let path = dir.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let router = Router::new()
        .route(
            "/containers/json",
            get(async |State(f): State<FakeDocker>, q: RequestQuery| {
                respond(&f, &q, |c| c.containers.clone())
            }),
        )
        .route(
            "/services",
            get(async |State(f): State<FakeDocker>, q: RequestQuery| {
                respond(&f, &q, |c| c.services.clone())
            }),
        )
        .route(
            "/tasks",
            get(async |State(f): State<FakeDocker>, q: RequestQuery| {
                respond(&f, &q, |c| c.tasks.clone())
            }),
        )
        .with_state(fake);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Docker::new(&DockerSource {
        mode,
        host: format!("unix://{}", path.display()),
        label: "qix-engine".into(),
        network: None,
        port: 9076,
        metrics_port: Some(9090),
        poll: Duration::from_millis(20),
    })
}

fn container(name: &str, labels: Value, networks: Value) -> Value {
    json!({
        "Id": "8dfafdbc3a40cd7bbd52b4e0f3f3f4b1c9f0", "Names": [format!("/{name}")],
        "Image": "engine:12", "Command": "./engine", "Created": 1_367_854_155_u32,
        "State": "running", "Status": "Up 3 minutes", "Labels": labels,
        "Ports": [{"PrivatePort": 9076, "Type": "tcp"}],
        "HostConfig": {"NetworkMode": "app"}, "NetworkSettings": {"Networks": networks},
        "Mounts": []
    })
}

#[tokio::test]
async fn running_containers_with_the_label_are_engines() {
    let network = |ip: &str| json!({"IPAMConfig": null, "IPAddress": ip, "GlobalIPv6Address": ""});
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeDocker::default();
    let all = json!([
        container(
            "one",
            json!({"qix-engine": ""}),
            json!({"b": network("172.18.0.2")})
        ),
        container(
            "two",
            json!({"qix-engine": "", "qix-engine-api-port": "19076", "qix-engine-metrics-port": "19090"}),
            json!({"a": network(""), "b": network("172.18.0.3")})
        ),
        container(
            "host",
            json!({"qix-engine": ""}),
            json!({"host": network("")})
        ),
        container("other", json!({}), json!({"b": network("172.18.0.9")})),
        container(
            "odd",
            json!({"qix-engine": "", "qix-engine-api-port": "x"}),
            json!({"b": network("172.18.0.8")})
        ),
    ]);
    let mut all = all;
    // Another container links to it: Docker lists that name too, in any order.
    all[0]["Names"] = json!(["/other/alias", "/one", "/third/x"]);
    fake.0.lock().unwrap().containers = all;
    let mut docker = start_docker(&dir, fake.clone(), DockerMode::Local).await;
    let found = next_list(&mut docker).await.unwrap();
    assert_eq!(
        format_engines(&found),
        ["one@172.18.0.2:9076", "two@172.18.0.3:19076"]
    );
    let metrics: Vec<u16> = found
        .iter()
        .map(|f| f.endpoint.metrics.unwrap().port())
        .collect();
    assert_eq!(metrics, [9090, 19090]);
    let filters = fake.0.lock().unwrap().filters[0].clone();
    assert_eq!(
        filters,
        json!({"label": ["qix-engine"], "status": ["running"]})
    );
    assert!(is_quiet(&mut docker).await);
    fake.0.lock().unwrap().containers = json!({"message": "server error"});
    assert!(next_list(&mut docker).await.is_err());
    fake.0.lock().unwrap().containers = json!([]);
    assert_eq!(next_list_after_faults(&mut docker).await, []);
}

fn task(id: &str, service: &str, slot: u64, states: (&str, &str), addresses: Value) -> Value {
    let (state, desired) = states;
    json!({
        "ID": id, "Version": {"Index": 71}, "CreatedAt": "2026-01-07T21:07:31.171892745Z",
        "Spec": {"ContainerSpec": {"Image": "engine:12", "Labels": null}, "Placement": {}},
        "ServiceID": service, "Slot": slot, "NodeID": "60gvrl6tm78dmak4yl7srz94v",
        "Status": {"Timestamp": "2026-01-07T21:07:31.290032978Z", "State": state, "Message": state},
        "DesiredState": desired, "NetworksAttachments": addresses
    })
}

#[tokio::test]
async fn running_tasks_of_a_labelled_swarm_service_are_engines() {
    let ingress = json!({"Network": {"ID": "i", "Spec": {"Name": "ingress", "Ingress": true}}, "Addresses": ["10.255.0.10/16"]});
    let overlay = |ip: &str| json!({"Network": {"ID": "o", "Spec": {"Name": "app"}}, "Addresses": [format!("{ip}/24")]});
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeDocker::default();
    {
        let mut content = fake.0.lock().unwrap();
        content.services = json!([
            {"ID": "s1", "Spec": {"Name": "engine", "Labels": {"qix-engine": "", "qix-engine-metrics-port": "19090"}}},
            {"ID": "s2", "Spec": {"Name": "web", "Labels": {}}}
        ]);
        content.tasks = json!([
            task(
                "0kzzo1i0y4jz6027t0k7aezc7",
                "s1",
                1,
                ("running", "running"),
                json!([ingress, overlay("10.0.1.3")])
            ),
            task(
                "1yljwbmlr8er2waf8orvqpwms",
                "s1",
                2,
                ("running", "shutdown"),
                json!([overlay("10.0.1.4")])
            ),
            task(
                "2yljwbmlr8er2waf8orvqpwms",
                "s1",
                2,
                ("preparing", "running"),
                json!([overlay("10.0.1.5")])
            ),
            task(
                "3yljwbmlr8er2waf8orvqpwms",
                "s2",
                1,
                ("running", "running"),
                json!([overlay("10.0.1.6")])
            ),
            task(
                "4yljwbmlr8er2waf8orvqpwms",
                "s1",
                3,
                ("running", "running"),
                Value::Null
            ),
        ]);
    }
    let mut docker = start_docker(&dir, fake, DockerMode::Swarm).await;
    let found = next_list(&mut docker).await.unwrap();
    assert_eq!(
        format_engines(&found),
        [
            "engine.1.0kzzo1i0y4jz@10.0.1.3:9076",
            "engine.2.1yljwbmlr8er@10.0.1.4:9076!"
        ]
    );
    assert_eq!(found[0].endpoint.metrics.unwrap().port(), 19090);
}
