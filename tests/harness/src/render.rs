//! Adapts the repository's configuration files to a run: other ports, other file names, the changes of a test. It
//! works on the parsed tree, so the tests use the shipped files themselves.

use crate::Result;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Ports and texts to replace.
#[derive(Clone, Debug, Default)]
pub struct Replacements {
    ports: BTreeMap<u64, u16>,
    texts: BTreeMap<String, String>,
}

impl Replacements {
    /// Replaces the `port_value` `from` by `to`.
    #[must_use]
    pub fn port(mut self, from: u16, to: u16) -> Self {
        self.ports.insert(from.into(), to);
        self
    }

    /// Replaces every text that equals `from` by `to`.
    #[must_use]
    pub fn text(mut self, from: &str, to: &Path) -> Self {
        self.texts.insert(from.into(), to.display().to_string());
        self
    }

    /// Applies the replacements to the whole tree.
    pub fn apply(&self, tree: &mut Value) {
        match tree {
            Value::Object(fields) => {
                let port = fields.get("port_value").and_then(Value::as_u64);
                if let Some(port) = port.and_then(|port| self.ports.get(&port)) {
                    fields.insert("port_value".into(), (*port).into());
                }
                fields.values_mut().for_each(|field| self.apply(field));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::String(text) => {
                if let Some(other) = self.texts.get(text) {
                    text.clone_from(other);
                }
            }
            _ => {}
        }
    }
}

/// Reads a YAML file.
///
/// # Errors
/// When it is not there or not YAML.
pub fn read_yaml(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Writes a tree as JSON, which is valid YAML.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, tree: &Value) -> Result<()> {
    Ok(fs::write(path, serde_json::to_vec_pretty(tree)?)?)
}

/// Applies a JSON merge patch (RFC 7386): objects are merged, `null` removes, any other value replaces.
pub fn merge(tree: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *tree = patch.clone();
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(fields) = tree {
        for (name, change) in changes {
            if change.is_null() {
                fields.remove(name);
            } else {
                merge(fields.entry(name).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_and_texts_are_replaced_everywhere() {
        let mut tree = json!({"a": [{"port_value": 8080}, {"port_value": 1}], "file": "x.yaml"});
        Replacements::default()
            .port(8080, 0)
            .text("x.yaml", Path::new("/t/x.json"))
            .apply(&mut tree);
        let expected = json!({"a": [{"port_value": 0}, {"port_value": 1}], "file": "/t/x.json"});
        assert_eq!(tree, expected);
    }

    #[test]
    fn a_patch_merges_objects_and_replaces_the_rest() {
        let mut tree = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        merge(
            &mut tree,
            &json!({"a": {"c": [], "e": {"f": 1}}, "d": null}),
        );
        assert_eq!(tree, json!({"a": {"b": 1, "c": [], "e": {"f": 1}}}));
    }
}
