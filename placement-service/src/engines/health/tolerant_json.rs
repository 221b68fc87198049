//! Reads JSON of which a part is invalid, as some servers write it: a number that JSON does not have, such as `nan` or
//! `1.#INF`, and bytes that are not UTF-8. Each costs itself: the former become `null`, the latter U+FFFD. Does not know
//! what the values mean.

use serde_json::Value;

/// Parses a text as JSON, repaired where that is needed.
///
/// # Errors
/// When it is not JSON even so.
pub fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    let text = String::from_utf8_lossy(body);
    serde_json::from_str(&text).or_else(|error| {
        if text.trim_start().starts_with(['{', '[']) {
            serde_json::from_str(&without_invalid_literals(&text))
        } else {
            Err(error)
        }
    })
}

/// Replaces each literal outside of texts that is not one of JSON by `null`.
fn without_invalid_literals(text: &str) -> String {
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => quoted_length(rest),
            _ if is_structure(first) => first.len_utf8(),
            _ => rest.find(is_structure).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        let is_valid = first == '"'
            || is_structure(first)
            || serde_json::from_str::<serde::de::IgnoredAny>(token).is_ok();
        repaired.push_str(if is_valid { token } else { "null" });
        rest = after;
    }
    repaired
}

/// What separates literals.
fn is_structure(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"')
}

/// The length of the text in quotes at the start, with its quotes; the whole rest when it does not end.
fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_not_json_costs_itself() {
        for (text, expected) in [
            (
                &br#"{"a": nan, "b": [1, -inf, 2.5e3]}"#[..],
                json!({"a": null, "b": [1, null, 2.5e3]}),
            ),
            (
                br#"{"a":-nan(ind),"b":1.#INF}"#,
                json!({"a": null, "b": null}),
            ),
            (
                br#"{"a":NaN,"b":"nan, \"x\": inf","c":true}"#,
                json!({"a": null, "b": "nan, \"x\": inf", "c": true}),
            ),
            (
                b"{\"a\":\"caf\xe9\",\"b\":2}",
                json!({"a": "caf\u{fffd}", "b": 2}),
            ),
            (b"[false,null,0]", json!([false, null, 0])),
        ] {
            assert_eq!(parse(text).unwrap(), expected);
        }
        for text in ["", "{", "{\"a\"", "<html>", "{nan}", "[1,]"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn valid_json_stays_as_it_is(text in "[ -~]{0,20}", number in any::<f64>()) {
            let value = json!({"a": [text.clone(), null, true], "n": number, text: {}});
            prop_assert_eq!(without_invalid_literals(&value.to_string()), value.to_string());
        }

        #[test]
        fn no_bytes_are_too_strange(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&body);
        }
    }
}
