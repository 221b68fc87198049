//! Everything that a stack leaves behind: logs, metrics, Envoy's statistics and configuration, and whatever the store
//! keeps. Knows of no secret.

use berth_harness::{Call, Result, Stack};
use redis::Value;
use sqlx::{AssertSqlSafe, PgPool};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A place, and all that is in it.
pub(crate) type Place = (String, Vec<u8>);

/// Where the sessions of a stack are kept.
pub(crate) enum Store {
    Sqlite(PathBuf),
    Postgres(String),
    Redis(String),
}

/// What the processes tell while they run.
pub(crate) async fn told(stack: &mut Stack) -> Result<Vec<Place>> {
    let mut places = vec![];
    let services = stack.service.iter().chain(&stack.replicas);
    for addr in services.map(|service| service.addr) {
        let reply = Call::get("/metrics").send(addr).await?;
        places.push((
            format!("metrics of the service on {addr}"),
            reply.body.to_vec(),
        ));
    }
    // Of the configuration the secrets are a part: those of the gateway, and the key of the tokens.
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

/// What is in the logs of all processes; Envoy ends for it, which writes the rest of its access log.
pub(crate) fn logs(stack: &mut Stack) -> Result<Vec<Place>> {
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
    /// All that it keeps.
    pub(crate) async fn contents(&self) -> Result<Vec<Place>> {
        match self {
            Self::Sqlite(path) => sqlite(path),
            Self::Postgres(url) => postgres(url).await,
            Self::Redis(url) => redis(url).await,
        }
    }
}

/// The bytes of the files, so that nothing is missed that has been deleted and is still there.
fn sqlite(path: &PathBuf) -> Result<Vec<Place>> {
    let mut places = vec![("berth.db".to_owned(), fs::read(path)?)];
    let wal = path.with_extension("db-wal");
    if wal.exists() {
        places.push(("berth.db-wal".to_owned(), fs::read(wal)?));
    }
    Ok(places)
}

async fn postgres(url: &str) -> Result<Vec<Place>> {
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

async fn redis(url: &str) -> Result<Vec<Place>> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_connection_manager().await?;
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
