//! The QIX engine (Qlik Associative Engine): a session is prepared over a short WebSocket of our own,
//! with the user's token and a fresh session id; the client's WebSocket then attaches to it by that id.
//! The session outlives our socket by [`PREPARED_TTL_S`], the client's by [`CLIENT_TTL_S`].

mod connection;
pub mod dialog;
mod farewell;
pub mod upgrade;

use super::{EngineDriver, Fault, Job, Prepared};
use crate::target::Opening;
use async_trait::async_trait;
use connection::Connection;
use dialog::{Dialog, Progress};
use farewell::Farewells;
use std::collections::BTreeMap;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// Seconds that a prepared session waits for its client.
pub const PREPARED_TTL_S: u32 = 10;
/// Seconds that a session survives its client's last socket.
pub const CLIENT_TTL_S: u32 = 60;
/// The header that selects or creates an engine session.
pub const SESSION_HEADER: &str = "x-qlik-session";

/// The driver of `qix` pools.
#[derive(Debug, Default)]
pub struct Qix(Farewells);

#[async_trait]
impl EngineDriver for Qix {
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault> {
        let session = Uuid::new_v4().hyphenated().to_string();
        let mut dialog = Dialog::new(job.opening);
        let connect = async {
            let ttl = if job.rehearsal { 0 } else { PREPARED_TTL_S };
            let upgrade = upgrade::Upgrade::new(job.engine, ttl, job.token, &session);
            let mut connection = Connection::open(job.engine, &upgrade).await?;
            // The engine takes requests before its first word; waiting would cost a round trip.
            if let Some(request) = dialog::request(job.opening)? {
                // One that has said no already may have closed; what it said is still to be read.
                let _ = connection.send(request).await;
            }
            advance(&mut dialog, &mut connection, Progress::Connected).await?;
            Ok(connection)
        };
        let mut connection = within(job.first_word, connect, Fault::Silent).await?;
        drop(job.connecting);
        let open = advance(&mut dialog, &mut connection, Progress::Done);
        within(job.deadline, open, Fault::OpenTimeout).await?;
        let connection = connection.say_goodbye().await;
        self.0.wait_for_the_end(connection);
        Ok(Prepared {
            path: format!("/app/engineData/ttl/{CLIENT_TTL_S}"),
            set_headers: BTreeMap::from([(SESSION_HEADER.to_owned(), session)]),
        })
    }
}

async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Fault>>,
    late: Fault,
) -> Result<T, Fault> {
    timeout_at(deadline, work).await.unwrap_or(Err(late))
}

/// Reads until the dialog has come at least so far.
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

/// Whether anything is to be opened, and so a reply awaited.
const fn opens(opening: &Opening) -> bool {
    !matches!(opening, Opening::Nothing)
}

#[cfg(test)]
mod tests;
