//! Merges the lists of several sources into one. If two sources list the same address, the first source wins. Names
//! become unique, and an engine keeps the name that it has. Does not know where the lists come from.

use super::DiscoveredEngine;
use berth_scheduler::engine::EngineName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Merges `sources`, which are in the order of precedence. `known` has the current name of each address.
#[must_use]
pub fn merge<'a>(
    sources: impl Iterator<Item = &'a [DiscoveredEngine]> + Clone,
    known: &BTreeMap<SocketAddr, &EngineName>,
) -> Vec<DiscoveredEngine> {
    let named = |found: &DiscoveredEngine| known.get(&found.endpoint.api).copied();
    // Names that are in use, with the address of the engine that holds them, if a source still lists it.
    let holders = sources.clone().flatten().filter_map(|found| {
        let name = named(found)?;
        (*name == found.name).then_some((&found.name, found.endpoint.api))
    });
    let holders: BTreeMap<_, _> = holders.collect();
    let (mut addresses, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for found in sources.flatten() {
        let address = found.endpoint.api;
        if !addresses.insert(address) {
            continue;
        }
        let mut found = found.clone();
        let longer = format!("{}-{}", found.name, super::address_name(address).as_str());
        let longer = EngineName::from(longer.as_str());
        let anothers = holders.get(&found.name).is_some_and(|at| *at != address);
        // Another engine holds the name, but the address is unique: append it.
        if anothers || names.contains(&found.name) || named(&found) == Some(&longer) {
            found.name = longer;
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
    use crate::engines::discovery::DesiredState;
    use berth_scheduler::engine::Endpoint;

    fn found(name: &str, api: &str, draining: bool) -> DiscoveredEngine {
        DiscoveredEngine {
            name: EngineName::from(name),
            endpoint: Endpoint {
                api: api.parse().unwrap(),
                metrics: None,
            },
            desired_state: DesiredState::from_draining(draining),
        }
    }

    #[test]
    fn the_first_source_wins_and_names_are_unique() {
        let first = [
            found("a", "10.0.0.1:1", false),
            found("b", "10.0.0.2:1", true),
        ];
        let second = [
            found("x", "10.0.0.1:1", true),
            found("a", "10.0.0.3:1", false),
            found("c", "10.0.0.4:1", false),
        ];
        let nobody = BTreeMap::new();
        let all = merge([&first[..], &second[..]].into_iter(), &nobody);
        let named: Vec<_> = all
            .iter()
            .map(|f| (f.name.as_str(), f.desired_state == DesiredState::Draining))
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
        assert_eq!(merge([].into_iter(), &nobody), []);
    }

    #[test]
    fn an_engine_keeps_its_name_when_others_come_and_go() {
        let (first, second) = (
            [found("e", "10.0.0.1:1", false)],
            [found("e", "10.0.0.2:1", false)],
        );
        let mut known: Vec<DiscoveredEngine> = Vec::new();
        let mut merged = |sources: &[&[DiscoveredEngine]]| {
            let names = known.iter().map(|f| (f.endpoint.api, &f.name)).collect();
            known = merge(sources.iter().copied(), &names);
            let named = known
                .iter()
                .map(|f| (f.endpoint.api.ip().to_string(), f.name.to_string()));
            named.collect::<BTreeMap<_, _>>()
        };
        let both = |one: &str, two: &str| {
            let named = [("10.0.0.1", one), ("10.0.0.2", two)];
            BTreeMap::from(named.map(|(ip, name)| (ip.to_owned(), name.to_owned())))
        };
        assert_eq!(merged(&[&first, &second]), both("e", "e-10.0.0.2-1"));
        assert_eq!(merged(&[&[], &second])["10.0.0.2"], "e-10.0.0.2-1");
        assert_eq!(merged(&[&first, &second]), both("e", "e-10.0.0.2-1"));
        assert!(merged(&[]).is_empty());
        assert_eq!(merged(&[&[], &second])["10.0.0.2"], "e");
        assert_eq!(merged(&[&first, &second]), both("e-10.0.0.1-1", "e"));
    }
}
