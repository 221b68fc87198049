//! Why a login by a provider came to nothing: one constant each, for people, programs and logs.

use crate::core::rejection::Refusal;
use berth_api::Excerpt;

/// A login by a provider that did not happen. What providers say goes to the log, never to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    #[error("there is no provider of that name")]
    UnknownProvider,
    #[error("the provider does not answer: {}", Excerpt(.0))]
    Unreachable(String),
    #[error("the provider's answer is not understood: {}", Excerpt(.0))]
    Answer(String),
    #[error("the provider refused: {}", Excerpt(.0))]
    Refused(String),
    #[error("the user or the provider said no")]
    Denied,
    #[error("the callback is malformed: {0}")]
    Callback(&'static str),
    #[error("the browser did not bring back its login cookie")]
    StateMissing,
    #[error("the login cookie is not ours, or too old")]
    StateInvalid,
    #[error("the callback belongs to another login")]
    StateMismatch,
    #[error("the callback was used before")]
    Replayed,
    #[error("the callback comes from another issuer")]
    Issuer,
    #[error("the ID token does not hold: {}", Excerpt(.0))]
    IdToken(String),
    #[error("the ID token belongs to another login")]
    Nonce,
    #[error("no claim names an account that could be used")]
    AccountName,
    #[error("no role follows from the claims")]
    NotPermitted,
    #[error("the claims for the token are too large")]
    ClaimsTooLarge,
    #[error(transparent)]
    Service(#[from] Refusal),
}

impl OidcError {
    /// The constant for labels, logs and programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown-provider",
            Self::Unreachable(_) => "provider-unreachable",
            Self::Answer(_) => "provider-answer-invalid",
            Self::Refused(_) => "provider-refused",
            Self::Denied => "login-denied",
            Self::Callback(_) => "invalid-request",
            Self::StateMissing => "login-state-missing",
            Self::StateInvalid => "login-state-invalid",
            Self::StateMismatch => "login-state-mismatch",
            Self::Replayed => "login-replayed",
            Self::Issuer => "issuer-mismatch",
            Self::IdToken(_) => "id-token-invalid",
            Self::Nonce => "nonce-mismatch",
            Self::AccountName => "account-name-unusable",
            Self::NotPermitted => "not-permitted",
            Self::ClaimsTooLarge => "claims-too-large",
            Self::Service(refusal) => refusal.reason.as_str(),
        }
    }
}
