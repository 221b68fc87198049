//! Login sessions: the use cases over the session store. Which cookie names a session that lives, and
//! when it ends.

/// A session that lives, as of the moment it was resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSession {
    /// The account's name: `sub` of the token.
    pub account: String,
    /// The account's roles at login.
    pub roles: Vec<String>,
    /// A salted hash of the session: the only name of it for logs, metrics and gateways.
    pub session_ref: String,
    /// Unix seconds of the login.
    pub created_at: u64,
    /// Unix seconds: the absolute end of the session.
    pub expires_at: u64,
    /// Unix seconds: when it ends unless something happens before.
    pub idle_ends_at: u64,
}
