//! Loads the configuration: parses strictly, applies the defaults, checks, and reports every fault at once with
//! its path. Reads no secret: `app::secrets` does.

use super::fault::{Fault, Faults};
use super::tree::{self, PathStep};
use super::{Config, check};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// Every setting with its default and a comment.
pub const DEFAULT: &str = include_str!("../../config/default.yaml");

/// One complete and valid item of each list and each optional section. It replaces the invalid parts of a file,
/// so that its other parts can be checked too.
const FALLBACK: &str = "
pools:
  - name: berth-model
    driver: websocket
    cluster: c
    strategy: least-load
    capacity: { per_engine: 1, per_pool: 1, memory_floor_mb: 1 }
    queue: { max_length: 1, timeout: 1s }
    slow_start: 1s
    sharing: per-connection
    engine_session_ttl: 1s
    discovery: { static: [ { name: berth-model, ip: 127.0.0.1, port: 1, metrics_port: 2 } ] }
oidc:
  - name: berth-model
    issuer: https://berth-model.example
    client_id: berth
    roles: { default: [user] }
routes:
  - { path: /berth-model, pool: berth-model, open: nothing }
tokens:
  previous: [ { algorithm: HS256, key: { env: BERTH_MODEL } } ]
  next: [ { algorithm: HS256, key: { env: BERTH_MODEL } } ]
compat: { session_service: { keys: [ { algorithm: HS256, key: { env: BERTH_MODEL } } ] } }
api: { clients: [ { name: berth-model, secret: { env: BERTH_MODEL }, role: runtime } ] }
edge:
  tls: { certificate: m, key: m }
  service: [ 'berth-model:1' ]
  gateway_secret_env: BERTH_MODEL
  token_keys: [ { secret_env: BERTH_MODEL, kid: m } ]
  applications:
    - { name: berth-model, addresses: [ 'berth-model:1' ], routes: [ { path: /berth-model, action: bypass, timeout: 1s } ] }
webhooks: [ { name: berth-model, url: https://example.com/, secret: { env: BERTH_MODEL } } ]
security_events:
  audience: berth-model
  transmitters: [ { name: berth-model, issuer: m, jwks: { file: m }, provider: null, account_by: sub } ]
";

/// The defaults, and the defaults overlaid with the fallback.
static DEFAULTS_AND_FALLBACK: LazyLock<Result<(Value, Value), String>> = LazyLock::new(|| {
    let defaults = parse(DEFAULT)?;
    let mut model = defaults.clone();
    tree::overlay(&mut model, parse(FALLBACK)?, "");
    Ok((defaults, model))
});

/// Maximum number of type errors reported at once.
const MAX_FAULTS: usize = 100;

/// A valid configuration, and its warnings for the operator.
#[derive(Debug)]
pub struct LoadedConfig {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Loads a file over the defaults.
pub fn from_file(path: &Path) -> Result<LoadedConfig, Faults> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Faults(vec![Fault::new("", format!("cannot read the file: {e}"))]))?;
    from_text(&text)
}

/// Loads a YAML text over the defaults. An empty text gives the defaults.
pub fn from_text(text: &str) -> Result<LoadedConfig, Faults> {
    let fault = |message: String| Faults(vec![Fault::new("", message)]);
    let (defaults, model) = DEFAULTS_AND_FALLBACK
        .as_ref()
        .map_err(|m| fault(m.clone()))?;
    let mut tree = defaults.clone();
    match parse(text).map_err(fault)? {
        Value::Null => {}
        Value::Object(over) => tree::overlay(&mut tree, Value::Object(over), ""),
        _ => return Err(fault("expected a map of settings".to_owned())),
    }
    let (config, mut faults) = deserialize_all(tree, model);
    let mut warnings = Vec::new();
    if let Some(config) = &config {
        let of_type: Vec<String> = faults.iter().map(|f| f.path.clone()).collect();
        let (found, told) = check::check_all(config);
        // A repaired section holds the fallback's values: faults in it are not the operator's.
        let mended = |path: &str| of_type.iter().any(|bad| path.starts_with(bad.as_str()));
        faults.extend(found.into_iter().filter(|fault| !mended(&fault.path)));
        warnings = told;
    }
    faults.sort();
    match config {
        Some(config) if faults.is_empty() => Ok(LoadedConfig { config, warnings }),
        _ => Err(Faults(faults)),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text
        .lines()
        .all(|l| l.trim().is_empty() || l.trim().starts_with('#'))
    {
        return Ok(Value::Null);
    }
    // Without snippets of the text in errors: it may contain a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

/// Deserializes the tree. At each type error it repairs the value from the fallback and tries again, so that
/// all errors are found.
fn deserialize_all(mut tree: Value, model: &Value) -> (Option<Config>, Vec<Fault>) {
    let mut faults = Vec::new();
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, Config>(&tree) {
            Ok(config) => return (Some(config), faults),
            Err(error) => error,
        };
        let mut place = tree::path_steps(error.path());
        let message = error.inner().to_string();
        if let Some(field) = quoted_field(&message, "unknown field `") {
            if place.last() == Some(&PathStep::Field(field.clone())) {
                place.pop();
            }
            let removed = tree::remove(&mut tree, &place, &field);
            place.push(PathStep::Field(field));
            faults.push(Fault::new(
                tree::format_path(&place),
                operator_message(&place, &message),
            ));
            if !removed {
                return (None, faults);
            }
            continue;
        }
        if let Some(field) = quoted_field(&message, "missing field `") {
            place.push(PathStep::Field(field));
        }
        faults.push(Fault::new(
            tree::format_path(&place),
            operator_message(&place, &message),
        ));
        if !tree::repair(&mut tree, model, &place) {
            return (None, faults);
        }
    }
    (None, faults)
}

fn quoted_field(message: &str, before: &str) -> Option<String> {
    let rest = message.strip_prefix(before)?;
    rest.split('`').next().map(str::to_owned)
}

/// The message of a type error for an operator. Never contains a secret.
fn operator_message(place: &[PathStep], message: &str) -> String {
    let secret = |step: &PathStep| matches!(step, PathStep::Field(name) if ["secret", "key", "client_secret"].contains(&name.as_str()));
    let edge = place.first() == Some(&PathStep::Field("edge".to_owned()));
    if !edge && place.iter().any(secret) {
        return "expected {env: NAME}, {file: PATH} or {inline: TEXT}".to_owned();
    }
    if message.starts_with("missing field") {
        return "is missing".to_owned();
    }
    match message.strip_prefix("unknown field `") {
        Some(rest) => match rest.split_once("`, expected ") {
            Some((_, known)) => format!("unknown field; known here: {}", known_fields(known)),
            None => "unknown field".to_owned(),
        },
        None => message.to_owned(),
    }
}

fn known_fields(expected: &str) -> String {
    let list = expected.trim_start_matches("one of ").replace('`', "");
    list.replace(" or ", ", ")
}

#[cfg(test)]
mod tests;
