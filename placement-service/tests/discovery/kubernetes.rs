//! Kubernetes discovery against a fake API server: which pods are engines, and what happens when the watch fails.

use crate::fake_kubernetes::{FakeApiServer, pod};
use crate::{TIMEOUT, fleet, format_engines, is_quiet, next_list, next_list_after_faults};
use berth_api::GatewayEvent;
use berth_placement::config::{EnginePort, KubernetesSource};
use berth_placement::core::clock::SystemClock;
use berth_placement::engines::discovery::kubernetes::Kubernetes;
use berth_placement::engines::drains::{ActiveDrains, Drains};
use berth_scheduler::accounting::AccountingRegistry;
use berth_store::in_memory::InMemoryStore;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) fn kubernetes_source() -> KubernetesSource {
    KubernetesSource {
        selector: None,
        service: None,
        namespace: None,
        all_namespaces: false,
        port: EnginePort::Number(9076),
        metrics_port: Some(EnginePort::Number(9090)),
        kubeconfig: None,
        context: None,
    }
}

#[tokio::test]
async fn a_pod_is_followed_from_creation_to_deletion() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "10.0.0.1", true));
    let mut pending = pod("b", "", false);
    pending["status"] = json!({"phase": "Pending"});
    fake.put(pending);
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &kubernetes_source());
    assert_eq!(
        format_engines(&next_list(&mut pods).await.unwrap()),
        ["a@10.0.0.1:9076"]
    );
    let asked = fake.update(|cluster| cluster.paths[0].clone());
    assert!(
        asked.starts_with("/api/v1/namespaces/engines/pods?"),
        "{asked}"
    );
    assert!(asked.contains("labelSelector=qix-engine"), "{asked}");
    // First running, then ready, with its own port.
    assert!(is_quiet(&mut pods).await);
    fake.put(pod("b", "10.0.0.2", false));
    let two = ["a@10.0.0.1:9076", "b@10.0.0.2:9076~"];
    assert_eq!(format_engines(&next_list(&mut pods).await.unwrap()), two);
    let mut ready = pod("b", "10.0.0.2", true);
    ready["metadata"]["annotations"] = json!({"qix-engine-api-port": "19076"});
    fake.put(ready);
    let two = ["a@10.0.0.1:9076", "b@10.0.0.2:19076"];
    assert_eq!(format_engines(&next_list(&mut pods).await.unwrap()), two);
    // A change that does not affect the list of engines.
    let mut same = pod("a", "10.0.0.1", true);
    same["metadata"]["annotations"] = json!({"checked": "yes"});
    fake.put(same);
    assert!(is_quiet(&mut pods).await);
    // Terminating, then deleted.
    let mut leaving = pod("a", "10.0.0.1", true);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put(leaving);
    let two = ["a@10.0.0.1:9076!", "b@10.0.0.2:19076"];
    assert_eq!(format_engines(&next_list(&mut pods).await.unwrap()), two);
    fake.delete("a");
    assert_eq!(
        format_engines(&next_list(&mut pods).await.unwrap()),
        ["b@10.0.0.2:19076"]
    );
    assert_eq!(
        fake.update(|cluster| (cluster.list_requests, cluster.watch_requests)),
        (1, 1)
    );
}

