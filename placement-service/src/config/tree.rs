//! The untyped configuration: lays the sections of a file over the defaults, and writes the path of a type error.
//! Knows only which sections are replaced as a whole, and which may be null.

use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

/// Sections that a file replaces as a whole, because their fields exclude one another.
const REPLACED_AS_A_WHOLE: &[&str] =
    &["tokens.key", "gateways.secret", "store", "placement.ledger"];

/// Sections for which `null` is a value of its own.
const NULLABLE: &[&str] = &["tokens.key", "login.rate"];

/// Lays a section of a file on its defaults in the tree.
pub(super) fn overlay_section(tree: &mut Value, name: &str, section: Value) {
    let over = Map::from_iter([(name.to_owned(), section)]);
    overlay(tree, Value::Object(over), "");
}

/// Lays `over` on `base`: maps field by field, everything else as a whole. A section that the file names but
/// leaves empty keeps its defaults.
fn overlay(base: &mut Value, over: Value, path: &str) {
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
    fn paths_of_errors_are_written_with_dots_and_brackets() {
        let steps = [
            PathStep::Field("pools".into()),
            PathStep::Item(1),
            PathStep::Field("port".into()),
        ];
        assert_eq!(format_path(&steps), "pools[1].port");
        assert_eq!(format_path(&[]), "");
    }
}
