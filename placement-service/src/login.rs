//! Logging in and out: the one use case that turns a password into a session, and the one that ends
//! it. Knows nothing of HTTP; every outcome leaves an audit line (S37) and a count. A failed login's line has the
//! client's address, and a name only if it is an account's: people type passwords into the field for the name.

pub mod accounts;
pub mod credentials;
pub mod devices;
mod lockout;
pub mod oidc;
pub mod password;
pub mod rate_limit;

use crate::core::log_sampler::LogSampler;
use crate::core::metrics::{LoginResult, Metrics};
use crate::core::rejection::Refusal;
use crate::login::credentials::{CheckError, Checked, Credentials, Scope};
use crate::login::oidc::OidcError;
use crate::login::password::PasswordError;
use crate::sessions::{LiveSession, NewSession, Sessions, store_down, to_the_end};
use berth_api::Reason;
use berth_store::session_id::SessionId;
use berth_store::{AccountRow, Attempts, EndCause, ProviderLink, StoreError};
use std::net::IpAddr;
use std::sync::Arc;

/// One login with a name and a password.
pub struct PasswordLogin<'a> {
    pub name: &'a str,
    pub password: String,
    /// The session that the browser had before, if any; it ends (S7).
    pub old_cookie: Option<&'a str>,
    /// What says that the browser has logged in before; may be empty.
    pub device_cookie: &'a str,
    pub client: IpAddr,
}

/// A session that has begun.
#[derive(Debug)]
pub struct StartedSession {
    pub id: SessionId,
    pub live: Arc<LiveSession>,
    /// For the browser, in place of the one that it has; `None`: it keeps that one.
    pub device_cookie: Option<String>,
}

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
    /// Whether the name that was typed is known to be an account's.
    const fn is_of_account(&self) -> bool {
        match self {
            Self::Unknown | Self::Busy => false,
            Self::Wrong | Self::Locked => true,
            Self::Refused(refusal) => matches!(refusal.reason, Reason::TooManySessions),
        }
    }

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
    /// Of logins that were refused before any password or code was looked at: they are not limited.
    cheap_refusals: LogSampler,
}

impl Login {
    /// Over the use cases that it joins.
    #[must_use]
    pub fn new(credentials: Credentials, sessions: Arc<Sessions>, metrics: Arc<Metrics>) -> Self {
        Self {
            credentials,
            sessions,
            metrics,
            cheap_refusals: LogSampler::new("login-failed"),
        }
    }

