//! A stream's name in the books: short, so that many of them cost little.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Stands for the name of a stream. Two names that are not the same have the same one with a probability of
/// 2^-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl From<&str> for StreamId {
    fn from(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl From<u64> for StreamId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}
