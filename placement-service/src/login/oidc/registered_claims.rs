//! Reads the registered claims ([RFC 7519 section 4.1]) that ID tokens and logout tokens have in common. Must not know
//! which of them a token requires.
//!
//! [RFC 7519 section 4.1]: https://www.rfc-editor.org/rfc/rfc7519#section-4.1

use crate::config::OidcProvider;
use serde_json::Value;
use std::time::Duration;

/// Tolerated difference between a provider's clock and ours.
pub(super) const LEEWAY_MS: u64 = 30_000;
/// Maximum length of an identifier such as `sub`, in bytes (OpenID Connect Core 1.0 section 2).
pub(super) const MAX_ID_BYTES: usize = 255;

/// Whether `aud` names this client, and besides it only audiences that the configuration trusts.
pub(super) fn is_for_client(aud: Option<&Value>, provider: &OidcProvider) -> bool {
    let audiences = match aud {
        Some(Value::Array(audiences)) => audiences.as_slice(),
        Some(audience) => std::slice::from_ref(audience),
        None => return false,
    };
    let is_client = |audience: &Value| audience.as_str() == Some(&provider.client_id);
    let is_trusted = |audience: &Value| {
        let trusted = &provider.trusted_audiences;
        audience
            .as_str()
            .is_some_and(|a| trusted.iter().any(|t| t == a))
    };
    audiences.iter().any(is_client) && audiences.iter().all(|a| is_client(a) || is_trusted(a))
}

/// Parses a NumericDate (RFC 7519 section 2), which may have a fraction.
pub(super) fn parse_numeric_date_ms(value: Option<&Value>) -> Option<u64> {
    let seconds = value?.as_f64().filter(|s| (0.0..1e13).contains(s))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
}

/// An identifier: a text that is neither empty nor too long.
pub(super) fn parse_id(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    (1..=MAX_ID_BYTES).contains(&text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_for_this_client_and_for_trusted_audiences_only() {
        let provider = serde_json::from_value::<OidcProvider>(json!({
            "name": "idp", "issuer": "https://id.example", "client_id": "berth", "roles": {},
            "trusted_audiences": ["project-1"],
        }));
        let provider = provider.unwrap();
        for (aud, expected) in [
            (json!("berth"), true),
            (json!(["berth"]), true),
            (json!(["project-1", "berth"]), true),
            (json!(["berth", "project-2"]), false),
            (json!(["berth", 5]), false),
            (json!("project-1"), false),
            (json!(["project-1"]), false),
            (json!([]), false),
            (json!(null), false),
            (json!({"berth": true}), false),
        ] {
            assert_eq!(is_for_client(Some(&aud), &provider), expected, "{aud}");
        }
        assert!(!is_for_client(None, &provider));
    }

    #[test]
    fn a_numeric_date_may_have_a_fraction() {
        assert_eq!(parse_numeric_date_ms(Some(&json!(1.5))), Some(1_500));
        for other in [json!(-1), json!("1"), json!(1e300), json!(null)] {
            assert_eq!(parse_numeric_date_ms(Some(&other)), None, "{other}");
        }
        assert_eq!(parse_numeric_date_ms(None), None);
    }
}
