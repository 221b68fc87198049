//! Login and logout: creates a session from a password or a provider login, and ends it. Every outcome is counted and
//! writes an audit line. The line of a failed login has the client's address, but the name only if it is an account's,
//! because users type passwords into the name field. Must not know HTTP.

pub mod accounts;
pub mod credentials;
pub mod devices;
mod lockout;
pub mod oidc;
pub mod password;
mod password_change;
mod provider_login;
pub mod rate_limit;

pub use password_change::{PasswordChange, PasswordChangeError, PasswordChanged};

use crate::config::Lockout;
use crate::core::clock::Clock;
use crate::core::log_sampler::LogSampler;
use crate::core::metrics::{LoginResult, Metrics};
use crate::core::rejection::Rejection;
use crate::login::accounts::Accounts;
use crate::login::credentials::{CheckError, CheckOutcome, Credentials, LockoutScope};
use crate::login::password::PasswordError;
use crate::sessions::{LiveSession, NewSession, Sessions, run_detached, store_down};
use berth_api::RejectReason;
use berth_store::session_id::SessionId;
use berth_store::{AccountRow, Attempts, EndCause, StoreError};
use std::net::IpAddr;
use std::sync::Arc;

/// One login with a name and a password.
pub struct PasswordLogin<'a> {
    pub name: &'a str,
    pub password: String,
    /// Cookie of the browser's previous session, if any; a successful login ends that session.
    pub old_cookie: Option<&'a str>,
    /// Proves that the browser has logged in to the account before; may be empty.
    pub device_cookie: &'a str,
    pub client: IpAddr,
}

/// A new session.
#[derive(Debug)]
pub struct StartedSession {
    pub id: SessionId,
    pub live: Arc<LiveSession>,
    /// Replaces the browser's device cookie; `None`: the browser keeps the cookie it has.
    pub device_cookie: Option<String>,
}

/// Why a login failed. The client gets the same response for the first three, so that it cannot find out which accounts
/// exist.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginError {
    /// There is no such account.
    UnknownAccount,
    /// The password does not match the account.
    WrongPassword,
    /// The account is locked.
    Locked,
    /// Too many logins at once.
    Busy,
    /// The store or the service failed, or the account has too many sessions.
    Rejected(Rejection),
}

impl LoginError {
    /// Whether the entered name is known to be an account's name.
    const fn is_account_known(&self) -> bool {
        match self {
            Self::UnknownAccount | Self::Busy => false,
            Self::WrongPassword | Self::Locked => true,
            Self::Rejected(rejection) => matches!(rejection.reason, RejectReason::TooManySessions),
        }
    }

    const fn result(&self) -> LoginResult {
        match self {
            Self::UnknownAccount => LoginResult::UnknownAccount,
            Self::WrongPassword => LoginResult::WrongPassword,
            Self::Locked => LoginResult::Locked,
            Self::Busy => LoginResult::Busy,
            Self::Rejected(rejection) => match rejection.reason {
                RejectReason::TooManySessions => LoginResult::TooManySessions,
                _ => LoginResult::Failed,
            },
        }
    }
}

/// A created session, and the browser's session before it.
type CreatedSession = (SessionId, Arc<LiveSession>, Option<Arc<LiveSession>>);

/// The use cases of logging in and out.
pub struct Login {
    credentials: Credentials,
    accounts: Accounts,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    /// Limits log lines about logins that were refused before a password or code was checked: a client can cause any
    /// number of them.
    cheap_refusals: LogSampler,
}

