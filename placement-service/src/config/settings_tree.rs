//! The settings as a tree: what a file and the defaults say. Compares two of them for a reload, and hides their secrets.
//! Knows which settings a running service can change; must not know how.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// The settings that a running service can change: sections as a whole, or single fields. `edge` concerns the files of
/// the edge only.
const CHANGEABLE: &[&str] = &[
    "api.clients",
    "edge",
    "log.level",
    "login",
    "oidc",
    "routes",
    "webhooks",
];
const HIDDEN: &str = "(hidden)";

/// The settings of a configuration, with the defaults.
#[derive(Clone, Default, PartialEq)]
pub struct SettingsTree(Value);

/// The effect of a changed file on a running service.
#[derive(Debug)]
pub struct ReloadPlan {
    /// The settings afterwards: those of the file where they can change, else those before.
    pub settings: SettingsTree,
    /// The changed settings that take effect.
    pub applied: Vec<String>,
    /// The changed settings that need a restart.
    pub restart: Vec<String>,
}

impl SettingsTree {
    pub(super) const fn new(tree: Value) -> Self {
        Self(tree)
    }

    pub(super) const fn value(&self) -> &Value {
        &self.0
    }

    /// What takes effect if the file has these settings now.
    #[must_use]
    pub fn plan_reload(&self, file: &Self) -> ReloadPlan {
        let mut plan = ReloadPlan {
            settings: self.clone(),
            applied: Vec::new(),
            restart: Vec::new(),
        };
        let changed = changed_paths(&self.0, &file.0);
        // The routes of a file lead to its pools.
        let has_other_pools = changed.iter().any(|path| path == "pools");
        for path in changed {
            if !is_changeable(&path) || (path == "routes" && has_other_pools) {
                plan.restart.push(path);
                continue;
            }
            if let Some(slot) = field_mut(&mut plan.settings.0, &path) {
                *slot = field(&file.0, &path).cloned().unwrap_or_default();
            }
            plan.applied.push(path);
        }
        plan
    }

    /// The settings without secrets: those that are written in the file itself, and passwords in URLs.
    #[must_use]
    pub fn hide_secrets(&self) -> Value {
        let mut tree = self.0.clone();
        hide(&mut tree);
        tree
    }
}

/// Without the settings, because they may contain secrets.
impl fmt::Debug for SettingsTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingsTree")
    }
}

/// The settings that differ, as sections, or as fields of sections that are maps.
fn changed_paths(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for name in names(before, after) {
        let (old, new) = (&before[&name], &after[&name]);
        if old == new {
            continue;
        }
        if old.is_object() && new.is_object() {
            let fields = names(old, new).into_iter();
            let fields = fields.filter(|field| old[field] != new[field]);
            paths.extend(fields.map(|field| format!("{name}.{field}")));
        } else {
            paths.push(name);
        }
    }
    paths
}

fn names(before: &Value, after: &Value) -> BTreeSet<String> {
    let maps = [before, after].into_iter().filter_map(Value::as_object);
    maps.flat_map(Map::keys).cloned().collect()
}

fn is_changeable(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or_default();
    CHANGEABLE.contains(&path) || CHANGEABLE.contains(&section)
}

fn field<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |tree, name| tree.get(name))
}

fn field_mut<'a>(tree: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(tree, |tree, name| {
        let map = tree.as_object_mut()?;
        Some(map.entry(name).or_insert(Value::Null))
    })
}

fn hide(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            for (name, value) in map {
                if name == "inline" && value.is_string() {
                    *value = HIDDEN.into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) => {
            if let Some(hidden) = hide_password(text) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// A URL without its user name and password; `None` if it has neither.
fn hide_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (credentials, _) = authority.rsplit_once('@')?;
    let rest = rest.get(credentials.len()..)?;
    Some(format!("{scheme}://{HIDDEN}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_change_keeps_its_value() {
        let tree = |level: &str, listen: &str, path: &str, oidc: Value| {
            SettingsTree(
                json!({"listen": listen, "log": {"level": level, "format": "json"},
                "store": {"kind": "sqlite", "path": path}, "oidc": oidc, "tls": null}),
            )
        };
        let before = tree("info", "a", "p", json!([]));
        let plan = before.plan_reload(&tree("debug", "b", "q", json!([1])));
        assert_eq!(plan.applied, ["log.level", "oidc"]);
        assert_eq!(plan.restart, ["listen", "store.path"]);
        assert_eq!(plan.settings, tree("debug", "a", "p", json!([1])));
        let routed =
            |routes: u8, pools: u8| SettingsTree(json!({"pools": [pools], "routes": [routes]}));
        let plan = routed(1, 1).plan_reload(&routed(2, 1));
        assert_eq!(
            (plan.applied, plan.restart),
            (vec!["routes".to_owned()], vec![])
        );
        let plan = routed(1, 1).plan_reload(&routed(2, 2));
        assert_eq!((plan.applied.len(), plan.restart.len()), (0, 2));
        let same = before.plan_reload(&before);
        assert!(same.applied.is_empty() && same.restart.is_empty());
    }

    #[test]
    fn secrets_are_hidden() {
        let tree = SettingsTree(
            json!({"a": [{"key": {"inline": "hunter2"}}, {"key": {"env": "X"}}],
            "url": "https://u:hunter2@h/p?q", "plain": "http://h/a@b"}),
        );
        let hidden = tree.hide_secrets();
        assert_eq!(
            hidden,
            json!({"a": [{"key": {"inline": "(hidden)"}}, {"key": {"env": "X"}}],
                "url": "https://(hidden)@h/p?q", "plain": "http://h/a@b"})
        );
        assert!(!format!("{tree:?}").contains("hunter2"));
    }
}
