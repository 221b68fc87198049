//! A Redis (or Valkey) server with an append-only file. Its data survives `kill -9` but not a power failure.

use crate::PASSWORD;
use crate::programs::find_program;
use crate::server::{Server, ServerKind};
use berth_harness::Result;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DATABASES: u32 = 1_000;

/// A running Redis.
pub type Redis = Server<RedisProgram>;

/// The path of the server program.
pub struct RedisProgram(PathBuf);

impl Redis {
    /// The URL of a database that no other test uses. It contains the password.
    pub fn database(&self) -> String {
        let number = self.next_database() % DATABASES;
        format!("{}/{number}", url(self.port()))
    }
}

impl ServerKind for RedisProgram {
    const NAME: &'static str = "redis";
    const STOP_SIGNAL: Signal = Signal::TERM;

    fn install(_dir: &Path) -> Result<Self> {
        Ok(Self(find_program(&["redis-server", "valkey-server"])?))
    }

    fn shared_slot() -> &'static Mutex<Weak<Redis>> {
        static SHARED: Mutex<Weak<Redis>> = Mutex::const_new(Weak::new());
        &SHARED
    }

    fn command(&self, dir: &Path, port: u16) -> Vec<String> {
        let mut words = vec![self.0.display().to_string()];
        let settings = [
            ("bind", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("dir", dir.display().to_string()),
            ("requirepass", PASSWORD.to_owned()),
            ("databases", DATABASES.to_string()),
            ("appendonly", "yes".to_owned()),
            ("appendfsync", "no".to_owned()),
            ("save", String::new()),
        ];
        for (name, value) in settings {
            words.extend([format!("--{name}"), value]);
        }
        words
    }

    async fn is_reachable(&self, port: u16) -> bool {
        let ping = async {
            let client = redis::Client::open(url(port))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await
        };
        matches!(timeout(CONNECT_TIMEOUT, ping).await, Ok(Ok(())))
    }
}

fn url(port: u16) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{port}")
}
