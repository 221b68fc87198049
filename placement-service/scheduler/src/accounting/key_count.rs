//! What counts of a key, and its name in the ledger that replicas share. Counts nothing itself.

use crate::engine::EngineName;

/// What counts of a key with several streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCount {
    /// One session, however many streams it has.
    Key,
    /// Each stream, and one session while there is none.
    Streams,
}

/// The prefix of the names of keys in the ledger, where they are beside streams.
const LEDGER_PREFIX: &str = "key.";

/// The name of a key on an engine in the ledger. All replicas use it, so the ledger counts the key once. The name of a key
/// has no dot in it.
#[must_use]
pub fn ledger_name(key: &str, engine: &EngineName) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let engine = engine.as_str().chars();
    let engine: String = engine.map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{LEDGER_PREFIX}{key}.{engine}")
}

pub(super) fn key_of_ledger_name(name: &str) -> Option<&str> {
    let (key, _) = name.strip_prefix(LEDGER_PREFIX)?.split_once('.')?;
    Some(key)
}
