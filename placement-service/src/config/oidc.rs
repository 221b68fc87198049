//! Settings of OpenID providers: addresses, credentials, and how claims map to accounts, roles and token
//! claims. Speaks to no provider.

use super::fault_collector::FaultCollector;
use super::{Config, SecretSource};
use crate::core::names::is_name;
use berth_store::RESERVED_CLAIMS;
use openidconnect::url::{Host, Url};
use serde::Deserialize;
use std::collections::BTreeMap;

/// An OpenID provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcProvider {
    /// Its name in paths, logs and sessions.
    pub name: String,
    /// Its name on the login page; `name` when absent.
    #[serde(default)]
    pub title: Option<String>,
    /// The exact `issuer` of the provider's metadata.
    pub issuer: String,
    pub client_id: String,
    /// Audiences that ID tokens and logout tokens may have besides `client_id`.
    #[serde(default)]
    pub trusted_audiences: Vec<String>,
    /// Which `typ` logout tokens must have.
    #[serde(default)]
    pub logout_token_type: LogoutTokenType,
    /// Absent for a public client.
    #[serde(default)]
    pub client_secret: Option<SecretSource>,
    /// Scopes besides `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The claim that names the account; `sub` when absent.
    #[serde(default)]
    pub account_claim: Option<String>,
    /// The first claim that is tried as the user's name for people, before `name`, `preferred_username` and `email`.
    #[serde(default)]
    pub display_name_claim: Option<String>,
    /// Whether `account_claim: email` requires that the provider has verified the address.
    #[serde(default = "OidcProvider::require_verified_email")]
    pub require_verified_email: bool,
    pub roles: RoleMapping,
    /// Claims that are copied into the engines' token.
    #[serde(default)]
    pub token_claims: Vec<String>,
}

/// Which `typ` logout tokens must have (OpenID Connect Back-Channel Logout 1.0 section 2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogoutTokenType {
    /// `logout+jwt`.
    #[default]
    Required,
    /// Also `JWT`, or none, for providers that do not set it.
    Any,
}

/// How a claim maps to roles.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleMapping {
    /// The claim, a text or a list of texts; `a.b` is the member `b` of the claim `a`, if there is no claim `a.b`.
    #[serde(default)]
    pub claim: Option<String>,
    /// Values of the claim, and the role of each.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// The roles of users for whom no value maps; if empty, such users are refused.
    #[serde(default)]
    pub default: Vec<String>,
}

impl OidcProvider {
    const fn require_verified_email() -> bool {
        true
    }

    /// The name on the login page.
    #[must_use]
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}

/// Whether a URL may be called: https, or http on loopback.
#[must_use]
pub fn is_https_or_loopback(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let providers = &config.oidc;
    for (index, provider) in providers.iter().enumerate() {
        check_provider(&format!("oidc[{index}]"), provider, faults);
    }
    faults.check_unique_names("oidc", providers.iter().map(|p| p.name.as_str()));
}

fn check_provider(path: &str, provider: &OidcProvider, faults: &mut FaultCollector) {
    faults.check_name(&format!("{path}.name"), &provider.name);
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if provider
        .title
        .as_deref()
        .is_some_and(|t| t.trim().is_empty())
    {
        faults.add(format!("{path}.title"), "must not be empty");
    }
    let issuer = Url::parse(&provider.issuer).ok();
    let plain =
        |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !issuer.is_some_and(|url| is_https_or_loopback(&url) && plain(&url)) {
        faults.add(
            format!("{path}.issuer"),
            "must be an https URL without a query, such as https://id.example.com (http on loopback only)",
        );
    }
    if !visible(&provider.client_id) {
        faults.add(format!("{path}.client_id"), "must be visible ASCII");
    }
    for (index, audience) in provider.trusted_audiences.iter().enumerate() {
        if !visible(audience) {
            let field = format!("{path}.trusted_audiences[{index}]");
            faults.add(field, "must be visible ASCII");
        }
    }
    for (index, scope) in provider.scopes.iter().enumerate() {
        if !visible(scope) {
            faults.add(format!("{path}.scopes[{index}]"), "must be one scope");
        }
    }
    for (field, claim) in [
        ("account_claim", &provider.account_claim),
        ("display_name_claim", &provider.display_name_claim),
    ] {
        if claim.as_deref() == Some("") {
            faults.add(format!("{path}.{field}"), "must not be empty");
        }
    }
    for (index, claim) in provider.token_claims.iter().enumerate() {
        if RESERVED_CLAIMS.contains(&claim.as_str()) || claim.is_empty() {
            let message = format!("{claim:?} must not come from a provider");
            faults.add(format!("{path}.token_claims[{index}]"), message);
        }
    }
    check_roles(&format!("{path}.roles"), &provider.roles, faults);
}

