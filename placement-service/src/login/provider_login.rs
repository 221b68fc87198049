//! Login by an OpenID provider: creates a session for a user that the provider has authenticated, unless an operator has
//! locked the account, and records every refusal. Must not know the protocol.

use super::oidc::OidcError;
use super::{CreatedSession, Login, StartedSession};
use crate::core::metrics::LoginResult;
use crate::core::rejection::Rejection;
use crate::sessions::{NewSession, store_down};
use berth_store::EndCause;
use std::net::IpAddr;

impl Login {
    /// Records a provider login that failed before the provider was involved, or whose callback matches no pending
    /// login. `provider` is the name of a configured provider.
    pub fn record_provider_refusal(
        &self,
        provider: Option<&str>,
        error: &OidcError,
        client: IpAddr,
    ) {
        self.metrics.count_login(LoginResult::Rejected);
        self.log_cheap_refusal(error.reason(), provider, client);
    }

    /// Creates a session for a user that an OpenID provider has authenticated, or records why the login failed. Ends
    /// the browser's previous session, if any.
    pub async fn log_in_by_provider(
        &self,
        provider: &str,
        verified: Result<NewSession, OidcError>,
        old_cookie: Option<&str>,
        client: IpAddr,
    ) -> Result<StartedSession, OidcError> {
        let account = verified.as_ref().ok().map(|new| new.account.clone());
        let outcome = match verified {
            Ok(new_session) => self.begin_provider_session(new_session, old_cookie).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok((id, live, previous)) => {
                self.metrics.count_login(LoginResult::Ok);
                tracing::info!(target: "berth::audit", event = "login", account = live.account,
                    session = live.session_ref, provider);
                self.end_previous_session(previous).await;
                Ok(StartedSession {
                    id,
                    live,
                    device_cookie: None,
                })
            }
            Err(error) => {
                self.metrics.count_login(LoginResult::Rejected);
                tracing::info!(target: "berth::audit", event = "login-failed",
                    reason = error.reason(), account, provider, address = %client);
                tracing::warn!(provider, %error, "a login by a provider failed");
                Err(error)
            }
        }
    }

    /// Creates a session for an account of a provider, unless an operator has locked the account. The second check
    /// is for a lock in between, which could not end the new session.
    async fn begin_provider_session(
        &self,
        new_session: NewSession,
        old_cookie: Option<&str>,
    ) -> Result<CreatedSession, OidcError> {
        let account = new_session.account.clone();
        if self.is_locked(&account).await? {
            return Err(OidcError::AccountLocked);
        }
        let created = self.begin_session(new_session, old_cookie).await?;
        if self.is_locked(&account).await? {
            let ended = self.end_session(&created.1, EndCause::AccountLocked).await;
            ended.map_err(|e| store_down(&e))?;
            return Err(OidcError::AccountLocked);
        }
        Ok(created)
    }

    async fn is_locked(&self, account: &str) -> Result<bool, Rejection> {
        let is_locked = self.credentials.is_locked(account).await;
        is_locked.map_err(|e| store_down(&e))
    }
}
