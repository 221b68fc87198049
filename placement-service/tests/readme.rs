//! The tables of the documentation match `default.yaml` and the code.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

use berth_placement::config::load::DEFAULT;
use berth_placement::config::{Strategy, Weights};
use berth_store::EndCause;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const ENGINES: &str = include_str!("../docs/engines.md");
const OIDC: &str = include_str!("../docs/oidc.md");
const SCHEDULING: &str = include_str!("../docs/scheduling.md");
const SECURITY: &str = include_str!("../docs/security.md");

/// Maps each setting to its default in the table below a heading.
fn read_table(page: &str, heading: &str) -> BTreeMap<String, String> {
    let section = page.split(heading).nth(1).unwrap();
    let section = section.split("\n##").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (_, setting, default) = (cells.next(), cells.next(), cells.next());
        (setting.unwrap().to_owned(), default.unwrap().to_owned())
    })
    .collect()
}

fn collect_leaves(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                collect_leaves(&format!("{path}{dot}{name}"), value, found);
            }
        }
        Value::String(text) => drop(found.insert(path.to_owned(), text.clone())),
        other => drop(found.insert(path.to_owned(), other.to_string())),
    }
}

#[test]
fn the_documentation_names_every_setting_with_its_default() {
    let mut defaults = BTreeMap::new();
    let tree: Value = serde_saphyr::from_str(DEFAULT).unwrap();
    collect_leaves("", &tree, &mut defaults);
    assert_eq!(read_table(CONFIGURATION, "\n## Settings\n"), defaults);
}

#[test]
fn the_documented_pools_and_routes_are_valid() {
    let section = CONFIGURATION.split("\n## Pools\n").nth(1).unwrap();
    let yaml = section.split("```yaml\n").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let loaded = berth_placement::config::load::from_text(yaml).unwrap();
    assert_eq!(loaded.config.pools.len(), 1);
    assert_eq!(loaded.config.routes.len(), 3);
}

#[test]
fn the_documented_discovery_sources_are_valid() {
    let blocks = ENGINES.split("```yaml\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let sources = blocks.next().unwrap();
    let probe = blocks.find(|block| block.starts_with("probe:")).unwrap();
    let check = |part: &str| {
        let part = part.trim_end().replace('\n', "\n    ");
        let yaml =
            format!("pools:\n  - name: p\n    driver: websocket\n    cluster: c\n    {part}\n");
        berth_placement::config::load::from_text(&yaml).unwrap();
    };
    let examples = sources.split("discovery:").skip(1);
    assert_eq!(
        examples
            .clone()
            .map(|e| check(&format!("discovery:{e}")))
            .count(),
        8
    );
    check(&format!("discovery: {{ static: [] }}\n{probe}"));
}

#[test]
fn the_documentation_names_every_strategy_and_the_default_weights() {
    let documented: Vec<_> = read_table(SCHEDULING, "\n## Strategies\n")
        .into_keys()
        .collect();
    let mut known = Strategy::ALL.map(Strategy::as_str).to_vec();
    known.sort_unstable();
    assert_eq!(
        documented
            .iter()
            .filter(|n| *n != "strategy")
            .collect::<Vec<_>>(),
        known
    );
    for text in [SCHEDULING, DEFAULT] {
        let line = text.lines().find(|l| l.contains("weights: {")).unwrap();
        let yaml = line.split("weights: ").nth(1).unwrap();
        let yaml = yaml.split_inclusive('}').next().unwrap();
        let weights: Weights = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(weights, Weights::default());
    }
}

/// Collects every audit event of the sources with its file.
fn collect_audit_events(dir: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_audit_events(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.split("\"berth::audit\"").skip(1) {
                if let Some(rest) = line.trim_start().strip_prefix(", event = \"") {
                    let event = rest.split('"').next().unwrap();
                    found.insert(event.to_owned(), path.clone());
                }
            }
        }
    }
}

#[test]
fn the_documentation_names_every_audit_event() {
    let mut found = BTreeMap::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect_audit_events(&sources, &mut found);
    assert!(found.contains_key("login"), "the sources are not read");
    let documented = read_table(SECURITY, "\n## Audit\n");
    for (event, path) in &found {
        assert!(
            documented.contains_key(event),
            "{event} of {}",
            path.display()
        );
    }
    for event in documented.keys() {
        assert!(found.contains_key(event), "{event} is not in the sources");
    }
}

#[test]
fn the_documentation_names_every_cause_of_a_session_end() {
    let row = SECURITY
        .lines()
        .find(|l| l.starts_with("| `session-ended`"));
    let documented = row.unwrap().split('|').nth(3).unwrap();
    let documented: Vec<&str> = documented.split('`').skip(1).step_by(2).collect();
    let known: Vec<&str> = EndCause::ALL.iter().map(|c| c.as_str()).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_documented_provider_is_valid_and_its_reasons_exist() {
    let yaml = OIDC.split("```yaml\n").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let loaded = berth_placement::config::load::from_text(yaml).unwrap();
    assert!(loaded.warnings.iter().all(|w| !w.contains("public_url")));
    let source = include_str!("../src/login/oidc/error.rs");
    let arms = source.lines().filter_map(|line| line.split_once("=> \""));
    let reasons: Vec<&str> = arms
        .filter_map(|(_, rest)| rest.split('"').next())
        .collect();
    assert!(reasons.len() > 10);
    for reason in reasons {
        assert!(OIDC.contains(&format!("`{reason}`")), "{reason}");
    }
}
