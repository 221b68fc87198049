//! Logout tokens of OpenID providers: no token is accepted without a key that has signed it, and accepted claims are
//! bounded.
use berth_placement::config::{LogoutTokenType, OidcProvider};
use berth_placement::events::public_keys::PublicKeys;
use berth_placement::login::oidc::back_channel::LogoutToken;
use serde_json::json;

const NOW_MS: u64 = 1_700_000_000_000;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(token) = LogoutToken::parse(text, LogoutTokenType::Any) else {
        return;
    };
    assert!(PublicKeys::default().check_signature(&token.jws).is_err());
    let provider = json!({"name": "idp", "issuer": "https://id.example", "client_id": "berth", "roles": {}});
    let provider: OidcProvider = serde_json::from_value(provider).unwrap();
    if let Ok(claims) = token.check_claims(&provider, NOW_MS) {
        assert!(claims.subject.is_some() || claims.session.is_some());
        let names = [claims.subject, claims.session, Some(claims.jti)];
        assert!(
            names
                .iter()
                .flatten()
                .all(|name| (1..=255).contains(&name.len()))
        );
        assert!(claims.remember_until_ms > NOW_MS);
        assert!(claims.remember_until_ms <= NOW_MS + 360_000);
    }
}
