//! Which account of a provider a user is, and how pages name the user: a pure function of the claims and the
//! configuration. Refuses a claim that cannot name an account, and never refuses a display name.

use super::claim_path::find_claim;
use crate::config::OidcProvider;
use crate::core::account_key::AccountKey;
use crate::core::names::{ProviderNameFault, check_provider_name, display_text};
use serde_json::{Map, Value};

/// The claim that names the account by default: a provider never changes it, and users cannot choose it.
const DEFAULT_ACCOUNT_CLAIM: &str = "sub";
/// The claims that are tried as display name, after the configured one.
const DISPLAY_NAME_CLAIMS: [&str; 3] = ["name", "preferred_username", "email"];

/// Why a claim cannot name an account. The text is for the log: it names the claim, and quotes one character at most.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountClaimFault {
    #[error("the claim {0:?} is missing")]
    Missing(String),
    #[error("the claim {0:?} is not a text")]
    NotText(String),
    #[error("the claim {0:?} {1}")]
    Name(String, ProviderNameFault),
    #[error("the claim \"email_verified\" is not true")]
    EmailNotVerified,
}

/// The key of the account: the name that the configured claim contains, in the namespace of the provider.
pub(super) fn account_key(
    provider: &OidcProvider,
    claims: &Map<String, Value>,
) -> Result<String, AccountClaimFault> {
    let claim = account_claim(provider);
    if requires_verified_email(provider) && !is_email_verified(claims) {
        return Err(AccountClaimFault::EmailNotVerified);
    }
    let value = find_claim(claims, claim);
    let value = value.ok_or_else(|| AccountClaimFault::Missing(claim.to_owned()))?;
    let name = value
        .as_str()
        .ok_or_else(|| AccountClaimFault::NotText(claim.to_owned()))?;
    check_provider_name(name).map_err(|fault| AccountClaimFault::Name(claim.to_owned(), fault))?;
    Ok(AccountKey::new(Some(&provider.name), name).to_string())
}

/// The user's name for people; empty if no claim has one.
pub(super) fn display_name(provider: &OidcProvider, claims: &Map<String, Value>) -> String {
    let configured = provider.display_name_claim.as_deref();
    let mut names = configured.into_iter().chain(DISPLAY_NAME_CLAIMS);
    let name = names.find_map(|claim| display_text(find_claim(claims, claim)?.as_str()?));
    name.unwrap_or_default()
}

/// Whether the claims include all that the account and its display name are made of. A display name is only expected
/// of a provider that was asked for one, by a setting or by a scope.
pub(super) fn has_account_claims(provider: &OidcProvider, claims: &Map<String, Value>) -> bool {
    let is_present = |claim: &str| find_claim(claims, claim).is_some();
    let has_display_name = match &provider.display_name_claim {
        Some(claim) => is_present(claim),
        None if provider.scopes.iter().any(|scope| scope == "profile") => {
            DISPLAY_NAME_CLAIMS.into_iter().any(is_present)
        }
        None => true,
    };
    has_display_name
        && is_present(account_claim(provider))
        && (!requires_verified_email(provider) || is_present("email_verified"))
}

fn account_claim(provider: &OidcProvider) -> &str {
    let configured = provider.account_claim.as_deref();
    configured.unwrap_or(DEFAULT_ACCOUNT_CLAIM)
}

/// Anyone could have entered an e-mail address that the provider has not verified.
fn requires_verified_email(provider: &OidcProvider) -> bool {
    account_claim(provider) == "email" && provider.require_verified_email
}

