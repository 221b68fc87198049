//! Filters of templates that move a rendered part of YAML to another place: deeper, into a list, or field by field.
//! Accept only what templates have rendered, whose values are written already; a value of the configuration is an error.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind, context};
use std::fmt::Write;

/// The part, `width` columns to the right.
pub(super) fn indented(part: &Value, width: usize) -> Result<Value, Error> {
    let mut moved = String::new();
    for line in rendered(part)?.lines() {
        push_line(&mut moved, width, line);
    }
    Ok(Value::from_safe_string(moved))
}

/// The part, a map, as an item of a list whose dash is in column `width`. Comments before the map stay before the dash.
pub(super) fn listed(part: &Value, width: usize) -> Result<Value, Error> {
    let mut moved = String::new();
    let mut started = false;
    for line in rendered(part)?.lines() {
        if started {
            push_line(&mut moved, width.saturating_add(2), line);
        } else if line.starts_with('#') {
            push_line(&mut moved, width, line);
        } else {
            started = true;
            push_line(&mut moved, width, &format!("- {line}"));
        }
    }
    Ok(Value::from_safe_string(moved))
}

/// The fields of the part, a map: `name`, `value` (what follows the colon, with its further lines), and `comment` (the
/// lines before the field).
pub(super) fn fields(part: &Value) -> Result<Vec<Value>, Error> {
    let mut fields: Vec<(String, String, String)> = Vec::new();
    let mut comment = String::new();
    for line in rendered(part)?.lines() {
        if line.starts_with('#') {
            push_line(&mut comment, 0, line);
        } else if line.starts_with(' ') {
            if let Some((_, value, _)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let comment = std::mem::take(&mut comment);
            fields.push((name.to_owned(), value.to_owned(), comment));
        }
    }
    let safe = Value::from_safe_string;
    let fields = fields.into_iter();
    let fields = fields.map(|(name, value, comment)| {
        context! { name, value => safe(value), comment => safe(comment) }
    });
    Ok(fields.collect())
}

fn push_line(text: &mut String, width: usize, line: &str) {
    let width = if line.is_empty() { 0 } else { width };
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{:width$}{line}", "");
}

fn rendered(part: &Value) -> Result<&str, Error> {
    let text = part.as_str().filter(|_| part.is_safe());
    text.ok_or_else(|| {
        let message = "only a rendered part can be moved";
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(text: &str) -> Value {
        Value::from_safe_string(text.to_owned())
    }

    #[test]
    fn parts_are_moved() {
        let part = safe("# x\na: 1\nb:\n\n  c: 2\n");
        let moved = indented(&part, 2).unwrap();
        assert_eq!(moved.as_str(), Some("  # x\n  a: 1\n  b:\n\n    c: 2\n"));
        let moved = listed(&part, 2).unwrap();
        assert_eq!(
            moved.as_str(),
            Some("  # x\n  - a: 1\n    b:\n\n      c: 2\n")
        );
        let fields = fields(&part).unwrap();
        let texts: Vec<String> = fields.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        for (index, name, value, comment) in [(0, "a", " 1", "# x\n"), (1, "b", "\n  c: 2", "")] {
            for (field, expected) in [("name", name), ("value", value), ("comment", comment)] {
                let found = fields[index].get_attr(field).unwrap();
                assert_eq!(found.as_str(), Some(expected));
            }
        }
    }

    #[test]
    fn a_value_of_the_configuration_is_not_moved() {
        assert!(indented(&Value::from("a: 1"), 2).is_err());
    }
}
