//! Writes every value of a template as one YAML node on one line, so that no value can break out of its place, neither
//! in YAML nor in a comment: texts that YAML would read in another way are quoted as in JSON.

use minijinja::value::{Value, ValueKind};
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// Words that YAML 1.1 or 1.2 reads as a boolean or as null.
const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Writes a value in flow style.
pub(super) fn write(out: &mut dyn Write, value: &Value) -> fmt::Result {
    match value.kind() {
        ValueKind::None => out.write_str("null"),
        ValueKind::Bool | ValueKind::Number => write!(out, "{value}"),
        ValueKind::Seq => {
            out.write_char('[')?;
            for (index, item) in value.try_iter().map_err(|_| fmt::Error)?.enumerate() {
                if index > 0 {
                    out.write_str(", ")?;
                }
                write(out, &item)?;
            }
            out.write_char(']')
        }
        ValueKind::Map => {
            out.write_str("{ ")?;
            for (index, key) in value.try_iter().map_err(|_| fmt::Error)?.enumerate() {
                if index > 0 {
                    out.write_str(", ")?;
                }
                write(out, &key)?;
                out.write_str(": ")?;
                write(out, &value.get_item(&key).map_err(|_| fmt::Error)?)?;
            }
            out.write_str(" }")
        }
        _ => write_text(out, value.as_str().ok_or(fmt::Error)?),
    }
}

fn write_text(out: &mut dyn Write, text: &str) -> fmt::Result {
    if is_plain(text) {
        return out.write_str(text);
    }
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            // Everything that is not printable for YAML, and what some readers take for a line break.
            c if c.is_control()
                || matches!(
                    c,
                    '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                ) =>
            {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// Whether YAML reads the text without quotes as this text.
fn is_plain(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.bytes().all(allowed)
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str());
    word || is_duration(text) || text.parse::<Ipv4Addr>().is_ok()
}

/// A number with the unit of a duration, such as `0.5s`: no number for YAML.
fn is_duration(text: &str) -> bool {
    let number = text.strip_suffix("ms").or(text.strip_suffix('s'));
    number.is_some_and(|number| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match number.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(number),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        write(&mut out, &Value::from(text)).unwrap();
        out
    }

    #[test]
    fn simple_texts_stay_readable_and_others_are_quoted() {
        for plain in [
            "/app/",
            "__Host-berth",
            "berth",
            "12s",
            "0.5s",
            "500ms",
            "10.0.0.1",
            "a-b.c",
        ] {
            assert_eq!(written(plain), plain);
        }
        for (text, quoted) in [
            ("", r#""""#),
            ("no", r#""no""#),
            ("Null", r#""Null""#),
            ("1", r#""1""#),
            ("1.5", r#""1.5""#),
            ("-", r#""-""#),
            ("a: b", r#""a: b""#),
            ("a #b", r#""a #b""#),
            ("\"\\", r#""\"\\""#),
            ("a\nb", r#""a\u000ab""#),
            ("\u{85}", r#""\u0085""#),
            ("{{ x }}", r#""{{ x }}""#),
        ] {
            assert_eq!(written(text), quoted);
        }
    }

    #[test]
    fn lists_and_maps_are_in_flow_style() {
        let mut out = String::new();
        let value = serde_json::json!({"a": ["x", "y z"], "b": 1});
        write(&mut out, &Value::from(minijinja::value::Serde(&value))).unwrap();
        assert_eq!(out, r#"{ a: [x, "y z"], b: 1 }"#);
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_is(text in any::<String>()) {
            let line = written(&text);
            prop_assert_eq!(line.lines().count(), 1);
            let yaml = format!("list: [ {line}, end ]\nmap: {{ {line}: {line} }}\nkey: {line} # {line}\nlast: 1\n");
            let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&read["list"], &serde_json::json!([text, "end"]));
            prop_assert_eq!(&read["map"][&text], &serde_json::json!(text));
            prop_assert_eq!(&read["key"], &serde_json::json!(text));
            prop_assert_eq!(&read["last"], &serde_json::json!(1));
        }
    }
}
