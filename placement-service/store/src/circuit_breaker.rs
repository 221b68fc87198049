//! The circuit breaker in front of a store. Each call has a deadline. After [`FAILURE_THRESHOLD`] consecutive
//! unanswered calls the store counts as down: calls then fail at once, except for one probe call at a time that
//! finds out whether the store is back. Knows no statement and no backend.

use crate::session_id::IdHash;
use crate::{
    AccountChange, AccountRow, AccountStore, Attempts, Bounds, Coordination, DeadLetter, Event,
    EventLog, InsertResult, SessionQuery, SessionRemoval, SessionRow, SessionStore, StoreError,
    Stores, Writability,
};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Consecutive unanswered calls after which the store counts as down.
const FAILURE_THRESHOLD: u32 = 3;

impl Stores {
    /// The same stores behind one circuit breaker, with a deadline of `limit` for each call.
    #[must_use]
    pub fn with_circuit_breaker(self, limit: Duration) -> Self {
        let breaker = Arc::new(CircuitBreaker {
            limit,
            state: Mutex::default(),
            writability: self.writability.clone(),
        });
        Self {
            sessions: Arc::new(BreakerStore(self.sessions, breaker.clone())),
            accounts: self
                .accounts
                .map(|accounts| Arc::new(BreakerStore(accounts, breaker.clone())) as _),
            events: Arc::new(BreakerStore(self.events, breaker.clone())),
            coordination: Arc::new(BreakerStore(self.coordination, breaker)),
            writability: self.writability,
        }
    }
}

struct BreakerStore<T: ?Sized>(Arc<T>, Arc<CircuitBreaker>);

/// The breaker that all traits of a store share.
struct CircuitBreaker {
    limit: Duration,
    state: Mutex<State>,
    /// Told of every write that fails.
    writability: Arc<Writability>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// A probe call is in flight.
    probing: bool,
    /// The error of the last failed call.
    last_error: String,
}

/// The right to make one call.
struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    probe: bool,
}

impl CircuitBreaker {
    async fn call<T>(
        &self,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let permit = self.acquire()?;
        let answer = match timeout(self.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Down(format!(
                "no reply within {:?}",
                self.limit
            ))),
        };
        permit.breaker.record(answer.as_ref().err());
        answer
    }

    /// As [`Self::call`], for a call that changes the store.
    async fn write<T>(
        &self,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = self.call(asked).await;
        if matches!(answer, Err(StoreError::Down(_))) {
            self.writability.record_failed_write();
        }
        answer
    }

    fn acquire(&self) -> Result<Permit<'_>, StoreError> {
        let mut state = self.lock();
        let down = state.failures >= FAILURE_THRESHOLD;
        if down && state.probing {
            return Err(StoreError::Down(format!("is down: {}", state.last_error)));
        }
        state.probing = down;
        Ok(Permit {
            breaker: self,
            probe: down,
        })
    }

    fn record(&self, error: Option<&StoreError>) {
        let mut state = self.lock();
        let was_down = state.failures >= FAILURE_THRESHOLD;
        match error {
            Some(StoreError::Down(why)) => {
                state.failures = state.failures.saturating_add(1);
                state.last_error.clone_from(why);
                if state.failures < FAILURE_THRESHOLD {
                    tracing::warn!(why, "the store does not answer");
                } else if !was_down {
                    tracing::error!(why, "the store is down");
                }
            }
            Some(StoreError::Data(_) | StoreError::ReadOnly) | None => {
                state.failures = 0;
                if was_down {
                    tracing::info!("the store is back");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Also runs when the caller is cancelled before the reply, so that the next call can probe.
        if self.probe {
            self.breaker.lock().probing = false;
        }
    }
}

/// Forwards the calls of a trait; each is a `call`, which reads, or a `write`.
macro_rules! forward {
    ($seam:ident { $($kind:ident $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+ } $($more:tt)*) => {
        #[async_trait]
        impl $seam for BreakerStore<dyn $seam> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.1.$kind(self.0.$name($($argument),*)).await
            })+

            $($more)*
        }
    };
}

forward! { SessionStore {
    write insert(row: &SessionRow, limit: Option<u32>, event: &Event) -> InsertResult;
    call find(id: &IdHash) -> Option<SessionRow>;
    call find_by_ref(session_ref: &str) -> Option<SessionRow>;
    call find_by_cookie(cookie: &str) -> Option<SessionRow>;
    write touch(seen: &[(IdHash, u64)]) -> ();
    write remove(endings: &[SessionRemoval]) -> Vec<IdHash>;
    call list(select: &SessionQuery, limit: u32) -> Vec<SessionRow>;
    call count_live(now_ms: u64) -> u64;
}
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        self.0.cookie_id(cookie)
    }
}

