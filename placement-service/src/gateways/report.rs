//! Validates reports of gateways: lengths, counts and characters, so that no unusual text enters memory, a log or a
//! metric. An error names the field, never its value.

use super::GatewayCursor;
use berth_api::{
    ClosedStream, GatewayReport, MAX_ENGINE_NAME, MAX_GATEWAY_NAME, MAX_NODE_ID,
    MAX_POLL_TIMEOUT_MS, MAX_REPORT_ENTRIES, OpenStream, is_gateway_name, is_key_name, is_node_id,
    is_stream_name, is_version,
};

/// Validates a report, and parses its cursor.
///
/// # Errors
/// The fault, with the name of its field.
pub fn checked(gateway: &str, report: &GatewayReport) -> Result<Option<GatewayCursor>, String> {
    if !is_gateway_name(gateway) {
        return Err(format!(
            "gateway is not 1 to {MAX_GATEWAY_NAME} of A-Z a-z 0-9 - . _"
        ));
    }
    if report.sequence == 0 {
        return Err("sequence is 0, and begins with 1".to_owned());
    }
    if report.poll_timeout_ms > MAX_POLL_TIMEOUT_MS {
        return Err(format!("poll_timeout_ms is over {MAX_POLL_TIMEOUT_MS}"));
    }
    for (field, count) in [
        ("opened", report.opened.len()),
        ("active", report.active.len()),
        ("active_keys", report.active_keys.len()),
        ("failed_engines", report.failed_engines.len()),
        ("closed", report.closed.len()),
    ] {
        if count > MAX_REPORT_ENTRIES {
            return Err(format!("{field} has over {MAX_REPORT_ENTRIES} entries"));
        }
    }
    for (index, stream) in report.opened.iter().enumerate() {
        opened(stream).map_err(|fault| format!("opened[{index}].{fault}"))?;
    }
    for (index, name) in report.active.iter().enumerate() {
        if !is_stream_name(name) {
            return Err(format!("active[{index}] is not a session_ref"));
        }
    }
    for (index, name) in report.active_keys.iter().enumerate() {
        if !is_key_name(name) {
            return Err(format!("active_keys[{index}] is not a key's name"));
        }
    }
    for (index, failed) in report.failed_engines.iter().enumerate() {
        if !is_engine_name(&failed.pool) || !is_engine_name(&failed.engine) {
            return Err(format!("failed_engines[{index}] is not an engine"));
        }
    }
    for (index, stream) in report.closed.iter().enumerate() {
        closed(stream).map_err(|fault| format!("closed[{index}].{fault}"))?;
    }
    let identity = report.identity.as_ref();
    if identity.is_some_and(|identity| !identity.node.as_deref().is_none_or(is_node_id)) {
        return Err(format!(
            "identity.node is not 1 to {MAX_NODE_ID} printable ASCII characters"
        ));
    }
    if identity.is_some_and(|identity| !identity.version.as_deref().is_none_or(is_version)) {
        return Err("identity.version is not a version".to_owned());
    }
    let cursor = report.cursor.as_deref().map(str::parse);
    let cursor = cursor.transpose();
    cursor.map_err(|_| "cursor is not a cursor".to_owned())
}

fn opened(stream: &OpenStream) -> Result<(), &'static str> {
    if !is_stream_name(&stream.stream) {
        return Err("stream is not a stream's name");
    }
    if !is_stream_name(&stream.session_ref) {
        return Err("session_ref is not a session_ref");
    }
    if !is_engine_name(&stream.pool) {
        return Err("pool is not a pool's name");
    }
    if !is_engine_name(&stream.engine) {
        return Err("engine is not an engine's name");
    }
    if !stream.key.as_deref().is_none_or(is_key_name) {
        return Err("key is not a key's name");
    }
    Ok(())
}

fn closed(stream: &ClosedStream) -> Result<(), &'static str> {
    if is_stream_name(&stream.stream) {
        Ok(())
    } else {
        Err("stream is not a stream's name")
    }
}

