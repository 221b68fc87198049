//! Logging in and out: the one use case that turns a password into a session, and the one that ends
//! it. Knows nothing of HTTP; every outcome leaves an audit line (S37) and a count.

use crate::credentials::{CheckError, Checked, Credentials};
use crate::metrics::{LoginResult, Metrics};
use crate::password::PasswordError;
use crate::refusal::Refusal;
use crate::session_id::SessionId;
use crate::sessions::{LiveSession, NewSession, Sessions, store_down};
use crate::store::{AccountRow, Attempts, EndCause};
use berth_api::Reason;
use std::sync::Arc;

/// Why nobody was logged in. To the client the first three are one: which it was is not said.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginError {
    /// There is no such account.
    Unknown,
    /// Name and password do not belong together.
    Wrong,
    /// The account is locked.
    Locked,
    /// More logins at once than can be served soon.
    Busy,
    /// The store or the service failed, or the account has too many sessions.
    Refused(Refusal),
}

impl LoginError {
    const fn result(&self) -> LoginResult {
        match self {
            Self::Unknown => LoginResult::UnknownAccount,
            Self::Wrong => LoginResult::Wrong,
            Self::Locked => LoginResult::Locked,
            Self::Busy => LoginResult::Busy,
            Self::Refused(refusal) => match refusal.reason {
                Reason::TooManySessions => LoginResult::TooManySessions,
                _ => LoginResult::Failed,
            },
        }
    }
}

/// The use cases of logging in and out.
pub struct Login {
    credentials: Credentials,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

impl Login {
    /// Over the use cases that it joins.
    #[must_use]
    pub const fn new(
        credentials: Credentials,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            credentials,
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
        let outcome = self.try_log_in(name, password, old_cookie).await;
        match &outcome {
            Ok((_, live)) => {
                self.metrics.login(LoginResult::Ok);
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref);
            }
            Err(error) => self.failed(error.result()),
        }
        outcome
    }

    /// A login was refused because its client has tried too many.
    pub fn too_many(&self) {
        self.failed(LoginResult::TooManyLogins);
    }

    /// Ends the session that the cookie names (S22). Ending none is no error.
    pub async fn log_out(&self, cookie: &str) -> Result<(), Refusal> {
        self.sessions.end(cookie, EndCause::Logout).await?;
        Ok(())
    }

    // The name of an unknown account may be a password typed into the wrong field.
    fn failed(&self, result: LoginResult) {
        self.metrics.login(result);
        tracing::info!(target: "berth::audit", event = "login-failed", reason = result.as_str());
    }

    async fn try_log_in(
        &self,
        name: &str,
        password: String,
        old_cookie: Option<&str>,
    ) -> Result<(SessionId, Arc<LiveSession>), LoginError> {
        let account = self.check(name, password).await?;
        let old = self.live(old_cookie).await;
        let same = old.as_ref().filter(|old| old.account == account.name);
        let new = NewSession {
            account: account.name.clone(),
            roles: account.roles.clone(),
            previous_ref: same.map(|old| old.session_ref.clone()),
            ..NewSession::default()
        };
        let begun = self.sessions.begin(new).await;
        let (id, live) = begun.map_err(LoginError::Refused)?;
        self.confirm(&account, &live).await?;
        if let Some(old) = old
            && let Err(error) = self
                .sessions
                .end_ref(&old.session_ref, EndCause::LoginAgain)
                .await
        {
            tracing::warn!(%error, "the session before this login was not ended");
        }
        Ok((id, live))
    }

    async fn check(&self, name: &str, password: String) -> Result<AccountRow, LoginError> {
        match self.credentials.check(name, password).await {
            Ok(Checked::Passed(account)) => Ok(account),
            Ok(Checked::Unknown) => Err(LoginError::Unknown),
            Ok(Checked::Wrong(attempts)) => {
                locked_out(name, attempts);
                Err(LoginError::Wrong)
            }
            Ok(Checked::Locked) => Err(LoginError::Locked),
            Err(CheckError::Hashing(PasswordError::Busy)) => Err(LoginError::Busy),
            Err(CheckError::Hashing(error)) => {
                tracing::error!(%error, "a password could not be checked");
                Err(LoginError::Refused(Reason::Internal.into()))
            }
            Err(CheckError::Store(error)) => Err(LoginError::Refused(store_down(&error))),
        }
    }

    /// The account may have been locked or changed since its password was checked, and whoever did that did
    /// not see this session: then it ends here.
    async fn confirm(&self, account: &AccountRow, live: &LiveSession) -> Result<(), LoginError> {
        let down = |error| LoginError::Refused(store_down(&error));
        let changed = self.credentials.changed_since(account).await;
        let Some(cause) = changed.map_err(down)? else {
            return Ok(());
        };
        let ended = self.sessions.end_ref(&live.session_ref, cause).await;
        ended.map_err(down)?;
        Err(match cause {
            EndCause::AccountLocked => LoginError::Locked,
            _ => LoginError::Wrong,
        })
    }

    async fn live(&self, cookie: Option<&str>) -> Option<Arc<LiveSession>> {
        let (live, _) = self.sessions.peek(cookie?).await.ok()?;
        Some(live)
    }
}

/// The account exists, so its name is no password.
fn locked_out(account: &str, attempts: Attempts) {
    if attempts.locked_until_ms > 0 {
        tracing::warn!(target: "berth::audit", event = "account-locked-out", account,
            failures = attempts.failures, until_ms = attempts.locked_until_ms);
    }
}
