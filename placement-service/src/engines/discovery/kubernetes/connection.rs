//! The connection to the API server of a cluster: where it is, with which credentials, and in which namespace. Does not
//! know what is read there.

use super::super::DiscoveryFault;
use crate::config::KubernetesSource;
use crate::core::http_client;
use k8s_openapi::NamespaceResourceScope;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use std::path::PathBuf;
use std::time::Duration;

/// Time limit to connect, and of each step of the initial list.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Read timeout of the connection. It is longer than a watch, which ends after 290 s.
const READ_TIMEOUT: Duration = Duration::from_secs(320);

/// Access to the objects of the configured namespaces.
pub(super) struct Connection {
    /// The API server, if given. Otherwise from the kubeconfig, as `kubectl` does, or from the pod's service account.
    cluster: Option<kube::Config>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    /// The default namespace when absent.
    namespace: Option<String>,
    all_namespaces: bool,
}

impl Connection {
    pub(super) fn new(cluster: Option<kube::Config>, config: &KubernetesSource) -> Self {
        Self {
            cluster,
            kubeconfig: config.kubeconfig.clone(),
            context: config.context.clone(),
            namespace: config.namespace.clone(),
            all_namespaces: config.all_namespaces,
        }
    }

    /// The objects of one kind. Reads the credentials again.
    ///
    /// # Errors
    /// When there is no cluster, or its credentials cannot be read.
    pub(super) async fn objects<K>(&self) -> Result<Api<K>, DiscoveryFault>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let client = self.client().await?;
        Ok(match &self.namespace {
            _ if self.all_namespaces => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        })
    }

    async fn client(&self) -> Result<Client, DiscoveryFault> {
        let fault = |e: &dyn std::error::Error| {
            DiscoveryFault::new(format!(
                "no access to Kubernetes: {}",
                http_client::error_chain(e)
            ))
        };
        let mut proxies = Vec::new();
        let mut cluster = match (&self.cluster, &self.kubeconfig) {
            (Some(cluster), _) => cluster.clone(),
            (None, Some(path)) => {
                let file = Kubeconfig::read_from(path).map_err(|e| fault(&e))?;
                proxies = proxy_urls(&file);
                let options = KubeConfigOptions {
                    context: self.context.clone(),
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
        Client::try_from(cluster).map_err(|e| fault(&e))
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
