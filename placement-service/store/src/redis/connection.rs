//! The connection to a Redis server: opened on first use, shared by all calls, and dropped as soon as one call
//! gets no reply. A failed call is not repeated: the caller decides.

use crate::StoreError;
use crate::store_url;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The parameters of a URL that the driver understands.
const PARAMETERS: [&str; 1] = ["protocol"];
/// The same for a Unix socket.
const SOCKET_PARAMETERS: [&str; 4] = ["db", "pass", "protocol", "user"];
/// The error code of the insert script for an existing id.
const ID_TAKEN: &str = "BERTHTAKEN";
/// The error code of Redis for a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE";

pub(crate) struct RedisConnection {
    client: Client,
    limit: Duration,
    current: Mutex<CurrentConnection>,
}

#[derive(Default)]
struct CurrentConnection {
    connection: Option<MultiplexedConnection>,
    /// The number of connections so far. A failed call drops only the connection that it used, not a newer one.
    generation: u64,
}

impl RedisConnection {
    /// Does not connect. `limit` applies to connecting and to each reply.
    pub(crate) fn new(url: &str, limit: Duration) -> Result<Self, StoreError> {
        let socket = url.starts_with("unix:") || url.contains("+unix:");
        let known: &[&str] = if socket {
            &SOCKET_PARAMETERS
        } else {
            &PARAMETERS
        };
        store_url::check(url, known)?;
        // redis's message is not used: it may quote the URL and so its password.
        let client = Client::open(url)
            .map_err(|_| StoreError::Data("the URL cannot be read as one of Redis".to_owned()))?;
        Ok(Self {
            client,
            limit,
            current: Mutex::default(),
        })
    }

    /// The connection, and its generation for [`Self::receive`].
    pub(crate) async fn acquire(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let mut slot = self.current.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.generation));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limit))
            .set_response_timeout(Some(self.limit));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connection = match timeout(self.limit, connecting).await {
            Ok(connected) => connected.map_err(to_store_error)?,
            Err(_) => {
                return Err(StoreError::Down(
                    "cannot connect to Redis in time".to_owned(),
                ));
            }
        };
        slot.generation += 1;
        slot.connection = Some(connection.clone());
        Ok((connection, slot.generation))
    }

    /// Awaits a reply on the connection of that generation.
    pub(crate) async fn receive<T>(
        &self,
        generation: u64,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        let answer = match timeout(self.limit, answer).await {
            Ok(answer) => answer.map_err(to_store_error),
            Err(_) => Err(StoreError::Down("Redis does not answer".to_owned())),
        };
        if matches!(answer, Err(StoreError::Down(_))) {
            let mut slot = self.current.lock().await;
            if slot.generation == generation {
                slot.connection = None;
            }
        }
        answer
    }
}

fn to_store_error(error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            StoreError::Data("Redis keeps something else than was expected".to_owned())
        }
        _ if error.code() == Some(WRONG_TYPE) => {
            StoreError::Data("Redis keeps something else than was expected".to_owned())
        }
        _ if error.code() == Some(ID_TAKEN) => {
            StoreError::Data("the id of a session is taken".to_owned())
        }
        _ => StoreError::Down(error.to_string()),
    }
}
