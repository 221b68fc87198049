//! What stands behind a token that a program brought along by itself: the session that it was minted for, which
//! must live, or nothing but the token.

use super::{LiveSession, Sessions, store_down};
use crate::core::rejection::Refusal;
use berth_api::Reason;
use serde::Deserialize;

/// What a good token says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Bearer {
    /// Whom it stands for.
    #[serde(rename = "sub")]
    pub account: String,
    /// What he may.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Unix seconds.
    #[serde(rename = "exp")]
    pub expires_at: u64,
    /// Unix seconds.
    #[serde(default, rename = "nbf")]
    pub(crate) not_before: u64,
    /// The public name of the session that it was minted for, if there is one.
    #[serde(rename = "sid")]
    pub session_ref: Option<String>,
}

impl Sessions {
    /// What a verified token may be placed as. No activity of any session.
    ///
    /// # Errors
    /// When the session that it names is over, or another account's.
    pub async fn of_bearer(&self, token: &str, bearer: Bearer) -> Result<LiveSession, Refusal> {
        let session_ref = match bearer.session_ref {
            None => self.keys.token_ref(&bearer.account, token),
            Some(session_ref) => {
                let session = self.show(&session_ref).await.map_err(|e| store_down(&e))?;
                if session.is_none_or(|session| session.account != bearer.account) {
                    let over = "the session that it was minted for is over";
                    return Err(Refusal::new(Reason::BearerInvalid).with_detail(over));
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
