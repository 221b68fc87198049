//! Merges the lists of several sources into one. If two sources list the same address, the first source wins; if one
//! source lists it twice, such as for a pod that terminates and its successor, the engine that accepts sessions wins.
//! Names become unique, and an engine keeps the name that it has. Does not know where the lists come from.

use super::DiscoveredEngine;
use berth_scheduler::engine::EngineName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Merges `sources`, which are in the order of precedence. `names` has the current name of each address.
#[must_use]
pub fn merge<'a>(
    sources: impl Iterator<Item = &'a [DiscoveredEngine]> + Clone,
    names: &BTreeMap<SocketAddr, &EngineName>,
) -> Vec<DiscoveredEngine> {
    let name_at = |engine: &DiscoveredEngine| names.get(&engine.endpoint.api).copied();
    // Names that are in use, with the address of the engine that holds them, if a source still lists it.
    let holders = sources.clone().flatten().filter_map(|engine| {
        let name = name_at(engine)?;
        (*name == engine.name).then_some((&engine.name, engine.endpoint.api))
    });
    let holders: BTreeMap<_, _> = holders.collect();
    let (mut addresses, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut merged = Vec::new();
    let by_state = sources.flat_map(|source| {
        let mut engines: Vec<&DiscoveredEngine> = source.iter().collect();
        engines.sort_by_key(|engine| engine.desired_state);
        engines
    });
    for engine in by_state {
        let address = engine.endpoint.api;
        if !addresses.insert(address) {
            continue;
        }
        let mut engine = engine.clone();
        let long_name = format!("{}-{}", engine.name, super::address_name(address).as_str());
        let long_name = EngineName::from(long_name.as_str());
        let is_taken = holders
            .get(&engine.name)
            .is_some_and(|holder| *holder != address);
        // Another engine holds the name, but the address is unique: append it.
        if is_taken || names.contains(&engine.name) || name_at(&engine) == Some(&long_name) {
            engine.name = long_name;
        }
        if names.insert(engine.name.clone()) {
            merged.push(engine);
        }
    }
    merged
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
            incarnation: None,
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
        let no_names = BTreeMap::new();
        let merged = merge([&first[..], &second[..]].into_iter(), &no_names);
        let names: Vec<_> = merged
            .iter()
            .map(|f| (f.name.as_str(), f.desired_state == DesiredState::Draining))
            .collect();
        assert_eq!(
            names,
            [
                ("a", false),
                ("b", true),
                ("a-10.0.0.3-1", false),
                ("c", false)
            ]
        );
        assert_eq!(merge([].into_iter(), &no_names), []);
    }

    #[test]
    fn at_one_address_the_engine_that_accepts_sessions_wins() {
        let list = [
            found("leaving", "10.0.0.1:1", true),
            found("ready", "10.0.0.1:1", false),
            found("other", "10.0.0.2:1", true),
        ];
        let merged = merge([&list[..]].into_iter(), &BTreeMap::new());
        let names: BTreeSet<_> = merged.iter().map(|engine| engine.name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["other", "ready"]));
    }

    #[test]
    fn an_engine_keeps_its_name_when_others_come_and_go() {
        let (first, second) = (
            [found("e", "10.0.0.1:1", false)],
            [found("e", "10.0.0.2:1", false)],
        );
        let mut engines: Vec<DiscoveredEngine> = Vec::new();
        let mut merged = |sources: &[&[DiscoveredEngine]]| {
            let names = engines.iter().map(|f| (f.endpoint.api, &f.name)).collect();
            engines = merge(sources.iter().copied(), &names);
            let addresses_and_names = engines
                .iter()
                .map(|f| (f.endpoint.api.ip().to_string(), f.name.to_string()));
            addresses_and_names.collect::<BTreeMap<_, _>>()
        };
        let expected = |first_name: &str, second_name: &str| {
            let pairs = [("10.0.0.1", first_name), ("10.0.0.2", second_name)];
            BTreeMap::from(pairs.map(|(ip, name)| (ip.to_owned(), name.to_owned())))
        };
        assert_eq!(merged(&[&first, &second]), expected("e", "e-10.0.0.2-1"));
        assert_eq!(merged(&[&[], &second])["10.0.0.2"], "e-10.0.0.2-1");
        assert_eq!(merged(&[&first, &second]), expected("e", "e-10.0.0.2-1"));
        assert!(merged(&[]).is_empty());
        assert_eq!(merged(&[&[], &second])["10.0.0.2"], "e");
        assert_eq!(merged(&[&first, &second]), expected("e-10.0.0.1-1", "e"));
    }
}
