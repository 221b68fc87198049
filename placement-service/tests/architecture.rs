//! Checks the direction of dependencies in the service: a file imports only its own group and groups before it in
//! `ORDER`. In every crate, no files import each other in a cycle, except a module and its own children. Unit tests may
//! import anything.

#![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each group may import the groups before it. The crates `berth-api`, `berth-store` and `berth-scheduler` are below
/// all of them.
const ORDER: [&str; 16] = [
    "core",
    "config",
    "engines::drivers",
    "engines::discovery",
    "engines::health",
    "engines::ledger",
    "engines::fleet",
    "engines::drains",
    "sessions",
    "placement",
    "events",
    "login",
    "gateways",
    "http",
    "render",
    "review",
];
/// Imports everything, and nothing imports it. `cli` and `main` are another crate.
const TOP: &str = "app";
/// Files that only declare modules.
const PARENTS: [&str; 2] = ["", "engines"];

type Imports = BTreeMap<String, BTreeSet<String>>;

/// Maps each module under `sources` to the paths that it imports. Both are relative to the crate root.
fn all_imports(sources: &str) -> Imports {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let mut imports = Imports::new();
    collect_imports(&sources, &mut Vec::new(), &mut imports);
    imports
}

fn collect_imports(folder: &Path, parent: &mut Vec<String>, imports: &mut Imports) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if parent.is_empty() && ["cli", "main"].contains(&name.as_str()) {
            continue;
        }
        let is_root = parent.is_empty() && name == "lib";
        if !is_root {
            parent.push(name.clone());
        }
        if path.is_dir() {
            collect_imports(&path, parent, imports);
        } else if name != "tests" {
            let text = std::fs::read_to_string(&path).unwrap();
            imports.insert(parent.join("::"), imported_paths(&text, parent));
        }
        if !is_root {
            parent.pop();
        }
    }
}

/// The paths of this crate that a file imports. Unit tests and comments do not count.
fn imported_paths(text: &str, module: &[String]) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            // `super::super::x` counts once, at its first `super`. `pub(in crate::x)` imports nothing.
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if before.is_some_and(is_path) || code[..at].ends_with("pub(in ") {
                continue;
            }
            expand_use_tree("", &code[at..], &mut paths);
        }
    }
    paths
        .iter()
        .map(|path| resolve_path(path, module))
        .collect()
}

/// Collects the paths of one `use` tree and returns the text after it.
fn expand_use_tree<'a>(prefix: &str, tree: &'a str, paths: &mut Vec<String>) -> &'a str {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '*';
    let end = tree.find(|c| !is_path(c)).unwrap_or(tree.len());
    let path = format!("{prefix}{}", &tree[..end]);
    let Some(mut rest) = tree[end..].strip_prefix('{') else {
        paths.push(path);
        return &tree[end..];
    };
    loop {
        rest = rest.trim_start_matches([' ', '\n', ',']);
        match rest.strip_prefix('}') {
            Some(after) => return after,
            None if rest.is_empty() => return rest,
            None => rest = expand_use_tree(&path, rest, paths),
        }
        // ` as name`
        if let Some(alias) = rest.strip_prefix(" as ") {
            rest = alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        }
    }
}

/// Resolves `crate::` and `super::`: the path relative to the crate root.
fn resolve_path(path: &str, module: &[String]) -> String {
    let mut segments: Vec<&str> = path.split("::").filter(|s| !s.is_empty()).collect();
    let mut base: Vec<&str> = module.iter().map(String::as_str).collect();
    if segments.first() == Some(&"crate") {
        segments.remove(0);
        base.clear();
    }
    while segments.first() == Some(&"super") {
        segments.remove(0);
        base.pop();
    }
    base.extend(segments);
    base.join("::")
}

fn is_within(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Index of the path's group in `ORDER`; `TOP` comes last. `None`: the path belongs to no group.
fn group_index(path: &str) -> Option<usize> {
    if is_within(path, TOP) {
        return Some(ORDER.len());
    }
    ORDER.iter().position(|group| is_within(path, group))
}

#[test]
fn groups_import_only_groups_before_them() {
    let imports = all_imports("src");
    assert!(imports.len() > 100, "the sources are not read");
    let mut faults = Vec::new();
    for (module, paths) in &imports {
        if PARENTS.contains(&module.as_str()) {
            continue;
        }
        let Some(here) = group_index(module) else {
            faults.push(format!("{module} is in no group"));
            continue;
        };
        for path in paths {
            match group_index(path) {
                None => faults.push(format!("{module} imports {path}, which is in no group")),
                Some(there) if there > here => faults.push(format!("{module} imports {path}")),
                Some(_) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The files that each file imports, except its own parents and children.
fn file_imports(imports: &Imports) -> BTreeMap<&str, BTreeSet<&str>> {
    let file = |path: &str| {
        let all = imports.keys().filter(|module| !module.is_empty());
        let holders = all.filter(|module| is_within(path, module));
        holders.max_by_key(|module| module.len())
    };
    let edges = imports.iter().map(|(module, paths)| {
        let files = paths.iter().filter_map(|path| file(path));
        let others = files.filter(|file| !is_within(file, module) && !is_within(module, file));
        (module.as_str(), others.map(String::as_str).collect())
    });
    edges.collect()
}

#[test]
fn no_files_import_each_other() {
    for sources in ["src", "api/src", "scheduler/src", "store/src"] {
        let imports = all_imports(sources);
        let mut files = file_imports(&imports);
        assert!(files.len() > 5, "{sources} is not read");
        // Removes files that import no other remaining file, or that none imports: the circles remain.
        loop {
            let left: BTreeSet<&str> = files.keys().copied().collect();
            let imported: BTreeSet<&str> = files.values().flatten().copied().collect();
            files.retain(|file, others| {
                imported.contains(file) && others.iter().any(|other| left.contains(other))
            });
            if files.len() == left.len() {
                break;
            }
        }
        let left: Vec<_> = files.keys().collect();
        assert!(
            left.is_empty(),
            "{sources}: these import each other: {left:?}"
        );
    }
}