#[tokio::test]
async fn a_port_may_have_a_name() {
    let named = |name: &str, ports: serde_json::Value| {
        let mut pod = pod(name, "10.0.0.1", true);
        pod["spec"]["containers"][0]["ports"] = ports;
        pod
    };
    let fake = FakeApiServer::default();
    fake.put(named(
        "a",
        json!([{"name": "metrics", "containerPort": 1}, {"name": "api", "containerPort": 19076}]),
    ));
    fake.put(named(
        "b",
        json!([{"name": "api", "containerPort": 19076, "protocol": "UDP"}]),
    ));
    fake.put(named("c", json!([{"containerPort": 19076}])));
    let config = KubernetesSource {
        port: EnginePort::Name("api".into()),
        ..kubernetes_source()
    };
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &config);
    let engines = next_list(&mut pods).await.unwrap();
    assert_eq!(format_engines(&engines), ["a@10.0.0.1:19076"]);
}

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The number of lines with this text since the last call.
    fn count(&self, text: &str) -> usize {
        let log = std::mem::take(&mut *self.0.lock().unwrap());
        let log = String::from_utf8(log).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

#[tokio::test]
async fn many_unusable_pods_are_logged_in_few_lines_and_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let unusable = |name: &str| {
        let mut pod = pod(name, "10.0.0.1", true);
        pod["metadata"]["annotations"] = json!({"qix-engine-api-port": "none"});
        pod
    };
    let fake = FakeApiServer::default();
    for n in 0..50 {
        fake.put(unusable(&format!("pod-{n}")));
    }
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &kubernetes_source());
    assert!(next_list(&mut pods).await.unwrap().is_empty());
    assert_eq!(
        log.count("left out"),
        21,
        "20 pods, and the number of the others"
    );
    assert!(is_quiet(&mut pods).await);
    fake.put(unusable("another"));
    assert!(next_list(&mut pods).await.unwrap().is_empty());
    assert_eq!(log.count("another: label qix-engine-api-port"), 1);
    // All pods are listed again, but none is new.
    fake.update(|cluster| {
        cluster.watches.clear();
        cluster.version = 90;
        cluster.oldest = 90;
    });
    assert!(next_list_after_faults(&mut pods).await.is_empty());
    assert_eq!(log.count("left out"), 0);
}

#[tokio::test]
async fn a_closed_watch_resumes_at_its_last_version() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "10.0.0.1", true));
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &kubernetes_source());
    assert_eq!(next_list(&mut pods).await.unwrap().len(), 1);
    assert!(is_quiet(&mut pods).await);
    // A bookmark moves the watch to a version that no pod has. Then the connection closes, and the watch misses a
    // change.
    fake.update(|cluster| {
        cluster.version = 70;
        let version = json!({"resourceVersion": "70"});
        let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
            "metadata": version, "spec": {"containers": []}}});
        cluster.broadcast(&bookmark);
    });
    assert!(is_quiet(&mut pods).await);
    fake.update(|cluster| cluster.watches.clear());
    fake.put(pod("b", "10.0.0.2", true));
    let two = ["a@10.0.0.1:9076", "b@10.0.0.2:9076"];
    assert_eq!(
        format_engines(&next_list_after_faults(&mut pods).await),
        two
    );
    let last = fake.update(|cluster| cluster.paths.last().unwrap().clone());
    assert!(last.contains("resourceVersion=70"), "{last}");
    assert_eq!(fake.update(|cluster| cluster.list_requests), 1);
}

#[tokio::test]
async fn an_expired_version_causes_a_new_list() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "10.0.0.1", true));
    fake.put(pod("b", "10.0.0.2", true));
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &kubernetes_source());
    assert_eq!(next_list(&mut pods).await.unwrap().len(), 2);
    assert!(is_quiet(&mut pods).await);
    fake.wait_for_watch().await;
    fake.update(|cluster| {
        cluster.watches.clear();
        cluster.objects.remove("a");
        cluster.version = 90;
        cluster.oldest = 90;
    });
    assert_eq!(
        format_engines(&next_list_after_faults(&mut pods).await),
        ["b@10.0.0.2:9076"]
    );
    assert!(fake.update(|cluster| cluster.list_requests) >= 2);
}

#[tokio::test]
async fn forbidden_is_a_fault_until_access_is_granted() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "10.0.0.1", true));
    fake.update(|cluster| cluster.forbidden = true);
    let all = KubernetesSource {
        all_namespaces: true,
        ..kubernetes_source()
    };
    let mut pods = Kubernetes::with_cluster(fake.serve().await, &all);
    let fault = next_list(&mut pods).await.unwrap_err().to_string();
    assert!(fault.contains("pods is Forbidden"), "{fault}");
    fake.update(|cluster| cluster.forbidden = false);
    assert_eq!(
        format_engines(&next_list(&mut pods).await.unwrap()),
        ["engines.a@10.0.0.1:9076"]
    );
    let asked = fake.update(|cluster| cluster.paths[0].clone());
    assert!(asked.starts_with("/api/v1/pods?"), "{asked}");
}

