//! The documentation's tables of the filter's settings and refusals match the code.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use berth_api::CloseReason;
use berth_filter::config::Config;
use berth_filter::rejection::Cause;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const CLOSE_CODES: &str = include_str!("../docs/close-codes.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const HTTP_API: &str = include_str!("../../placement-service/docs/http-api.md");
const RUNBOOK: &str = include_str!("../../placement-service/docs/runbook.md");
const SETTINGS: &str = "\n## Settings\n";

fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split(heading).nth(1).unwrap();
    let section = section.split("\n##").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| row.split('|').map(|c| c.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// The table as a configuration in which every setting stands with its default.
fn documented() -> Map<String, Value> {
    let mut all = Map::new();
    for row in rows(CONFIGURATION, SETTINGS) {
        let (setting, default) = (row[1].trim_matches('`'), row[2].trim_matches('`'));
        let value = match setting {
            "routes" => json!([{"path": "/", "action": "bypass"}]),
            _ if setting.starts_with("routes[].") => continue,
            "tokens.keys" => {
                json!([{"alg": "HS256", "secret": "0123456789abcdef0123456789abcdef"}])
            }
            _ => serde_json::from_str(default).unwrap(),
        };
        match setting.split_once('.') {
            None => drop(all.insert(setting.to_owned(), value)),
            Some((section, field)) => {
                let section = all.entry(section).or_insert_with(|| json!({}));
                section[field] = value;
            }
        }
    }
    all
}

fn parse(json: &Value) -> Result<Config, String> {
    Config::parse(json.to_string().as_bytes(), &|_| None).map_err(|faults| faults.to_string())
}

#[test]
fn the_readmes_defaults_are_the_defaults() {
    let all = documented();
    let told = parse(&Value::Object(all.clone())).unwrap();
    let least = parse(&json!({"routes": all["routes"], "tokens": {"keys": all["tokens"]["keys"]}}))
        .unwrap();
    assert_eq!(told.service.cluster, least.service.cluster);
    assert_eq!(told.service.authority, least.service.authority);
    assert_eq!(told.service.timeout_ms, least.service.timeout_ms);
    assert_eq!(told.service.authorization, least.service.authorization);
    assert_eq!(told.cookie, least.cookie);
    assert_eq!(told.login_path, least.login_path);
    assert_eq!(told.api_prefixes, least.api_prefixes);
    assert_eq!(told.trust_headers, least.trust_headers);
    assert!(told.origins.is_empty() && least.origins.is_empty());
    assert!(told.jwks.is_none() && least.jwks.is_none());
    assert_eq!(told.feed, least.feed);
    assert_eq!(told.cache, least.cache);
    assert_eq!(told.close_grace_ms, least.close_grace_ms);
}

#[test]
fn the_readme_leaves_no_setting_out() {
    let all = documented();
    for section in [
        None,
        Some("service"),
        Some("tokens"),
        Some("feed"),
        Some("cache"),
    ] {
        let mut wrong = all.clone();
        let fields = match section {
            None => &mut wrong,
            Some(name) => wrong[name].as_object_mut().unwrap(),
        };
        let told: BTreeSet<String> = fields.keys().cloned().collect();
        fields.insert("no-such-setting".into(), Value::Null);
        // serde names the fields that it would have taken.
        let fault = parse(&Value::Object(wrong)).err().unwrap();
        let expected = fault.split(", expected ").nth(1).unwrap();
        let known = expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(told, known, "{section:?}");
    }
}

#[test]
fn the_readme_leaves_no_field_of_a_route_out() {
    let mut all = documented();
    all["routes"][0]["no-such-field"] = Value::Null;
    let fault = parse(&Value::Object(all)).err().unwrap();
    let expected = fault.split("expected one of").nth(1).unwrap();
    let rows = rows(CONFIGURATION, SETTINGS);
    let told = rows.iter().find(|row| row[1] == "`routes`").unwrap();
    for field in expected.split('`').skip(1).step_by(2) {
        assert!(told[3].contains(field), "{field}");
    }
}

#[test]
fn what_a_route_may_say_is_off_by_default() {
    for row in rows(CONFIGURATION, SETTINGS) {
        let Some(field) = row[1].trim_matches('`').strip_prefix("routes[].") else {
            continue;
        };
        let (mut route, other) = match field {
            "max_age_s" => (json!({"path": "/a", "action": "place"}), json!(60)),
            "max_age_jitter" => {
                let route = json!({"path": "/a", "action": "place", "max_age_s": 60});
                (route, json!(0.5))
            }
            _ => {
                let route = json!({"path": "/a", "action": "authenticate"});
                (route, json!("allow"))
            }
        };
        let mut all = documented();
        all["routes"] = json!([route]);
        let least = parse(&Value::Object(all.clone())).unwrap().routes;
        route[field] = serde_json::from_str(row[2].trim_matches('`')).unwrap();
        all["routes"] = json!([route]);
        assert_eq!(parse(&Value::Object(all.clone())).unwrap().routes, least);
        route[field] = other;
        all["routes"] = json!([route]);
        assert_ne!(parse(&Value::Object(all)).unwrap().routes, least, "{field}");
    }
}

#[test]
fn the_readme_names_every_refusal_with_its_status() {
    let rows = rows(HTTP_API, "\n## Reasons of the filter\n");
    for cause in Cause::ALL {
        let constant = format!("`{}`", cause.reason());
        let told: Vec<u16> = rows
            .iter()
            .filter(|row| row[2].contains(&constant))
            .map(|row| row[1].parse().unwrap())
            .collect();
        assert!(
            told.contains(&cause.status()),
            "{constant}: {told:?}, is {}",
            cause.status()
        );
    }
}

#[test]
fn the_runbook_has_an_entry_for_every_refusal() {
    for cause in Cause::ALL {
        let entry = format!("\n### `{}`\n", cause.reason());
        assert!(RUNBOOK.contains(&entry), "{}", cause.reason());
    }
}

#[test]
fn every_close_code_is_documented() {
    let rows = rows(CLOSE_CODES, "\n## Codes\n");
    let documented: Vec<_> = rows
        .iter()
        .map(|row| (row[1].as_str(), row[2].as_str()))
        .collect();
    for reason in CloseReason::ALL {
        let Some(code) = reason.code() else { continue };
        let (code, name) = (code.to_string(), format!("`{}`", reason.as_str()));
        assert!(documented.contains(&(&code, &name)), "{code} {name}");
    }
}
