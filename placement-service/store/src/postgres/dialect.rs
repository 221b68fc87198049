//! In what PostgreSQL differs: locking. Rows are locked in the order of their ids and the event counter last, so
//! that transactions cannot deadlock.

use crate::row::{to_i64, to_json};
use crate::session_id::IdHash;
use crate::sql::connection::SqlConnection;
use crate::sql::dialect::Dialect;
use crate::sql::statement::{Read, Statement};
use crate::{AffinityId, Event, SessionRemoval, StoreError};
use sqlx::{Error, Postgres};
use std::collections::HashSet;

impl Dialect for Postgres {
    const NEWEST_EVENT: &'static str = "SELECT newest FROM event_counter";
    const NOW_MS: &'static str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    const FOR_UPDATE: &'static str = " FOR UPDATE";
    const SKIP_LOCKED: &'static str = " SKIP LOCKED";

    /// The last step, because it locks the event counter until the commit.
    async fn append(
        connection: &mut SqlConnection<Self>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = events.iter().map(to_json).collect::<Result<_, _>>()?;
        let count = to_i64(u64::try_from(events.len()).unwrap_or(u64::MAX))?;
        let update =
            "UPDATE event_counter SET newest = newest + $1 RETURNING newest - $1 AS before";
        let rows = connection.fetch(Statement::new(update).bind(count)).await?;
        let before: i64 = Self::read(rows.first().ok_or(Error::RowNotFound)?, "before")?;
        let insert = Statement::new(
            "INSERT INTO events (sequence, event) SELECT $1 + number, event \
             FROM unnest($2::text[]) WITH ORDINALITY AS new (event, number)",
        );
        connection.execute(insert.bind(before).bind(texts)).await?;
        Ok(())
    }

    async fn lock_name(connection: &mut SqlConnection<Self>, name: &str) -> Result<(), StoreError> {
        let lock = Statement::new("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))");
        connection.execute(lock.bind(name)).await?;
        Ok(())
    }

    async fn touch(
        connection: &mut SqlConnection<Self>,
        seen: &[(IdHash, u64)],
    ) -> Result<(), StoreError> {
        let (ids, times) = columns(seen.iter().map(|(id, at)| (id, *at)))?;
        let update = Statement::new(
            "WITH mine AS (SELECT s.id_hash, new.at FROM sessions AS s \
             JOIN unnest($1::bytea[], $2::bigint[]) AS new (id, at) ON s.id_hash = new.id \
             ORDER BY s.id_hash FOR UPDATE OF s) \
             UPDATE sessions SET last_seen_at = mine.at FROM mine \
             WHERE sessions.id_hash = mine.id_hash AND sessions.last_seen_at < mine.at",
        );
        connection.execute(update.bind(ids).bind(times)).await?;
        Ok(())
    }

    async fn delete(
        connection: &mut SqlConnection<Self>,
        removals: &[SessionRemoval],
    ) -> Result<HashSet<IdHash>, StoreError> {
        const NEVER: u64 = i64::MAX.unsigned_abs();
        let over_at = |removal: &SessionRemoval| removal.only_if_expired_at_ms.unwrap_or(NEVER);
        let (ids, times) = columns(removals.iter().map(|r| (&r.id_hash, over_at(r))))?;
        // `FOR UPDATE` re-evaluates the condition after the lock is acquired, so a session that became active
        // meanwhile stays.
        let delete = Statement::new(
            "WITH mine AS (SELECT s.id_hash FROM sessions AS s \
             JOIN unnest($1::bytea[], $2::bigint[]) AS given (id, over_at) ON s.id_hash = given.id \
             WHERE s.ends_at <= given.over_at ORDER BY s.id_hash FOR UPDATE OF s) \
             DELETE FROM sessions WHERE id_hash IN (SELECT id_hash FROM mine) RETURNING id_hash",
        );
        let rows = connection.fetch(delete.bind(ids).bind(times)).await?;
        let hash = |row| {
            let bytes: Vec<u8> = Self::read(row, "id_hash")?;
            let bytes = bytes.try_into();
            bytes
                .map(IdHash)
                .map_err(|_| StoreError::malformed("id_hash", "it has not 32 bytes"))
        };
        rows.iter().map(hash).collect()
    }

    async fn touch_affinity(
        connection: &mut SqlConnection<Self>,
        active: &[(AffinityId, i64)],
    ) -> Result<(), StoreError> {
        let ids: Vec<Vec<u8>> = active.iter().map(|(id, _)| id.0.to_vec()).collect();
        let ages: Vec<i64> = active.iter().map(|(_, ago_ms)| *ago_ms).collect();
        let update = Statement::composed(format!(
            "WITH given AS (SELECT id, {now} - min(ago) AS at \
             FROM unnest($1::bytea[], $2::bigint[]) AS new (id, ago) GROUP BY id), \
             mine AS (SELECT a.id, given.at FROM affinity AS a JOIN given ON a.id = given.id \
             WHERE a.state = 'held' ORDER BY a.id FOR UPDATE OF a) \
             UPDATE affinity SET last_active_at = mine.at, expires_at = mine.at + idle_timeout \
             FROM mine WHERE affinity.id = mine.id AND affinity.last_active_at < mine.at",
            now = Self::NOW_MS
        ));
        connection.execute(update.bind(ids).bind(ages)).await?;
        Ok(())
    }
}

type Columns = (Vec<Vec<u8>>, Vec<i64>);

fn columns<'a>(pairs: impl Iterator<Item = (&'a IdHash, u64)>) -> Result<Columns, StoreError> {
    let columns = pairs.map(|(id, number)| Ok((id.0.to_vec(), to_i64(number)?)));
    columns.collect()
}
