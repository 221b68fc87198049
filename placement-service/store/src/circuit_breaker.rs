//! The circuit breaker in front of a store. Each call has a deadline. After [`FAILURE_THRESHOLD`] consecutive
//! unanswered calls the store counts as down: calls then fail at once, except for one probe call at a time that
//! finds out whether the store is back. Knows no statement and no backend.

use crate::session_id::IdHash;
use crate::{
    AccountChange, AccountRow, AccountStore, Attempts, Bounds, Coordination, DeadLetter, Event,
    EventLog, InsertResult, SessionQuery, SessionRemoval, SessionRow, SessionStore, StoreError,
    Stores,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Consecutive unanswered calls after which the store counts as down.
const FAILURE_THRESHOLD: u32 = 3;

impl Stores {
    /// The same stores behind one circuit breaker, with a deadline of `limit` for each call.
    #[must_use]
    pub fn with_circuit_breaker(self, limit: Duration) -> Self {
        let gate = Arc::new(CircuitBreaker {
            limit,
            state: Mutex::default(),
        });
        Self {
            sessions: Arc::new(BreakerStore(self.sessions, gate.clone())),
            accounts: self
                .accounts
                .map(|accounts| Arc::new(BreakerStore(accounts, gate.clone())) as _),
            events: Arc::new(BreakerStore(self.events, gate.clone())),
            coordination: Arc::new(BreakerStore(self.coordination, gate)),
        }
    }
}

struct BreakerStore<T: ?Sized>(Arc<T>, Arc<CircuitBreaker>);

/// The breaker that all traits of a store share.
struct CircuitBreaker {
    limit: Duration,
    state: Mutex<State>,
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
        let pass = self.acquire()?;
        let answer = match timeout(self.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Down(format!(
                "no reply within {:?}",
                self.limit
            ))),
        };
        pass.breaker.record(answer.as_ref().err());
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

macro_rules! guarded {
    ($seam:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+ } $($more:tt)*) => {
        #[async_trait]
        impl $seam for Guarded<dyn $seam> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.1.call(self.0.$name($($argument),*)).await
            })+

            $($more)*
        }
    };
}

guarded! { SessionStore {
    fn insert(row: &SessionRow, limit: Option<u32>, event: &Event) -> InsertResult;
    fn find(id: &IdHash) -> Option<SessionRow>;
    fn find_by_ref(session_ref: &str) -> Option<SessionRow>;
    fn find_by_cookie(cookie: &str) -> Option<SessionRow>;
    fn touch(seen: &[(IdHash, u64)]) -> ();
    fn remove(endings: &[SessionRemoval]) -> Vec<IdHash>;
    fn list(select: &SessionQuery, limit: u32) -> Vec<SessionRow>;
    fn count_live(now_ms: u64) -> u64;
}
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        self.0.cookie_id(cookie)
    }
}

guarded! { AccountStore {
    fn add_account(row: &AccountRow) -> bool;
    fn find_account(name: &str) -> Option<AccountRow>;
    fn accounts() -> Vec<AccountRow>;
    fn change_account(name: &str, change: &AccountChange) -> bool;
    fn set_attempts(name: &str, before: Attempts, after: Attempts) -> bool;
    fn set_devices(name: &str, before: &str, after: &str) -> bool;
} }

guarded! { EventLog {
    fn append(events: &[Event]) -> ();
    fn events_after(sequence: u64, limit: u32) -> Vec<(u64, Event)>;
    fn bounds() -> Bounds;
    fn trim_events(keep: u64) -> ();
    fn position(reader: &str) -> Option<u64>;
    fn set_position(reader: &str, sequence: u64) -> ();
    fn add_dead_letter(letter: &DeadLetter, keep: u32) -> ();
    fn dead_letter(webhook: &str, sequence: u64) -> Option<DeadLetter>;
    fn dead_letters(webhook: &str, limit: u32) -> Vec<DeadLetter>;
    fn remove_dead_letter(webhook: &str, sequence: u64) -> bool;
} }

guarded! { Coordination {
    fn server_key(name: &str, candidate: [u8; 32]) -> [u8; 32];
    fn lease(name: &str, holder: &str, now_ms: u64, ttl_ms: u64) -> bool;
    fn claim(key: &str, now_ms: u64, until_ms: u64) -> bool;
    fn is_claimed(key: &str, now_ms: u64) -> bool;
    fn purge_claims(now_ms: u64) -> ();
    fn put_value(name: &str, text: Option<&str>) -> ();
    fn list_values(prefix: &str) -> BTreeMap<String, String>;
    fn ping() -> ();
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
        }
    }

    async fn hang(gate: &CircuitBreaker) -> Duration {
        let begun = Instant::now();
        let answer: Result<(), _> = gate.call(pending()).await;
        assert!(matches!(answer, Err(StoreError::Down(_))));
        begun.elapsed()
    }

    async fn work(gate: &CircuitBreaker) -> Result<u8, StoreError> {
        gate.call(async { Ok(1) }).await
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_timeouts_only_one_probe_call_waits_for_the_store() {
        let gate = breaker();
        for _ in 0..FAILURE_THRESHOLD {
            assert_eq!(hang(&gate).await, LIMIT);
        }
        let both = tokio::join!(hang(&gate), hang(&gate));
        assert_eq!(both, (LIMIT, Duration::ZERO));
        let (probe, other) = tokio::join!(hang(&gate), work(&gate));
        assert_eq!(probe, LIMIT);
        assert!(
            matches!(other, Err(StoreError::Down(why)) if why.starts_with("is down: no reply"))
        );
        assert_eq!(work(&gate).await, Ok(1), "the next probe");
        let all = tokio::join!(work(&gate), work(&gate));
        assert_eq!(all, (Ok(1), Ok(1)), "the store is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_data_error_counts_as_an_answer() {
        let gate = breaker();
        for _ in 0..10 {
            let wrong = gate.call(async { Err::<(), _>(StoreError::Data(String::new())) });
            assert_eq!(wrong.await, Err(StoreError::Data(String::new())));
        }
        assert_eq!(gate.lock().failures, 0);
        assert_eq!(hang(&gate).await, LIMIT);
        assert_eq!(work(&gate).await, Ok(1));
        assert_eq!(gate.lock().failures, 0, "only consecutive failures count");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_lets_the_next_call_probe() {
        let gate = breaker();
        for _ in 0..FAILURE_THRESHOLD {
            hang(&gate).await;
        }
        let gone = timeout(LIMIT / 2, hang(&gate)).await;
        assert!(gone.is_err());
        assert_eq!(work(&gate).await, Ok(1));
    }
}
