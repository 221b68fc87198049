//! Measures each store with many sessions: look-ups through `Sessions::resolve` with and without the cache in front
//! of the store, the list of an account, and the steps of the cleanup. All callers share one thread with the use
//! cases; the databases can use the rest of the machine.

use crate::options::Options;
use berth_databases::{Postgres, Redis};
use berth_harness::Result;
use berth_placement::app::{secrets, stores};
use berth_placement::config::load;
use berth_placement::core::clock::{Clock, SystemClock};
use berth_placement::core::metrics::Metrics;
use berth_placement::sessions::Sessions;
use berth_store::session_id::SessionId;
use berth_store::{
    EndCause, Event, EventKind, PAYLOAD_VERSION, SessionQuery, SessionRemoval, SessionRow,
    SessionState, Stores,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::{sync::Arc, time::Instant};

/// Number of concurrent calls.
const MAX_CONCURRENT: usize = 32;
const PER_ACCOUNT: usize = 100;
/// The default batch size of the cleanup.
const BATCH: u32 = 500;
const HOUR_MS: u64 = 3_600_000;

/// The results of one store. All rates are per second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoreRow {
    pub(crate) store: &'static str,
    pub(crate) sessions: usize,
    pub(crate) inserts: f64,
    /// Every look-up reads from the store.
    pub(crate) lookups_uncached: f64,
    /// The sessions are cached.
    pub(crate) lookups_cached: f64,
    /// Lists of one account's sessions, 100 each.
    pub(crate) lists: f64,
    /// Removed rows.
    pub(crate) swept_rows: f64,
}

/// Measures every store, one after the other.
pub(crate) async fn measure(options: &Options) -> Result<Vec<StoreRow>> {
    let dir = tempfile::tempdir()?;
    let sqlite = format!(
        "kind: sqlite, path: {}",
        dir.path().join("berth.db").display()
    );
    let mut rows = vec![measure_store("SQLite", &sqlite, options).await?];
    let postgres = Postgres::start().await?;
    let url = postgres.database().await?;
    let shared = |kind: &str, url: &str| format!("kind: {kind}, url: {{ inline: \"{url}\" }}");
    rows.push(measure_store("PostgreSQL", &shared("postgres", &url), options).await?);
    drop(postgres);
    let redis = Redis::start().await?;
    rows.push(measure_store("Redis", &shared("redis", &redis.database()), options).await?);
    Ok(rows)
}

async fn measure_store(name: &'static str, store: &str, options: &Options) -> Result<StoreRow> {
    let sessions = options.sessions();
    let (uncached, stores) = open_store(store, "0s").await?;
    let ids: Vec<SessionId> = (0..sessions).map(|_| SessionId::generate()).collect();
    let created_ms = SystemClock.now_ms();
    let inserts = per_second(sessions, ids.iter().enumerate(), async |(index, id)| {
        let row = session_row(index, id, created_ms);
        stores
            .sessions
            .insert(&row, None, &session_event(&row, None))
            .await?;
        Ok(())
    });
    let inserts = inserts.await?;
    // Sessions that are far apart in the store, each once.
    let lookups = sessions.min(20_000);
    let sampled_ids = || ids.iter().step_by(sessions.div_ceil(lookups));
    let count = sampled_ids().count();
    let resolve = async |sessions: &Sessions, id: &SessionId| -> Result<()> {
        sessions
            .resolve(id.reveal())
            .await
            .map_err(|e| e.to_string())?;
        Ok(())
    };
    let lookups_uncached = per_second(count, sampled_ids(), async |id| {
        resolve(&uncached, id).await
    })
    .await?;
    let (cached, _) = open_store(store, "60s").await?;
    per_second(count, sampled_ids(), async |id| resolve(&cached, id).await).await?;
    let lookups_cached =
        per_second(count, sampled_ids(), async |id| resolve(&cached, id).await).await?;
    let accounts = 0..sessions.div_ceil(PER_ACCOUNT).min(1_000);
    let lists = per_second(accounts.len(), accounts, async |number| {
        let select = SessionQuery::Account(format!("account-{number}"));
        stores.sessions.list(&select, BATCH).await?;
        Ok(())
    });
    let lists = lists.await?;
    let swept_rows = remove_all(&stores, created_ms + 24 * HOUR_MS).await?;
    eprintln!("bench: {name} with {sessions} sessions: {lookups_uncached:.0} look-ups/s");
    Ok(StoreRow {
        store: name,
        sessions,
        inserts,
        lookups_uncached,
        lookups_cached,
        lists,
        swept_rows,
    })
}