/// Some providers, such as Amazon Cognito, send the text instead of the boolean.
fn is_email_verified(claims: &Map<String, Value>) -> bool {
    find_claim(claims, "email_verified").is_some_and(|value| *value == true || *value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider(settings: Value) -> OidcProvider {
        let mut provider = json!({"name": "idp", "issuer": "https://id.example", "client_id": "berth",
            "roles": {"default": ["user"]}});
        for (name, value) in settings.as_object().unwrap() {
            provider[name] = value.clone();
        }
        serde_json::from_value(provider).unwrap()
    }

    fn key(settings: Value, claims: Value) -> Result<String, String> {
        let key = account_key(&provider(settings), claims.as_object().unwrap());
        key.map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_subject_names_the_account_unless_another_claim_is_configured() {
        let claims = json!({"sub": "auth0|5f7c8ec7", "preferred_username": "o'brien@example.com",
            "upn": "guest_ext.com#EXT#@tenant.onmicrosoft.com", "number": 5, "odd": "a\u{202e}b",
            "none": null, "empty": "", "deep": {"id": "ü 1"}});
        let account = |settings| key(settings, claims.clone());
        assert_eq!(account(json!({})).unwrap(), "idp:auth0|5f7c8ec7");
        for (claim, expected) in [
            ("preferred_username", Ok("idp:o'brien@example.com")),
            ("upn", Ok("idp:guest_ext.com#EXT#@tenant.onmicrosoft.com")),
            ("deep.id", Ok("idp:ü 1")),
            ("missing", Err("the claim \"missing\" is missing")),
            ("none", Err("the claim \"none\" is missing")),
            ("number", Err("the claim \"number\" is not a text")),
            ("empty", Err("the claim \"empty\" is empty")),
            (
                "odd",
                Err("the claim \"odd\" contains '\\u{202e}', which is not printable"),
            ),
        ] {
            let found = account(json!({"account_claim": claim}));
            let found = found.as_deref().map_err(String::as_str);
            assert_eq!(found, expected, "{claim}");
        }
    }

    #[test]
    fn an_address_names_an_account_only_if_it_is_verified() {
        for (verified, is_accepted) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(null), false),
            (json!(false), false),
            (json!("false"), false),
            (json!(1), false),
        ] {
            let claims =
                json!({"sub": "1", "email": "ada@example.com", "email_verified": verified});
            let by_email = json!({"account_claim": "email"});
            let refused = Err("the claim \"email_verified\" is not true".to_owned());
            let address = Ok("idp:ada@example.com".to_owned());
            let expected = if is_accepted {
                address.clone()
            } else {
                refused
            };
            assert_eq!(key(by_email, claims.clone()), expected, "{verified}");
            let trusting = json!({"account_claim": "email", "require_verified_email": false});
            assert_eq!(key(trusting, claims.clone()), address, "{verified}");
            assert_eq!(key(json!({}), claims), Ok("idp:1".to_owned()));
        }
    }

    #[test]
    fn the_display_name_is_the_first_claim_that_can_be_shown() {
        let all = json!({"sub": "1", "name": "Ada L.", "preferred_username": "ada", "email": "a@b",
            "nick": "Countess"});
        let shown = |settings: Value, without: &[&str]| {
            let mut claims = all.as_object().unwrap().clone();
            claims.retain(|name, _| !without.contains(&name.as_str()));
            display_name(&provider(settings), &claims)
        };
        assert_eq!(shown(json!({}), &[]), "Ada L.");
        assert_eq!(shown(json!({}), &["name"]), "ada");
        assert_eq!(shown(json!({}), &["name", "preferred_username"]), "a@b");
        assert_eq!(
            shown(json!({}), &["name", "preferred_username", "email"]),
            ""
        );
        let nick = json!({"display_name_claim": "nick"});
        assert_eq!(shown(nick.clone(), &[]), "Countess");
        assert_eq!(shown(nick, &["nick"]), "Ada L.");
        let invisible = json!({"name": "\u{200b}", "email": "a\u{202e}@b"});
        let invisible = invisible.as_object().unwrap();
        assert_eq!(display_name(&provider(json!({})), invisible), "a@b");
    }

    #[test]
    fn claims_that_are_missing_are_known_before_the_userinfo_endpoint_is_asked() {
        let complete = |settings: Value, claims: Value| {
            has_account_claims(&provider(settings), claims.as_object().unwrap())
        };
        assert!(complete(json!({}), json!({"sub": "1"})));
        let profile = || json!({"scopes": ["profile"]});
        assert!(!complete(profile(), json!({"sub": "1"})));
        assert!(complete(profile(), json!({"sub": "1", "email": "a@b"})));
        let nick = json!({"display_name_claim": "nick"});
        assert!(!complete(nick, json!({"sub": "1", "name": "Ada"})));
        let email = json!({"account_claim": "email"});
        let address = json!({"sub": "1", "email": "a@b"});
        assert!(!complete(email, address.clone()));
        let trusting = json!({"account_claim": "email", "require_verified_email": false});
        assert!(complete(trusting, address));
    }
}
