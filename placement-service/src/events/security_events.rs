//! Receives security event tokens ([RFC 8417], pushed by [RFC 8935]) from configured transmitters, and ends the
//! sessions of their subject. Acts on `session-revoked` (CAEP 1.0), and on `account-disabled`, `account-purged` and
//! `sessions-revoked` (RISC 1.0); accepts and ignores other events, as the standards require. Must not know HTTP.
//!
//! [RFC 8417]: https://www.rfc-editor.org/rfc/rfc8417
//! [RFC 8935]: https://www.rfc-editor.org/rfc/rfc8935

mod error;
pub mod set;
pub mod subject;

use crate::config::{AccountBy, Jwks, SecurityEvents as Config, Transmitter};
use crate::core::account_key::AccountKey;
use crate::core::clock::Clock;
use crate::core::log_sampler::LogSampler;
use crate::core::metrics::{register_metric, start_at_zero};
use crate::events::public_keys::{PublicKeys, SignatureFault};
use crate::events::remote_keys::{KeysUnavailable, RemoteKeys};
use crate::events::webhooks::caep::SESSION_REVOKED;
use crate::sessions::{SessionSelector, Sessions, run_detached};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{Coordination, EndCause, StoreError};
pub use error::SetError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use set::{Claims, UnverifiedSet};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subject::{Subject, User};

/// Events about a whole account, never about one session (RISC 1.0 section 2).
const ACCOUNT_EVENTS: &[&str] = &[
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
];
/// Tolerated difference between clocks, in seconds.
const LEEWAY_S: u64 = 60;

/// Why a token was not processed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The token is invalid.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The signer's keys are unavailable; a later attempt may succeed.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Effect of an accepted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    /// The subject is unknown or has no live session.
    UnknownSubject,
    /// No event of the token ends sessions.
    Ignored,
    /// The token was already processed.
    Replayed,
}

/// The outcomes as labels of metrics: those of a valid token, failures of the service, the codes of RFC 8935.
const OUTCOMES: [&str; 11] = [
    "ended",
    "unknown-subject",
    "ignored",
    "replayed",
    "keys-unavailable",
    "store-down",
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    /// Name of the transmitter in the configuration; empty for an unknown issuer.
    transmitter: String,
    outcome: &'static str,
}

/// The receiver of security event tokens.
pub struct SecurityEvents {
    audience: String,
    max_age_s: u64,
    transmitters: Vec<(Transmitter, RemoteKeys)>,
    sessions: Arc<Sessions>,
    shared: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    received: Family<Labels, Counter>,
    /// Limits log lines about tokens that change nothing.
    cheap_refusals: LogSampler,
}