    /// Checks the password and begins a session under a fresh id.
    pub async fn log_in(&self, login: PasswordLogin<'_>) -> Result<StartedSession, LoginError> {
        let (name, client) = (login.name, login.client);
        let outcome = self.try_log_in(login).await;
        match &outcome {
            Ok(StartedSession { live, .. }) => {
                self.metrics.login(LoginResult::Ok);
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref);
            }
            Err(error) => {
                let result = error.result();
                self.metrics.login(result);
                tracing::info!(target: "berth::audit", event = "login-failed",
                    reason = result.as_str(), account = error.is_of_account().then_some(name),
                    address = %client);
            }
        }
        outcome
    }

    /// A login was refused because its client has tried too many.
    pub fn too_many(&self, client: IpAddr) {
        self.metrics.login(LoginResult::TooManyLogins);
        let reason = LoginResult::TooManyLogins.as_str();
        self.log_cheap_refusal(reason, None, client);
    }

    /// A login by a provider did not get as far as it, or what came back belongs to no login that has begun here.
    /// `provider` is the name of one that is configured.
    pub fn refuse(&self, provider: Option<&str>, error: &OidcError, client: IpAddr) {
        self.metrics.login(LoginResult::Refused);
        self.log_cheap_refusal(error.reason(), provider, client);
    }

    fn log_cheap_refusal(&self, reason: &str, provider: Option<&str>, client: IpAddr) {
        if self.cheap_refusals.admit() {
            tracing::info!(target: "berth::audit", event = "login-failed", reason, provider,
                address = %client);
        }
    }

    /// Begins a session for whom an OpenID provider has proven, or counts and tells why nobody was. The session
    /// that the browser had before, if any, ends (S7).
    pub async fn log_in_by_provider(
        &self,
        provider: &str,
        proven: Result<NewSession, OidcError>,
        old_cookie: Option<&str>,
        client: IpAddr,
    ) -> Result<StartedSession, OidcError> {
        let outcome = match proven {
            Ok(new) => self
                .begin(new, old_cookie)
                .await
                .map_err(OidcError::Service),
            Err(error) => Err(error),
        };
        match outcome {
            Ok((id, live, old)) => {
                self.metrics.login(LoginResult::Ok);
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref, provider);
                self.end_before(old).await;
                Ok(StartedSession {
                    id,
                    live,
                    device_cookie: None,
                })
            }
            Err(error) => {
                self.metrics.login(LoginResult::Refused);
                tracing::info!(target: "berth::audit", event = "login-failed",
                    reason = error.reason(), provider, address = %client);
                tracing::warn!(provider, %error, "a login by a provider failed");
                Err(error)
            }
        }
    }

    /// Ends the session that the cookie names (S22), and says which it was. Ending none is no error. Browsers
    /// leave the page that logs out, and with it the request.
    pub async fn log_out(&self, cookie: &str) -> Result<Option<Arc<LiveSession>>, Refusal> {
        let (sessions, cookie) = (self.sessions.clone(), cookie.to_owned());
        to_the_end(async move { sessions.end(&cookie, EndCause::Logout).await }).await
    }

    async fn try_log_in(&self, login: PasswordLogin<'_>) -> Result<StartedSession, LoginError> {
        let (old_cookie, old_device) = (login.old_cookie, login.device_cookie);
        let account = self.check(login).await?;
        let new = NewSession {
            account: account.name.clone(),
            roles: account.roles.clone(),
            ..NewSession::default()
        };
        let begun = self.begin(new, old_cookie).await;
        let (id, live, old) = begun.map_err(LoginError::Refused)?;
        self.confirm(&account, &live).await?;
        self.end_before(old).await;
        let device_cookie = self.credentials.device_cookie(&account, old_device);
        Ok(StartedSession {
            id,
            live,
            device_cookie: device_cookie.ok(),
        })
    }

    /// Begins a session; with the one that the browser had before, which is to end.
    async fn begin(
        &self,
        mut new: NewSession,
        old_cookie: Option<&str>,
    ) -> Result<(SessionId, Arc<LiveSession>, Option<Arc<LiveSession>>), Refusal> {
        let old = self.live(old_cookie).await;
        let by = |link: &Option<ProviderLink>| link.as_ref().map(|link| link.provider.clone());
        let same = old
            .as_ref()
            .filter(|old| old.account == new.account && by(&old.provider) == by(&new.provider));
        new.previous_ref = same.map(|old| old.session_ref.clone());
        // It may end another one to make room.
        let sessions = self.sessions.clone();
        let (id, live) = to_the_end(async move { sessions.begin(new).await }).await?;
        Ok((id, live, old))
    }

    async fn end_before(&self, old: Option<Arc<LiveSession>>) {
        if let Some(old) = old
            && let Err(error) = self.end(&old, EndCause::LoginAgain).await
        {
            tracing::warn!(%error, "the session before this login was not ended");
        }
    }

    async fn end(&self, live: &LiveSession, cause: EndCause) -> Result<bool, StoreError> {
        let (sessions, name) = (self.sessions.clone(), live.session_ref.clone());
        to_the_end(async move { sessions.end_ref(&name, cause).await }).await
    }

    async fn check(&self, login: PasswordLogin<'_>) -> Result<AccountRow, LoginError> {
        let PasswordLogin { name, password, .. } = login;
        let checked = self
            .credentials
            .check(name, password, login.device_cookie)
            .await;
        match checked {
            Ok(Checked::Passed(account)) => Ok(account),
            Ok(Checked::Unknown) => Err(LoginError::Unknown),
            Ok(Checked::Wrong(attempts, scope)) => {
                log_lockout(name, attempts, scope);
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
        self.end(live, cause).await.map_err(down)?;
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
fn log_lockout(account: &str, attempts: Attempts, scope: Scope) {
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
    async fn a_logout_is_done_although_its_client_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
        let config = config::load::from_text("").unwrap().config;
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::default()));
        let stores = Stores::whole(store.clone());
        let sessions = Sessions::start(stores, clock.clone(), metrics.clone(), &config.session);
        let sessions = Arc::new(sessions.await.unwrap());
        let passwords = Passwords::new().unwrap();
        let key = DeviceKey::load(store.as_ref()).await.unwrap();
        let lockout = config.login.lockout;
        let credentials = Credentials::new(store.clone(), key, clock, passwords, lockout);
        let login = Login::new(credentials, sessions.clone(), metrics);
        let (id, _) = sessions.begin(NewSession::default()).await.unwrap();
        // Asked once, as for a request that is taken back.
        assert!(login.log_out(id.reveal()).now_or_never().is_none());
        let ended = async {
            while store.find(&id.hash()).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "the session lives on");
    }
}