/// Removes all sessions in the steps of the cleanup.
async fn remove_all(stores: &Stores, at_ms: u64) -> Result<f64> {
    let (started_at, mut removed) = (Instant::now(), 0);
    loop {
        let rows = stores
            .sessions
            .list(&SessionQuery::ExpiredAt(at_ms), BATCH)
            .await?;
        if rows.is_empty() {
            break;
        }
        let endings = rows.iter().map(|row| SessionRemoval {
            id_hash: row.id_hash,
            only_if_expired_at_ms: Some(at_ms),
            event: session_event(row, Some(EndCause::AbsoluteTimeout)),
        });
        let endings: Vec<_> = endings.collect();
        removed += stores.sessions.remove(&endings).await?.len();
    }
    Ok(rate(removed, started_at))
}

async fn open_store(store: &str, cache: &str) -> Result<(Sessions, Stores)> {
    let text = format!("store: {{ {store}, timeout: 30s }}\nsession: {{ cache: {cache} }}");
    let config = load::from_text(&text).map_err(|e| e.to_string())?.config;
    let secrets = secrets::fetch_store(&config.store, &|_| None).map_err(|e| e.to_string())?;
    let stores = stores::open(&config, secrets).await?;
    let metrics = Arc::new(Metrics::default());
    let clock = Arc::new(SystemClock);
    let sessions = Sessions::open(stores.clone(), clock, metrics, &config.session).await?;
    Ok((sessions, stores))
}

async fn per_second<T>(
    count: usize,
    items: impl Iterator<Item = T>,
    call: impl AsyncFn(T) -> Result<()>,
) -> Result<f64> {
    let started_at = Instant::now();
    let calls = stream::iter(items).map(|item| call(item));
    let results = calls.buffer_unordered(MAX_CONCURRENT);
    results.try_for_each(async |()| Ok(())).await?;
    Ok(rate(count, started_at))
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn rate(count: usize, started_at: Instant) -> f64 {
    count as f64 / started_at.elapsed().as_secs_f64()
}

fn session_row(index: usize, id: &SessionId, created_ms: u64) -> SessionRow {
    SessionRow {
        id_hash: id.hash(),
        session_ref: format!("ref-{index}"),
        payload_version: PAYLOAD_VERSION,
        account: format!("account-{}", index / PER_ACCOUNT),
        display_name: String::new(),
        roles: vec!["user".to_owned()],
        created_at_ms: created_ms,
        last_seen_at_ms: created_ms,
        idle_timeout_ms: 10 * HOUR_MS,
        absolute_expiry_ms: created_ms + 10 * HOUR_MS,
        ancestors: Vec::new(),
        runtime: "bench".to_owned(),
        state: SessionState::Active,
        claims: serde_json::Map::new(),
        provider: None,
    }
}

fn session_event(row: &SessionRow, cause: Option<EndCause>) -> Event {
    Event {
        at_ms: row.created_at_ms,
        kind: cause.map_or(EventKind::Created, EndCause::event_kind),
        session_ref: row.session_ref.clone(),
        account: row.account.clone(),
        provider: None,
        runtime: row.runtime.clone(),
        cause,
        parent_ref: None,
        previous_ref: None,
        result: None,
        moved: None,
    }
}
