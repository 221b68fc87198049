//! Writes the files of the edge (Envoy and the filter) from the configuration. `model` decides what the edge needs, the
//! templates how a target expresses it. A pure function of the configuration: writes no file and knows no secret.

mod capabilities;
pub mod difference;
mod error;
mod layout;
pub mod model;
mod scalar;
mod templates;

pub use error::RenderError;

use crate::config::Config;
use model::{ControlPlane, EdgeModel, Install};
use std::io;
use std::path::Path;

/// For what files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Envoy's configuration, and the filter's, which it refers to
    Envoy,
    /// The filter's configuration alone
    Filter,
    /// Manifests for Istio: base, four ways to deliver the filter, values of Istio's chart `gateway`
    Istio,
    /// Manifests for Envoy Gateway
    EnvoyGateway,
    /// Values of Berth's Helm chart: the configuration, and the files of Envoy
    Kubernetes,
}

impl Target {
    /// Its files, and the template of each.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Envoy => &[
                ("config.yaml", "config.yaml"),
                ("filter.yaml", "filter.yaml"),
            ],
            Self::Filter => &[("filter.yaml", "filter.yaml")],
            Self::Istio => &[
                ("base/bootstrap.yaml", "istio/base/bootstrap.yaml"),
                ("base/edge.yaml", "istio/base/edge.yaml"),
                ("base/gateway.yaml", "istio/base/gateway.yaml"),
                ("base/kustomization.yaml", "istio/base/kustomization.yaml"),
                ("base/service.yaml", "istio/base/service.yaml"),
                ("envoyfilter/filter.yaml", "istio/envoyfilter/filter.yaml"),
                (
                    "envoyfilter/kustomization.yaml",
                    "istio/envoyfilter/kustomization.yaml",
                ),
                ("gateway-api/gateway.yaml", "istio/gateway-api/gateway.yaml"),
                (
                    "gateway-api/kustomization.yaml",
                    "istio/gateway-api/kustomization.yaml",
                ),
                ("gateway-values.yaml", "istio/gateway-values.yaml"),
                (
                    "gateway-values-image-volume.yaml",
                    "istio/gateway-values-image-volume.yaml",
                ),
                (
                    "gateway-values-init-container.yaml",
                    "istio/gateway-values-init-container.yaml",
                ),
                ("service-values.yaml", "istio/service-values.yaml"),
                (
                    "traffic-extension/filter.yaml",
                    "istio/traffic-extension/filter.yaml",
                ),
                (
                    "traffic-extension/kustomization.yaml",
                    "istio/traffic-extension/kustomization.yaml",
                ),
                ("wasm-plugin/filter.yaml", "istio/wasm-plugin/filter.yaml"),
                (
                    "wasm-plugin/kustomization.yaml",
                    "istio/wasm-plugin/kustomization.yaml",
                ),
            ],
            Self::EnvoyGateway => &[
                ("edge.yaml", "envoy-gateway/edge.yaml"),
                ("filter.yaml", "filter.yaml"),
                ("gateway.yaml", "envoy-gateway/gateway.yaml"),
                ("kustomization.yaml", "envoy-gateway/kustomization.yaml"),
                ("service-values.yaml", "envoy-gateway/service-values.yaml"),
            ],
            Self::Kubernetes => &[("values.yaml", "kubernetes/values.yaml")],
        }
    }

    /// The control plane that delivers the files.
    const fn control_plane(self) -> Option<ControlPlane> {
        match self {
            Self::Envoy | Self::Filter | Self::Kubernetes => None,
            Self::Istio => Some(ControlPlane::Istio),
            Self::EnvoyGateway => Some(ControlPlane::EnvoyGateway),
        }
    }
}

/// A file of the edge. The name is relative to the folder of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    pub name: &'static str,
    pub text: String,
}

/// The file of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// For the head of each file.
    pub name: &'a str,
    pub text: &'a str,
}

/// Writes the files of a target. `read` reads the public keys that the configuration refers to.
///
/// # Errors
/// Every setting that the edge cannot express.
pub fn render(
    target: Target,
    config: &Config,
    source: Source<'_>,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Vec<RenderedFile>, RenderError> {
    let mut model = EdgeModel::new(config, read)?;
    let plane = target.control_plane();
    let install = plane.map(|plane| Install::new(plane, config, &mut model));
    let install = install.transpose()?;
    let environment = templates::environment()?;
    let files = target.files().iter();
    files
        .map(|(name, template)| {
            let text = templates::render(&environment, template, &model, install.as_ref(), source)?;
            Ok(RenderedFile { name, text })
        })
        .collect()
}

#[cfg(test)]
mod tests;
