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

/// A text as a literal block scalar, whose lines are in column `width`, which is two more than its key's. YAML reads it
/// as it is.
pub(super) fn block(text: &str, width: usize) -> Result<Value, Error> {
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if !text.chars().all(printable) || text.contains('\u{feff}') {
        let message = "the text has characters that YAML cannot contain as they are";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    // Without the number, spaces at the beginning of the text would count as indentation.
    let end = match text.strip_suffix('\n') {
        None => "-",
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => "+",
        Some(_) => "",
    };
    let mut moved = format!("|2{end}\n");
    for line in text.lines() {
        push_line(&mut moved, width, line);
    }
    // The line of the template ends the last one.
    moved.pop();
    Ok(Value::from_safe_string(moved))
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
    fn a_block_is_read_back_as_it_is() {
        for text in [
            "a: 1\n",
            "  a: 1\nb",
            "a\n\n",
            "\n",
            "",
            "\ta # b\n",
            "# é: {{ x }}\n\n  y",
        ] {
            let yaml = format!("x:\n  key: {}\n  last: 1\n", block(text, 4).unwrap());
            let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read["x"]["key"], text, "{yaml}");
            assert_eq!(read["x"]["last"], 1);
        }
        assert!(block("a\r\n", 4).is_err());
    }

    #[test]
    fn a_value_of_the_configuration_is_not_moved() {
        assert!(indented(&Value::from("a: 1"), 2).is_err());
    }
}
