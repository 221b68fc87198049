//! How many logins one client address may try (S20). Kept in memory, by each replica for itself: its aim is
//! to keep the hashing of passwords from being a burden. Accounts are protected by the lock-out, which all
//! replicas share.

use crate::config;
use crate::core::client_address;
use crate::core::clock::Clock;
use governor::clock as governor_clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Addresses remembered at the most.
const MOST: usize = 100_000;
/// Logins between two looks for addresses that need not be remembered any more.
const LOOK: u32 = 1_000;
/// For those beyond the most.
const FULL: Duration = Duration::from_secs(1);

type Limiter = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Time, NoOpMiddleware<Duration>>;

/// The service's clock, for `governor`: whoever sets it back must not make everybody wait for that long.
#[derive(Clone)]
struct Time {
    clock: Arc<dyn Clock>,
    latest: Arc<Mutex<Latest>>,
}

#[derive(Default)]
struct Latest {
    now_ms: u64,
    /// By how much the clock was set back so far.
    back_ms: u64,
}

impl governor_clock::Clock for Time {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        latest.back_ms += latest.now_ms.saturating_sub(now_ms);
        latest.now_ms = now_ms;
        Duration::from_millis(now_ms.saturating_add(latest.back_ms))
    }
}

/// Counts logins by client address.
pub struct LoginRate {
    limiter: Option<Limiter>,
    time: Time,
    seen: AtomicU32,
}

impl LoginRate {
    /// `None`: no limit.
    #[must_use]
    pub fn new(config: Option<config::LoginRate>, clock: Arc<dyn Clock>) -> Self {
        let time = Time {
            clock,
            latest: Arc::default(),
        };
        let limiter = config.map(|rate| {
            let least = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_minute(least(rate.per_minute)).allow_burst(least(rate.burst));
            RateLimiter::new(quota, DashMapStateStore::default(), time.clone())
        });
        Self {
            limiter,
            time,
            seen: AtomicU32::new(0),
        }
    }

    /// Counts a login, or tells how long to wait: whole seconds, at least one.
    pub fn admit(&self, address: IpAddr) -> Result<(), u32> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        self.forget(limiter);
        let key = client_address::network(address);
        let wait = if limiter.len() >= MOST {
            FULL
        } else {
            match limiter.check_key(&key) {
                Ok(()) => return Ok(()),
                Err(until) => until.wait_time_from(governor_clock::Clock::now(&self.time)),
            }
        };
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Err(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Drops those who could try as many as somebody new.
    fn forget(&self, limiter: &Limiter) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if seen % LOOK == LOOK - 1 || limiter.len() >= MOST {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::ManualClock;

    fn rate(per_minute: u32, burst: u32) -> (LoginRate, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let config = config::LoginRate { per_minute, burst };
        (LoginRate::new(Some(config), clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_then_the_rate_and_each_address_for_itself() {
        let (rate, clock) = rate(30, 10);
        let admitted = |address: &str| (0..20).filter(|_| rate.admit(ip(address)).is_ok()).count();
        assert_eq!(admitted("192.0.2.1"), 10);
        assert_eq!(rate.admit(ip("192.0.2.1")), Err(2));
        assert_eq!(admitted("192.0.2.2"), 10);
        clock.advance_ms(1_999);
        assert_eq!(rate.admit(ip("192.0.2.1")), Err(1));
        clock.advance_ms(1);
        assert_eq!(admitted("192.0.2.1"), 1);
        clock.advance_ms(60_000);
        assert_eq!(admitted("192.0.2.1"), 10, "no more than the burst");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait() {
        let (rate, clock) = rate(30, 10);
        let admitted = || {
            (0..20)
                .filter(|_| rate.admit(ip("192.0.2.1")).is_ok())
                .count()
        };
        assert_eq!(admitted(), 10);
        clock.advance_ms(3_600_000_u64.wrapping_neg());
        assert_eq!(rate.admit(ip("192.0.2.1")), Err(2));
        clock.advance_ms(60_000);
        assert_eq!(admitted(), 10);
    }

    #[test]
    fn a_customer_with_many_addresses_is_one() {
        let (rate, _) = rate(30, 10);
        let many = (0..100).filter(|n| rate.admit(ip(&format!("2001:db8::{n:x}"))).is_ok());
        assert_eq!(many.count(), 10);
    }

    #[test]
    fn without_a_limit_everybody_is_admitted() {
        let rate = LoginRate::new(None, Arc::new(ManualClock::new(1)));
        assert!((0..1_000).all(|_| rate.admit(ip("192.0.2.1")).is_ok()));
    }

    #[test]
    fn those_who_have_waited_are_forgotten() {
        let (rate, clock) = rate(30, 10);
        let of = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..50_000 {
            rate.admit(of(n)).unwrap();
            clock.advance_ms(1);
        }
        let held = rate.limiter.as_ref().unwrap().len();
        // Each is let go four seconds later, and looked for every thousand logins.
        assert!(held <= 5_001, "{held}");
    }

    #[test]
    fn memory_has_an_end() {
        let (rate, clock) = rate(1, 1);
        let of = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let most = u32::try_from(MOST).unwrap();
        assert!((0..most).all(|n| rate.admit(of(n)).is_ok()));
        assert_eq!(rate.admit(of(most)), Err(1));
        assert_eq!(rate.limiter.as_ref().unwrap().len(), MOST);
        clock.advance_ms(120_001);
        assert_eq!(rate.admit(of(most)), Ok(()));
        assert_eq!(rate.limiter.as_ref().unwrap().len(), 1);
    }
}
