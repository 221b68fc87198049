//! The identity behind a bearer token that a program sent instead of a cookie: the session that the token was issued
//! for, which must be active, or the token alone. Does not verify the token.

use super::{ChildSessionError, LiveSession, Sessions};
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use serde::Deserialize;

/// The claims of a verified bearer token.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct BearerClaims {
    /// The account.
    #[serde(rename = "sub")]
    pub account: String,
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
    ) -> Result<LiveSession, Rejection> {
        let session_ref = match bearer.session_ref {
            None => self.keys.token_ref(&bearer.account, token),
            Some(session_ref) => {
                let is_active = match self.find_active(&session_ref, None).await {
                    Ok(session) => session.account == bearer.account,
                    Err(ChildSessionError::Rejected(rejection)) => return Err(rejection),
                    Err(_) => false,
                };
                if !is_active {
                    let detail = "the session that the token was issued for has ended";
                    return Err(Rejection::new(RejectReason::BearerInvalid).with_detail(detail));
                }
                session_ref
            }
        };
        Ok(LiveSession {
            account: bearer.account,
            roles: bearer.roles,
            session_ref,
            expires_at: bearer.expires_at,
            ..LiveSession::default()
        })
    }
}
