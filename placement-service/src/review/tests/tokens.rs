//! The rules for the tokens that the filter accepts.

use super::*;
use crate::render::model::TokenKey;
use serde_json::json;

#[test]
fn another_secret_is_a_finding() {
    assert_eq!(
        findings(PRODUCTION, "secret_env: TOKEN_KEY", "secret_env: OTHER"),
        [
            format!("{SETTINGS}.tokens.keys: has no key with secret_env: TOKEN_KEY"),
            format!(
                "{SETTINGS}.tokens.keys[0].secret_env: is OTHER, no key of the service: tokens, edge.token_keys"
            ),
        ]
    );
    let secret = findings(
        PRODUCTION,
        "secret_env: TOKEN_KEY",
        "secret: another-secret-of-somebody",
    );
    assert_eq!(
        secret[1],
        format!("{SETTINGS}.tokens.keys[0].secret: is a secret in clear text: use secret_env")
    );
    assert!(!secret.concat().contains("another-secret"));
}

#[test]
fn the_secret_of_the_demonstration_is_for_the_demonstration_only() {
    let found = findings(
        PRODUCTION,
        "secret_env: TOKEN_KEY",
        "secret: berth-demo-secret-known-to-everybody",
    );
    assert_eq!(
        found,
        [
            format!("{SETTINGS}.tokens.keys: has no key with secret_env: TOKEN_KEY"),
            format!(
                "{SETTINGS}.tokens.keys[0].secret: is the public secret of the demonstration, which the service does not use"
            ),
        ]
    );
    assert_eq!(
        findings(
            CONFIG,
            "secret: berth-demo-secret-known-to-everybody",
            "secret_env: MINE"
        ),
        [
            format!("{SETTINGS}.tokens.keys: has no key with the demonstration's secret"),
            format!(
                "{SETTINGS}.tokens.keys[0].secret_env: is MINE, no key of the service: tokens, edge.token_keys"
            ),
        ]
    );
}

#[test]
fn public_keys_are_compared() {
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": "own"});
    let review = |configured: bool, keys: serde_json::Value| {
        let mut model = model("");
        model.tokens.keys = Vec::new();
        model.tokens.jwks_path = (!configured).then_some("/.well-known/jwks.json");
        if configured {
            model.tokens.keys.push(TokenKey {
                jwk: Some(own.clone()),
                ..TokenKey::default()
            });
        }
        let settings = json!({"plugin_config": {"tokens": keys}});
        let file = EdgeFile {
            name: "x".to_owned(),
            text: settings.to_string(),
        };
        let found = review(&[file], &model);
        let found = found.iter().filter(|one| one.path.contains("tokens"));
        found.map(ToString::to_string).collect::<Vec<_>>()
    };
    let keys = |keys: &[&str]| {
        let jwk = |x: &&str| json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
        json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>()})
    };
    assert_eq!(review(true, keys(&["own"])), [""; 0]);
    let foreign =
        "x: plugin_config.tokens.keys[1].jwk: is no key of the service: tokens, edge.token_keys";
    assert_eq!(review(true, keys(&["own", "other"])), [foreign]);
    let missing = "x: plugin_config.tokens.keys: has no key with the public key of edge.token_keys";
    assert_eq!(review(true, keys(&[])), [missing]);
    // The filter fetches the keys, or lists one that the configuration does not contain.
    assert_eq!(
        review(false, json!({"jwks": {"path": "/.well-known/jwks.json"}})),
        [""; 0]
    );
    assert_eq!(review(false, keys(&["own"])), [""; 0]);
    let none = "x: plugin_config.tokens.jwks: is missing: the service signs with a private key";
    assert_eq!(review(false, json!({})), [none]);
}