/// Any name that a discovery may give an engine, if it is printable.
fn is_engine_name(text: &str) -> bool {
    (1..=MAX_ENGINE_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault(gateway: &str, field: &str, value: Value) -> Option<String> {
        let mut report = json!({
            "sequence": 1,
            "opened": [{"stream": "s", "session_ref": "r", "pool": "p", "engine": "e", "opened_at": 1, "key": "k"}],
            "closed": [{"stream": "s", "reason": "ended", "duration_ms": 1}],
            "identity": {"node": "n", "version": "1.0.0", "uptime_ms": 1},
        });
        *report.pointer_mut(field).unwrap_or(&mut Value::Null) = value.clone();
        if let Some(name) = field.strip_prefix('/').filter(|name| !name.contains('/')) {
            report[name] = value;
        }
        let report = serde_json::from_value(report).unwrap();
        checked(gateway, &report).err()
    }

    #[test]
    fn faults_name_the_field() {
        assert_eq!(fault("g-1.a_B", "/sequence", json!(1)), None);
        assert_eq!(fault("g", "/cursor", json!("now")), None);
        for field in [
            "/opened/0/stream",
            "/opened/0/session_ref",
            "/closed/0/stream",
        ] {
            assert_eq!(fault("g", field, json!("x".repeat(64))), None);
        }
        assert_eq!(fault("g", "/opened/0/engine", json!("x".repeat(256))), None);
        let too_long = "x".repeat(65);
        for (gateway, field, value, expected_fault) in [
            (
                "",
                "/sequence",
                json!(1),
                "gateway is not 1 to 64 of A-Z a-z 0-9 - . _",
            ),
            (
                "a b",
                "/sequence",
                json!(1),
                "gateway is not 1 to 64 of A-Z a-z 0-9 - . _",
            ),
            (
                too_long.as_str(),
                "/sequence",
                json!(1),
                "gateway is not 1 to 64 of A-Z a-z 0-9 - . _",
            ),
            (
                "g",
                "/sequence",
                json!(0),
                "sequence is 0, and begins with 1",
            ),
            (
                "g",
                "/poll_timeout_ms",
                json!(25_001),
                "poll_timeout_ms is over 25000",
            ),
            ("g", "/cursor", json!("7"), "cursor is not a cursor"),
            (
                "g",
                "/active",
                json!(vec!["r"; 501]),
                "active has over 500 entries",
            ),
            (
                "g",
                "/active",
                json!(["r", "a b"]),
                "active[1] is not a session_ref",
            ),
            (
                "g",
                "/active_keys",
                json!(vec!["k"; 501]),
                "active_keys has over 500 entries",
            ),
            (
                "g",
                "/active_keys",
                json!(["k", "a/b"]),
                "active_keys[1] is not a key's name",
            ),
            (
                "g",
                "/opened/0/stream",
                json!(""),
                "opened[0].stream is not a stream's name",
            ),
            (
                "g",
                "/opened/0/stream",
                json!(too_long),
                "opened[0].stream is not a stream's name",
            ),
            (
                "g",
                "/opened/0/session_ref",
                json!(too_long),
                "opened[0].session_ref is not a session_ref",
            ),
            (
                "g",
                "/opened/0/pool",
                json!(""),
                "opened[0].pool is not a pool's name",
            ),
            (
                "g",
                "/opened/0/engine",
                json!("a\nb"),
                "opened[0].engine is not an engine's name",
            ),
            (
                "g",
                "/opened/0/key",
                json!("a/b"),
                "opened[0].key is not a key's name",
            ),
            (
                "g",
                "/failed_engines",
                json!([{"pool": "p", "engine": ""}]),
                "failed_engines[0] is not an engine",
            ),
            (
                "g",
                "/identity/node",
                json!("a b"),
                "identity.node is not 1 to 256 printable ASCII characters",
            ),
            (
                "g",
                "/identity/version",
                json!("1 2"),
                "identity.version is not a version",
            ),
            (
                "g",
                "/closed/0/stream",
                json!("\u{e9}"),
                "closed[0].stream is not a stream's name",
            ),
        ] {
            assert_eq!(
                fault(gateway, field, value).as_deref(),
                Some(expected_fault)
            );
        }
    }
}
