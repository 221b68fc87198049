//! Streams in the order of their time, with what is to be known of each. There are few of them, new ones come at
//! the end, and most leave soon, at the front: so they stand in a row, which keeps its memory, where a tree would
//! ask for a node and give it back with almost every placement.

use super::Since;
use std::collections::VecDeque;

/// Streams, the earliest first.
#[derive(Debug)]
pub(super) struct InTime<V>(VecDeque<(Since, V)>);

impl<V> Default for InTime<V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<V> InTime<V> {
    /// Puts one in; one that is there already gets the new value.
    pub(super) fn insert(&mut self, stream: Since, value: V) {
        match self.find(&stream) {
            Ok(place) => {
                if let Some((_, known)) = self.0.get_mut(place) {
                    *known = value;
                }
            }
            Err(place) => self.0.insert(place, (stream, value)),
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, stream: &Since) -> Option<V> {
        let place = self.find(stream).ok()?;
        self.0.remove(place).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, stream: &Since) -> bool {
        self.find(stream).is_ok()
    }

    pub(super) fn first(&self) -> Option<&Since> {
        self.0.front().map(|(stream, _)| stream)
    }

    pub(super) fn pop_first(&mut self) -> Option<(Since, V)> {
        self.0.pop_front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Since> {
        self.0.iter().map(|(stream, _)| stream)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where it is, or would be.
    fn find(&self, stream: &Since) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;
    use tokio::time::Instant;

    proptest! {
        #[test]
        fn holds_what_a_map_holds(steps in prop::collection::vec((0..3_u8, 0..6_u64, 0..4_u8), 0..100)) {
            let begun = Instant::now();
            let (mut row, mut map) = (InTime::default(), BTreeMap::new());
            for (n, (step, at, name)) in steps.into_iter().enumerate() {
                let stream: Since = (begun + Duration::from_secs(at), name.to_string().into());
                match step {
                    0 => {
                        row.insert(stream.clone(), n);
                        map.insert(stream.clone(), n);
                    }
                    1 => prop_assert_eq!(row.remove(&stream), map.remove(&stream)),
                    _ => prop_assert_eq!(row.pop_first(), map.pop_first()),
                }
                prop_assert_eq!(row.contains(&stream), map.contains_key(&stream));
                prop_assert!(row.iter().eq(map.keys()));
                prop_assert_eq!(row.first(), map.keys().next());
                prop_assert_eq!((row.len(), row.is_empty()), (map.len(), map.is_empty()));
            }
        }
    }
}
