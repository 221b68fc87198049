//! What the edge needs to know, computed from the whole configuration: routes, clusters, limits, keys by reference. The
//! same for every target; knows no format.

mod clusters;
mod filter;
mod install;
mod listener;
mod routes;

pub use clusters::{Address, Cluster, Clusters, ExternalClusters};
pub use filter::{FilterSettings, TokenKey, TokenRules};
pub use install::{ControlPlane, Install, MeshService};
pub use listener::{Listener, TlsFiles};
pub use routes::{EdgeRoute, PathKind, Routes, VirtualHost};

use super::capabilities::{self, Capability};
use crate::config::fault::{Fault, Faults};
use crate::config::{Config, Permission};
use crate::http::body::MAX_BODY_BYTES;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Everything that a template of the edge may use.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeModel {
    pub listener: Listener,
    /// Envoy's admin interface.
    pub admin: Address,
    /// Where Envoy finds the filter's configuration.
    pub filter_file: String,
    /// Where Envoy finds the filter's module.
    pub wasm: String,
    pub max_connections: u32,
    pub max_heap_bytes: u64,
    /// Maximum size of the body of a request to the service.
    pub max_body_bytes: usize,
    /// How long a WebSocket may last: as long as the longest session.
    pub max_stream_duration: String,
    pub routes: Routes,
    pub clusters: Clusters,
    pub filter: FilterSettings,
    pub tokens: TokenRules,
    /// The variables of Envoy's environment that the filter reads.
    pub variables: Vec<String>,
    /// Whether engines get requests that are no WebSockets. Then no limit of the listener ends a long request.
    pub plain_http: bool,
    /// How long a connection to an engine is kept without a request.
    pub engine_idle_timeout: String,
    pub capabilities: Vec<Capability>,
}

impl EdgeModel {
    /// Computes the model. `read` reads files with public keys.
    ///
    /// # Errors
    /// Every setting that the edge cannot express.
    pub fn new(
        config: &Config,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let edge = &config.edge;
        let filter = FilterSettings::new(config, &mut faults);
        let tokens = TokenRules::new(config, read, &mut faults);
        let mut routes = config.routes.iter();
        let plain_http = routes.any(|route| route.http == Permission::Allow);
        let model = Self {
            listener: Listener::new(config, &mut faults),
            admin: Address::from(edge.admin),
            filter_file: edge.filter_file.display().to_string(),
            wasm: edge.wasm.display().to_string(),
            max_connections: edge.max_connections,
            max_heap_bytes: u64::from(edge.max_heap_mb) << 20,
            max_body_bytes: MAX_BODY_BYTES,
            max_stream_duration: format_duration(config.session.absolute_timeout),
            routes: Routes::new(config, &mut faults),
            plain_http,
            engine_idle_timeout: format_duration(edge.engine_idle_timeout),
            clusters: Clusters::new(config, &mut faults),
            variables: variables(&filter, &tokens),
            filter,
            tokens,
            capabilities: capabilities::needed(plain_http),
        };
        if faults.is_empty() {
            return Ok(model);
        }
        faults.sort();
        Err(Faults(faults))
    }

    /// Replaces names of clusters, wherever they are.
    fn rename_clusters(&mut self, names: &BTreeMap<String, String>) {
        let clusters = &mut self.clusters;
        let applications = clusters.applications.iter_mut();
        let clusters = applications.chain([&mut clusters.calls, &mut clusters.pages]);
        let clusters = clusters.map(|cluster| &mut cluster.name);
        let routes = &mut self.routes;
        let routes = routes.service.iter_mut().chain(&mut routes.applications);
        let routes = routes.filter_map(|route| route.cluster.as_mut());
        for name in clusters.chain(routes).chain([&mut self.filter.cluster]) {
            if let Some(new) = names.get(name) {
                name.clone_from(new);
            }
        }
    }
}

/// Sorted, each once.
fn variables(filter: &FilterSettings, tokens: &TokenRules) -> Vec<String> {
    let keys = tokens.keys.iter().filter_map(|key| key.secret_env.clone());
    let mut names: Vec<String> = filter.secret_env.iter().cloned().chain(keys).collect();
    names.sort();
    names.dedup();
    names
}

/// A duration in seconds, which Envoy and the filter both accept.
fn format_duration(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}

fn fault(faults: &mut Vec<Fault>, path: impl Into<String>, message: impl Into<String>) {
    faults.push(Fault::new(path, message));
}
