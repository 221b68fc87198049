//! A PostgreSQL server, created by `initdb`. Its data survives `kill -9` but not a power failure.

use crate::PASSWORD;
use crate::programs::find_program;
use crate::server::{Server, ServerKind};
use berth_harness::Result;
use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub(crate) const USER: &str = "berth";
/// The system account of Debian's package. PostgreSQL refuses to run as root.
const SYSTEM_USER: &str = "postgres";
/// The SCRAM verifier of [`PASSWORD`] that the server stores (RFC 5803). It has 1 iteration instead of 4096, because
/// an unoptimised client on a busy machine takes too long for 4096.
const VERIFIER: &str = concat!(
    "SCRAM-SHA-256$1:YmVydGgtdGVzdC1zYWx0IQ==",
    "$IwTHvdeVk7AUy9zyJwljvIh6TyGTwUF57b0KkYA5fM4=",
    ":WHnifOYb1xHZ81k42SwYQgJ1S8pZ83D/WFYdX2JmRA4=",
);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running PostgreSQL.
pub type Postgres = Server<PostgresPrograms>;

/// The programs that a server needs.
pub struct PostgresPrograms {
    postgres: PathBuf,
    /// The command prefix that drops root.
    drop_root_prefix: Vec<String>,
}

impl Postgres {
    /// Creates an empty database and returns its URL, which contains the password.
    ///
    /// # Errors
    /// When the server does not create it.
    pub async fn database(&self) -> Result<String> {
        // PostgreSQL copies a template database, which no other connection may use meanwhile.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _alone = ONE_AT_A_TIME.lock().await;
        let name = format!("test_{}", self.next_database());
        self.execute("postgres", &format!("CREATE DATABASE {name}"))
            .await?;
        Ok(format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}",
            self.port()
        ))
    }

    /// As [`Self::database`], for a role that may have this many connections at a time.
    ///
    /// # Errors
    /// As [`Self::database`].
    pub async fn database_with_connection_limit(&self, connections: u32) -> Result<String> {
        let url = self.database().await?;
        let (authority, database) = url.rsplit_once('/').ok_or("a URL with a path")?;
        let role = format!("few_{database}");
        let sql = format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{VERIFIER}' CONNECTION LIMIT {connections}; \
             ALTER DATABASE {database} OWNER TO {role}"
        );
        for statement in sql.split("; ") {
            self.execute("postgres", statement).await?;
        }
        let authority = authority.replace(&format!("//{USER}:"), &format!("//{role}:"));
        Ok(format!("{authority}/{database}"))
    }

    /// Starts a streaming standby: it answers reads and refuses writes until [`Self::promote`]. It begins with
    /// everything that has been committed here.
    ///
    /// # Errors
    /// When it cannot be copied, or does not start.
    pub async fn start_standby(&self) -> Result<Self> {
        let dir = Self::make_folder()?;
        let programs = PostgresPrograms::find(dir.path())?;
        let primary = format!(
            "host=127.0.0.1 port={} user={USER} password={PASSWORD}",
            self.port()
        );
        // With the settings of a standby of this primary.
        programs.run(
            "pg_basebackup",
            &["--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
            &[
                ("--dbname", &primary),
                ("--pgdata", &data_folder(dir.path())),
            ],
        )?;
        Self::start_installed(dir, programs).await
    }

    /// Makes a standby accept writes, and waits until it does. Its connections stay open.
    ///
    /// # Errors
    /// When the server is no standby.
    pub async fn promote(&self) -> Result<()> {
        self.execute("postgres", "SELECT pg_promote()").await
    }

    /// Runs SQL in the database with this name.
    ///
    /// # Errors
    /// When the connection or the statement fails.
    pub async fn execute(&self, database: &str, sql: &str) -> Result<()> {
        let options = connect_options(self.port()).database(database);
        let mut connection = timeout(CONNECT_TIMEOUT, options.connect()).await??;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(())
    }
}

impl PostgresPrograms {
    fn find(dir: &Path) -> Result<Self> {
        Ok(Self {
            postgres: find_program(&["postgres"])?,
            drop_root_prefix: prepare_drop_root(dir)?,
        })
    }

    fn init(&self, dir: &Path) -> Result<()> {
        let password = dir.join("password");
        fs::write(&password, VERIFIER)?;
        self.run(
            "initdb",
            &[
                "--no-sync",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
            ],
            &[
                ("--pwfile", &path_text(&password)),
                ("--pgdata", &data_folder(dir)),
                ("--username", USER),
            ],
        )
    }

    /// Runs a program of the server's package to its end.
    fn run(&self, program: &str, flags: &[&str], options: &[(&str, &str)]) -> Result<()> {
        let mut words = self.drop_root_prefix.clone();
        words.push(path_text(&find_program(&[program])?));
        words.extend(flags.iter().map(|&flag| flag.to_owned()));
        words.extend(
            options
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        let (first, arguments) = words.split_first().ok_or("a command")?;
        let output = Command::new(first).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program}: {}\n{printed}", output.status).into())
    }
}

impl ServerKind for PostgresPrograms {
    const NAME: &'static str = "postgres";
    const STOP_SIGNAL: Signal = Signal::INT;

    fn install(dir: &Path) -> Result<Self> {
        let programs = Self::find(dir)?;
        programs.init(dir)?;
        Ok(programs)
    }

    fn shared_slot() -> &'static Mutex<Weak<Postgres>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        &SHARED
    }

    fn command(&self, dir: &Path, port: u16) -> Vec<String> {
        let mut words = self.drop_root_prefix.clone();
        words.extend([path_text(&self.postgres), "-D".into(), data_folder(dir)]);
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", path_text(dir)),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "max_connections=300".to_owned(),
        ];
        for setting in settings {
            words.extend(["-c".to_owned(), setting]);
        }
        words
    }

    async fn is_reachable(&self, port: u16) -> bool {
        let options = connect_options(port).database("postgres");
        matches!(timeout(CONNECT_TIMEOUT, options.connect()).await, Ok(Ok(_)))
    }
}

fn connect_options(port: u16) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(USER)
        .password(PASSWORD)
        .disable_statement_logging()
}

/// As root, gives `dir` to the system account and returns the command prefix that switches to this account. Otherwise
/// the prefix is empty.
pub(crate) fn prepare_drop_root(dir: &Path) -> Result<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let entry = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&SYSTEM_USER))
        .ok_or("no account `postgres` on this machine: run `make setup`")?;
    let number = |at: usize| entry.get(at).and_then(|field| field.parse::<u32>().ok());
    let (user, group) = (number(2), number(3));
    chown(dir, user, group)?;
    // A change of user clears the parent-death signal, so the prefix sets it again.
    let words = "setpriv --reuid postgres --regid postgres --init-groups --pdeathsig KILL";
    Ok(words.split(' ').map(str::to_owned).collect())
}

fn data_folder(dir: &Path) -> String {
    path_text(&dir.join("data"))
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
