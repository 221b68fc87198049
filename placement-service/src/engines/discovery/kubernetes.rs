//! Engines in Kubernetes: pods, selected by label and watched. A terminating pod is drained, and a pod that is not
//! ready gets no new sessions. A pod that has no address or does not run is not an engine. After a fault the pods are
//! listed again; the watcher of kube recovers by itself from a closed connection and from 410 Gone.

use super::labels::{Ports, SkippedEngines};
use super::{DesiredState, DiscoveredEngine, Discovery, DiscoveryFault, MAX_ENGINES};
use crate::config::KubernetesSource;
use crate::core::http_client;
use async_trait::async_trait;
use berth_scheduler::engine::EngineName;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit to connect, and of each step of the initial list.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Read timeout of the connection. It is longer than a watch, which ends after 290 s.
const READ_TIMEOUT: Duration = Duration::from_secs(320);

/// The discovery by the pods of a cluster.
pub struct Kubernetes {
    config: KubernetesSource,
    /// The API server, if given. Otherwise from the kubeconfig, as `kubectl` does, or from the pod's service account.
    cluster: Option<kube::Config>,
    events: Option<BoxStream<'static, watcher::Result<Event<Pod>>>>,
    /// At most [`MAX_ENGINES`]. Further pods are skipped until the pods are listed again.
    pods: BTreeMap<String, PodEntry>,
    /// The list while it is being read.
    listing: Option<BTreeMap<String, PodEntry>>,
    skipped: SkippedEngines,
}

/// The result of reading a pod.
#[derive(Clone, Debug, PartialEq)]
enum PodEntry {
    Engine(DiscoveredEngine),
    /// Why the pod is not usable as an engine.
    Skipped(String),
}

impl Kubernetes {
    /// The discovery for the configured pods.
    #[must_use]
    pub fn new(config: &KubernetesSource) -> Self {
        Self {
            config: config.clone(),
            cluster: None,
            events: None,
            pods: BTreeMap::new(),
            listing: None,
            skipped: SkippedEngines::default(),
        }
    }

    /// The discovery for the configured pods of a given cluster.
    #[must_use]
    pub fn with_cluster(cluster: kube::Config, config: &KubernetesSource) -> Self {
        Self {
            cluster: Some(cluster),
            ..Self::new(config)
        }
    }

    async fn connect(&mut self) -> Result<(), DiscoveryFault> {
        let fault = |e: &dyn std::error::Error| {
            DiscoveryFault::new(format!(
                "no access to Kubernetes: {}",
                http_client::error_chain(e)
            ))
        };
        let mut proxies = Vec::new();
        let mut cluster = match (&self.cluster, &self.config.kubeconfig) {
            (Some(cluster), _) => cluster.clone(),
            (None, Some(path)) => {
                let file = Kubeconfig::read_from(path).map_err(|e| fault(&e))?;
                proxies = proxy_urls(&file);
                let options = KubeConfigOptions {
                    context: self.config.context.clone(),
                    ..KubeConfigOptions::default()
                };
                let cluster = kube::Config::from_custom_kubeconfig(file, &options).await;
                cluster.map_err(|e| fault(&e))?
            }
            (None, None) => {
                proxies = Kubeconfig::read().map_or_else(|_| Vec::new(), |file| proxy_urls(&file));
                kube::Config::infer().await.map_err(|e| fault(&e))?
            }
        };
        // Like every client of the service, this one ignores the proxy of the environment, which kube takes over.
        let proxy = cluster.proxy_url.take();
        if proxy.is_some_and(|url| proxies.iter().any(|proxy| url == **proxy)) {
            // Not with its URL, which may contain a password.
            let message = "no access to Kubernetes: proxy-url of the kubeconfig is not supported";
            return Err(DiscoveryFault::new(message));
        }
        cluster.connect_timeout = Some(RESPONSE_TIMEOUT);
        cluster.read_timeout = Some(READ_TIMEOUT);
        http_client::install_tls_provider();
        let client = Client::try_from(cluster).map_err(|e| fault(&e))?;
        let pods: Api<Pod> = match &self.config.namespace {
            _ if self.config.all_namespaces => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        };
        let watcher_config = watcher::Config::default().labels(&self.config.selector);
        self.events = Some(watcher::watcher(pods, watcher_config).boxed());
        self.listing = Some(BTreeMap::new());
        Ok(())
    }

