//! Kubernetes discovery by the EndpointSlices of a Service, against a fake API server: which endpoints are engines, in
//! which state, and with which names.

use crate::fake_kubernetes::{FakeApiServer, endpoint, slice};
use crate::kubernetes::kubernetes_source;
use crate::{format_engines, is_quiet, next_list, next_list_after_faults};
use berth_placement::config::{EnginePort, KubernetesSource};
use berth_placement::engines::discovery::kubernetes::Kubernetes;
use serde_json::json;

const READY: [bool; 3] = [true, true, false];
const NOT_READY: [bool; 3] = [false, false, false];

fn service_source() -> KubernetesSource {
    KubernetesSource {
        service: Some("engine".into()),
        port: EnginePort::Name("api".into()),
        metrics_port: Some(EnginePort::Name("metrics".into())),
        ..kubernetes_source()
    }
}

async fn slices(fake: &FakeApiServer, config: &KubernetesSource) -> Kubernetes {
    Kubernetes::with_cluster(fake.serve().await, config)
}

#[tokio::test]
async fn an_endpoint_is_followed_from_creation_to_deletion() {
    let fake = FakeApiServer::default();
    fake.put(slice(
        "one",
        "IPv4",
        &json!([endpoint("a", "10.0.0.1", READY)]),
    ));
    let mut engines = slices(&fake, &service_source()).await;
    let first = next_list(&mut engines).await.unwrap();
    assert_eq!(format_engines(&first), ["a@10.0.0.1:9076"]);
    assert_eq!(
        first[0].endpoint.metrics,
        Some(([10, 0, 0, 1], 9090).into())
    );
    let path = fake.update(|cluster| cluster.paths[0].clone());
    let expected = "/apis/discovery.k8s.io/v1/namespaces/engines/endpointslices?";
    assert!(path.starts_with(expected), "{path}");
    let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dengine";
    assert!(path.contains(selector), "{path}");
    // A second slice: not ready, then ready.
    assert!(is_quiet(&mut engines).await);
    for (conditions, state) in [(NOT_READY, "~"), (READY, "")] {
        fake.put(slice(
            "two",
            "IPv4",
            &json!([endpoint("b", "10.0.0.2", conditions)]),
        ));
        let expected = [
            "a@10.0.0.1:9076".to_owned(),
            format!("b@10.0.0.2:9076{state}"),
        ];
        assert_eq!(
            format_engines(&next_list(&mut engines).await.unwrap()),
            expected
        );
    }
    // A change that does not affect the engines.
    let mut same = slice("one", "IPv4", &json!([endpoint("a", "10.0.0.1", READY)]));
    same["metadata"]["annotations"] = json!({"checked": "yes"});
    fake.put(same);
    assert!(is_quiet(&mut engines).await);
    // Terminating while it serves, then no more in the slice.
    let terminating = [false, true, true];
    fake.put(slice(
        "one",
        "IPv4",
        &json!([endpoint("a", "10.0.0.1", terminating)]),
    ));
    let two = ["a@10.0.0.1:9076!", "b@10.0.0.2:9076"];
    assert_eq!(format_engines(&next_list(&mut engines).await.unwrap()), two);
    fake.put(slice("one", "IPv4", &json!([])));
    let one = ["b@10.0.0.2:9076"];
    assert_eq!(format_engines(&next_list(&mut engines).await.unwrap()), one);
    fake.delete("two");
    assert!(next_list(&mut engines).await.unwrap().is_empty());
}

#[tokio::test]
async fn conditions_decide_the_state() {
    let states = [
        ("ready", READY, ""),
        ("unready", NOT_READY, "~"),
        // A Service with `publishNotReadyAddresses`.
        ("published", [true, false, false], "~"),
        ("serving", [false, true, true], "!"),
        ("ending", [false, false, true], "!"),
    ];
    let endpoints = states.map(|(name, conditions, _)| endpoint(name, "10.0.0.1", conditions));
    let mut endpoints = endpoints.to_vec();
    endpoints
        .push(json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "silent"}}));
    let fake = FakeApiServer::default();
    fake.put(slice("one", "IPv4", &json!(endpoints)));
    let mut engines = slices(&fake, &service_source()).await;
    let expected = states.map(|(name, _, state)| format!("{name}@10.0.0.1:9076{state}"));
    let mut expected = expected.to_vec();
    expected.push("silent@10.0.0.1:9076".to_owned());
    expected.sort();
    assert_eq!(
        format_engines(&next_list(&mut engines).await.unwrap()),
        expected
    );
}

