//! Logging in and out: the one use case that turns a password into a session, and the one that ends
//! it. Knows nothing of HTTP; every outcome leaves an audit line (S37) and a count.

use crate::accounts::{Accounts, CheckError};
use crate::metrics::{LoginResult, Metrics};
use crate::password::PasswordError;
use crate::refusal::Refusal;
use crate::session_id::SessionId;
use crate::sessions::{LiveSession, NewSession, Sessions};
use crate::store::EndCause;
use berth_api::Reason;
use std::sync::Arc;

/// Why nobody was logged in.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginError {
    /// Name and password do not belong together; which one was wrong is not said.
    Wrong,
    /// More logins at once than can be served soon.
    Busy,
    /// The store or the service failed.
    Refused(Refusal),
}

/// The use cases of logging in and out.
pub struct Login {
    accounts: Accounts,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

impl Login {
    /// Over the use cases that it joins.
    #[must_use]
    pub const fn new(accounts: Accounts, sessions: Arc<Sessions>, metrics: Arc<Metrics>) -> Self {
        Self {
            accounts,
            sessions,
            metrics,
        }
    }

    /// Checks the password and begins a session under a fresh id. The session that the browser had
    /// before, if any, ends (S7).
    pub async fn log_in(
        &self,
        name: &str,
        password: String,
        old_cookie: Option<&str>,
    ) -> Result<(SessionId, Arc<LiveSession>), LoginError> {
        let outcome = self.try_log_in(name, password).await;
        let result = match &outcome {
            Ok(_) => LoginResult::Ok,
            Err(LoginError::Wrong) => LoginResult::Wrong,
            Err(LoginError::Busy) => LoginResult::Busy,
            Err(LoginError::Refused(_)) => LoginResult::Failed,
        };
        self.metrics.login(result);
        match &outcome {
            Ok((_, live)) => {
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref);
            }
            // The name of an unknown account may be a password typed into the wrong field.
            Err(_) => {
                tracing::info!(target: "berth::audit", event = "login-failed",
                    reason = result.as_str());
            }
        }
        let (id, live) = outcome?;
        if let Some(old) = old_cookie
            && let Err(refusal) = self.sessions.end(old, EndCause::LoginAgain).await
        {
            tracing::warn!(%refusal, "the session before this login was not ended");
        }
        Ok((id, live))
    }

    /// Ends the session that the cookie names (S22). Ending none is no error.
    pub async fn log_out(&self, cookie: &str) -> Result<(), Refusal> {
        self.sessions.end(cookie, EndCause::Logout).await?;
        Ok(())
    }

    async fn try_log_in(
        &self,
        name: &str,
        password: String,
    ) -> Result<(SessionId, Arc<LiveSession>), LoginError> {
        let account = match self.accounts.check(name, password).await {
            Ok(Some(account)) => account,
            Ok(None) => return Err(LoginError::Wrong),
            Err(CheckError::Hashing(PasswordError::Busy)) => return Err(LoginError::Busy),
            Err(CheckError::Hashing(error)) => {
                tracing::error!(%error, "a password could not be checked");
                return Err(LoginError::Refused(Reason::Internal.into()));
            }
            Err(CheckError::Store(error)) => {
                return Err(LoginError::Refused(crate::sessions::store_down(&error)));
            }
        };
        let new = NewSession {
            account: account.name,
            roles: account.roles,
            ..NewSession::default()
        };
        self.sessions.begin(new).await.map_err(LoginError::Refused)
    }
}
