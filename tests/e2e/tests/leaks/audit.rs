//! Checks the audit lines of the scenario: each is JSON with the fields that the documentation lists, and none is
//! missing.

use super::sinks::Sink;
use berth_harness::{Result, paths};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Fields of every log line.
const COMMON_FIELDS: [&str; 4] = ["timestamp", "level", "target", "event"];
/// Has the id of the request. Lines without a request have none.
const SPAN: &str = "span";

/// The documented events and their fields.
fn documented_events() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let page = paths::repository_root().join("placement-service/docs/security.md");
    let page = fs::read_to_string(page)?;
    let section = page.split("\n## Audit\n").nth(1).ok_or("no section")?;
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| ---"));
    let quoted = |cell: &str| -> Vec<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let mut all = BTreeMap::new();
    for row in rows.skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, event, fields, ..] = cells[..] else {
            return Err(format!("no row: {row}").into());
        };
        for event in quoted(event) {
            all.insert(event, quoted(fields).into_iter().collect());
        }
    }
    Ok(all)
}

fn parse_lines(logs: &[Sink]) -> Result<Vec<Map<String, Value>>> {
    let mut lines = vec![];
    for (name, bytes) in logs {
        if !name.starts_with("berth") {
            continue;
        }
        let text = str::from_utf8(bytes)?;
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let line: Map<String, Value> = serde_json::from_str(line)?;
            if line["target"] == "berth::audit" {
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

/// Fails when a line has another form, or when a line that the scenario must cause is missing.
pub(crate) fn check(logs: &[Sink]) -> Result<()> {
    let documented = documented_events()?;
    let mut seen = BTreeSet::new();
    for line in parse_lines(logs)? {
        let event = line["event"].as_str().ok_or("an event without a name")?;
        let known = documented.get(event);
        let known = known.ok_or_else(|| format!("{event} is not documented"))?;
        let fields: BTreeSet<String> = line
            .keys()
            .filter(|name| *name != SPAN && !COMMON_FIELDS.contains(&name.as_str()))
            .cloned()
            .collect();
        assert!(
            fields.is_subset(known),
            "{event} has {fields:?}, documented: {known:?}"
        );
        for always in COMMON_FIELDS {
            assert!(line.contains_key(always), "{event} without {always}");
        }
        if let Some(session) = line.get("session").and_then(Value::as_str) {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let name = session.len() == 22 && session.bytes().all(plain);
            assert!(name || session == "not an id", "{event}: {session}");
        }
        let why = line.get("reason").or_else(|| line.get("cause"));
        let why = why.and_then(Value::as_str).unwrap_or_default();
        seen.insert(format!("{event} {why}").trim_end().to_owned());
    }
    for expected in [
        "login",
        "login-failed wrong-password",
        "login-failed unknown-account",
        "session-renewed",
        "unknown-session",
        "session-ended logout",
        "session-ended login-again",
        "session-ended idle-timeout",
        "session-ended parent-ended",
        "session-ended operator",
        "session-ended back-channel",
        "login-failed login-denied",
    ] {
        assert!(seen.contains(expected), "no `{expected}` among {seen:?}");
    }
    Ok(())
}
