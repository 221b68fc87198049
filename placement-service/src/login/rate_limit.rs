//! Limits the login attempts per client network, so that password hashing cannot overload the service. Each replica has
//! its own limit, in memory. Must not know accounts: the lockout, which all replicas share, protects those.

use crate::config;
use crate::core::client_address;
use crate::core::clock::Clock;
use governor::clock as governor_clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Maximum number of client networks in memory.
const MAX_NETWORKS: usize = 100_000;
/// Number of logins between two removals of networks whose quota is full again.
const REMOVE_EVERY: u32 = 1_000;
/// The wait for a client when the table is full.
const WAIT_WHEN_FULL: Duration = Duration::from_secs(1);

type Limiter =
    RateLimiter<IpAddr, DashMapStateStore<IpAddr>, MonotonicClock, NoOpMiddleware<Duration>>;

/// The service's clock for `governor`, made monotonic: setting the clock back must not make clients wait that much
/// longer.
#[derive(Clone)]
struct MonotonicClock {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<ClockState>>,
}

#[derive(Default)]
struct ClockState {
    last_ms: u64,
    /// By how much the clock was set back in total.
    offset_ms: u64,
}

impl governor_clock::Clock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let mut latest = self.state.lock();
        let now_ms = self.clock.now_ms();
        latest.offset_ms += latest.last_ms.saturating_sub(now_ms);
        latest.last_ms = now_ms;
        Duration::from_millis(now_ms.saturating_add(latest.offset_ms))
    }
}

/// Counts logins per client network: an IPv4 address, or an IPv6 /64.
pub struct LoginRateLimiter {
    limiter: Option<Limiter>,
    clock: MonotonicClock,
    logins: AtomicU32,
}

impl LoginRateLimiter {
    /// `config` is `None` for no limit.
    #[must_use]
    pub fn new(config: Option<config::LoginRate>, clock: Arc<dyn Clock>) -> Self {
        let monotonic_clock = MonotonicClock {
            clock,
            state: Arc::default(),
        };
        let limiter = config.map(|rate| {
            let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_minute(at_least_one(rate.per_minute))
                .allow_burst(at_least_one(rate.burst));
            RateLimiter::new(quota, DashMapStateStore::default(), monotonic_clock.clone())
        });
        Self {
            limiter,
            clock: monotonic_clock,
            logins: AtomicU32::new(0),
        }
    }

    /// Counts a login. The error is the time to wait: whole seconds, at least one.
    pub fn admit(&self, address: IpAddr) -> Result<(), u32> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        self.remove_full(limiter);
        let key = client_address::rate_limit_network(address);
        let wait = if limiter.len() >= MAX_NETWORKS {
            WAIT_WHEN_FULL
        } else {
            match limiter.check_key(&key) {
                Ok(()) => return Ok(()),
                Err(not_until) => not_until.wait_time_from(governor_clock::Clock::now(&self.clock)),
            }
        };
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Err(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Regularly removes networks whose quota is full again.
    fn remove_full(&self, limiter: &Limiter) {
        let login_count = self.logins.fetch_add(1, Ordering::Relaxed);
        if login_count % REMOVE_EVERY == REMOVE_EVERY - 1 || limiter.len() >= MAX_NETWORKS {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::ManualClock;

    fn rate(per_minute: u32, burst: u32) -> (LoginRateLimiter, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let config = config::LoginRate { per_minute, burst };
        (LoginRateLimiter::new(Some(config), clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_burst_and_rate() {
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
    fn setting_the_clock_back_does_not_extend_the_wait() {
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
    fn addresses_of_one_ipv6_network_share_a_quota() {
        let (rate, _) = rate(30, 10);
        let admitted = (0..100).filter(|n| rate.admit(ip(&format!("2001:db8::{n:x}"))).is_ok());
        assert_eq!(admitted.count(), 10);
    }

    #[test]
    fn without_a_limit_every_login_is_admitted() {
        let rate = LoginRateLimiter::new(None, Arc::new(ManualClock::new(1)));
        assert!((0..1_000).all(|_| rate.admit(ip("192.0.2.1")).is_ok()));
    }

    #[test]
    fn networks_with_a_full_quota_are_removed() {
        let (rate, clock) = rate(30, 10);
        let address_of = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..50_000 {
            rate.admit(address_of(n)).unwrap();
            clock.advance_ms(1);
        }
        let network_count = rate.limiter.as_ref().unwrap().len();
        // Each quota is full after four seconds (4,000 logins here), and removal runs every 1,000 logins.
        assert!(network_count <= 5_001, "{network_count}");
    }

    #[test]
    fn memory_is_bounded() {
        let (rate, clock) = rate(1, 1);
        let address_of = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let max = u32::try_from(MAX_NETWORKS).unwrap();
        assert!((0..max).all(|n| rate.admit(address_of(n)).is_ok()));
        assert_eq!(rate.admit(address_of(max)), Err(1));
        assert_eq!(rate.limiter.as_ref().unwrap().len(), MAX_NETWORKS);
        clock.advance_ms(120_001);
        assert_eq!(rate.admit(address_of(max)), Ok(()));
        assert_eq!(rate.limiter.as_ref().unwrap().len(), 1);
    }
}
