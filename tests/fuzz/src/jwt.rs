//! Tokens against fixed keys, and keys that come with their token (`JWK NUL token`): only the tokens
//! of the fixture are accepted by the fixed keys.
use berth_filter_core::auth::jwks;
use berth_filter_core::auth::jwt::{Key, Keys};
use serde_json::Value;
use std::sync::LazyLock;

static FIXTURE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../fixtures/filter/tokens.json")).unwrap()
});

thread_local! {
    static KEYS: Keys = {
        let secret = FIXTURE["secret"].as_str().unwrap();
        let mut keys = vec![Key::from_secret(None, secret.as_bytes()).unwrap()];
        let jwks = FIXTURE["keys"].as_object().unwrap().values();
        keys.extend(jwks.map(|jwk| Key::from_jwk(jwk.clone()).unwrap()));
        Keys::new(keys, "berth", "engine", 5)
    };
}

/// Whether `token` has the same signed part as a token of the fixture.
fn is_in_fixture(token: &str) -> bool {
    let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
    let mut tokens = FIXTURE["tokens"].as_object().unwrap().values();
    tokens.any(|t| signed(t.as_str().unwrap()) == signed(token))
}

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        let _ = jwks::parse(data);
        return;
    };
    let Some((jwk, token)) = text.split_once('\0') else {
        assert!(KEYS.with(|keys| keys.verify(text)).is_err() || is_in_fixture(text));
        return;
    };
    let _ = jwks::parse(jwk.as_bytes());
    if let Ok(jwk) = serde_json::from_str(jwk)
        && let Ok(key) = Key::from_jwk(jwk)
    {
        let _ = Keys::new(vec![key], "berth", "engine", 5).verify(token);
    }
}
