//! Drivers: what a kind of engine needs before a client connects to it. A driver talks to one engine that the scheduler
//! has selected. Must not know fleets, strategies or Berth's HTTP API.

pub mod open_target;
pub mod qix;
pub mod transport;
pub mod websocket;

use crate::config;
use async_trait::async_trait;
use berth_api::Excerpt;
use berth_scheduler::accounting::SessionLifetime;
use open_target::OpenTarget;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use transport::EngineTransport;

/// A request to prepare a session on an engine.
pub struct PrepareRequest<'a> {
    /// The address of the engine.
    pub engine: SocketAddr,
    /// The JWT that identifies the user. A secret.
    pub token: &'a str,
    /// The client's path with its query.
    pub path: &'a str,
    /// What to open in the session.
    pub target: &'a OpenTarget,
    /// Deadline of the engine's first response.
    pub first_response_by: Instant,
    /// Deadline of the whole preparation.
    pub deadline: Instant,
    /// Limits concurrent connection attempts. Dropped at the first response of the engine.
    pub connect_permit: Option<SemaphorePermit<'a>>,
    /// Only checks whether the engine works: no session may remain there.
    pub dry_run: bool,
}

#[cfg(test)]
impl PrepareRequest<'_> {
    /// A request that opens nothing, with `deadline` for the first response, too.
    fn plain(engine: SocketAddr, deadline: Instant) -> Self {
        Self {
            engine,
            token: "a.b.c",
            path: "/app/x",
            target: &OpenTarget::Nothing,
            first_response_by: deadline,
            deadline,
            connect_permit: None,
            dry_run: false,
        }
    }
}

/// How the client's request is changed before it goes to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMutation {
    /// The path for the engine, with its query.
    pub path: String,
    /// Headers to set, with lower-case names.
    pub set_headers: BTreeMap<String, String>,
}

/// Why an engine has not accepted a session. The variant is the label of metrics, the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverFault {
    /// The connection failed or was closed.
    #[error("no connection: {}", Excerpt(.0))]
    Connect(String),
    /// No response in time.
    #[error("no response in time")]
    NoResponse,
    /// The response is not that of an engine.
    #[error("not the response of an engine: {}", Excerpt(.0))]
    Malformed(String),
    /// The engine rejects the token, because its key or its claims are not the expected ones.
    #[error(
        "the engine rejects the token ({0}): compare its key with `tokens` in the configuration"
    )]
    TokenRejected(String),
    /// The engine works but accepts no further session, because of its licence or a limit.
    #[error("the engine declines the session: {0}")]
    Declined(String),
    /// The engine does not know the document.
    #[error("no such document")]
    NoSuchDocument,
    /// The engine could not open the document.
    #[error("the document cannot be opened: error {code} {message}")]
    OpenFailed {
        /// The engine's error code.
        code: i64,
        /// The message of the engine, shortened.
        message: String,
    },
    /// The document was still loading at the deadline.
    #[error("the document was still loading at the deadline")]
    OpenTimeout,
}

impl DriverFault {
    /// The labels of all variants.
    pub const KINDS: [&str; 8] = [
        "connect",
        "no-response",
        "malformed",
        "token-rejected",
        "declined",
        "no-such-document",
        "open-failed",
        "open-timeout",
    ];

    /// The label for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::NoResponse => "no-response",
            Self::Malformed(_) => "malformed",
            Self::TokenRejected(_) => "token-rejected",
            Self::Declined(_) => "declined",
            Self::NoSuchDocument => "no-such-document",
            Self::OpenFailed { .. } => "open-failed",
            Self::OpenTimeout => "open-timeout",
        }
    }

    /// Whether the fault lies with the engine. A well-formed refusal may be caused by the user or the document, and
    /// must not eject the engine for other users.
    #[must_use]
    pub const fn blames_engine(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoResponse | Self::Malformed(_) => true,
            Self::TokenRejected(_)
            | Self::Declined(_)
            | Self::NoSuchDocument
            | Self::OpenFailed { .. }
            | Self::OpenTimeout => false,
        }
    }
}

/// Prepares sessions on one kind of engine.
#[async_trait]
pub trait EngineDriver: Send + Sync + 'static {
    /// Prepares a session. Dropping the future cancels the preparation.
    ///
    /// # Errors
    /// Why the engine has not accepted the session.
    async fn prepare(&self, job: PrepareRequest<'_>) -> Result<RequestMutation, DriverFault>;

    /// Checks that a session still exists which [`Self::prepare`] created on the same engine earlier, with these
    /// `headers` as its result. Opens nothing. `None` when the session no longer exists; the check leaves no session.
    ///
    /// # Errors
    /// Why the check failed.
    async fn resume(
        &self,
        job: PrepareRequest<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Option<RequestMutation>, DriverFault>;

    /// Whether sessions outlive their sockets, so that [`Self::end`] ends them.
    fn keeps_sessions(&self) -> bool;

    /// Ends a session which [`Self::prepare`] created on the same engine earlier, with these `headers` as its result: at
    /// once, or with its last socket. A session that no longer exists has ended.
    ///
    /// # Errors
    /// Why it may still exist.
    async fn end(
        &self,
        job: PrepareRequest<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<(), DriverFault>;
}

/// How long the sessions of a pool outlive their sockets.
#[must_use]
pub fn session_lifetime(pool: &config::Pool) -> SessionLifetime {
    match pool.driver {
        config::Driver::Qix => SessionLifetime {
            after_close: pool.engine_session_ttl,
            unopened: Duration::from_secs(qix::PREPARED_TTL_S),
            probe_counts_lingering: pool.counts_lingering(),
        },
        config::Driver::Websocket => SessionLifetime::STREAM,
    }
}

/// The driver of a pool.
#[must_use]
pub fn from_config(pool: &config::Pool, transport: &EngineTransport) -> Arc<dyn EngineDriver> {
    match pool.driver {
        config::Driver::Qix => Arc::new(qix::Qix::new(pool.engine_session_ttl, transport.clone())),
        config::Driver::Websocket => Arc::new(websocket::Websocket::default()),
    }
}
