//! The untyped configuration: lays a file over the defaults, and repairs the value at the path of a type error,
//! so that one run finds every fault. Knows no section by its meaning.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Sections that a file replaces as a whole, because their fields exclude one another.
const REPLACED_AS_A_WHOLE: &[&str] =
    &["tokens.key", "gateways.secret", "store", "placement.ledger"];

/// Sections for which `null` is a value of its own.
const NULLABLE: &[&str] = &["tokens.key", "login.rate"];

/// Lays `over` on `base`: maps field by field, everything else as a whole. A section that the file names but
/// leaves empty keeps its defaults.
pub(super) fn overlay(base: &mut Value, over: Value, path: &str) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if !REPLACED_AS_A_WHOLE.contains(&path) => {
            for (name, value) in over {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match base.get_mut(&name) {
                    Some(slot) => overlay(slot, value, &inner),
                    None => {
                        base.insert(name, value);
                    }
                }
            }
        }
        (Value::Object(_) | Value::Array(_), Value::Null) if !NULLABLE.contains(&path) => {}
        (base, over) => *base = over,
    }
}

/// One step of a path into the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStep {
    Field(String),
    Item(usize),
}

/// The path of a type error, as steps.
pub(super) fn path_steps(path: &Path) -> Vec<PathStep> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(PathStep::Item(*index)),
            Segment::Map { key } => Some(PathStep::Field(key.clone())),
            Segment::Enum { variant } => Some(PathStep::Field(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

/// `pools[0].cluster`
pub(super) fn format_path(steps: &[PathStep]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            PathStep::Item(index) => text.push_str(&format!("[{index}]")),
            PathStep::Field(name) if text.is_empty() => text.push_str(name),
            PathStep::Field(name) => text.push_str(&format!(".{name}")),
        }
    }
    text
}

/// The value at a path, if it exists.
pub(super) fn value_at<'a>(root: &'a mut Value, steps: &[PathStep]) -> Option<&'a mut Value> {
    steps.iter().try_fold(root, |value, step| match step {
        PathStep::Field(name) => value.get_mut(name),
        PathStep::Item(index) => value.get_mut(index),
    })
}

/// Removes a field from a map; `false` if it was not there.
pub(super) fn remove(root: &mut Value, map: &[PathStep], field: &str) -> bool {
    value_at(root, map)
        .and_then(Value::as_object_mut)
        .is_some_and(|map| map.remove(field).is_some())
}

/// Replaces the value at a path by the fallback's value, so that the rest of the tree can be deserialized. All
/// list items take the fallback's first item. Goes up the path until the fallback has a value. `false` if
/// nothing changed.
pub(super) fn repair(root: &mut Value, model: &Value, steps: &[PathStep]) -> bool {
    let mut model = model.clone();
    let modelled: Vec<PathStep> = steps
        .iter()
        .map(|step| match step {
            PathStep::Item(_) => PathStep::Item(0),
            PathStep::Field(_) => step.clone(),
        })
        .collect();
    for length in (0..=steps.len()).rev() {
        let (Some(place), Some(same)) = (steps.get(..length), modelled.get(..length)) else {
            continue;
        };
        let Some(good) = value_at(&mut model, same).map(|value| value.clone()) else {
            continue;
        };
        if let Some(bad) = value_at(root, place) {
            if *bad != good {
                *bad = good;
                return true;
            }
        } else if let Some((PathStep::Field(name), map)) = place.split_last()
            && let Some(map) = value_at(root, map).and_then(Value::as_object_mut)
        {
            map.insert(name.clone(), good);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_are_overlaid_and_everything_else_replaced() {
        let mut base =
            json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "tokens": {"key": {"env": "X"}}});
        let over = json!({"a": {"c": 3, "d": null}, "list": [4], "tokens": {"key": {"file": "f"}}});
        overlay(&mut base, over, "");
        assert_eq!(
            base,
            json!({"a": {"b": 1, "c": 3, "d": null}, "list": [4], "tokens": {"key": {"file": "f"}}})
        );
        overlay(&mut base, json!({"a": null, "list": null}), "");
        assert_eq!(base["a"]["b"], 1);
        let mut login = json!({"login": {"rate": {"burst": 1}}});
        overlay(&mut login, json!({"login": {"rate": null}}), "");
        assert_eq!(login["login"]["rate"], Value::Null);
        assert_eq!(base["list"], json!([4]));
    }

    #[test]
    fn repair_takes_the_nearest_value_of_the_fallback() {
        let model = json!({"pools": [{"name": "x", "port": 1}], "listen": "l"});
        let mut tree = json!({"pools": [{"name": 5}, {"name": "b", "port": "p"}]});
        let port = [
            PathStep::Field("pools".into()),
            PathStep::Item(1),
            PathStep::Field("port".into()),
        ];
        assert_eq!(format_path(&port), "pools[1].port");
        assert!(repair(&mut tree, &model, &port));
        assert!(repair(
            &mut tree,
            &model,
            &[PathStep::Field("listen".into())]
        ));
        assert_eq!(tree["pools"][1]["port"], 1);
        assert_eq!(tree["listen"], "l");
        assert!(remove(&mut tree, &port[..2], "port"));
        assert!(!remove(&mut tree, &port[..2], "port"));
    }
}
