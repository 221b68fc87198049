//! Collects everything that a stack writes: logs, metrics, Envoy's statistics and configuration, and the store, as
//! its server returns it and as it is in files. Does not know any secret.

use berth_databases::{Postgres, Redis};
use berth_harness::{Call, Result, Stack};
use redis::{Value, aio::ConnectionManager};
use sqlx::{AssertSqlSafe, PgPool};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The name and the content of one sink.
pub(crate) type Sink = (String, Vec<u8>);

/// Prefix of the names of sinks that are files of a server.
pub(crate) const FILE: &str = "file ";

/// The session store of a stack.
pub(crate) enum Store {
    Sqlite(PathBuf),
    Postgres(Arc<Postgres>, String),
    Redis(Arc<Redis>, String),
}

/// What the processes return while they run.
pub(crate) async fn collect_responses(stack: &mut Stack) -> Result<Vec<Sink>> {
    let mut places = vec![];
    let services = stack.service.iter().chain(&stack.replicas);
    for addr in services.map(|service| service.addr) {
        let reply = Call::get("/metrics").send(addr).await?;
        places.push((
            format!("metrics of the service on {addr}"),
            reply.body.to_vec(),
        ));
    }
    // The configuration dump legitimately contains some secrets: the gateway's, and the key of the tokens.
    for path in [
        "/stats",
        "/stats/prometheus",
        "/clusters",
        "/config_dump",
        "/listeners",
    ] {
        let reply = Call::get(path).send(stack.envoy.admin).await?;
        places.push((format!("Envoy's {path}"), reply.body.to_vec()));
    }
    Ok(places)
}

/// The logs of all processes. Envoy is terminated first, so that it writes the rest of its access log.
pub(crate) fn collect_logs(stack: &mut Stack) -> Result<Vec<Sink>> {
    stack.envoy.process().terminate(Duration::from_secs(10));
    let mut places = vec![];
    for entry in fs::read_dir(&stack.dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            places.push((name, fs::read(path)?));
        }
    }
    Ok(places)
}

impl Store {
    /// Everything in the store.
    pub(crate) async fn contents(&self) -> Result<Vec<Sink>> {
        match self {
            Self::Sqlite(path) => dump_sqlite(path),
            Self::Postgres(server, url) => {
                let mut places = dump_postgres(url).await?;
                // The server writes its memory to its files first.
                server.execute("postgres", "CHECKPOINT").await?;
                read_files(&server.dir().join("data"), &mut places)?;
                Ok(places)
            }
            Self::Redis(server, url) => {
                let mut places = dump_redis(url).await?;
                read_files(server.dir(), &mut places)?;
                Ok(places)
            }
        }
    }

    /// Writes a text to the server and removes it, so that only the files may still contain it. SQLite is skipped: it
    /// has nothing but files.
    pub(crate) async fn plant(&self, text: &str) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server, url) => {
                let database = url.rsplit('/').next().unwrap_or_default();
                let sql = format!(
                    "CREATE TABLE planted (t text); INSERT INTO planted VALUES ('{text}'); DELETE FROM planted"
                );
                server.execute(database, &sql).await
            }
            Self::Redis(_, url) => {
                let mut connection = connect_redis(url).await?;
                for (name, words) in [("SET", vec!["planted", text]), ("DEL", vec!["planted"])] {
                    let mut command = redis::cmd(name);
                    command.arg(words);
                    command.exec_async(&mut connection).await?;
                }
                Ok(())
            }
        }
    }
}

/// Reads every file below this folder.
fn read_files(folder: &Path, places: &mut Vec<Sink>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            read_files(&path, places)?;
        } else if kind.is_file() {
            places.push((format!("{FILE}{}", path.display()), fs::read(&path)?));
        }
    }
    Ok(())
}

/// Reads the files as bytes, so that deleted data that is still there is found.
fn dump_sqlite(path: &PathBuf) -> Result<Vec<Sink>> {
    let mut places = vec![("berth.db".to_owned(), fs::read(path)?)];
    let wal = path.with_extension("db-wal");
    if wal.exists() {
        places.push(("berth.db-wal".to_owned(), fs::read(wal)?));
    }
    Ok(places)
}

async fn dump_postgres(url: &str) -> Result<Vec<Sink>> {
    let pool = PgPool::connect(url).await?;
    let tables =
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await?;
    let mut places = vec![];
    for table in tables {
        let rows = format!("SELECT t::text FROM \"{table}\" t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows))
            .fetch_all(&pool)
            .await?;
        places.push((format!("table {table}"), rows.join("\n").into_bytes()));
    }
    Ok(places)
}

async fn connect_redis(url: &str) -> Result<ConnectionManager> {
    Ok(redis::Client::open(url)?.get_connection_manager().await?)
}

async fn dump_redis(url: &str) -> Result<Vec<Sink>> {
    let mut connection = connect_redis(url).await?;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await?;
    let mut places = vec![];
    for key in keys {
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await?;
        let mut read = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "set" => redis::cmd("SMEMBERS"),
            "zset" => redis::cmd("ZRANGE"),
            "list" => redis::cmd("LRANGE"),
            "stream" => redis::cmd("XRANGE"),
            other => return Err(format!("a key of kind {other}").into()),
        };
        read.arg(&key);
        match kind.as_str() {
            "zset" | "list" => drop(read.arg(0).arg(-1)),
            "stream" => drop(read.arg("-").arg("+")),
            _ => {}
        }
        let value: Value = read.query_async(&mut connection).await?;
        let mut bytes = key.clone();
        flatten(&value, &mut bytes);
        places.push((format!("key {}", String::from_utf8_lossy(&key)), bytes));
    }
    Ok(places)
}

fn flatten(value: &Value, bytes: &mut Vec<u8>) {
    bytes.push(b'\n');
    match value {
        Value::BulkString(text) => bytes.extend_from_slice(text),
        Value::SimpleString(text) => bytes.extend_from_slice(text.as_bytes()),
        Value::Int(number) => bytes.extend_from_slice(number.to_string().as_bytes()),
        Value::Array(values) | Value::Set(values) => values.iter().for_each(|v| flatten(v, bytes)),
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, bytes);
            flatten(value, bytes);
        }),
        other => bytes.extend_from_slice(format!("{other:?}").as_bytes()),
    }
}
