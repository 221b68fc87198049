//! The direction of imports in both crates of the filter: a module imports only modules before it, no two files import
//! each other, and only `abi` calls the SDK's host calls.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The order of the core's modules; modules of one line do not import each other.
const CORE: &[&[&str]] = &[
    &["retry"],
    &["request"],
    &["routing"],
    &["streams"],
    &["auth", "control"],
    &["affinity"],
    &["config"],
    &["decision"],
    &["lib"],
];

/// The order of the host's files.
const HOST: &[&[&str]] = &[
    &["abi"],
    &["logger", "metrics", "trap"],
    &["service_client"],
    &["control"],
    &["token_cache", "call_stream", "engine_cache"],
    &["shared"],
    &["outcome"],
    &["waiters"],
    &["interceptor"],
    &["request"],
    &["http_context"],
    &["plugin"],
    &["lib"],
];

/// Sources by their module path, such as `decision::effects`.
type Sources = BTreeMap<String, String>;

/// The sources of a crate, without tests.
fn sources(dir: &str) -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut sources = Sources::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let module = path.strip_prefix(&root).unwrap().with_extension("");
            let module = module.to_str().unwrap().replace('/', "::");
            if module != "tests" && !module.ends_with("::tests") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                sources.insert(module, text.to_owned());
            }
        }
    }
    sources
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// Every `crate::` path of a source, outside comments. Names in braces become one path each.
fn paths(source: &str) -> Vec<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for mut rest in code.split("crate::").skip(1) {
        let mut path = String::new();
        loop {
            if let Some(names) = rest.strip_prefix('{') {
                let names = names.split('}').next().unwrap().split(',');
                paths.extend(names.map(|name| format!("{path}{}", identifier(name.trim()))));
                break;
            }
            let name = identifier(rest);
            path.push_str(name);
            let Some(after) = rest[name.len()..].strip_prefix("::") else {
                paths.push(path);
                break;
            };
            path.push_str("::");
            rest = after;
        }
    }
    paths
}

/// The module of `sources` that a path names or lies in.
fn module_of<'a>(sources: &'a Sources, path: &str) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some((module, _)) = sources.get_key_value(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

fn is_child(module: &str, of: &str) -> bool {
    module
        .strip_prefix(of)
        .is_some_and(|rest| rest.starts_with("::"))
}

/// Every import against the direction, and every circle of files.
fn violations(sources: &Sources, order: &[&[&str]]) -> Vec<String> {
    let rank = |module: &str| {
        let group = identifier(module);
        let rank = order.iter().position(|groups| groups.contains(&group));
        (
            rank.unwrap_or_else(|| panic!("{group} has no place in the order")),
            group.to_owned(),
        )
    };
    let mut found = Vec::new();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, source) in sources {
        for path in paths(source) {
            let Some(target) = module_of(sources, &path) else {
                continue;
            };
            let (from, to) = (rank(module), rank(target));
            if from.1 != to.1 && to.0 >= from.0 {
                found.push(format!("{module} imports {target}"));
            }
            let family = is_child(module, target) || is_child(target, module);
            if module != target && !family {
                edges.entry(module).or_default().insert(target);
            }
        }
    }
    // Modules without imports are removed until only circles are left.
    while let Some(leaf) = edges
        .iter()
        .find_map(|(module, targets)| targets.is_empty().then_some(*module))
        .or_else(|| {
            let targets = edges.values().flatten();
            targets.copied().find(|target| !edges.contains_key(target))
        })
    {
        edges.remove(leaf);
        for targets in edges.values_mut() {
            targets.remove(leaf);
        }
    }
    if !edges.is_empty() {
        found.push(format!("circle: {edges:?}"));
    }
    found
}

#[test]
fn the_core_imports_downwards_only() {
    assert_eq!(violations(&sources("core/src"), CORE), [""; 0]);
}

#[test]
fn the_host_imports_downwards_only() {
    assert_eq!(violations(&sources("src"), HOST), [""; 0]);
}

#[test]
fn imports_against_the_direction_and_circles_are_found() {
    let violations_with = |dir, order, module: &str, planted: &str| {
        let mut sources = sources(dir);
        sources.get_mut(module).unwrap().push_str(planted);
        violations(&sources, order)
    };
    let planted = "use crate::decision::effects::Callout;\n";
    let found = violations_with("core/src", CORE, "streams::frames", planted);
    assert_eq!(found, ["streams::frames imports decision::effects"]);
    let planted = "use crate::{retry, config::Config};\n";
    let found = violations_with("core/src", CORE, "auth::jwt", planted);
    assert_eq!(found[0], "auth::jwt imports config");
    let planted = "use crate::decision::pending::CallOutcome;\n";
    let found = violations_with("core/src", CORE, "decision::effects", planted);
    assert!(found[0].starts_with("circle: "), "{found:?}");
    let planted = "use crate::waiters;\n";
    let found = violations_with("src", HOST, "outcome", planted);
    assert_eq!(found[0], "outcome imports waiters");
}

#[test]
fn only_abi_uses_the_host_calls_of_the_sdk() {
    // The SDK's wrappers panic on an unexpected status, as functions of `hostcalls` and as methods of its traits.
    for (module, source) in sources("src") {
        let is_abi = identifier(&module) == "abi";
        assert!(is_abi || !source.contains("hostcalls"), "{module}");
        for method in [
            "self.get_",
            "self.set_http",
            "self.add_http",
            "self.send_",
            "self.resume_",
            "self.reset_http",
            "self.dispatch_",
        ] {
            assert!(!source.contains(method), "{module}: {method}");
        }
    }
}