    async fn next_event(&mut self) -> Result<Event<Pod>, DiscoveryFault> {
        let listing = self.listing.is_some();
        let Some(events) = &mut self.events else {
            return Err(DiscoveryFault::new("no watch"));
        };
        let event = if listing {
            let timeout_message = "the Kubernetes API does not answer";
            let event = timeout(RESPONSE_TIMEOUT, events.next()).await;
            event.map_err(|_| DiscoveryFault::new(timeout_message))?
        } else {
            events.next().await
        };
        match event {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(DiscoveryFault::new(http_client::error_chain(&e))),
            None => Err(DiscoveryFault::new("the watch has ended")),
        }
    }

    /// Applies an event. Returns true when the list is complete and may have changed.
    fn apply(&mut self, event: Event<Pod>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                false
            }
            Event::InitApply(pod) => {
                let entry = parse_pod(&pod, &self.config);
                if let (Some(listing), Some(entry)) = (&mut self.listing, entry)
                    && listing.len() < MAX_ENGINES
                {
                    listing.insert(pod_key(&pod), entry);
                }
                false
            }
            Event::InitDone => {
                self.pods = self.listing.take().unwrap_or_default();
                true
            }
            Event::Apply(pod) => {
                let (key, now) = (pod_key(&pod), parse_pod(&pod, &self.config));
                if self.pods.get(&key) == now.as_ref() {
                    return false;
                }
                match now {
                    Some(_) if self.pods.len() >= MAX_ENGINES && !self.pods.contains_key(&key) => {
                        return false;
                    }
                    Some(entry) => drop(self.pods.insert(key, entry)),
                    None => drop(self.pods.remove(&key)),
                }
                true
            }
            Event::Delete(pod) => self.pods.remove(&pod_key(&pod)).is_some(),
        }
    }

    /// The engines of a complete list. Logs the pods that are not usable.
    fn engines(&mut self) -> Vec<DiscoveredEngine> {
        let (mut engines, mut skipped) = (Vec::new(), Vec::new());
        for entry in self.pods.values() {
            match entry {
                PodEntry::Engine(engine) => engines.push(engine.clone()),
                PodEntry::Skipped(why) => skipped.push(why.clone()),
            }
        }
        self.skipped.update(skipped);
        engines
    }
}

/// The proxies that a kubeconfig itself names.
fn proxy_urls(file: &Kubeconfig) -> Vec<String> {
    let clusters = file
        .clusters
        .iter()
        .filter_map(|named| named.cluster.as_ref());
    clusters
        .filter_map(|cluster| cluster.proxy_url.clone())
        .collect()
}

/// The key of a pod: its UID, because a pod that is created again with the same name is another pod.
fn pod_key(pod: &Pod) -> String {
    let meta = &pod.metadata;
    meta.uid.clone().unwrap_or_else(|| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", text(&meta.namespace), text(&meta.name))
    })
}

fn parse_pod(pod: &Pod, config: &KubernetesSource) -> Option<PodEntry> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() != Some("Running") {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let meta = &pod.metadata;
    let name = meta.name.clone()?;
    let name = match &meta.namespace {
        Some(namespace) if config.all_namespaces => format!("{namespace}.{name}"),
        _ => name,
    };
    let ports = Ports {
        api: config.port,
        metrics: config.metrics_port,
    };
    let mark = |key: &str| {
        let value_of = |map: &'_ Option<BTreeMap<String, String>>| map.as_ref()?.get(key).cloned();
        value_of(&meta.labels).or_else(|| value_of(&meta.annotations))
    };
    let endpoint = match ports.endpoint(ip, mark) {
        Ok(endpoint) => endpoint,
        Err(reason) => return Some(PodEntry::Skipped(format!("{name}: {reason}"))),
    };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let mut conditions = conditions.iter();
    let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let desired_state = if meta.deletion_timestamp.is_some() {
        DesiredState::Draining
    } else if is_ready {
        DesiredState::Active
    } else {
        DesiredState::Cordoned
    };
    Some(PodEntry::Engine(DiscoveredEngine {
        name: EngineName::from(name.as_str()),
        endpoint,
        desired_state,
    }))
}

#[async_trait]
impl Discovery for Kubernetes {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        if self.events.is_none() {
            self.connect().await?;
        }
        loop {
            match self.next_event().await {
                Ok(event) => {
                    if self.apply(event) {
                        return Ok(self.engines());
                    }
                }
                Err(fault) => {
                    self.events = None;
                    self.listing = None;
                    return Err(fault);
                }
            }
        }
    }
}
