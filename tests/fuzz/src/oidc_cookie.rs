//! The state cookie of a login at an OpenID provider, and the query of the callback: only sealed bytes open, and a
//! sealed state leads to a path of this site or nowhere.
use berth_placement::core::aead::SealingKeys;
use berth_placement::login::oidc::{LOGIN_STATE_TTL_MS, LoginState, Callback};
use berth_placement::core::secret::Secret;
use std::sync::LazyLock;

static KEYS: LazyLock<SealingKeys> =
    LazyLock::new(|| SealingKeys::derive(&[Secret::new("k".repeat(32))]).unwrap());

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(LoginState::open(&KEYS, text, "idp", 0).is_err());
        if let Ok(callback) = Callback::parse(text) {
            assert!(
                callback
                    .state
                    .is_none_or(|state| state.len() <= text.len() * 3)
            );
        }
    }
    // Only the holder of the key can seal this.
    let Some(sealed) = KEYS.seal("login attempt", data) else {
        return;
    };
    if let Ok(attempt) = LoginState::open(&KEYS, &sealed, "idp", 1_000) {
        assert_eq!(attempt.provider, "idp");
        assert!(attempt.began_at_ms.saturating_add(LOGIN_STATE_TTL_MS) > 1_000);
        if let Some(path) = attempt.return_to() {
            assert!(path.as_str().starts_with('/') && !path.as_str().starts_with("//"));
        }
    }
}
