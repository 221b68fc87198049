//! Settings of the transmitters whose security events (RFC 8935) may end sessions.

use super::fault_collector::{DAY, FaultCollector, SECOND};
use super::{Config, web_address};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The path of the transmitters.
const LIST: &str = "security_events.transmitters";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityEvents {
    /// The required `aud` of a token.
    pub audience: String,
    /// How long after `iat` a token is accepted: transmitters retry for some time.
    #[serde(default = "SecurityEvents::max_age", with = "humantime_serde")]
    pub max_age: Duration,
    pub transmitters: Vec<Transmitter>,
}

/// A transmitter: it may end sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transmitter {
    /// Its name in logs and metrics.
    pub name: String,
    /// The exact value of `iss`.
    pub issuer: String,
    pub jwks: Jwks,
    /// The `oidc` provider whose `sub` and `sid` the transmitter uses; with `account_by`, also whose accounts it names.
    #[serde(default)]
    pub provider: Option<String>,
    /// Which part of a subject is the name of an account: of one of `provider`, else of a local account.
    #[serde(default)]
    pub account_by: Option<AccountBy>,
    /// Allows http to another host for `jwks.url`.
    #[serde(default)]
    pub insecure: bool,
}

/// The source of the transmitter's public keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jwks {
    Url(String),
    File(PathBuf),
    /// The JWK set itself.
    Inline(Value),
}

/// Which part of a subject identifier is the account's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountBy {
    /// `sub`, or the part of an `acct:` address before the @.
    Sub,
    /// The mail address, or an `acct:` address.
    Email,
}

impl SecurityEvents {
    const fn max_age() -> Duration {
        DAY
    }
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let Some(config) = &config.security_events else {
        return;
    };
    if config.audience.is_empty() {
        faults.add("security_events.audience", "must not be empty");
    }
    let path = "security_events.max_age";
    faults.check_range(path, config.max_age, 60 * SECOND, 30 * DAY);
    if config.transmitters.is_empty() {
        let message = "must not be empty: nobody could send anything";
        faults.add(LIST, message);
    }
    for (index, transmitter) in config.transmitters.iter().enumerate() {
        let path = |field: &str| format!("{LIST}[{index}].{field}");
        faults.check_name(&path("name"), &transmitter.name);
        let mut before = config.transmitters.iter().take(index);
        if transmitter.issuer.is_empty() {
            faults.add(path("issuer"), "must not be empty");
        } else if before.any(|other| other.issuer == transmitter.issuer) {
            faults.add(path("issuer"), "is already used by another transmitter");
        }
        if let Jwks::Url(url) = &transmitter.jwks {
            web_address::check(&path("jwks.url"), url, transmitter.insecure, faults);
        }
        if transmitter.provider.is_none() && transmitter.account_by.is_none() {
            let missing_subject = "set provider, account_by or both: no subject would be known";
            faults.add(path("account_by"), missing_subject);
        }
    }
    let names = config.transmitters.iter().map(|t| t.name.as_str());
    faults.check_unique_names(LIST, names);
}

/// A transmitter that uses the names of an OpenID provider uses a configured one.
pub(super) fn check_providers(config: &Config, faults: &mut FaultCollector) {
    let transmitters = config.security_events.iter().flat_map(|c| &c.transmitters);
    for (index, transmitter) in transmitters.enumerate() {
        if let Some(provider) = &transmitter.provider
            && !config.oidc.iter().any(|known| known.name == *provider)
        {
            let path = format!("{LIST}[{index}].provider");
            faults.add(path, format!("there is no oidc provider {provider:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::app::secrets;
    use crate::config::load::from_text;

    #[test]
    fn invalid_transmitters_are_faults() {
        let text = "
security_events:
  audience: ''
  max_age: 1s
  transmitters:
    - { name: a, issuer: '', jwks: { url: 'http://example.com/jwks' }, account_by: sub }
    - { name: b, issuer: i, jwks: { url: 'https://example.com/jwks' }, account_by: sub, provider: p }
    - { name: b, issuer: i, jwks: { file: /nowhere } }
";
        let expected = "\
security_events.audience: must not be empty
security_events.max_age: must be 1m to 30days, not 1s
security_events.transmitters[0].issuer: must not be empty
security_events.transmitters[0].jwks.url: must be https; http is allowed on loopback or with insecure: true
security_events.transmitters[1].provider: there is no oidc provider \"p\"
security_events.transmitters[2].account_by: set provider, account_by or both: no subject would be known
security_events.transmitters[2].issuer: is already used by another transmitter
security_events.transmitters[2].name: the name \"b\" is already used";
        let faults = from_text(text).unwrap_err().to_string();
        assert_eq!(faults, expected);
        let empty = from_text("security_events: { audience: a, transmitters: [] }").unwrap_err();
        assert!(
            empty
                .to_string()
                .starts_with("security_events.transmitters: must not be empty")
        );
        for (field, fault) in [
            (
                "tenant: x",
                "tenant: unknown field; known here: name, issuer, jwks, provider, account_by, insecure",
            ),
            (
                "account_by: name",
                "account_by: unknown variant `name`, expected `sub` or `email`",
            ),
        ] {
            let transmitter =
                format!("{{ name: c, issuer: j, jwks: {{ file: /nowhere }}, {field} }}");
            let text = format!("security_events: {{ audience: a, transmitters: [{transmitter}] }}");
            let expected = format!("security_events.transmitters[0].{fault}");
            assert_eq!(from_text(&text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn unreadable_keys_are_faults_with_a_path() {
        let text = "
security_events:
  audience: a
  transmitters:
    - { name: a, issuer: i, jwks: { file: /nowhere }, account_by: sub }
    - { name: b, issuer: j, jwks: { inline: { keys: [] } }, account_by: email }
tokens: { key: { inline: 0123456789abcdef0123456789abcdef } }
";
        let config = from_text(text).unwrap().config;
        let faults = secrets::fetch(&config, &|_| None)
            .err()
            .unwrap()
            .to_string();
        let (first, second) = faults.split_once('\n').unwrap();
        assert!(first.starts_with("security_events.transmitters[0].jwks: cannot read /nowhere: "));
        let none = "a JWK set without a public key for signatures";
        assert_eq!(
            second,
            format!("security_events.transmitters[1].jwks: {none}")
        );
    }
}
