//! A pooled connection, and when it may return to the pool. A connection that answers a ping can still be unusable:
//! it may hold an open transaction of a cancelled caller, or lead to a server that has become read-only. So a
//! connection returns only when its last statement was answered and its transaction is known to have ended.

use super::backend::Backend;
use super::statement::Statement;
use crate::StoreError;
use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Error, Pool};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// How long the database may take to end the transaction of a cancelled caller, and to answer a ping.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Minimum time between two replacements of all connections, so that a server that stays read-only is not flooded
/// with new ones.
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of looking for an idle connection while a new one is being opened.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// When the server or file behind all connections was last found to be unusable. Connections opened before are not
/// used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacement(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    count: u64,
    /// The count at the last check of the database that passed.
    checked: u64,
    last: Option<Instant>,
}

impl Replacement {
    fn request(&self, error: &Error) {
        let mut faults = self.0.lock();
        faults.count += 1;
        if faults
            .last
            .is_none_or(|at| at.elapsed() >= REPLACEMENT_INTERVAL)
        {
            tracing::warn!(%error, "replacing all connections to the store");
            faults.last = Some(Instant::now());
        }
    }

    /// Whether a connection that was opened this long ago must be replaced.
    pub(crate) fn applies_to(&self, age: Duration) -> bool {
        let faults = self.0.lock();
        faults.last.is_some_and(|at| age >= at.elapsed())
    }

    /// The number of faults so far, if no check of the database has passed since the last one.
    pub(crate) fn unchecked_faults(&self) -> Option<u64> {
        let faults = self.0.lock();
        (faults.count > faults.checked).then_some(faults.count)
    }

    /// A check that began after this number of faults has passed.
    pub(crate) fn mark_checked(&self, count: u64) {
        self.0.lock().checked = count;
    }
}

/// A connection of a pool, for one operation.
pub struct SqlConnection<D: Backend> {
    /// `None` only while it is dropped.
    pooled: Option<PoolConnection<D>>,
    replacement: Replacement,
    acquired: Instant,
    /// A statement has not been answered, or has failed.
    unanswered: bool,
    /// A transaction may be open.
    in_transaction: bool,
}

impl<D: Backend> SqlConnection<D> {
    /// Takes an idle connection or opens one. If opening takes longer than `patience`, also takes a connection that
    /// becomes idle meanwhile: a server that refuses further connections must not keep callers waiting beside
    /// connections that are free.
    pub(crate) async fn acquire(
        pool: &Pool<D>,
        patience: Duration,
        replacement: &Replacement,
    ) -> Result<Self, StoreError> {
        let opens = pool.num_idle() == 0 && pool.size() < pool.options().get_max_connections();
        let pooled = if opens {
            open(pool, patience).await?
        } else {
            tokio::select! {
                biased;
                acquired = pool.acquire() => acquired?,
                idle = wait_for_idle(pool, patience) => idle,
            }
        };
        Ok(Self {
            pooled: Some(pooled),
            replacement: replacement.clone(),
            acquired: Instant::now(),
            unanswered: false,
            in_transaction: false,
        })
    }

    /// Runs a statement; returns the number of rows that it changed.
    pub(crate) async fn execute(&mut self, statement: Statement<D>) -> Result<u64, StoreError> {
        let result = D::execute(self.start()?, statement.into_query()).await;
        self.finish(result)
    }

    /// Runs a statement; returns its rows.
    pub(crate) async fn fetch(
        &mut self,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>, StoreError> {
        let result = D::fetch(self.start()?, statement.into_query()).await;
        self.finish(result)
    }

    /// Begins a transaction. It ends with [`Self::commit`], or is rolled back when the connection is dropped.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        // Before the command is sent: the database may execute it although the caller is cancelled.
        self.in_transaction = true;
        let result = D::command(self.start()?, D::BEGIN).await;
        self.finish(result)
    }

    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, command: &'static str) -> Result<(), StoreError> {
        let result = D::command(self.start()?, command).await;
        self.finish(result)?;
        self.in_transaction = false;
        Ok(())
    }

    fn start(&mut self) -> Result<&mut D::Connection, Error> {
        self.unanswered = true;
        let pooled = self.pooled.as_mut().ok_or(Error::PoolClosed)?;
        Ok(&mut **pooled)
    }

    fn finish<T>(&mut self, result: Result<T, Error>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.unanswered = false,
            Err(error) if D::is_backend_fault(error) => self.replacement.request(error),
            Err(_) => {}
        }
        Ok(result?)
    }
}

impl<D: Backend> Drop for SqlConnection<D> {
    fn drop(&mut self) {
        let Some(mut pooled) = self.pooled.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            // Nothing can be awaited any more. sqlx would panic.
            drop(pooled.detach());
            return;
        };
        let obsolete = self.replacement.applies_to(self.acquired.elapsed());
        let (in_transaction, unanswered) = (self.in_transaction, self.unanswered);
        runtime.spawn(async move {
            if !obsolete && recover::<D>(&mut pooled, in_transaction, unanswered).await {
                // sqlx pings the connection once more, without a limit: with a server that hangs, the connection
                // would occupy its place in the pool for as long.
                let _ = timeout(RECOVERY_TIMEOUT, pooled.return_to_pool()).await;
            } else {
                // Its place in the pool is free only when it is closed: a role may have few connections.
                pooled.close_on_drop();
            }
        });
    }
}

/// Brings a connection back into the state of a new one. `false`: its state is not known.
async fn recover<D: Backend>(
    connection: &mut D::Connection,
    in_transaction: bool,
    unanswered: bool,
) -> bool {
    let recovered = timeout(RECOVERY_TIMEOUT, async {
        if in_transaction {
            D::end_transaction(connection).await
        } else if unanswered {
            connection.ping().await
        } else {
            Ok(())
        }
    });
    matches!(recovered.await, Ok(Ok(())))
}

/// Opens a connection in a task of its own: callers that go away must not leave half-open connections behind, each
/// followed by another one.
async fn open<DB: Database>(
    pool: &Pool<DB>,
    patience: Duration,
) -> Result<PoolConnection<DB>, StoreError> {
    let mut opening = tokio::spawn(pool.acquire());
    let idle = tokio::select! {
        biased;
        opened = &mut opening => {
            return opened.map_err(|e| StoreError::Down(e.to_string()))?.map_err(Into::into);
        }
        idle = wait_for_idle(pool, patience) => idle,
    };
    opening.abort();
    Ok(idle)
}

async fn wait_for_idle<DB: Database>(pool: &Pool<DB>, patience: Duration) -> PoolConnection<DB> {
    sleep(patience).await;
    loop {
        if let Some(connection) = pool.try_acquire() {
            return connection;
        }
        sleep(IDLE_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_after_each_fault_until_one_passes() {
        let replacement = Replacement::default();
        assert_eq!(replacement.unchecked_faults(), None);
        replacement.request(&Error::PoolClosed);
        let faults = replacement.unchecked_faults().unwrap();
        // A check that fails, or is cancelled, leaves it due.
        assert_eq!(replacement.unchecked_faults(), Some(faults));
        replacement.request(&Error::PoolClosed);
        replacement.mark_checked(faults);
        assert!(
            replacement.unchecked_faults().is_some(),
            "a fault meanwhile"
        );
        replacement.mark_checked(faults + 1);
        assert_eq!(replacement.unchecked_faults(), None);
    }
}
