//! The identity behind a bearer token that a program sent instead of a cookie: the session that the token was issued
//! for, which must be active, or the token alone. Does not verify the token.

use super::tokens::Tokens;
use super::{ChildSessionError, LiveSession, Sessions};
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use serde::Deserialize;

/// The claims of a verified bearer token.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct BearerClaims {
    /// The account: without a session its key, otherwise its name by `tokens.subject`.
    #[serde(rename = "sub")]
    pub subject: String,
    /// The account's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Unix seconds.
    #[serde(rename = "exp")]
    pub expires_at: u64,
    /// Unix seconds.
    #[serde(default, rename = "nbf")]
    pub(crate) not_before: u64,
    /// The `session_ref` of the session that the token was issued for, if any.
    #[serde(rename = "sid")]
    pub session_ref: Option<String>,
}

impl Sessions {
    /// The identity that a verified token is placed under. Does not count as activity of a session.
    ///
    /// # Errors
    /// When the session that the token names or one of its ancestors is not active, or the session belongs to another
    /// account.
    pub async fn resolve_bearer(
        &self,
        token: &str,
        bearer: BearerClaims,
        tokens: &Tokens,
    ) -> Result<LiveSession, Rejection> {
        let Some(session_ref) = bearer.session_ref else {
            return Ok(LiveSession {
                session_ref: self.keys.token_ref(&bearer.subject, token),
                display_name: bearer.subject.clone(),
                account: bearer.subject,
                roles: bearer.roles,
                expires_at: bearer.expires_at,
                ..LiveSession::default()
            });
        };
        let is_subject = |live: &LiveSession| {
            tokens.subject(live.provider_name(), &live.account) == bearer.subject
        };
        let session = match self.find_live(&session_ref).await {
            Ok(live) if is_subject(&live) => live,
            Err(ChildSessionError::Rejected(rejection)) => return Err(rejection),
            _ => {
                let detail = "the session that the token was issued for has ended";
                return Err(Rejection::new(RejectReason::BearerInvalid).with_detail(detail));
            }
        };
        Ok(LiveSession {
            account: session.account.clone(),
            display_name: session.display_name.clone(),
            provider: session.provider.clone(),
            roles: bearer.roles,
            session_ref,
            expires_at: bearer.expires_at,
            ..LiveSession::default()
        })
    }
}
