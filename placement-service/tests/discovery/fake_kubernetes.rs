//! A minimal Kubernetes API server that lists and watches pods or EndpointSlices, with its troubles: closed connections, 410 Gone,
//! bookmarks, 403.

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Clone, Default)]
pub(crate) struct FakeApiServer(Arc<Mutex<ClusterState>>);

#[derive(Default)]
pub(crate) struct ClusterState {
    /// By name. The tests use one kind at a time.
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) version: u64,
    pub(crate) watches: Vec<mpsc::UnboundedSender<String>>,
    pub(crate) forbidden: bool,
    /// A watch from an older version gets 410 Gone.
    pub(crate) oldest: u64,
    pub(crate) list_requests: u32,
    pub(crate) watch_requests: u32,
    pub(crate) paths: Vec<String>,
}

impl FakeApiServer {
    pub(crate) async fn serve(&self) -> kube::Config {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(serve_objects)
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_namespace = "engines".into();
        config
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut ClusterState) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Adds or changes an object.
    pub(crate) fn put(&self, mut object: Value) {
        self.update(|cluster| {
            cluster.version += 1;
            object["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let kind = match cluster.objects.insert(name, object.clone()) {
                None => "ADDED",
                Some(_) => "MODIFIED",
            };
            cluster.broadcast(&json!({"type": kind, "object": object}));
        });
    }

    pub(crate) fn delete(&self, name: &str) {
        self.update(|cluster| {
            cluster.version += 1;
            let mut object = cluster.objects.remove(name).unwrap();
            object["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
            cluster.broadcast(&json!({"type": "DELETED", "object": object}));
        });
    }

    /// Waits until a watch is open. Earlier changes reach no watch.
    pub(crate) async fn wait_for_watch(&self) {
        while self.update(|cluster| cluster.watches.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl ClusterState {
    pub(crate) fn broadcast(&mut self, event: &Value) {
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

async fn serve_objects(
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
            let items: Vec<&Value> = cluster.objects.values().collect();
            let version = cluster.version.to_string();
            let first = items.first();
            let list = json!({"kind": "List", "apiVersion": first.map(|object| &object["apiVersion"]),
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
            for object in cluster.objects.values() {
                let version = object["metadata"]["resourceVersion"].as_str().unwrap();
                if version.parse::<u64>().unwrap() > from {
                    let event = json!({"type": "MODIFIED", "object": object});
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

pub(crate) fn pod(name: &str, ip: &str, ready: bool) -> Value {
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

/// A slice of the Service `engine` with endpoints, and with the ports `api` (9076) and `metrics` (9090).
pub(crate) fn slice(name: &str, address_type: &str, endpoints: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "engines", "uid": format!("uid-{name}"),
            "labels": {"kubernetes.io/service-name": "engine"}},
        "addressType": address_type, "endpoints": endpoints,
        "ports": [{"name": "api", "port": 9076, "protocol": "TCP"}, {"name": "metrics", "port": 9090}]
    })
}

/// An endpoint of a pod, with the conditions `ready`, `serving` and `terminating`.
pub(crate) fn endpoint(pod: &str, ip: &str, [ready, serving, terminating]: [bool; 3]) -> Value {
    json!({"addresses": [ip], "targetRef": {"kind": "Pod", "name": pod, "namespace": "engines"},
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}
