//! The templates of the files, embedded in the program, and how they are filled. Every value is written by `scalar`;
//! only comments, which are texts of Berth itself, are written as they are.

use super::error::RenderError;
use super::model::{EdgeModel, Install};
use super::{Source, layout, scalar};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name, ".j2")))),+]
    };
}

/// The name of each template and its text. `parts` are included by others: what several targets have in common.
const TEMPLATES: &[(&str, &str)] = templates![
    "config.yaml",
    "filter.yaml",
    "parts/access_log.yaml",
    "parts/application_cluster.yaml",
    "parts/buffer.yaml",
    "parts/calls_cluster.yaml",
    "parts/capabilities.yaml",
    "parts/client_address.yaml",
    "parts/engine_headers.yaml",
    "parts/engine_limits.yaml",
    "parts/engines_cluster.yaml",
    "parts/hsts.yaml",
    "parts/limits.yaml",
    "parts/load_assignment.yaml",
    "parts/local_replies.yaml",
    "parts/overload_manager.yaml",
    "parts/pages_cluster.yaml",
    "parts/routes.yaml",
    "parts/settings.yaml",
    "parts/single_engine_cluster.yaml",
    "parts/statistics.yaml",
    "parts/trusted_headers.yaml",
    "parts/upstream_tls.yaml",
    "parts/watchdogs.yaml",
    "istio/base/bootstrap.yaml",
    "istio/base/edge.yaml",
    "istio/base/gateway.yaml",
    "istio/base/kustomization.yaml",
    "istio/base/service.yaml",
    "istio/envoyfilter/filter.yaml",
    "istio/envoyfilter/kustomization.yaml",
    "istio/gateway-api/gateway.yaml",
    "istio/gateway-api/kustomization.yaml",
    "istio/gateway-values.yaml",
    "istio/gateway-values-image-volume.yaml",
    "istio/gateway-values-init-container.yaml",
    "istio/service-values.yaml",
    "istio/traffic-extension/filter.yaml",
    "istio/traffic-extension/kustomization.yaml",
    "istio/wasm-plugin/filter.yaml",
    "istio/wasm-plugin/kustomization.yaml",
    "envoy-gateway/edge.yaml",
    "envoy-gateway/gateway.yaml",
    "envoy-gateway/kustomization.yaml",
    "envoy-gateway/service-values.yaml",
    "kubernetes/values.yaml",
];

/// Fills the template `name` of an [`environment`]. `install` has the names of a Kubernetes install.
pub(super) fn render(
    environment: &Environment<'_>,
    name: &str,
    model: &EdgeModel,
    install: Option<&Install>,
    source: Source<'_>,
) -> Result<String, RenderError> {
    let fill = |version: &str| {
        let edge = Value::from(Serde(model));
        let guarded = install.is_some();
        let install = Value::from(Serde(install));
        environment
            .get_template(name)?
            .render(context! { edge, install, guarded, source => source.name, config => source.text, version })
    };
    // A new version for each new content: Envoy takes over a changed file.
    let version = fill("").map(|text| format!("{:x}", Sha256::digest(text)));
    version
        .and_then(|version| fill(version.get(..12).unwrap_or_default()))
        .map_err(|source| template_error(name, source))
}

fn template_error(name: &str, source: Error) -> RenderError {
    RenderError::Template {
        name: name.to_owned(),
        source,
    }
}

/// All templates, parsed.
pub(super) fn environment() -> Result<Environment<'static>, RenderError> {
    let mut environment = empty_environment().map_err(|e| template_error("every file", e))?;
    for (name, text) in TEMPLATES {
        let added = environment.add_template(name, text);
        added.map_err(|error| template_error(name, error))?;
    }
    Ok(environment)
}

fn empty_environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("yaml".into()));
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) if value.is_safe() => out.write_str(text).map_err(Error::from),
        _ => scalar::write(out, value).map_err(Error::from),
    });
    environment.add_filter("comment", comment);
    environment.add_filter("indented", layout::indented);
    environment.add_filter("listed", layout::listed);
    environment.add_filter("fields", layout::fields);
    environment.add_filter("block", layout::block);
    Ok(environment)
}

/// A text of Berth itself, for a comment.
fn comment(text: &str) -> Result<Value, Error> {
    if text.chars().any(char::is_control) {
        let message = "a comment has one line";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(Value::from_safe_string(text.to_owned()))
}
