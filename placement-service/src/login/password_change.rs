//! A user changes the password of the own account: checks the current password like a login, sets the new one, and ends
//! the other sessions of the account. Must not know HTTP.

use super::accounts::AccountError;
use super::{Login, LoginError};
use crate::core::rejection::Rejection;
use crate::sessions::{LiveSession, run_detached, store_down};
use berth_api::RejectReason;
use berth_store::EndCause;
use std::net::IpAddr;

/// A request to change a password.
pub struct PasswordChange<'a> {
    /// The session of the user.
    pub session: &'a LiveSession,
    pub current: String,
    pub new: String,
    /// As for a login; may be empty.
    pub device_cookie: &'a str,
    pub client: IpAddr,
}

/// A password that was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct PasswordChanged {
    /// Number of sessions that ended, not counting child sessions.
    pub ended: u64,
    /// Replaces the browser's device cookie, which the new password has made invalid.
    pub device_cookie: Option<String>,
}

/// Why a password was not changed.
#[derive(Debug, PartialEq, Eq)]
pub enum PasswordChangeError {
    /// The account has no password here: a provider or another login service authenticates its users.
    NoPassword,
    /// The new password breaks a rule, which the text says.
    NewPassword(String),
    /// The current password was not accepted.
    Login(LoginError),
}

impl From<LoginError> for PasswordChangeError {
    fn from(error: LoginError) -> Self {
        Self::Login(error)
    }
}

impl Login {
    /// Changes the password of the session's account. The session stays.
    pub async fn change_password(
        &self,
        change: PasswordChange<'_>,
    ) -> Result<PasswordChanged, PasswordChangeError> {
        let (session, client) = (change.session, change.client);
        let outcome = self.try_change_password(change).await;
        match &outcome {
            Ok(_) => {
                tracing::info!(target: "berth::audit", event = "password-changed",
                    account = session.account, session = session.session_ref, address = %client);
            }
            Err(error) => {
                let reason = match error {
                    PasswordChangeError::NoPassword => "no-password",
                    PasswordChangeError::NewPassword(_) => "new-password-invalid",
                    PasswordChangeError::Login(error) => error.result().as_str(),
                };
                tracing::info!(target: "berth::audit", event = "password-change-failed", reason,
                    account = session.account, session = session.session_ref, address = %client);
            }
        }
        outcome
    }

    async fn try_change_password(
        &self,
        change: PasswordChange<'_>,
    ) -> Result<PasswordChanged, PasswordChangeError> {
        let session = change.session;
        if session.provider.is_some() {
            return Err(PasswordChangeError::NoPassword);
        }
        super::accounts::check_password(&change.new)
            .map_err(|error| PasswordChangeError::NewPassword(error.to_string()))?;
        let checked =
            self.check_credentials(&session.account, change.current, change.device_cookie);
        checked.await?;
        let (accounts, sessions) = (self.accounts.clone(), self.sessions.clone());
        let (kept, new) = (session.clone(), change.new);
        // Detached, because a new password without an end of the other sessions would leave a thief logged in.
        let changing = run_detached(async move {
            accounts.set_password(&kept.account, new).await?;
            let ended = sessions.end_others(&kept, EndCause::PasswordChanged).await;
            Ok::<_, AccountError>(ended?)
        });
        let ended = changing
            .await
            .map_err(|error| LoginError::Rejected(rejection(&error)))?;
        let device_cookie = self.new_device_cookie(&session.account, change.device_cookie);
        Ok(PasswordChanged {
            ended,
            device_cookie: device_cookie.await,
        })
    }

    /// Without the cookie, the browser is an unknown one at its next login: not worth failing for.
    async fn new_device_cookie(&self, account: &str, old_cookie: &str) -> Option<String> {
        let row = self.credentials.find_account(account).await.ok()??;
        self.credentials.device_cookie(&row, old_cookie).ok()
    }
}

fn rejection(error: &AccountError) -> Rejection {
    match error {
        AccountError::Store(error) => store_down(error),
        error => {
            tracing::error!(%error, "a password could not be changed");
            RejectReason::Internal.into()
        }
    }
}