impl Login {
    /// Combines credential checks, accounts and sessions.
    #[must_use]
    pub fn new(
        credentials: Credentials,
        accounts: Accounts,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            credentials,
            accounts,
            sessions,
            metrics,
            cheap_refusals: LogSampler::new("login-failed"),
        }
    }

    /// The same with another lockout.
    #[must_use]
    pub fn with_lockout(&self, lockout: Lockout) -> Self {
        Self::new(
            self.credentials.with_lockout(lockout),
            self.accounts.clone(),
            self.sessions.clone(),
            self.metrics.clone(),
        )
    }

    /// The clock of the service.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.credentials.clock()
    }

    /// Checks the password and creates a session with a new id.
    pub async fn log_in(&self, login: PasswordLogin<'_>) -> Result<StartedSession, LoginError> {
        let (name, client) = (login.name, login.client);
        let outcome = self.try_log_in(login).await;
        match &outcome {
            Ok(StartedSession { live, .. }) => {
                self.metrics.count_login(LoginResult::Ok);
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref);
            }
            Err(error) => {
                let result = error.result();
                self.metrics.count_login(result);
                tracing::info!(target: "berth::audit", event = "login-failed",
                    reason = result.as_str(), account = error.is_account_known().then_some(name),
                    address = %client);
            }
        }
        outcome
    }

    /// Records a login that the rate limit refused.
    pub fn record_rate_limited(&self, client: IpAddr) {
        self.metrics.count_login(LoginResult::TooManyLogins);
        let reason = LoginResult::TooManyLogins.as_str();
        self.log_cheap_refusal(reason, None, client);
    }

    fn log_cheap_refusal(&self, reason: &str, provider: Option<&str>, client: IpAddr) {
        if self.cheap_refusals.admit() {
            tracing::info!(target: "berth::audit", event = "login-failed", reason, provider,
                address = %client);
        }
    }

    /// Ends the session of the cookie and returns it; a cookie without a session is no error. The work completes even
    /// if the browser leaves the logout page and thereby cancels the request.
    pub async fn log_out(&self, cookie: &str) -> Result<Option<Arc<LiveSession>>, Rejection> {
        let (sessions, cookie) = (self.sessions.clone(), cookie.to_owned());
        run_detached(async move { sessions.end_by_cookie(&cookie, EndCause::Logout).await }).await
    }

    async fn try_log_in(&self, login: PasswordLogin<'_>) -> Result<StartedSession, LoginError> {
        let (old_cookie, old_device) = (login.old_cookie, login.device_cookie);
        let checked = self.check_credentials(login.name, login.password, old_device);
        let account = checked.await?;
        let new_session = NewSession {
            account: account.name.clone(),
            roles: account.roles.clone(),
            ..NewSession::default()
        };
        let created = self.begin_session(new_session, old_cookie).await;
        let (id, live, previous) = created.map_err(LoginError::Rejected)?;
        self.end_if_account_changed(&account, &live).await?;
        self.end_previous_session(previous).await;
        let device_cookie = self.credentials.device_cookie(&account, old_device);
        Ok(StartedSession {
            id,
            live,
            device_cookie: device_cookie.ok(),
        })
    }

    /// Creates a session. Also returns the browser's previous session, which the caller ends.
    async fn begin_session(
        &self,
        mut new_session: NewSession,
        old_cookie: Option<&str>,
    ) -> Result<CreatedSession, Rejection> {
        let previous = self.find_live_session(old_cookie).await;
        let same_account = previous
            .as_ref()
            .filter(|previous| previous.account == new_session.account);
        new_session.previous_ref = same_account.map(|previous| previous.session_ref.clone());
        // Detached, because it may end another session of the account to keep the limit.
        let sessions = self.sessions.clone();
        let (id, live) = run_detached(async move { sessions.create(new_session).await }).await?;
        Ok((id, live, previous))
    }

    async fn end_previous_session(&self, previous: Option<Arc<LiveSession>>) {
        if let Some(previous) = previous
            && let Err(error) = self.end_session(&previous, EndCause::LoginAgain).await
        {
            tracing::warn!(%error, "the previous session was not ended");
        }
    }

    async fn end_session(&self, live: &LiveSession, cause: EndCause) -> Result<bool, StoreError> {
        let (sessions, name) = (self.sessions.clone(), live.session_ref.clone());
        run_detached(async move { sessions.end_by_ref(&name, cause).await }).await
    }

    async fn check_credentials(
        &self,
        name: &str,
        password: String,
        device_cookie: &str,
    ) -> Result<AccountRow, LoginError> {
        let result = self.credentials.check(name, password, device_cookie).await;
        match result {
            Ok(CheckOutcome::Passed(account)) => Ok(account),
            Ok(CheckOutcome::UnknownAccount) => Err(LoginError::UnknownAccount),
            Ok(CheckOutcome::WrongPassword(attempts, scope)) => {
                log_lockout(name, attempts, scope);
                Err(LoginError::WrongPassword)
            }
            Ok(CheckOutcome::Locked) => Err(LoginError::Locked),
            Err(CheckError::Hashing(PasswordError::Busy)) => Err(LoginError::Busy),
            Err(CheckError::Hashing(error)) => {
                tracing::error!(%error, "a password could not be checked");
                Err(LoginError::Rejected(RejectReason::Internal.into()))
            }
            Err(CheckError::Store(error)) => Err(LoginError::Rejected(store_down(&error))),
        }
    }

    /// Ends the new session if the account was locked or changed after its password was checked. The operator's change
    /// ends the account's sessions, but may have missed this new one.
    async fn end_if_account_changed(
        &self,
        account: &AccountRow,
        live: &LiveSession,
    ) -> Result<(), LoginError> {
        let store_error = |error| LoginError::Rejected(store_down(&error));
        let end_cause = self.credentials.changed_since(account).await;
        let Some(cause) = end_cause.map_err(store_error)? else {
            return Ok(());
        };
        self.end_session(live, cause).await.map_err(store_error)?;
        Err(match cause {
            EndCause::AccountLocked => LoginError::Locked,
            _ => LoginError::WrongPassword,
        })
    }

    async fn find_live_session(&self, cookie: Option<&str>) -> Option<Arc<LiveSession>> {
        let (live, _) = self.sessions.peek(cookie?).await.ok()?;
        Some(live)
    }
}

