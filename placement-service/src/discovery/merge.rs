//! One list out of several sources: of two engines at the same address the source that is named first is
//! right, and no two engines have the same name.

use super::Found;
use crate::engine::EngineName;
use std::collections::BTreeSet;

/// The engines of all sources, in the order of their rank.
#[must_use]
pub fn merge<'a>(sources: impl Iterator<Item = &'a [Found]>) -> Vec<Found> {
    let (mut addresses, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for found in sources.flatten() {
        if !addresses.insert(found.endpoint.api) {
            continue;
        }
        let mut found = found.clone();
        if names.contains(&found.name) {
            // The name is another engine's, the address is not.
            let address = super::address_name(found.endpoint.api);
            let longer = format!("{}-{}", found.name, address.as_str());
            found.name = EngineName::from(longer.as_str());
        }
        if names.insert(found.name.clone()) {
            all.push(found);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Wish;
    use crate::engine::Endpoint;

    fn found(name: &str, api: &str, draining: bool) -> Found {
        Found {
            name: EngineName::from(name),
            endpoint: Endpoint {
                api: api.parse().unwrap(),
                metrics: None,
            },
            wish: Wish::drained_if(draining),
        }
    }

    #[test]
    fn the_first_source_is_right_and_names_stay_apart() {
        let first = [
            found("a", "10.0.0.1:1", false),
            found("b", "10.0.0.2:1", true),
        ];
        let second = [
            found("x", "10.0.0.1:1", true),
            found("a", "10.0.0.3:1", false),
            found("c", "10.0.0.4:1", false),
        ];
        let all = merge([&first[..], &second[..]].into_iter());
        let named: Vec<_> = all
            .iter()
            .map(|f| (f.name.as_str(), f.wish == Wish::Drained))
            .collect();
        assert_eq!(
            named,
            [
                ("a", false),
                ("b", true),
                ("a-10.0.0.3-1", false),
                ("c", false)
            ]
        );
        assert_eq!(merge([].into_iter()), []);
    }
}
