//! Rules for the filter: it never fails open, a change of its settings closes no WebSocket, and its settings are those
//! that follow from the configuration of the service.

use super::Finding;
use super::parts::Part;
use crate::render::model::EdgeModel;
use humantime_serde::re::humantime::parse_duration;
use serde_json::Value;

/// Rules for the Wasm filter around the settings.
pub(super) fn review(wasm: &Part<'_>, findings: &mut Vec<Finding>) {
    let Some(config) = wasm.get("config") else {
        wasm.report_at("config", "is missing", findings);
        return;
    };
    if config.text("failure_policy") != Some("FAIL_RELOAD") {
        let message = "must be FAIL_RELOAD: otherwise a trap fails open, or every later request";
        config.report_at("failure_policy", message, findings);
    }
    if config
        .get("fail_open")
        .is_some_and(|part| part.value() == &Value::Bool(true))
    {
        config.report_at(
            "fail_open",
            "forwards spoofed headers after a trap",
            findings,
        );
    }
    if wasm.is_below("http_filters") {
        let message = "is inline: a change of it closes every WebSocket; use config_discovery";
        wasm.report(message, findings);
    }
}

/// Rules for the filter's settings.
pub(super) fn review_settings(settings: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let filter = &model.filter;
    for (path, default, expected, setting) in [
        (
            "cookie",
            "__Host-berth",
            filter.cookie.as_str(),
            "session.cookie",
        ),
        (
            "login_path",
            "/login",
            filter.login_path,
            "the path of the login",
        ),
    ] {
        let part = settings.at(path);
        let actual = part
            .as_ref()
            .and_then(|part| part.value().as_str())
            .unwrap_or(default);
        if actual != expected {
            let message = format!("is {actual:?}, but the service has {expected:?}: {setting}");
            settings.report_at(path, message, findings);
        }
    }
    review_timeout(settings, model, findings);
    review_secret(settings, model, findings);
    let stripped = settings
        .get("strip_headers")
        .map(|list| list.items())
        .unwrap_or_default();
    for name in &filter.strip_headers {
        if !stripped
            .iter()
            .any(|part| part.value().as_str() == Some(name))
        {
            let message =
                format!("does not contain {name}, one of edge.strip_headers and routes[].headers");
            settings.report_at("strip_headers", message, findings);
        }
    }
}

fn review_timeout(settings: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let part = settings.at("service.timeout");
    let actual = part
        .as_ref()
        .and_then(|part| part.value().as_str())
        .unwrap_or("12s");
    let times = (
        parse_duration(actual),
        parse_duration(&model.filter.timeout),
    );
    if let (Ok(actual), Ok(expected)) = times
        && actual < expected
    {
        let expected = &model.filter.timeout;
        let message = format!("must be at least {expected}: placement.deadline and 2s");
        settings.report_at("service.timeout", message, findings);
    }
}

fn review_secret(settings: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    if settings
        .at("service.secret")
        .is_some_and(|part| !part.value().is_null())
    {
        let message = "is a secret in clear text: use secret_env";
        settings.report_at("service.secret", message, findings);
    }
    let variable = settings.at("service.secret_env");
    let actual = variable.as_ref().and_then(|part| part.value().as_str());
    let expected = model.filter.secret_env.as_deref();
    if actual != expected {
        let message = match expected {
            Some(name) => format!("must be {name}: gateways.secret"),
            None => "must be absent: the service has no gateways.secret".to_owned(),
        };
        settings.report_at("service.secret_env", message, findings);
    }
}