forward! { AccountStore {
    write add_account(row: &AccountRow) -> bool;
    call find_account(name: &str) -> Option<AccountRow>;
    call accounts() -> Vec<AccountRow>;
    write change_account(name: &str, change: &AccountChange) -> bool;
    write remove_account(name: &str) -> bool;
    write set_attempts(name: &str, before: Attempts, after: Attempts) -> bool;
    write set_devices(name: &str, before: &str, after: &str) -> bool;
} }

forward! { EventLog {
    write append(events: &[Event]) -> ();
    call events_after(sequence: u64, limit: u32) -> Vec<(u64, Event)>;
    call bounds() -> Bounds;
    write trim_events(keep: u64) -> ();
    call position(reader: &str) -> Option<u64>;
    write set_position(reader: &str, sequence: u64) -> ();
    write add_dead_letter(letter: &DeadLetter, keep: u32) -> ();
    call dead_letter(webhook: &str, sequence: u64) -> Option<DeadLetter>;
    call dead_letters(webhook: &str, limit: u32) -> Vec<DeadLetter>;
    write remove_dead_letter(webhook: &str, sequence: u64) -> bool;
} }

forward! { Coordination {
    write server_key(name: &str, candidate: [u8; 32]) -> [u8; 32];
    write lease(name: &str, holder: &str, ttl: Duration) -> bool;
    write release_lease(name: &str, holder: &str) -> ();
    write claim(key: &str, now_ms: u64, until_ms: u64) -> bool;
    call is_claimed(key: &str, now_ms: u64) -> bool;
    write purge_claims() -> ();
    write put_value(name: &str, text: Option<&str>) -> ();
    call list_values(prefix: &str) -> BTreeMap<String, String>;
    call heartbeat() -> ();
    call ping() -> ();
} }

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::Instant;

    const LIMIT: Duration = Duration::from_secs(1);

    fn breaker() -> CircuitBreaker {
        CircuitBreaker {
            limit: LIMIT,
            state: Mutex::default(),
            writability: Arc::default(),
        }
    }

    async fn hang(breaker: &CircuitBreaker) -> Duration {
        let begun = Instant::now();
        let answer: Result<(), _> = breaker.call(pending()).await;
        assert!(matches!(answer, Err(StoreError::Down(_))));
        begun.elapsed()
    }

    async fn work(breaker: &CircuitBreaker) -> Result<u8, StoreError> {
        breaker.call(async { Ok(1) }).await
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_timeouts_only_one_probe_call_waits_for_the_store() {
        let breaker = breaker();
        for _ in 0..FAILURE_THRESHOLD {
            assert_eq!(hang(&breaker).await, LIMIT);
        }
        let both = tokio::join!(hang(&breaker), hang(&breaker));
        assert_eq!(both, (LIMIT, Duration::ZERO));
        let (probe, other) = tokio::join!(hang(&breaker), work(&breaker));
        assert_eq!(probe, LIMIT);
        assert!(
            matches!(other, Err(StoreError::Down(why)) if why.starts_with("is down: no reply"))
        );
        assert_eq!(work(&breaker).await, Ok(1), "the next probe");
        let all = tokio::join!(work(&breaker), work(&breaker));
        assert_eq!(all, (Ok(1), Ok(1)), "the store is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_data_error_counts_as_an_answer() {
        let breaker = breaker();
        for _ in 0..10 {
            let wrong = breaker.call(async { Err::<(), _>(StoreError::Data(String::new())) });
            assert_eq!(wrong.await, Err(StoreError::Data(String::new())));
        }
        assert_eq!(breaker.lock().failures, 0);
        assert_eq!(hang(&breaker).await, LIMIT);
        assert_eq!(work(&breaker).await, Ok(1));
        assert_eq!(
            breaker.lock().failures,
            0,
            "only consecutive failures count"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_lets_the_next_call_probe() {
        let breaker = breaker();
        for _ in 0..FAILURE_THRESHOLD {
            hang(&breaker).await;
        }
        let gone = timeout(LIMIT / 2, hang(&breaker)).await;
        assert!(gone.is_err());
        assert_eq!(work(&breaker).await, Ok(1));
    }
}