#[tokio::test]
async fn a_kubeconfig_locates_the_cluster() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "10.0.0.1", true));
    let cluster = fake.serve().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n\
         contexts: [{{name: main, context: {{cluster: c, user: u, namespace: engines}}}}]\n\
         current-context: none\n",
        cluster.cluster_url
    );
    std::fs::write(&path, text).unwrap();
    let mut config = KubernetesSource {
        kubeconfig: Some(path),
        ..kubernetes_source()
    };
    let mut pods = Kubernetes::new(&config);
    let fault = next_list(&mut pods).await.unwrap_err().to_string();
    assert!(fault.starts_with("no access to Kubernetes"), "{fault}");
    config.context = Some("main".into());
    let mut pods = Kubernetes::new(&config);
    assert_eq!(
        format_engines(&next_list(&mut pods).await.unwrap()),
        ["a@10.0.0.1:9076"]
    );
}

/// A fleet with one pool, of the pods of this API server.
async fn start_fleet(fake: &FakeApiServer, dir: &Path) -> fleet::TestFleet {
    let path = dir.join("kubeconfig");
    let server = fake.serve().await.cluster_url.to_string();
    let context = json!({"cluster": "c", "user": "u", "namespace": "engines"});
    let access = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": context}]});
    std::fs::write(&path, access.to_string()).unwrap();
    fleet::start_fleet(&format!(
        "pools: [ {{ name: p, driver: websocket, cluster: c, discovery: {{ kubernetes: {{ selector: qix-engine, port: 1, \
         kubeconfig: {} }} }} }} ]",
        path.display()
    ))
}

/// Such as two pods of a StatefulSet on the network of their host.
#[tokio::test]
async fn of_two_pods_with_one_address_the_one_that_is_ready_is_the_engine() {
    let fake = FakeApiServer::default();
    let mut leaving = pod("a-leaving", "127.0.0.1", true);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put(leaving);
    fake.put(pod("b-ready", "127.0.0.1", true));
    let dir = tempfile::tempdir().unwrap();
    let mut watched = start_fleet(&fake, dir.path()).await;
    watched
        .wait_until(|fleet| !fleet.pools()[0].engines.is_empty())
        .await;
    let fleet = watched.fleet.snapshot();
    let names = fleet.pools()[0].engines.iter();
    let names: Vec<String> = names.map(|engine| engine.name.to_string()).collect();
    assert_eq!(names, ["b-ready"]);
}

/// End to end: from the deletion of a pod to the event for the gateways.
#[tokio::test]
async fn sockets_of_a_terminating_pod_are_closed_and_those_of_an_unready_pod_stay_open() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "127.0.0.1", true));
    fake.put(pod("b", "127.0.0.2", true));
    let dir = tempfile::tempdir().unwrap();
    let mut watched = start_fleet(&fake, dir.path()).await;
    watched
        .wait_until(|fleet| fleet.pools()[0].engines.len() == 2)
        .await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let drains = Drains::start(
        watched.fleet.clone(),
        AccountingRegistry::new(Duration::from_secs(30)),
        Arc::new(InMemoryStore::new(None).unwrap()),
        Arc::new(SystemClock),
        [("p".to_owned(), Duration::from_secs(7))].into(),
        ActiveDrains::default(),
        Box::new(move |event| drop(sender.send(event))),
    );
    let drains = drains.await.unwrap();
    fake.wait_for_watch().await;
    fake.put(pod("b", "127.0.0.2", false));
    let mut leaving = pod("a", "127.0.0.1", true);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put(leaving);
    let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
    let expected = GatewayEvent::EngineDrained {
        pool: "p".to_owned(),
        engine: "a".to_owned(),
        over_ms: 7_000,
    };
    assert_eq!(event, expected);
    assert!(drains.get("p", "a").is_some() && drains.get("p", "b").is_none());
    assert!(events.try_recv().is_err());
}