/// Logs the name: the account exists, so it is not a password typed into the wrong field.
fn log_lockout(account: &str, attempts: Attempts, scope: LockoutScope) {
    if attempts.locked_until_ms > 0 {
        tracing::warn!(target: "berth::audit", event = "account-locked-out", account,
            scope = scope.as_str(), failures = attempts.failures, until_ms = attempts.locked_until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::core::clock::SystemClock;
    use crate::login::devices::DeviceKey;
    use crate::login::password::Passwords;
    use berth_store::sqlite::SqliteStore;
    use berth_store::{SessionStore, Stores};
    use futures_util::FutureExt;
    use std::time::Duration;

    #[tokio::test]
    async fn a_logout_completes_although_its_client_disconnects() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
        let config = config::load::from_text("").unwrap().config;
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::default()));
        let stores = Stores::from_single(store.clone());
        let sessions = Sessions::start(stores, clock.clone(), metrics.clone(), &config.session);
        let sessions = Arc::new(sessions.await.unwrap());
        let passwords = Passwords::new().unwrap();
        let key = DeviceKey::load(store.as_ref()).await.unwrap();
        let lockout = config.login.lockout;
        let accounts = Accounts::new(store.clone(), clock.clone(), passwords.clone());
        let credentials = Credentials::new(store.clone(), key, clock, passwords, lockout);
        let login = Login::new(credentials, accounts, sessions.clone(), metrics);
        let (id, _) = sessions.create(NewSession::default()).await.unwrap();
        // Polled once and then dropped, like the future of a cancelled request.
        assert!(login.log_out(id.reveal()).now_or_never().is_none());
        let sessions_ended = async {
            while store.find(&id.hash()).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(10), sessions_ended).await;
        assert!(result.is_ok(), "the session is still live");
    }
}
