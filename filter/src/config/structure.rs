//! Reads a `google.protobuf.Struct` in its wire format. Envoy 1.40 hands one over as it is, and YAML
//! under `"@type": ...Struct` is the readable way to configure a filter in Envoy's own file. Knows
//! the shape of a Struct (protobuf: `google/protobuf/struct.proto`), nothing of the filter.

use serde_json::{Map, Number, Value};

/// How deep a Struct may nest.
const MAX_DEPTH: usize = 32;

/// The Struct as JSON. `None` when the bytes are none; JSON text never is one.
#[must_use]
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    structure(bytes, MAX_DEPTH)
}

fn structure(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut map = Map::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (1, Field::Bytes(entry)) = field(&mut rest)? else {
            return None;
        };
        let (key, value) = entry_of(entry, depth)?;
        map.insert(key, value);
    }
    Some(Value::Object(map))
}

fn entry_of(bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let mut key = String::new();
    let mut held = Value::Null;
    let mut rest = bytes;
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, Field::Bytes(text)) => key = String::from_utf8(text.to_vec()).ok()?,
            (2, Field::Bytes(bytes)) => held = value(bytes, depth)?,
            _ => return None,
        }
    }
    Some((key, held))
}

fn value(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut held = Value::Null;
    let mut rest = bytes;
    while !rest.is_empty() {
        held = match field(&mut rest)? {
            (1, Field::Varint(0)) => Value::Null,
            (2, Field::Double(number)) => Value::Number(exact(number)?),
            (3, Field::Bytes(text)) => Value::String(String::from_utf8(text.to_vec()).ok()?),
            (4, Field::Varint(bit)) => Value::Bool(bit != 0),
            (5, Field::Bytes(bytes)) => structure(bytes, depth)?,
            (6, Field::Bytes(bytes)) => list(bytes, depth)?,
            _ => return None,
        };
    }
    Some(held)
}

fn list(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut values = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (1, Field::Bytes(bytes)) = field(&mut rest)? else {
            return None;
        };
        values.push(value(bytes, depth)?);
    }
    Some(Value::Array(values))
}

/// Every number of a Struct is a double; a whole one is meant as an integer.
fn exact(number: f64) -> Option<Number> {
    let whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    if whole {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative and below 2^53"
        )]
        return Some(Number::from(number as u64));
    }
    Number::from_f64(number)
}

enum Field<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// Takes one field off: its number and what it holds.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(rest)?;
    let held = match tag & 7 {
        0 => Field::Varint(varint(rest)?),
        1 => {
            let (bytes, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            Field::Double(f64::from_le_bytes(*bytes))
        }
        2 => {
            let size = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(size)?;
            *rest = after;
            Field::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, held))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut size = bytes.len();
        while size >= 0x80 {
            out.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
            size >>= 7;
        }
        out.push(u8::try_from(size).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    fn wire(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Number(n) => [&[2 << 3 | 1][..], &n.as_f64().unwrap().to_le_bytes()].concat(),
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
    fn a_struct_reads_as_the_json_it_stands_for() {
        let json = json!({
            "text": "x".repeat(300), "whole": 12000, "part": 0.5, "below": -2.0, "yes": true, "no": false,
            "nothing": null, "list": [1, [], {"a": "b"}], "inner": {"deep": {"er": ["ü"]}},
        });
        assert_eq!(read(&struct_wire(&json)), Some(json));
        assert_eq!(read(b""), Some(json!({})));
    }

    #[test]
    fn json_text_and_broken_bytes_are_no_struct() {
        for text in [
            "{}",
            " {\"a\":1}",
            "\n{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
            "\t{}",
            "[]",
            "null",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let whole = struct_wire(&json!({"a": [1, "b", {"c": 0.5}]}));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), None);
        }
        assert_eq!(read(&[0xff; 20]), None);
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = |levels| (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert!(read(&struct_wire(&deep(20))).is_some());
        assert_eq!(read(&struct_wire(&deep(100))), None);
    }
}
