//! The circuit breaker in front of a store. Each call has a deadline. After [`FAILURE_THRESHOLD`] consecutive
//! unanswered calls the store counts as down: calls then fail at once, except for one probe call at a time that
//! finds out whether the store is back. Knows no statement and no backend.

mod forward;

use crate::{StoreError, Stores, Writability};
use parking_lot::{Mutex, MutexGuard};
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
            affinity: self
                .affinity
                .map(|affinity| Arc::new(BreakerStore(affinity, breaker.clone())) as _),
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
    /// Notified of every write that fails.
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
