//! What a kind of engine needs before a client may be sent to it. A driver talks to one engine that was
//! chosen for it; it knows nothing of fleets, strategies or HTTP.

pub mod opening;
pub mod qix;
pub mod websocket;

use crate::config;
use async_trait::async_trait;
use berth_api::Excerpt;
use opening::Opening;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// One session to prepare on one engine.
pub struct Job<'a> {
    /// Where the engine listens.
    pub engine: SocketAddr,
    /// The JWT that names the user. A secret.
    pub token: &'a str,
    /// The client's path with its query.
    pub path: &'a str,
    /// What to open.
    pub opening: &'a Opening,
    /// Until when the engine must have said its first word.
    pub first_word: Instant,
    /// Until when all must be done.
    pub deadline: Instant,
    /// To be dropped when the engine has said its first word.
    pub connecting: Option<SemaphorePermit<'a>>,
    /// Only to see whether the engine works: nothing may stay there.
    pub rehearsal: bool,
}

#[cfg(test)]
impl Job<'_> {
    /// Opens nothing at this engine, with all the time until `deadline`.
    fn plain(engine: SocketAddr, deadline: Instant) -> Self {
        Self {
            engine,
            token: "a.b.c",
            path: "/app/x",
            opening: &Opening::Nothing,
            first_word: deadline,
            deadline,
            connecting: None,
            rehearsal: false,
        }
    }
}

/// What the client's own request takes along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The path that the engine gets.
    pub path: String,
    /// Headers to set, lower-case names.
    pub set_headers: BTreeMap<String, String>,
}

/// Why an engine did not take a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection, or it broke.
    #[error("no connection: {}", Excerpt(.0))]
    Connect(String),
    /// Connected, then not a word in time.
    #[error("silent")]
    Silent,
    /// Not what such an engine says.
    #[error("answered something else than an engine: {}", Excerpt(.0))]
    Garbage(String),
    /// The engine does not accept the token: its key or its claims are not what it expects.
    #[error(
        "the engine rejects the token ({0}): compare its key with `tokens` in the configuration"
    )]
    TokenRejected(String),
    /// The engine is well, but takes no further session: licence or limit.
    #[error("the engine declines: {0}")]
    Declined(String),
    /// The engine does not know the document.
    #[error("no such document")]
    NoSuchDocument,
    /// The document could not be opened.
    #[error("the document does not open: error {code} {message}")]
    OpenFailed {
        /// The engine's error code.
        code: i64,
        /// The engine's words, shortened.
        message: String,
    },
    /// The document was still loading when the time was over.
    #[error("the document was still loading at the deadline")]
    OpenTimeout,
}

impl Fault {
    /// The constant for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Silent => "silent",
            Self::Garbage(_) => "garbage",
            Self::TokenRejected(_) => "token-rejected",
            Self::Declined(_) => "declined",
            Self::NoSuchDocument => "no-such-document",
            Self::OpenFailed { .. } => "open-failed",
            Self::OpenTimeout => "open-timeout",
        }
    }

    /// Whether the engine itself is broken. What it answered in good order may be the user's or the
    /// document's affair, and must not take the engine away from everybody else.
    #[must_use]
    pub const fn blames_engine(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Silent | Self::Garbage(_) => true,
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
    /// Prepares one session. Dropping the future ends the work on the engine.
    ///
    /// # Errors
    /// Why the engine did not take it.
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault>;

    /// Makes sure of a session that [`Self::prepare`] made on the same engine earlier, which gave these
    /// `headers`; opens nothing. `None`: the engine has it no more, and nothing stays of the question.
    ///
    /// # Errors
    /// Why the engine did not tell.
    async fn rejoin(
        &self,
        job: Job<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Option<Prepared>, Fault>;
}

/// The driver of a pool.
#[must_use]
pub fn from_config(pool: &config::Pool) -> Arc<dyn EngineDriver> {
    match pool.driver {
        config::Driver::Qix => Arc::new(qix::Qix::new(pool.engine_session_ttl)),
        config::Driver::Websocket => Arc::new(websocket::Websocket::default()),
    }
}