fn check_roles(path: &str, roles: &RoleMapping, faults: &mut FaultCollector) {
    if roles.map.is_empty() && roles.default.is_empty() {
        faults.add(path, "needs a map or a default: nobody could log in");
    }
    if roles.claim.is_some() == roles.map.is_empty() {
        faults.add(path, "claim and map require each other");
    }
    if roles.claim.as_deref() == Some("") {
        faults.add(format!("{path}.claim"), "must not be empty");
    }
    for (value, role) in &roles.map {
        if !is_name(role) {
            faults.add(format!("{path}.map.{value}"), "must be a role's name");
        }
    }
    for (index, role) in roles.default.iter().enumerate() {
        if !is_name(role) {
            faults.add(format!("{path}.default[{index}]"), "must be a role's name");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::app::secrets;
    use crate::config::load::from_text;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn invalid_providers_are_faults() {
        let provider = |fields: &str| format!("oidc: [{{ name: a, client_id: b, {fields} }}]");
        let issuer = "issuer: 'https://id.example'";
        let roles = "roles: { default: [user] }";
        for (fields, expected) in [
            (
                format!("issuer: 'http://id.example', {roles}"),
                "oidc[0].issuer: must be an https URL without a query, such as https://id.example.com (http on loopback only)",
            ),
            (issuer.to_owned(), "oidc[0].roles: is missing"),
            (
                format!("{issuer}, roles: {{}}"),
                "oidc[0].roles: needs a map or a default: nobody could log in",
            ),
            (
                format!("{issuer}, roles: {{ claim: groups, default: ['a b'] }}"),
                "oidc[0].roles: claim and map require each other\n\
              oidc[0].roles.default[0]: must be a role's name",
            ),
            (
                format!("{issuer}, {roles}, token_claims: [tenant, roles], scopes: ['a b']"),
                "oidc[0].scopes[0]: must be one scope\n\
              oidc[0].token_claims[1]: \"roles\" must not come from a provider",
            ),
            (
                format!("{issuer}, {roles}, trusted_audiences: [a, 'b c']"),
                "oidc[0].trusted_audiences[1]: must be visible ASCII",
            ),
            (
                format!("{issuer}, {roles}, logout_token_type: none"),
                "oidc[0].logout_token_type: unknown variant `none`, expected `required` or `any`",
            ),
            (
                format!("{issuer}, {roles}, client_secret: hunter2"),
                "oidc[0].client_secret: expected {env: NAME}, {file: PATH} or {inline: TEXT}",
            ),
            (
                format!("{issuer}, {roles}, colour: blue"),
                "oidc[0].colour: unknown field; known here: name, title, issuer, client_id, trusted_audiences, logout_token_type, client_secret, scopes, account_claim, display_name_claim, require_verified_email, roles, token_claims",
            ),
        ] {
            assert_eq!(faults(&provider(&fields)), expected, "{fields}");
        }
        for local in [
            "http://127.0.0.1:1/x",
            "http://[::1]:2",
            "http://localhost:3",
        ] {
            let text = provider(&format!("issuer: '{local}', {roles}"));
            assert!(from_text(&text).is_ok(), "{local}");
        }
        let text = provider(&format!("{issuer}, {roles}, client_secret: {{ env: X }}"));
        let config = from_text(&text).unwrap().config;
        let env = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| "k".repeat(40));
        let message = secrets::fetch(&config, &env).err().unwrap().to_string();
        let expected = "oidc[0].client_secret: the environment variable X is not set";
        assert_eq!(message, expected);
    }
}
