//! Converts a `google.protobuf.Struct` in its wire format to JSON. Envoy 1.40 passes one on as it is, and YAML under
//! `"@type": ...Struct` is the readable way to configure a filter in Envoy's own file. Knows nothing of the filter.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Number, Value};

/// The Struct as JSON. `None` when the bytes are not a Struct, or nest deeper than prost allows.
#[must_use]
pub(super) fn to_json(bytes: &[u8]) -> Option<Value> {
    object(Struct::decode(bytes).ok()?)
}

fn object(message: Struct) -> Option<Value> {
    let fields = message.fields.into_iter();
    let fields = fields.map(|(name, field)| Some((name, value(field)?)));
    fields.collect::<Option<_>>().map(Value::Object)
}

fn value(message: prost_types::Value) -> Option<Value> {
    Some(match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::Number(exact(number)?),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(bit)) => Value::Bool(bit),
        Some(Kind::StructValue(fields)) => object(fields)?,
        Some(Kind::ListValue(ListValue { values })) => {
            let values = values.into_iter().map(value);
            Value::Array(values.collect::<Option<_>>()?)
        }
    })
}

/// A Struct has only doubles; a whole one becomes an integer.
fn exact(number: f64) -> Option<Number> {
    let is_whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    if is_whole {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative and below 2^53"
        )]
        return Some(Number::from(number as u64));
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut size = bytes.len();
        while size >= 0x80 {
            field.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
            size >>= 7;
        }
        field.push(u8::try_from(size).unwrap());
        field.extend_from_slice(bytes);
        field
    }

    fn wire(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Number(number) => {
                [&[2 << 3 | 1][..], &number.as_f64().unwrap().to_le_bytes()].concat()
            }
            Value::String(text) => bytes_field(3, text.as_bytes()),
            Value::Bool(bit) => vec![4 << 3, u8::from(*bit)],
            Value::Object(_) => bytes_field(5, &struct_wire(value)),
            Value::Array(values) => {
                let values: Vec<u8> = values
                    .iter()
                    .flat_map(|v| bytes_field(1, &wire(v)))
                    .collect();
                bytes_field(6, &values)
            }
        }
    }

    fn struct_wire(value: &Value) -> Vec<u8> {
        let entry = |(key, value): (&String, &Value)| {
            bytes_field(
                1,
                &[bytes_field(1, key.as_bytes()), bytes_field(2, &wire(value))].concat(),
            )
        };
        value.as_object().unwrap().iter().flat_map(entry).collect()
    }

    #[test]
    fn a_struct_becomes_the_json_that_it_encodes() {
        let json = json!({
            "text": "x".repeat(300), "whole": 12000, "part": 0.5, "below": -2.0, "yes": true, "no": false,
            "nothing": null, "list": [1, [], {"a": "b"}], "inner": {"deep": {"er": ["ü"]}},
        });
        assert_eq!(to_json(&struct_wire(&json)), Some(json));
        assert_eq!(to_json(b""), Some(json!({})));
    }

    #[test]
    fn json_text_and_truncated_bytes_are_not_a_struct() {
        for text in [
            "{}",
            " {\"a\":1}",
            "\n{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
            "\t{}",
            "[]",
            "null",
        ] {
            assert_eq!(to_json(text.as_bytes()), None, "{text}");
        }
        let complete = struct_wire(&json!({"a": [1, "b", {"c": 0.5}]}));
        for end in 1..complete.len() {
            assert_eq!(to_json(&complete[..end]), None);
        }
        assert_eq!(to_json(&[0xff; 20]), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels| (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert!(to_json(&struct_wire(&nested(20))).is_some());
        assert_eq!(to_json(&struct_wire(&nested(100))), None);
    }
}
