//! Parses a JSON list of a foreign API leniently: a malformed entry is reported with the path of its field, and the
//! other entries stay usable. Knows no source.

use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// The well-formed entries with their indices, and one message for each malformed entry.
type LenientList<T> = (Vec<(usize, T)>, Vec<String>);

/// Parses a list. `owner` is the name of the list in messages.
///
/// # Errors
/// When it is not a list, or when all entries are malformed.
pub(super) fn parse_lenient_list<T: DeserializeOwned>(
    body: &[u8],
    owner: &str,
) -> Result<LenientList<T>, serde_json::Error> {
    let values: Vec<Value> = serde_json::from_slice(body)?;
    let (mut entries, mut malformed) = (Vec::new(), Vec::new());
    for (index, entry) in values.iter().enumerate() {
        match serde_path_to_error::deserialize(entry) {
            Ok(entry) => entries.push((index, entry)),
            Err(fault) => malformed.push(format!("{owner}[{index}]: {fault}")),
        }
    }
    match malformed.first() {
        Some(fault) if entries.is_empty() => Err(serde_json::Error::custom(fault)),
        _ => Ok((entries, malformed)),
    }
}