impl SecurityEvents {
    /// Creates the receiver. `keys` has one element per transmitter, in the same order; `None` for those with a URL.
    pub fn new(
        config: &Config,
        keys: Vec<Option<PublicKeys>>,
        sessions: Arc<Sessions>,
        shared: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, reqwest::Error> {
        let mut transmitters = Vec::new();
        for (transmitter, keys) in config.transmitters.iter().zip(keys) {
            let keys = match &transmitter.jwks {
                Jwks::Url(url) => RemoteKeys::from_url(url.clone())?,
                Jwks::File(_) | Jwks::Inline(_) => RemoteKeys::from_keys(keys.unwrap_or_default()),
            };
            transmitters.push((transmitter.clone(), keys));
        }
        let help = "Security events received, by transmitter and outcome";
        let received = register_metric(registry, "security_events", help);
        // An unknown issuer has no name.
        let names = config.transmitters.iter().map(|t| t.name.as_str());
        for name in names.chain([""]) {
            let outcome = |outcome| Labels {
                transmitter: name.to_owned(),
                outcome,
            };
            start_at_zero(&received, OUTCOMES.map(outcome));
        }
        Ok(Self {
            audience: config.audience.clone(),
            max_age_s: config.max_age.as_secs(),
            transmitters,
            sessions,
            shared,
            clock,
            received,
            cheap_refusals: LogSampler::new("security-event"),
        })
    }

    /// Processes a token. Returns `Ok` also when nothing had to be done: the transmitter need not send it again.
    pub async fn receive(&self, token: &[u8]) -> Result<(), ReceiveError> {
        let mut transmitter = "";
        let outcome = self.process(token, &mut transmitter).await;
        let outcome_label = match &outcome {
            Ok(Outcome::Ended) => "ended",
            Ok(Outcome::UnknownSubject) => "unknown-subject",
            Ok(Outcome::Ignored) => "ignored",
            Ok(Outcome::Replayed) => "replayed",
            Err(ReceiveError::Set(error)) => error.code,
            Err(ReceiveError::Keys(_)) => "keys-unavailable",
            Err(ReceiveError::Store(_)) => "store-down",
        };
        // Any client can send invalid tokens, or replay one that was recorded: limit their log lines.
        let is_new = matches!(&outcome, Ok(outcome) if *outcome != Outcome::Replayed);
        if is_new || self.cheap_refusals.admit() {
            tracing::info!(target: "berth::audit", event = "security-event", transmitter, outcome = outcome_label,
                fault = outcome.as_ref().err().map(tracing::field::display));
        }
        let labels = Labels {
            transmitter: transmitter.to_owned(),
            outcome: outcome_label,
        };
        self.received.get_or_create(&labels).inc();
        outcome.map(drop)
    }

    async fn process<'a>(
        &'a self,
        token: &[u8],
        name: &mut &'a str,
    ) -> Result<Outcome, ReceiveError> {
        let event_token = UnverifiedSet::parse(token)?;
        let issuer = |(transmitter, _): &&(Transmitter, RemoteKeys)| {
            transmitter.issuer == event_token.claims.issuer
        };
        let transmitter = self.transmitters.iter().find(issuer);
        let (transmitter, keys) = transmitter.ok_or(SetError {
            code: "invalid_issuer",
            message: "iss is not known here",
        })?;
        *name = &transmitter.name;
        verify(&event_token, keys).await?;
        self.check_claims(&event_token.claims)?;
        self.end_sessions(transmitter, &event_token.claims).await
    }

    /// Checks the claims of a token whose signature is valid.
    fn check_claims(&self, claims: &Claims) -> Result<(), SetError> {
        let now = self.clock.now_s();
        if !claims.audience.contains(&self.audience) {
            return Err(SetError {
                code: "invalid_audience",
                message: "aud is not the receiver's",
            });
        }
        if claims.issued_at > now.saturating_add(LEEWAY_S) {
            return Err(SetError::invalid_request("iat is in the future"));
        }
        if claims.issued_at.saturating_add(self.max_age_s) < now {
            return Err(SetError::invalid_request("iat is too long ago"));
        }
        if claims
            .expires_at
            .is_some_and(|expiry| expiry + LEEWAY_S <= now)
        {
            return Err(SetError::invalid_request("exp is past"));
        }
        Ok(())
    }

    /// Ends the sessions of the subject that were created before the token was issued, so that a replay does not end
    /// later ones. Records the token only afterwards: if the store fails, the retransmitted token must still count.
    async fn end_sessions(
        &self,
        transmitter: &Transmitter,
        claims: &Claims,
    ) -> Result<Outcome, ReceiveError> {
        let about_account = claims
            .events
            .keys()
            .any(|e| ACCOUNT_EVENTS.contains(&e.as_str()));
        if !about_account && !claims.events.contains_key(SESSION_REVOKED) {
            return Ok(Outcome::Ignored);
        }
        let subject = claims.subject.as_ref();
        let selectors =
            subject.and_then(|subject| selectors_for_subject(transmitter, subject, about_account));
        let created_before_ms = claims.issued_at.saturating_add(LEEWAY_S) * 1000;
        let mut ended_count = 0;
        for selector in selectors.unwrap_or_default() {
            let (sessions, cause) = (self.sessions.clone(), EndCause::SecurityEvent);
            let removal = async move {
                sessions
                    .end_matching(&selector, created_before_ms, cause)
                    .await
            };
            ended_count += run_detached(removal).await?;
        }
        let (now_ms, forget_s) = (self.clock.now_ms(), self.max_age_s + LEEWAY_S);
        let forget_ms = claims.issued_at.saturating_add(forget_s) * 1000;
        let first = self
            .shared
            .claim(&replay_key(claims), now_ms, forget_ms)
            .await?;
        Ok(match (first, ended_count) {
            (_, 1..) => Outcome::Ended,
            (true, 0) => Outcome::UnknownSubject,
            (false, 0) => Outcome::Replayed,
        })
    }
}