/// A Service without a selector, with slices of one's own.
#[tokio::test]
async fn an_engine_without_a_pod_has_the_name_of_its_address() {
    let fake = FakeApiServer::default();
    let machines = json!([{"addresses": ["192.0.2.7"]}, {"addresses": ["192.0.2.8"], "conditions": {"ready": false}},
        {"addresses": ["192.0.2.9"], "targetRef": {"kind": "Node", "name": "node"}}]);
    fake.put(slice("machines", "IPv4", &machines));
    fake.put(slice(
        "six",
        "IPv6",
        &json!([{"addresses": ["2001:db8::7"]}]),
    ));
    let config = KubernetesSource {
        port: EnginePort::Number(19076),
        metrics_port: None,
        ..service_source()
    };
    let found = next_list(&mut slices(&fake, &config).await).await.unwrap();
    let expected = [
        "192.0.2.7-19076@192.0.2.7:19076",
        "192.0.2.8-19076@192.0.2.8:19076~",
        "192.0.2.9-19076@192.0.2.9:19076",
        "2001-db8--7-19076@[2001:db8::7]:19076",
    ];
    assert_eq!(format_engines(&found), expected);
}

#[tokio::test]
async fn a_pod_in_several_slices_is_one_engine() {
    let fake = FakeApiServer::default();
    let (four, six) = (
        endpoint("a", "10.0.0.1", READY),
        endpoint("a", "2001:db8::1", READY),
    );
    fake.put(slice("a-six", "IPv6", &json!([six])));
    fake.put(slice("b-four", "IPv4", &json!([four])));
    // While slices are rewritten, one of them may have an earlier state.
    fake.put(slice(
        "c-late",
        "IPv4",
        &json!([endpoint("a", "10.0.0.1", NOT_READY)]),
    ));
    let mut engines = slices(&fake, &service_source()).await;
    let found = next_list(&mut engines).await.unwrap();
    assert_eq!(format_engines(&found), ["a@10.0.0.1:9076"]);
}

#[tokio::test]
async fn what_is_not_usable_does_not_hide_the_others() {
    let fake = FakeApiServer::default();
    let endpoints = json!([{"addresses": ["engine.example.com"]}, {"addresses": []}, endpoint("a", "10.0.0.1", READY)]);
    fake.put(slice("mixed", "IPv4", &endpoints));
    fake.put(slice(
        "names",
        "FQDN",
        &json!([{"addresses": ["10.0.0.2"]}]),
    ));
    let with_ports = |name: &str, ports: serde_json::Value| {
        let mut slice = slice(name, "IPv4", &json!([endpoint(name, "10.0.0.3", READY)]));
        slice["ports"] = ports;
        slice
    };
    fake.put(with_ports(
        "other",
        json!([{"name": "web", "port": 80}, {"name": "metrics", "port": 1}]),
    ));
    fake.put(with_ports(
        "datagrams",
        json!([{"name": "api", "port": 9076, "protocol": "UDP"}]),
    ));
    fake.put(with_ports("none", json!(null)));
    let mut engines = slices(&fake, &service_source()).await;
    let found = next_list(&mut engines).await.unwrap();
    assert_eq!(format_engines(&found), ["a@10.0.0.1:9076"]);
}

#[tokio::test]
async fn an_expired_version_causes_a_new_list() {
    let fake = FakeApiServer::default();
    fake.put(slice(
        "one",
        "IPv4",
        &json!([endpoint("a", "10.0.0.1", READY)]),
    ));
    let mut engines = slices(&fake, &service_source()).await;
    assert_eq!(next_list(&mut engines).await.unwrap().len(), 1);
    assert!(is_quiet(&mut engines).await);
    fake.wait_for_watch().await;
    fake.update(|cluster| {
        cluster.watches.clear();
        cluster.version = 90;
        cluster.oldest = 90;
        let endpoints = &mut cluster.objects.get_mut("one").unwrap()["endpoints"];
        *endpoints = json!([endpoint("b", "10.0.0.2", READY)]);
    });
    let found = next_list_after_faults(&mut engines).await;
    assert_eq!(format_engines(&found), ["b@10.0.0.2:9076"]);
}
