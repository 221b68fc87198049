//! The driver of the QIX engine (Qlik Associative Engine). It prepares a session over a short WebSocket connection of
//! its own, with the user's token and a new session id; the client's WebSocket then attaches to the session by that id.
//! The session outlives the driver's socket by [`PREPARED_TTL_S`], and the client's by the pool's `engine_session_ttl`.
//! The facts about the engine are in `placement-service/docs/engines/qix.md`.

mod connection;
pub mod dialog;
mod farewell;
pub mod upgrade;

use super::{EngineDriver, Fault, Job, Prepared};
use crate::engines::drivers::opening::Opening;
use async_trait::async_trait;
use connection::Connection;
use dialog::{Dialog, Progress};
use farewell::Farewells;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// TTL of a prepared session in seconds: the time that its client has to connect.
pub const PREPARED_TTL_S: u64 = 10;
/// The header that selects an engine session, or creates it.
pub const SESSION_HEADER: &str = "x-qlik-session";

/// The driver of `qix` pools.
#[derive(Debug)]
pub struct Qix {
    farewells: Farewells,
    /// Seconds that a session outlives the last socket of its client.
    client_ttl_s: u64,
}

impl Qix {
    /// A driver whose sessions outlive the last socket of their client by `client_ttl`.
    #[must_use]
    pub fn new(client_ttl: Duration) -> Self {
        Self {
            farewells: Farewells::default(),
            client_ttl_s: client_ttl.as_secs(),
        }
    }

    fn prepared(&self, session: String) -> Prepared {
        Prepared {
            path: format!("/app/engineData/ttl/{}", self.client_ttl_s),
            set_headers: BTreeMap::from([(SESSION_HEADER.to_owned(), session)]),
        }
    }

    async fn leave(&self, connection: Connection) {
        let connection = connection.say_goodbye().await;
        self.farewells.wait_for_the_end(connection);
    }

    /// Attaches to the session without a request. Returns true when the session existed before.
    async fn look_in(&self, job: &Job<'_>, session: &str, ttl_s: u64) -> Result<bool, Fault> {
        let mut dialog = Dialog::new(&Opening::Nothing);
        let upgrade = upgrade::Upgrade::new(job.engine, ttl_s, job.token, session);
        let mut connection = Connection::open(job.engine, &upgrade).await?;
        advance(&mut dialog, &mut connection, Progress::Connected).await?;
        self.leave(connection).await;
        Ok(dialog.attached())
    }
}

#[async_trait]
impl EngineDriver for Qix {
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault> {
        let session = Uuid::new_v4().hyphenated().to_string();
        let mut dialog = Dialog::new(job.opening);
        let connect = async {
            let ttl = if job.rehearsal { 0 } else { PREPARED_TTL_S };
            let upgrade = upgrade::Upgrade::new(job.engine, ttl, job.token, &session);
            let mut connection = Connection::open(job.engine, &upgrade).await?;
            // The engine accepts requests before its first message. Waiting for it would cost a round trip.
            if let Some(request) = dialog::request(job.opening)? {
                // An engine that refuses the session may have closed already. Its message can still be read.
                let _ = connection.send(request).await;
            }
            advance(&mut dialog, &mut connection, Progress::Connected).await?;
            Ok(connection)
        };
        let mut connection = within(job.first_word, connect, Fault::Silent).await?;
        drop(job.connecting);
        let open = advance(&mut dialog, &mut connection, Progress::Done);
        within(job.deadline, open, Fault::OpenTimeout).await?;
        self.leave(connection).await;
        Ok(self.prepared(session))
    }

    /// Asks the engine, because only the engine knows whether it still has the session: it may have restarted, or have
    /// closed the session.
    async fn rejoin(
        &self,
        job: Job<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Option<Prepared>, Fault> {
        let Some(session) = headers.get(SESSION_HEADER) else {
            return Ok(None);
        };
        // The latest TTL applies, so that this one must not be shorter than the client's.
        let ask = self.look_in(&job, session, self.client_ttl_s);
        if within(job.first_word, ask, Fault::Silent).await? {
            return Ok(Some(self.prepared(session.clone())));
        }
        // Attaching has created a new session: close it (TTL 0). If that fails, the session expires after its TTL.
        let clear = self.look_in(&job, session, 0);
        let _ = within(job.first_word, clear, Fault::Silent).await;
        Ok(None)
    }
}

async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Fault>>,
    late: Fault,
) -> Result<T, Fault> {
    timeout_at(deadline, work).await.unwrap_or(Err(late))
}

/// Reads messages until the handshake has reached `wanted`.
async fn advance(
    dialog: &mut Dialog,
    connection: &mut Connection,
    wanted: Progress,
) -> Result<(), Fault> {
    while dialog.progress() < wanted {
        let message = connection.receive().await?;
        dialog.take(message.as_str())?;
    }
    Ok(())
}

/// Whether the driver sends a request to open something, and so waits for a reply.
const fn opens(opening: &Opening) -> bool {
    !matches!(opening, Opening::Nothing)
}

#[cfg(test)]
mod tests;
