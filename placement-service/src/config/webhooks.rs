//! Settings of webhooks: receivers, formats and retries.

use super::fault_collector::{DAY, FaultCollector, SECOND};
use super::{Algorithm, Config, SecretSource, web_address};
use crate::core::backoff::ExponentialBackoff;
use berth_store::EventKind;
use serde::Deserialize;
use std::time::Duration;

/// A receiver of events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name in this file, in metrics, logs and the store.
    pub name: String,
    pub url: String,
    /// `json`: the key that signs each delivery. `caep`: sent as `Authorization: Bearer <secret>`, if set.
    #[serde(default)]
    pub secret: Option<SecretSource>,
    #[serde(default)]
    pub format: WebhookFormat,
    /// Only events of these kinds; empty: all kinds that the format supports.
    #[serde(default)]
    pub events: Vec<WebhookEvent>,
    /// `caep`: `aud` of the tokens.
    #[serde(default)]
    pub audience: Option<String>,
    /// Timeout of one attempt, including the response.
    #[serde(default = "Webhook::timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Number of attempts before an event becomes a dead letter.
    #[serde(default = "Webhook::attempts")]
    pub attempts: u32,
    #[serde(default)]
    pub backoff: Backoff,
    /// Allows http to another host.
    #[serde(default)]
    pub insecure: bool,
}

/// The kind of an event that webhooks receive: one of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookEvent {
    Created,
    Renewed,
    Expired,
    LoggedOut,
    Revoked,
    ChildCompleted,
}

impl WebhookEvent {
    /// The kind of an event of the log; `None` for events of gateways, and of newer versions.
    #[must_use]
    pub const fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Created => Some(Self::Created),
            EventKind::Renewed => Some(Self::Renewed),
            EventKind::Expired => Some(Self::Expired),
            EventKind::LoggedOut => Some(Self::LoggedOut),
            EventKind::Revoked => Some(Self::Revoked),
            EventKind::ChildCompleted => Some(Self::ChildCompleted),
            EventKind::KeyMoved | EventKind::Other => None,
        }
    }
}

/// The format of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFormat {
    /// The JSON of `GET /v1/events`.
    #[default]
    Json,
    /// Only ends of sessions, as CAEP `session-revoked` in security event tokens.
    Caep,
}

/// The delay before a retry: random up to `initial`, then twice as long after each failure, up to `max`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    #[serde(default = "Backoff::initial", with = "humantime_serde")]
    pub initial: Duration,
    #[serde(default = "Backoff::max", with = "humantime_serde")]
    pub max: Duration,
}

impl Webhook {
    const fn timeout() -> Duration {
        Duration::from_secs(5)
    }

    const fn attempts() -> u32 {
        12
    }
}

impl Backoff {
    const fn initial() -> Duration {
        SECOND
    }

    const fn max() -> Duration {
        Duration::from_secs(300)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Self::initial(),
            max: Self::max(),
        }
    }
}

impl From<Backoff> for ExponentialBackoff {
    fn from(backoff: Backoff) -> Self {
        Self {
            initial: backoff.initial,
            max: backoff.max,
        }
    }
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let webhooks = &config.webhooks;
    for (index, hook) in webhooks.iter().enumerate() {
        let path = |field: &str| format!("webhooks[{index}].{field}");
        faults.check_name(&path("name"), &hook.name);
        web_address::check(&path("url"), &hook.url, hook.insecure, faults);
        let min = Duration::from_millis(100);
        faults.check_range(&path("timeout"), hook.timeout, min, 120 * SECOND);
        faults.check_count(&path("attempts"), hook.attempts, 100);
        let (initial, max) = (hook.backoff.initial, hook.backoff.max);
        let millisecond = Duration::from_millis(1);
        faults.check_range(&path("backoff.initial"), initial, millisecond, max);
        faults.check_range(&path("backoff.max"), max, millisecond, DAY);
        match hook.format {
            WebhookFormat::Json => check_json(hook, &path, faults),
            WebhookFormat::Caep => check_caep(hook, &path, faults),
        }
    }
    let names = webhooks.iter().map(|hook| hook.name.as_str());
    faults.check_unique_names("webhooks", names);
}

