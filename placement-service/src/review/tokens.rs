//! Rules for the tokens that the filter accepts: issuer, audience and keys are those of the service, and no file
//! contains a secret but the demonstration's.

use super::Finding;
use super::parts::Part;
use crate::config::DEMO_SECRET;
use crate::render::model::EdgeModel;

pub(super) fn review(settings: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let tokens = &model.tokens;
    for (field, default, expected) in [
        ("issuer", "berth", &tokens.issuer),
        ("audience", "engine", &tokens.audience),
    ] {
        let path = format!("tokens.{field}");
        let part = settings.at(&path);
        let actual = part
            .as_ref()
            .and_then(|part| part.value().as_str())
            .unwrap_or(default);
        if actual != expected {
            let message = format!("is {actual:?}, but the service has {expected:?}: {path}");
            settings.report_at(&path, message, findings);
        }
    }
    let keys = settings
        .at("tokens.keys")
        .map(|keys| keys.items())
        .unwrap_or_default();
    for key in &keys {
        review_key(key, model, findings);
    }
    for key in &tokens.keys {
        let is_listed = |other: &Part<'_>| {
            let variable =
                key.secret_env.is_some() && other.text("secret_env") == key.secret_env.as_deref();
            let demo = key.demo_secret.is_some() && other.text("secret") == key.demo_secret;
            let jwk =
                key.jwk.is_some() && other.get("jwk").map(|part| part.value().clone()) == key.jwk;
            variable || demo || jwk
        };
        if !keys.iter().any(is_listed) {
            let name = match (&key.secret_env, key.demo_secret) {
                (Some(name), _) => format!("secret_env: {name}"),
                (None, Some(_)) => "the demonstration's secret".to_owned(),
                (None, None) => "the public key of edge.token_keys".to_owned(),
            };
            settings.report_at("tokens.keys", format!("has no key with {name}"), findings);
        }
    }
    let jwks = settings.at("tokens.jwks").is_some();
    let has_jwk = keys.iter().any(|key| key.get("jwk").is_some());
    if tokens.jwks_path.is_some() && !jwks && !has_jwk {
        let message = "is missing: the service signs with a private key";
        settings.report_at("tokens.jwks", message, findings);
    }
}

/// A key of the file must be one of the service, and no secret in clear text.
fn review_key(key: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let known = &model.tokens.keys;
    if let Some(secret) = key.text("secret") {
        let demo = known.iter().any(|one| one.demo_secret.is_some());
        if secret != DEMO_SECRET {
            key.report_at(
                "secret",
                "is a secret in clear text: use secret_env",
                findings,
            );
        } else if !demo {
            let message =
                "is the public secret of the demonstration, which the service does not use";
            key.report_at("secret", message, findings);
        }
    }
    if let Some(name) = key.text("secret_env")
        && !known
            .iter()
            .any(|one| one.secret_env.as_deref() == Some(name))
    {
        let message = format!("is {name}, no key of the service: tokens, edge.token_keys");
        key.report_at("secret_env", message, findings);
    }
    // Without a list of public keys in the configuration, only their absence is a finding.
    let comparable = model.tokens.jwks_path.is_none();
    if let Some(jwk) = key.get("jwk")
        && comparable
        && !known
            .iter()
            .any(|one| one.jwk.as_ref() == Some(jwk.value()))
    {
        let message = "is no key of the service: tokens, edge.token_keys";
        key.report_at("jwk", message, findings);
    }
}
