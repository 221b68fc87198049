//! Maps the claims of a provider to an account, roles and further claims for the engines' token, or refuses the login. A pure function of the claims and the configuration. Must not know how the claims were verified.

use super::OidcError;
use super::account::{account_key, display_name, has_account_claims};
use super::claim_path::find_claim;
use crate::config::{OidcProvider, RoleMapping};
use serde_json::{Map, Value};

/// Maximum size of the further claims, as JSON: they must fit into a token of 16 KB.
const MAX_CLAIMS_BYTES: usize = 10 * 1024;

/// The user that logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedUser {
    /// The key of the account.
    pub account: String,
    /// The user's name for people; empty if the provider sends none.
    pub display_name: String,
    pub roles: Vec<String>,
    /// Further claims for the engines' token.
    pub claims: Map<String, Value>,
}

/// Whether the claims include all claims that the configuration uses.
#[must_use]
pub fn has_configured_claims(provider: &OidcProvider, claims: &Map<String, Value>) -> bool {
    let roles = provider.roles.claim.as_deref();
    let token_claims = provider.token_claims.iter().map(String::as_str);
    let mut claim_names = roles.into_iter().chain(token_claims);
    has_account_claims(provider, claims)
        && claim_names.all(|claim| find_claim(claims, claim).is_some())
}

/// Maps the claims by the configuration.
pub fn map_claims(
    provider: &OidcProvider,
    claims: &Map<String, Value>,
) -> Result<MappedUser, OidcError> {
    let account = account_key(provider, claims)?;
    let roles = map_roles(&provider.roles, claims);
    if roles.is_empty() {
        return Err(OidcError::NotPermitted);
    }
    let claim_names = provider.token_claims.iter();
    let token_claims: Map<String, Value> = claim_names
        .filter_map(|name| Some((name.clone(), find_claim(claims, name)?.clone())))
        .collect();
    let size = serde_json::to_vec(&token_claims).map_or(usize::MAX, |text| text.len());
    if size > MAX_CLAIMS_BYTES {
        return Err(OidcError::ClaimsTooLarge);
    }
    Ok(MappedUser {
        account,
        display_name: display_name(provider, claims),
        roles,
        claims: token_claims,
    })
}

/// The mapped roles, in the order of the configured map, without duplicates.
fn map_roles(mapping: &RoleMapping, claims: &Map<String, Value>) -> Vec<String> {
    let value = mapping
        .claim
        .as_deref()
        .and_then(|name| find_claim(claims, name));
    let provider_roles: Vec<&str> = match value {
        Some(Value::String(role)) => vec![role],
        Some(Value::Array(role_list)) => role_list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut roles: Vec<String> = Vec::new();
    for (value, role) in &mapping.map {
        if provider_roles.contains(&value.as_str()) && !roles.contains(role) {
            roles.push(role.clone());
        }
    }
    if roles.is_empty() {
        roles.clone_from(&mapping.default);
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider(settings: Value) -> OidcProvider {
        let mut provider = json!({
            "name": "idp", "issuer": "https://id.example", "client_id": "berth",
            "roles": {"claim": "groups", "map": {"idp-admins": "admin", "staff": "user"}},
        });
        for (name, value) in settings.as_object().unwrap() {
            provider[name] = value.clone();
        }
        serde_json::from_value(provider).unwrap()
    }

    fn mapped(settings: Value, claims: Value) -> Result<MappedUser, OidcError> {
        map_claims(&provider(settings), claims.as_object().unwrap())
    }

    fn roles_of(settings: Value, claims: Value) -> Result<Vec<String>, OidcError> {
        let mut claims = claims;
        claims["sub"] = json!("1");
        mapped(settings, claims).map(|mapped| mapped.roles)
    }

    #[test]
    fn only_mapped_roles_are_granted() {
        for (groups, expected) in [
            (
                json!(["idp-admins", "staff", "other"]),
                vec!["admin", "user"],
            ),
            (json!("staff"), vec!["user"]),
            (json!(["staff", "staff", 5, null]), vec!["user"]),
        ] {
            assert_eq!(
                roles_of(json!({}), json!({"groups": groups})).unwrap(),
                expected
            );
        }
        for groups in [
            json!([]),
            json!(["admin"]),
            json!({"idp-admins": true}),
            json!(null),
        ] {
            let refused = roles_of(json!({}), json!({"groups": groups})).unwrap_err();
            assert_eq!(refused.reason(), "not-permitted");
            let default = json!({"roles": {"default": ["guest"]}});
            assert_eq!(
                roles_of(default, json!({"groups": groups})).unwrap(),
                ["guest"]
            );
        }
    }

    #[test]
    fn a_nested_claim_is_found_by_its_path() {
        let keycloak = json!({"roles": {"claim": "realm_access.roles", "map": {"a": "admin"}}});
        let claims = json!({"realm_access": {"roles": ["a"]}});
        assert_eq!(roles_of(keycloak.clone(), claims).unwrap(), ["admin"]);
        let named_so = json!({"realm_access.roles": "a", "realm_access": 5});
        assert_eq!(roles_of(keycloak.clone(), named_so).unwrap(), ["admin"]);
        assert!(roles_of(keycloak, json!({"realm_access": ["a"]})).is_err());
    }

    #[test]
    fn a_name_with_dots_is_found_within_a_path() {
        let path = "resource_access.my.client.roles";
        let settings = json!({"roles": {"claim": path, "map": {"a": "admin", "u": "user"}}});
        for (claims, expected) in [
            (
                json!({"resource_access": {"my.client": {"roles": ["a"]}}}),
                "admin",
            ),
            (
                json!({"resource_access": {"my": {"client": {"roles": ["u"]}}}}),
                "user",
            ),
            (
                json!({"resource_access": {"my.client": {"roles": ["a"]}, "my": {"client": {"roles": ["u"]}}}}),
                "admin",
            ),
            (
                json!({"resource_access": {"my.client": {"roles": null}, "my": {"client": {"roles": ["u"]}}}}),
                "user",
            ),
            (
                json!({"resource_access.my": {"client.roles": ["u"]}}),
                "user",
            ),
        ] {
            assert_eq!(
                roles_of(settings.clone(), claims.clone()).unwrap(),
                [expected],
                "{claims}"
            );
        }
        let other = json!({"resource_access": {"other": {"roles": ["a"]}}});
        assert!(roles_of(settings, other).is_err());
    }

    #[test]
    fn further_claims_are_copied_if_present_and_small() {
        let settings = json!({"token_claims": ["tenant", "absent", "address"]});
        let claims = json!({"sub": "1", "groups": "staff", "tenant": 7, "address": {"x": [1]}});
        let copied = mapped(settings.clone(), claims.clone()).unwrap().claims;
        assert_eq!(
            Value::Object(copied),
            json!({"tenant": 7, "address": {"x": [1]}})
        );
        let mut large = claims.clone();
        large["tenant"] = "x".repeat(MAX_CLAIMS_BYTES).into();
        let refused = mapped(settings.clone(), large).unwrap_err();
        assert_eq!(refused.reason(), "claims-too-large");
        let provider = provider(settings);
        assert!(!has_configured_claims(
            &provider,
            claims.as_object().unwrap()
        ));
        let complete = json!({"sub": "a", "groups": [], "tenant": 1, "absent": 2, "address": 3});
        assert!(has_configured_claims(
            &provider,
            complete.as_object().unwrap()
        ));
    }
}