fn check_json(hook: &Webhook, path: &dyn Fn(&str) -> String, faults: &mut FaultCollector) {
    if hook.secret.is_none() {
        faults.add(path("secret"), "is missing: format json is signed with it");
    }
    if hook.audience.is_some() {
        faults.add(path("audience"), "is for format caep only");
    }
}

fn check_caep(hook: &Webhook, path: &dyn Fn(&str) -> String, faults: &mut FaultCollector) {
    if hook.audience.as_deref().unwrap_or_default().is_empty() {
        faults.add(path("audience"), "is missing: format caep needs it");
    }
    for (index, kind) in hook.events.iter().enumerate() {
        if matches!(kind, WebhookEvent::Created | WebhookEvent::Renewed) {
            let path = path(&format!("events[{index}]"));
            faults.add(path, "caep reports only ends of sessions");
        }
    }
}

/// Security event tokens are signed with the key of `tokens`, and receivers must be able to verify them.
pub(super) fn check_tokens(config: &Config, faults: &mut FaultCollector) {
    let hooks = config.webhooks.iter().enumerate();
    for (index, hook) in hooks.filter(|(_, hook)| hook.format == WebhookFormat::Caep) {
        if config.tokens.algorithm == Algorithm::Hs256 {
            faults.add(
                format!("webhooks[{index}].format"),
                "caep needs a tokens.algorithm other than HS256: receivers verify with the public key",
            );
        }
        let audience = hook.audience.as_deref().unwrap_or_default();
        if !audience.is_empty() && audience == config.tokens.audience {
            faults.add(
                format!("webhooks[{index}].audience"),
                "must not be tokens.audience: one token must not pass for the other",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn invalid_webhooks_are_faults() {
        let text = "
webhooks:
  - { name: a, url: 'http://example.com/', secret: { env: X }, attempts: 0, audience: b }
  - { name: a, url: 'https://example.com/', timeout: 1ms }
  - { name: c, url: '/hook', secret: { env: X }, backoff: { initial: 9m } }
  - { name: d, url: 'https://example.com/', format: caep, events: [created, revoked] }
  - { name: e, url: 'https://example.com/', format: caep, audience: engine }
";
        let expected = "\
webhooks[0].attempts: must be 1 to 100, not 0
webhooks[0].audience: is for format caep only
webhooks[0].url: must be https; http is allowed on loopback or with insecure: true
webhooks[1].name: the name \"a\" is already used
webhooks[1].secret: is missing: format json is signed with it
webhooks[1].timeout: must be 100ms to 2m, not 1ms
webhooks[2].backoff.initial: must be 1ms to 5m, not 9m
webhooks[2].url: must be an absolute URL such as https://example.com/events
webhooks[3].audience: is missing: format caep needs it
webhooks[3].events[0]: caep reports only ends of sessions
webhooks[3].format: caep needs a tokens.algorithm other than HS256: receivers verify with the public key
webhooks[4].audience: must not be tokens.audience: one token must not pass for the other
webhooks[4].format: caep needs a tokens.algorithm other than HS256: receivers verify with the public key";
        assert_eq!(faults(text), expected);
    }

    #[test]
    fn each_webhook_reports_its_first_type_error() {
        let text = "
webhooks:
  - { name: c, url: 'https://example.com/', secret: { env: X }, tries: 5 }
  - { name: d, url: 'https://example.com/', secret: { env: X } }
  - { name: f, url: 'https://example.com/', events: [deleted] }
";
        let expected = "\
webhooks[0].tries: unknown field; known here: name, url, secret, format, events, audience, timeout, attempts, backoff, insecure
webhooks[2].events[0]: unknown variant `deleted`, expected one of `created`, `renewed`, `expired`, `logged-out`, `revoked`, `child-completed`";
        assert_eq!(faults(text), expected);
    }
}
