//! Reads the configuration: parse strictly, default, cross-check; every fault at once, with its path.
//! Reads no secret: see `app::secrets`.

use super::fault::{Fault, Faults};
use super::tree::{self, Step};
use super::{Config, check};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// Every setting with its default, commented.
pub const DEFAULT: &str = include_str!("../../config/default.yaml");

/// One of each thing that there may be several of, whole and right: what stands in for the wrong parts of a file so that its
/// other parts can be looked at too.
const MODEL: &str = "
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
webhooks: [ { name: berth-model, url: https://example.com/, secret: { env: BERTH_MODEL } } ]
security_events:
  audience: berth-model
  transmitters: [ { name: berth-model, issuer: m, jwks: { file: m }, provider: null, account_by: sub } ]
";

/// The defaults, and the defaults with the model laid on them.
static BUILT_IN: LazyLock<Result<(Value, Value), String>> = LazyLock::new(|| {
    let defaults = parse(DEFAULT)?;
    let mut model = defaults.clone();
    tree::overlay(&mut model, parse(MODEL)?, "");
    Ok((defaults, model))
});

/// More faults than anybody wants to read at once.
const MAX_FAULTS: usize = 100;

/// A configuration that can be used, and what an operator should know about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Reads a file and lays it on the defaults.
pub fn from_file(path: &Path) -> Result<Loaded, Faults> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Faults(vec![Fault::new("", format!("cannot read the file: {e}"))]))?;
    from_text(&text)
}

/// Lays a YAML text on the defaults. The empty text is the defaults.
pub fn from_text(text: &str) -> Result<Loaded, Faults> {
    let fault = |message: String| Faults(vec![Fault::new("", message)]);
    let (defaults, model) = BUILT_IN.as_ref().map_err(|m| fault(m.clone()))?;
    let mut tree = defaults.clone();
    match parse(text).map_err(fault)? {
        Value::Null => {}
        Value::Object(over) => tree::overlay(&mut tree, Value::Object(over), ""),
        _ => return Err(fault("expected a map of settings".to_owned())),
    }
    let (config, mut faults) = typed(tree, model);
    let mut warnings = Vec::new();
    if let Some(config) = &config {
        let of_type: Vec<String> = faults.iter().map(|f| f.path.clone()).collect();
        let (found, told) = check::all(config);
        // What is checked in a mended place is the model's, not the operator's.
        let mended = |path: &str| of_type.iter().any(|bad| path.starts_with(bad.as_str()));
        faults.extend(found.into_iter().filter(|fault| !mended(&fault.path)));
        warnings = told;
    }
    faults.sort();
    match config {
        Some(config) if faults.is_empty() => Ok(Loaded { config, warnings }),
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
    // No snippet of the text: it may hold a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

/// Gives the tree its type. At each fault it mends the place from the model and tries again, so that
/// all of them are found.
fn typed(mut tree: Value, model: &Value) -> (Option<Config>, Vec<Fault>) {
    let mut faults = Vec::new();
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, Config>(&tree) {
            Ok(config) => return (Some(config), faults),
            Err(error) => error,
        };
        let mut place = tree::steps(error.path());
        let message = error.inner().to_string();
        if let Some(field) = quoted(&message, "unknown field `") {
            if place.last() == Some(&Step::Field(field.clone())) {
                place.pop();
            }
            let removed = tree::remove(&mut tree, &place, &field);
            place.push(Step::Field(field));
            faults.push(Fault::new(tree::text(&place), words(&place, &message)));
            if !removed {
                return (None, faults);
            }
            continue;
        }
        if let Some(field) = quoted(&message, "missing field `") {
            place.push(Step::Field(field));
        }
        faults.push(Fault::new(tree::text(&place), words(&place, &message)));
        if !tree::mend(&mut tree, model, &place) {
            return (None, faults);
        }
    }
    (None, faults)
}

fn quoted(message: &str, before: &str) -> Option<String> {
    let rest = message.strip_prefix(before)?;
    rest.split('`').next().map(str::to_owned)
}

/// The message of a type error in words for an operator, and without any secret in it.
fn words(place: &[Step], message: &str) -> String {
    let secret = |step: &Step| matches!(step, Step::Field(name) if ["secret", "key", "client_secret"].contains(&name.as_str()));
    if place.iter().any(secret) {
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
