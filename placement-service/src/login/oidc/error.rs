//! Why a login by a provider failed, with one reason constant per error for clients, metrics and logs. Must not know
//! how a response is rendered.

use super::account::AccountClaimFault;
use crate::core::rejection::Rejection;
use berth_api::Excerpt;

/// Why a login by a provider failed. Texts from providers go to the log, never to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    #[error("there is no provider of that name")]
    UnknownProvider,
    #[error("the provider does not answer: {}", Excerpt(.0))]
    Unreachable(String),
    #[error("the provider's response is invalid: {}", Excerpt(.0))]
    InvalidResponse(String),
    #[error("the provider refused: {}", Excerpt(.0))]
    ProviderRefused(String),
    #[error("the user or the provider denied the login")]
    Denied,
    #[error("the callback is malformed: {0}")]
    MalformedCallback(&'static str),
    #[error("the browser did not send its login cookie")]
    StateMissing,
    #[error("the login cookie is invalid or expired")]
    StateInvalid,
    #[error("the callback belongs to another login")]
    StateMismatch,
    #[error("the callback was used before")]
    Replayed,
    #[error("the callback comes from another issuer")]
    IssuerMismatch,
    #[error("the ID token is invalid: {}", Excerpt(.0))]
    InvalidIdToken(String),
    #[error("the ID token belongs to another login")]
    NonceMismatch,
    #[error("the account cannot be named: {0}")]
    UnusableAccountName(#[from] AccountClaimFault),
    #[error("the account is locked")]
    AccountLocked,
    #[error("the claims map to no role")]
    NotPermitted,
    #[error("the claims for the token are too large")]
    ClaimsTooLarge,
    #[error(transparent)]
    Service(#[from] Rejection),
}

impl OidcError {
    /// The reason constant for metric labels, logs and clients.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown-provider",
            Self::Unreachable(_) => "provider-unreachable",
            Self::InvalidResponse(_) => "provider-response-invalid",
            Self::ProviderRefused(_) => "provider-refused",
            Self::Denied => "login-denied",
            Self::MalformedCallback(_) => "invalid-request",
            Self::StateMissing => "login-state-missing",
            Self::StateInvalid => "login-state-invalid",
            Self::StateMismatch => "login-state-mismatch",
            Self::Replayed => "login-replayed",
            Self::IssuerMismatch => "issuer-mismatch",
            Self::InvalidIdToken(_) => "id-token-invalid",
            Self::NonceMismatch => "nonce-mismatch",
            Self::UnusableAccountName(_) => "account-name-unusable",
            Self::AccountLocked => "account-locked",
            Self::NotPermitted => "not-permitted",
            Self::ClaimsTooLarge => "claims-too-large",
            Self::Service(rejection) => rejection.reason.as_str(),
        }
    }
}
