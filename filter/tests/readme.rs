//! The documentation's tables of the filter's settings and refusals match the code.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use berth_api::CloseReason;
use berth_filter_core::config::Config;
use berth_filter_core::decision::rejection::RejectReason;
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

/// The table as a configuration that sets every setting to its documented default.
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
    Config::parse(json.to_string().as_bytes(), &|_| None).map_err(|errors| errors.to_string())
}

#[test]
fn documented_defaults_are_the_defaults() {
    let all = documented();
    let documented = parse(&Value::Object(all.clone())).unwrap();
    let default =
        parse(&json!({"routes": all["routes"], "tokens": {"keys": all["tokens"]["keys"]}}))
            .unwrap();
    assert_eq!(documented.service.cluster, default.service.cluster);
    assert_eq!(documented.service.authority, default.service.authority);
    assert_eq!(documented.service.timeout_ms, default.service.timeout_ms);
    assert_eq!(
        documented.service.authorization,
        default.service.authorization
    );
    assert_eq!(documented.cookie, default.cookie);
    assert_eq!(documented.login_path, default.login_path);
    assert_eq!(documented.api_prefixes, default.api_prefixes);
    assert_eq!(documented.strip_headers, default.strip_headers);
    assert!(documented.origins.is_empty() && default.origins.is_empty());
    assert!(documented.jwks.is_none() && default.jwks.is_none());
    assert_eq!(documented.events, default.events);
    assert_eq!(documented.cache, default.cache);
    assert_eq!(documented.close_timeout_ms, default.close_timeout_ms);
}

#[test]
fn every_setting_is_documented() {
    let all = documented();
    for section in [
        None,
        Some("service"),
        Some("tokens"),
        Some("events"),
        Some("cache"),
    ] {
        let mut wrong = all.clone();
        let fields = match section {
            None => &mut wrong,
            Some(name) => wrong[name].as_object_mut().unwrap(),
        };
        let documented: BTreeSet<String> = fields.keys().cloned().collect();
        fields.insert("no-such-setting".into(), Value::Null);
        // serde names the fields that it accepts.
        let error = parse(&Value::Object(wrong)).err().unwrap();
        let expected = error.split(", expected ").nth(1).unwrap();
        let known = expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(documented, known, "{section:?}");
    }
}

#[test]
fn every_field_of_a_route_is_documented() {
    let mut all = documented();
    all["routes"][0]["no-such-field"] = Value::Null;
    let error = parse(&Value::Object(all)).err().unwrap();
    let expected = error.split("expected one of").nth(1).unwrap();
    let rows = rows(CONFIGURATION, SETTINGS);
    let routes = rows.iter().find(|row| row[1] == "`routes`").unwrap();
    for field in expected.split('`').skip(1).step_by(2) {
        assert!(routes[3].contains(field), "{field}");
    }
}

#[test]
fn route_options_are_off_by_default() {
    for row in rows(CONFIGURATION, SETTINGS) {
        let Some(field) = row[1].trim_matches('`').strip_prefix("routes[].") else {
            continue;
        };
        let (mut route, other) = match field {
            "max_age" => (json!({"path": "/a", "action": "place"}), json!("1m")),
            "max_age_jitter" => {
                let route = json!({"path": "/a", "action": "place", "max_age": "1m"});
                (route, json!(0.5))
            }
            "on_login_timeout" => {
                let route = json!({"path": "/a", "action": "authenticate"});
                (route, json!("refuse"))
            }
            "roles" => {
                let route = json!({"path": "/a", "action": "authenticate"});
                (route, json!(["admin"]))
            }
            "http" => (json!({"path": "/a", "action": "place"}), json!("allow")),
            "activity" => {
                let route = json!({"path": "/a", "action": "place", "http": "allow"});
                (route, json!("none"))
            }
            "host" => {
                let route = json!({"path": "/a", "action": "authenticate"});
                (route, json!("lab.example.com"))
            }
            _ => {
                let route = json!({"path": "/a", "action": "authenticate"});
                (route, json!("allow"))
            }
        };
        let mut all = documented();
        all["routes"] = json!([route]);
        let default = parse(&Value::Object(all.clone())).unwrap().routes;
        route[field] = serde_json::from_str(row[2].trim_matches('`')).unwrap();
        all["routes"] = json!([route]);
        assert_eq!(parse(&Value::Object(all.clone())).unwrap().routes, default);
        route[field] = other;
        all["routes"] = json!([route]);
        assert_ne!(
            parse(&Value::Object(all)).unwrap().routes,
            default,
            "{field}"
        );
    }
}

#[test]
fn every_reason_is_documented_with_its_status() {
    let rows = rows(HTTP_API, "\n## Reasons of the filter\n");
    for reason in RejectReason::ALL {
        let constant = format!("`{}`", reason.as_str());
        let statuses: Vec<u16> = rows
            .iter()
            .filter(|row| row[2].contains(&constant))
            .map(|row| row[1].parse().unwrap())
            .collect();
        assert!(
            statuses.contains(&reason.status()),
            "{constant}: {statuses:?}, is {}",
            reason.status()
        );
    }
}

#[test]
fn every_reason_has_an_entry_in_the_runbook() {
    for reason in RejectReason::ALL {
        let entry = format!("\n### `{}`\n", reason.as_str());
        assert!(RUNBOOK.contains(&entry), "{}", reason.as_str());
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
        let Some(code) = reason.close_code() else {
            continue;
        };
        let (code, name) = (code.to_string(), format!("`{}`", reason.as_str()));
        assert!(documented.contains(&(&code, &name)), "{code} {name}");
    }
}