async fn verify(event_token: &UnverifiedSet<'_>, keys: &RemoteKeys) -> Result<(), ReceiveError> {
    let verdict = keys.check_signature(&event_token.jws).await?;
    verdict.map_err(|fault| {
        ReceiveError::Set(match fault {
            SignatureFault::UnknownKey => {
                SetError::invalid_key("no key of that kid and alg is known")
            }
            SignatureFault::Mismatch => SetError {
                code: "authentication_failed",
                message: "the signature does not verify",
            },
        })
    })
}

/// The key that records a token against replay. It is a hash, because the transmitter chooses the length of `iss` and
/// `jti`.
fn replay_key(claims: &Claims) -> String {
    let digest = Sha256::digest(format!("{}\n{}", claims.issuer, claims.id));
    format!("set/{}", URL_SAFE_NO_PAD.encode(digest))
}

/// The selectors of the sessions that a subject identifies, limited to the identifiers that the transmitter is trusted
/// to use. `None`: no session.
fn selectors_for_subject(
    transmitter: &Transmitter,
    subject: &Subject,
    about_account: bool,
) -> Option<Vec<SessionSelector>> {
    let user = |user: &User| selector_for_user(transmitter, user);
    match subject {
        Subject::User(identifier) => Some(vec![user(identifier)?]),
        Subject::SessionOfUser {
            user: identifier, ..
        } if about_account => Some(vec![user(identifier)?]),
        Subject::Session(_) if about_account => None,
        Subject::Session(session) => Some(selectors_for_session(transmitter, session, None)),
        Subject::SessionOfUser {
            session,
            user: identifier,
        } => Some(selectors_for_session(
            transmitter,
            session,
            Some(user(identifier)?),
        )),
    }
}

/// A name selects an account in the namespace of the transmitter's provider; without a provider, a local account.
fn selector_for_user(transmitter: &Transmitter, user: &User) -> Option<SessionSelector> {
    let account = |name: &str| {
        let key = AccountKey::new(transmitter.provider.as_deref(), name);
        SessionSelector::Account(key.to_string())
    };
    match (user, &transmitter.provider, transmitter.account_by) {
        (User::IssuerSubject { issuer, .. }, ..) if *issuer != transmitter.issuer => None,
        (User::IssuerSubject { subject, .. }, Some(provider), _) => {
            Some(SessionSelector::ProviderSubject {
                provider: provider.clone(),
                subject: subject.clone(),
            })
        }
        (User::IssuerSubject { subject, .. }, None, Some(AccountBy::Sub)) => Some(account(subject)),
        (User::Account(address), _, Some(AccountBy::Sub)) => {
            let (name, _) = address.rsplit_once('@')?;
            Some(account(name))
        }
        (User::Account(mail) | User::Email(mail), _, Some(AccountBy::Email)) => Some(account(mail)),
        _ => None,
    }
}

/// Selectors of one session: by its `session_ref`, and by the provider's `sid` if the transmitter has a provider.
fn selectors_for_session(
    transmitter: &Transmitter,
    session: &str,
    user: Option<SessionSelector>,
) -> Vec<SessionSelector> {
    let user = user.map(Box::new);
    let mut selectors = vec![SessionSelector::Session {
        session_ref: session.to_owned(),
        user: user.clone(),
    }];
    if let Some(provider) = &transmitter.provider {
        selectors.push(SessionSelector::ProviderSession {
            provider: provider.clone(),
            session: session.to_owned(),
            user,
        });
    }
    selectors
}
