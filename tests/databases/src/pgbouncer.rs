//! A PgBouncer in front of a PostgreSQL server, in session mode.

use crate::PASSWORD;
use crate::postgres::{Postgres, USER, prepare_drop_root};
use crate::programs::find_program;
use berth_harness::Result;
use berth_harness::process::Process;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);

/// A running PgBouncer.
pub struct PgBouncer {
    port: u16,
    _process: Process,
    _dir: TempDir,
}

impl PgBouncer {
    /// Starts a PgBouncer in front of the server.
    ///
    /// # Errors
    /// When it is not installed or does not start. The error contains its log.
    pub async fn start(server: &Postgres) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("berth-pgbouncer-")
            .tempdir()?;
        let mut words = prepare_drop_root(dir.path())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (settings, users) = (dir.path().join("pgbouncer.ini"), dir.path().join("users"));
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\npool_mode = session\n\
             auth_type = scram-sha-256\nauth_file = {}\n",
            server.port(),
            users.display()
        );
        fs::write(&settings, text)?;
        words.push(find_program(&["pgbouncer"])?.display().to_string());
        words.push(settings.display().to_string());
        let mut process = Process::spawn("pgbouncer", &words, dir.path())?;
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if process.exit_status().is_some() || Instant::now() >= end {
                return Err(format!("pgbouncer does not start\n{}", process.tail()).into());
            }
            sleep(READY_POLL).await;
        }
        Ok(Self {
            port,
            _process: process,
            _dir: dir,
        })
    }

    /// The URL of a database of the server, through this PgBouncer.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }
}
