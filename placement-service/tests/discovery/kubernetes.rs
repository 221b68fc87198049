//! Kubernetes discovery against a minimal API server that serves a watch of pods, with its troubles: closed
//! connections, 410 Gone, bookmarks, 403.

use crate::{TIMEOUT, fleet, format_engines, is_quiet, next_list, next_list_after_faults};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use berth_api::GatewayEvent;
use berth_placement::config::KubernetesSource;
use berth_placement::core::clock::SystemClock;
use berth_placement::engines::discovery::kubernetes::Kubernetes;
use berth_placement::engines::drains::Drains;
use berth_scheduler::accounting::AccountingRegistry;
use berth_store::in_memory::InMemoryStore;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Clone, Default)]
struct FakeApiServer(Arc<Mutex<ClusterState>>);

#[derive(Default)]
struct ClusterState {
    pods: BTreeMap<String, Value>,
    version: u64,
    watches: Vec<mpsc::UnboundedSender<String>>,
    forbidden: bool,
    /// A watch from an older version gets 410 Gone.
    oldest: u64,
    list_requests: u32,
    watch_requests: u32,
    paths: Vec<String>,
}

impl FakeApiServer {
    async fn serve(&self) -> kube::Config {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve_pods).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_namespace = "engines".into();
        config
    }

    fn update<T>(&self, change: impl FnOnce(&mut ClusterState) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Adds or changes a pod.
    fn put(&self, mut pod: Value) {
        self.update(|cluster| {
            cluster.version += 1;
            pod["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let kind = match cluster.pods.insert(name, pod.clone()) {
                None => "ADDED",
                Some(_) => "MODIFIED",
            };
            cluster.broadcast(&json!({"type": kind, "object": pod}));
        });
    }

    fn delete(&self, name: &str) {
        self.update(|cluster| {
            cluster.version += 1;
            let mut pod = cluster.pods.remove(name).unwrap();
            pod["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
            cluster.broadcast(&json!({"type": "DELETED", "object": pod}));
        });
    }

    /// Waits until a watch is open. Earlier changes reach no watch.
    async fn wait_for_watch(&self) {
        while self.update(|cluster| cluster.watches.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl ClusterState {
    fn broadcast(&mut self, event: &Value) {
        let line = format!("{event}\n");
        self.watches
            .retain(|watch| watch.send(line.clone()).is_ok());
    }
}

fn status_object(code: u16, reason: &str) -> Value {
    let message = format!("pods is {reason}");
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code})
}

type RequestQuery = Query<HashMap<String, String>>;

async fn serve_pods(
    State(fake): State<FakeApiServer>,
    uri: Uri,
    Query(asked): RequestQuery,
) -> Response {
    fake.update(|cluster| {
        cluster.paths.push(uri.to_string());
        if cluster.forbidden {
            let body = status_object(403, "Forbidden").to_string();
            return (StatusCode::FORBIDDEN, body).into_response();
        }
        if !asked.contains_key("watch") {
            cluster.list_requests += 1;
            let items: Vec<&Value> = cluster.pods.values().collect();
            let version = cluster.version.to_string();
            let list = json!({"kind": "PodList", "apiVersion": "v1",
                "metadata": {"resourceVersion": version}, "items": items});
            return list.to_string().into_response();
        }
        cluster.watch_requests += 1;
        let (sender, receiver) = mpsc::unbounded_channel();
        let from: u64 = asked["resourceVersion"].parse().unwrap();
        if from < cluster.oldest {
            let gone = json!({"type": "ERROR", "object": status_object(410, "Expired")});
            sender.send(format!("{gone}\n")).unwrap();
        } else {
            for pod in cluster.pods.values() {
                let version = pod["metadata"]["resourceVersion"].as_str().unwrap();
                if version.parse::<u64>().unwrap() > from {
                    let event = json!({"type": "MODIFIED", "object": pod});
                    sender.send(format!("{event}\n")).unwrap();
                }
            }
            cluster.watches.push(sender);
        }
        let lines = futures_util::stream::unfold(receiver, |mut receiver| async {
            let line = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(line), receiver))
        });
        Body::from_stream(lines).into_response()
    })
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "engines", "uid": format!("uid-{name}"),
            "labels": {"qix-engine": ""}},
        "spec": {"containers": [{"name": "engine", "image": "engine:12"}]},
        "status": {"phase": "Running", "podIP": ip,
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]}
    })
}

fn kubernetes_source() -> KubernetesSource {
    KubernetesSource {
        selector: "qix-engine".into(),
        namespace: None,
        all_namespaces: false,
        port: 9076,
        metrics_port: Some(9090),
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
        cluster.pods.remove("a");
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

/// End to end: from the deletion of a pod to the event for the gateways.
#[tokio::test]
async fn sockets_of_a_terminating_pod_are_closed_and_those_of_an_unready_pod_stay_open() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "127.0.0.1", true));
    fake.put(pod("b", "127.0.0.2", true));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let server = fake.serve().await.cluster_url.to_string();
    let context = json!({"cluster": "c", "user": "u", "namespace": "engines"});
    let access = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": context}]});
    std::fs::write(&path, access.to_string()).unwrap();
    let mut watched = fleet::start_fleet(&format!(
        "pools: [ {{ name: p, driver: websocket, cluster: c, discovery: {{ kubernetes: {{ selector: qix-engine, port: 1, \
         kubeconfig: {} }} }} }} ]",
        path.display()
    ));
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
