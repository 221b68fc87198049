//! Reasons, metrics, alerts and fields of the documentation are those of the code, and its examples load.

use crate::pages::{self, files, page, quoted, rows};
use berth_api::RejectReason;
use berth_placement::config::load;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

const RUNBOOK: &str = "placement-service/docs/runbook.md";
const HTTP_API: &str = "placement-service/docs/http-api.md";
const METRICS: &str = "placement-service/docs/metrics.md";

/// The entries of a section of the runbook.
fn entries(section: &str) -> BTreeSet<String> {
    let runbook = page(RUNBOOK);
    let text = runbook.section(section);
    let entries = text.split("\n### ").skip(1);
    let name = |entry: &str| {
        let name = quoted(entry).next().unwrap().to_owned();
        for part in ["\n- Meaning: ", "\n- Look at: ", "\n- Do: "] {
            assert!(entry.contains(part), "{name}: {part}");
        }
        name
    };
    entries.map(name).collect()
}

/// The reasons in the tables of a section.
fn reasons(section: &str) -> BTreeSet<String> {
    let page = page(HTTP_API);
    let rows = rows(page.section(section));
    let cells = rows.iter().flat_map(|row| quoted(&row[1]));
    cells.map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_an_entry_for_each_reason() {
    let entries = entries("Refusal reasons");
    for reason in RejectReason::ALL {
        assert!(entries.contains(reason.as_str()), "{}", reason.as_str());
    }
    let filter = reasons("Reasons of the filter");
    assert!(
        filter.is_subset(&entries),
        "{:?}",
        filter.difference(&entries)
    );
    let documented = &filter | &reasons("Further reasons of the service");
    let unknown: Vec<_> = entries.difference(&documented).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_services_own_reasons_are_documented() {
    let source = include_str!("../../src/http/problem.rs");
    let table = source.split("own_problems! {").nth(1).unwrap();
    let table = table.split("\n}").next().unwrap();
    let reasons: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_once(" = ")?.1.split('"').nth(1))
        .collect();
    assert!(reasons.len() > 20);
    let text = page(HTTP_API).text;
    for reason in reasons {
        assert!(text.contains(&format!("| `{reason}` |")), "{reason}");
    }
}

/// The names of metrics that the sources of a folder register.
fn registered(dir: &Path, found: &mut BTreeSet<String>) {
    files(dir, "rs", &mut |_, text| {
        for call in [
            "register_metric(",
            ".register(",
            "encode_descriptor(",
            "self.encode_gauge(",
        ] {
            for rest in text.split(call).skip(1) {
                let rest = rest.trim_start();
                let rest = rest.strip_prefix("registry,").unwrap_or(rest).trim_start();
                let Some(name) = rest.strip_prefix('"') else {
                    continue;
                };
                found.insert(name.split('"').next().unwrap().to_owned());
            }
        }
    });
}

/// The metrics in the tables of a section, without labels.
fn documented(section: &str) -> BTreeSet<String> {
    let page = page(METRICS);
    let rows = rows(page.section(section));
    let cells = rows.iter().flat_map(|row| quoted(&row[0]));
    let names = cells.map(|cell| cell.split('{').next().unwrap());
    names
        .filter_map(|name| name.strip_prefix("berth_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_metrics_of_the_service_are_documented() {
    let mut known = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    registered(&sources, &mut known);
    assert!(known.len() > 40, "{known:?}");
    let documented = documented("Service");
    for name in &known {
        let total = format!("{name}_total");
        let found = documented.contains(name) || documented.contains(&total);
        let elsewhere = name.ends_with("_nodes_total");
        assert!(found || elsewhere, "{name} is not documented");
    }
    for name in &documented {
        let base = name.strip_suffix("_total").unwrap_or(name);
        assert!(known.contains(base), "{name} is not in the sources");
    }
}

#[test]
fn the_metrics_of_the_filter_are_documented() {
    let mut known = BTreeSet::new();
    files(&pages::root().join("filter"), "rs", &mut |path, text| {
        if path.ends_with("metrics.rs") {
            let names = text.split("\"berth_").skip(1);
            let part = |c: char| c.is_ascii_lowercase() || c == '_';
            let name = |rest: &str| rest.split(|c| !part(c)).next().unwrap().to_owned();
            known.extend(names.map(name));
        }
    });
    assert!(known.len() > 8, "{known:?}");
    assert_eq!(documented("Filter"), known);
}

#[test]
fn each_alert_has_an_entry_in_the_runbook() {
    let entries = entries("Metrics");
    let page = page(METRICS);
    let alerts = rows(page.section("Alerts"));
    for alert in &alerts {
        let known = entries.iter().any(|entry| alert[1].contains(entry));
        assert!(known, "{alert:?}");
    }
    for entry in &entries {
        let used = alerts.iter().any(|alert| alert[1].contains(entry));
        assert!(used, "{entry} has no alert");
    }
}

/// The fields that the configuration would accept in place of an unknown one.
fn accepted(yaml: &str) -> BTreeSet<String> {
    let fault = load::from_text(yaml).err().unwrap().to_string();
    let fields = fault.split("known here: ").nth(1).unwrap();
    let fields = fields.lines().next().unwrap().split(", ");
    fields.map(str::to_owned).collect()
}

#[test]
fn every_field_of_a_pool_of_a_route_and_of_its_affinity_is_documented() {
    let pool = "name: p, driver: qix, cluster: c, discovery: { static: [] }";
    let page = page("placement-service/docs/configuration.md");
    for (section, yaml) in [
        ("Pools", format!("pools: [ {{ {pool}, unknown: 1 }} ]")),
        (
            "Routes",
            format!("pools: [ {{ {pool} }} ]\nroutes: [ {{ path: /a, pool: p, unknown: 1 }} ]"),
        ),
        (
            "Key affinity",
            format!(
                "pools: [ {{ {pool} }} ]\nroutes: [ {{ path: /a, pool: p, affinity: {{ unknown: 1 }} }} ]"
            ),
        ),
    ] {
        let rows = rows(page.section(section));
        let fields: BTreeSet<String> = rows
            .iter()
            .flat_map(|row| quoted(&row[0]))
            .map(str::to_owned)
            .collect();
        assert_eq!(fields, accepted(&yaml), "{section}");
    }
}

#[test]
fn examples_of_the_configuration_load() {
    let defaults: Map<String, Value> = serde_saphyr::from_str(load::DEFAULT).unwrap();
    let mut loaded = 0;
    for page in pages::all() {
        for block in page.blocks().iter().filter(|block| block.info == "yaml") {
            let key = block.text.split(':').next().unwrap();
            // The field `probe` of a pool has the name of a section, too.
            if key != "probe" && defaults.contains_key(key) {
                let result = load::from_text(&block.text);
                assert!(
                    result.is_ok(),
                    "{}: {}",
                    page.path.display(),
                    result.err().unwrap()
                );
                loaded += 1;
            }
        }
    }
    assert!(loaded > 3);
}
