//! The driver of the QIX engine (Qlik Associative Engine). It prepares a session over a short WebSocket connection of
//! its own, with the user's token and a new session id; the client's WebSocket then attaches to the session by that id.
//! The session outlives the driver's socket by [`PREPARED_TTL_S`], and the client's by the pool's `engine_session_ttl`.
//! The facts about the engine are in `placement-service/docs/engines/qix.md`.

mod connection;
pub mod handshake;
mod linger;
pub mod upgrade;

use super::{DriverFault, EngineDriver, PrepareRequest, RequestMutation};
use crate::engines::drivers::open_target::OpenTarget;
use crate::engines::drivers::transport::EngineTransport;
use async_trait::async_trait;
use connection::{Connection, connect_fault};
use handshake::{Handshake, Progress};
use linger::LingeringConnections;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use upgrade::Upgrade;
use uuid::Uuid;

/// TTL of a prepared session in seconds: the time that its client has to connect.
pub const PREPARED_TTL_S: u64 = 10;
/// The header that selects an engine session, or creates it.
pub const SESSION_HEADER: &str = "x-qlik-session";

/// The driver of `qix` pools.
#[derive(Debug)]
pub struct Qix {
    lingering: LingeringConnections,
    /// Seconds that a session outlives the last socket of its client.
    client_ttl_s: u64,
    transport: EngineTransport,
}

impl Qix {
    /// A driver whose sessions outlive the last socket of their client by `client_ttl`.
    #[must_use]
    pub fn new(client_ttl: Duration, transport: EngineTransport) -> Self {
        Self {
            lingering: LingeringConnections::default(),
            client_ttl_s: client_ttl.as_secs(),
            transport,
        }
    }

    fn request_mutation(&self, session: String) -> RequestMutation {
        RequestMutation {
            path: format!("/app/engineData/ttl/{}", self.client_ttl_s),
            set_headers: BTreeMap::from([(SESSION_HEADER.to_owned(), session)]),
        }
    }

    async fn connect(
        &self,
        engine: SocketAddr,
        upgrade: &Upgrade,
    ) -> Result<Connection, DriverFault> {
        let stream = self.transport.connect(engine).await;
        Connection::open(stream.map_err(connect_fault)?, upgrade).await
    }

    async fn close(&self, connection: Connection) {
        let connection = connection.send_close().await;
        self.lingering.add(connection);
    }

    /// Attaches to the session without a request. Returns true when the session existed before.
    async fn attach(
        &self,
        job: &PrepareRequest<'_>,
        session: &str,
        ttl_s: u64,
    ) -> Result<bool, DriverFault> {
        let mut handshake = Handshake::new(&OpenTarget::Nothing);
        let upgrade = Upgrade::new(job.engine, ttl_s, job.token, session);
        let mut connection = self.connect(job.engine, &upgrade).await?;
        advance(&mut handshake, &mut connection, Progress::Connected).await?;
        self.close(connection).await;
        Ok(handshake.attached())
    }
}

#[async_trait]
impl EngineDriver for Qix {
    async fn prepare(&self, job: PrepareRequest<'_>) -> Result<RequestMutation, DriverFault> {
        let session = Uuid::new_v4().hyphenated().to_string();
        let mut handshake = Handshake::new(job.target);
        let connect = async {
            let ttl = if job.dry_run { 0 } else { PREPARED_TTL_S };
            let upgrade = Upgrade::new(job.engine, ttl, job.token, &session);
            let mut connection = self.connect(job.engine, &upgrade).await?;
            // The engine accepts requests before its first message. Waiting for it would cost a round trip.
            if let Some(request) = handshake::open_request(job.target)? {
                // An engine that refuses the session may have closed already. Its message can still be read.
                let _ = connection.send(request).await;
            }
            advance(&mut handshake, &mut connection, Progress::Connected).await?;
            Ok(connection)
        };
        let mut connection =
            with_deadline(job.first_response_by, connect, DriverFault::NoResponse).await?;
        drop(job.connect_permit);
        let opening = advance(&mut handshake, &mut connection, Progress::Done);
        with_deadline(job.deadline, opening, DriverFault::OpenTimeout).await?;
        self.close(connection).await;
        Ok(self.request_mutation(session))
    }

    /// Asks the engine, because only the engine knows whether it still has the session: it may have restarted, or have
    /// closed the session.
    async fn resume(
        &self,
        job: PrepareRequest<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Option<RequestMutation>, DriverFault> {
        let Some(session) = headers.get(SESSION_HEADER) else {
            return Ok(None);
        };
        // The latest TTL applies, so that this one must not be shorter than the client's.
        let attach = self.attach(&job, session, self.client_ttl_s);
        if with_deadline(job.first_response_by, attach, DriverFault::NoResponse).await? {
            return Ok(Some(self.request_mutation(session.clone())));
        }
        // Attaching has created a new session: close it (TTL 0). If that fails, the session expires after its TTL.
        let detach = self.attach(&job, session, 0);
        let _ = with_deadline(job.first_response_by, detach, DriverFault::NoResponse).await;
        Ok(None)
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    /// Attaches with TTL 0, which applies from then on: the session ends with its last socket, which may be this one. If
    /// the session was gone, the one that this creates ends in the same way.
    async fn end(
        &self,
        job: PrepareRequest<'_>,
        headers: &BTreeMap<String, String>,
    ) -> Result<(), DriverFault> {
        let Some(session) = headers.get(SESSION_HEADER) else {
            return Ok(());
        };
        let attach = self.attach(&job, session, 0);
        with_deadline(job.first_response_by, attach, DriverFault::NoResponse).await?;
        Ok(())
    }
}

async fn with_deadline<T>(
    deadline: Instant,
    operation: impl Future<Output = Result<T, DriverFault>>,
    timeout_fault: DriverFault,
) -> Result<T, DriverFault> {
    timeout_at(deadline, operation)
        .await
        .unwrap_or(Err(timeout_fault))
}

/// Reads messages until the handshake has reached `goal`.
async fn advance(
    handshake: &mut Handshake,
    connection: &mut Connection,
    goal: Progress,
) -> Result<(), DriverFault> {
    while handshake.progress() < goal {
        let message = connection.receive().await?;
        handshake.apply_message(message.as_str())?;
    }
    Ok(())
}

/// Whether the driver sends a request to open something, and so waits for a reply.
const fn expects_reply(open_target: &OpenTarget) -> bool {
    !matches!(open_target, OpenTarget::Nothing)
}

#[cfg(test)]
mod tests;
