//! Reads a JSON list of somebody else's: an entry that is malformed is told with its field, and costs no other.

use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// The entries that can be read, each with its place, and what is wrong with the others.
type Entries<T> = (Vec<(usize, T)>, Vec<String>);

/// Reads a list. `whose`: how its entries are called in messages.
///
/// # Errors
/// When it is no list, or none of its entries can be read.
pub(super) fn entries<T: DeserializeOwned>(
    body: &[u8],
    whose: &str,
) -> Result<Entries<T>, serde_json::Error> {
    let all: Vec<Value> = serde_json::from_slice(body)?;
    let (mut read, mut malformed) = (Vec::new(), Vec::new());
    for (place, entry) in all.iter().enumerate() {
        match serde_path_to_error::deserialize(entry) {
            Ok(entry) => read.push((place, entry)),
            Err(fault) => malformed.push(format!("{whose}[{place}]: {fault}")),
        }
    }
    match malformed.first() {
        Some(fault) if read.is_empty() => Err(serde_json::Error::custom(fault)),
        _ => Ok((read, malformed)),
    }
}
